//! `protext texts`: tables of texts from small files and from local services, through the real program.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Output;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use protext_local_server::{Reply, Request, Server, bounded};
use support::{protext, run, stderr};

const DAT: &str = "\
ID   TEST_HUMAN              Reviewed;          10 AA.
AC   P00001; P00002;
DE   RecName: Full=Test protein;
GN   Name=TST1; Synonyms=TT;
OS   Homo sapiens (Human).
OX   NCBI_TaxID=9606;
CC   -!- FUNCTION: Binds DNA (PubMed:123). Cuts it (By similarity).
CC       {ECO:0000269|PubMed:123}.
SQ   SEQUENCE   10 AA;  1000 MW;  0000000000000000 CRC64;
     MKVLAAGGTT
//
ID   MUTE_HUMAN              Reviewed;           3 AA.
AC   P00009;
OX   NCBI_TaxID=9606;
SQ   SEQUENCE   3 AA;  300 MW;  0000000000000000 CRC64;
     MKV
//
";
const JSON: &str = r#"{"results":[
    {"primaryAccession":"P00001","comments":[{"commentType":"FUNCTION","texts":[{"value":"Read before."}]}],
     "sequence":{"value":"MK","length":2}},
    {"primaryAccession":"Q00001","uniProtkbId":"TWO_YEAST","genes":[{"geneName":{"value":"TWO"}}],
     "organism":{"scientificName":"Saccharomyces cerevisiae","taxonId":4932},
     "comments":[{"commentType":"FUNCTION","texts":[{"value":"Moves copper (PubMed:7)."}]}],
     "sequence":{"value":"MKV","length":3}}]}"#;
const OBO: &str = "format-version: 1.2\n
[Term]\nid: GO:0003674\nname: molecular_function\nnamespace: molecular_function\n
[Term]\nid: GO:0003677\nname: DNA binding\nnamespace: molecular_function\ndef: \"Binds to DNA.\" []\nis_a: GO:0003674
alt_id: GO:0000009\n
[Term]\nid: GO:0004252\nname: serine protease\nnamespace: molecular_function\ndef: \"Cuts proteins\" []\nis_a: GO:0003674\n
[Term]\nid: GO:0005515\nname: protein binding\nnamespace: molecular_function\nis_a: GO:0003674\n
[Term]\nid: GO:0006412\nname: translation\nnamespace: biological_process\ndef: \"Makes proteins.\" []\n
[Term]\nid: GO:0000001\nname: gone\nnamespace: molecular_function\nis_obsolete: true\n";
const ENZYME: &[u8] =
    b"CC   L\xf6we's ENZYME\n//\nID   3.4.21.4\nDE   Trypsin.\nCA   Preferential cleavage:\nCA   Arg-|-Xaa.\n\
    CC   -!- Made in the pancreas.\nDR   P1, TRY1_HUMAN;  P4, TRY4_HUMAN;\n//\n\
    ID   3.4.21.5\nDE   Deleted entry.\nDR   P3, X_HUMAN;\n//\n";
const PROTEINS: &str = "accession\tlength\tcluster30\tsequence\n\
    P1\t4\tA\tMKVA\nP2\t4\tA\tMKVC\nP3\t4\tB\tMKVD\nP4\t4\tA\tMKVE\nP5\t9\tC\tMKVFFFFFF\n";
const ANNOTATIONS: &str = "accession\tgo_mf\tgo_bp\tgo_cc\n\
    P1\tGO:0000009;GO:0004252;GO:0005515;GO:0003674\tGO:0006412\t\nP2\tGO:0003677\t\t\nP3\tGO:0003677;GO:0000001\t\t\n\
    P5\tGO:0003677\t\t\nP8\tGO:0003677\t\t\n";

/// A folder with files, and outputs in it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Writes a file, gzip'd if its name says so.
    fn put(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let mut bytes = content.as_ref().to_vec();
        if Path::new(name).extension().is_some_and(|ending| ending == "gz") {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&bytes).unwrap();
            bytes = encoder.finish().unwrap();
        }
        std::fs::write(self.path(name), bytes).unwrap();
        self.text(name)
    }

    /// Rows of a table, the header left out.
    fn rows(&self, name: &str) -> Vec<Vec<String>> {
        let bytes = std::fs::read(self.path(name)).unwrap();
        let mut text = String::new();
        match bytes.starts_with(&[0x1f, 0x8b]) {
            true => GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).unwrap(),
            false => bytes.as_slice().read_to_string(&mut text).unwrap(),
        };
        text.lines().skip(1).map(|line| line.split('\t').map(str::to_owned).collect()).collect()
    }

    /// Values of one column.
    fn column(&self, name: &str, column: usize) -> Vec<String> {
        self.rows(name).into_iter().map(|row| row[column].clone()).collect()
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn assert_done(output: &Output) -> String {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    said
}

#[test]
fn proteins_of_every_format_come_with_their_function() {
    let folder = Folder::new();
    let (dat, json) = (folder.put("a.dat.gz", DAT), folder.put("b.json", JSON));
    let (table, counts) = (folder.text("p.tsv.gz"), folder.text("counts.json"));
    let said = assert_done(&run(&["texts", "proteins", &dat, &json, "-o", &table, "--json", &counts]));
    assert!(said.contains("p.tsv.gz: 2 rows"), "{said}");
    assert!(said.contains("without a function comment") && said.contains("accession read before"), "{said}");
    assert_eq!(
        folder.rows("p.tsv.gz"),
        [
            [
                "P00001",
                "TEST_HUMAN",
                "TST1",
                "Homo sapiens",
                "9606",
                "10",
                "MKVLAAGGTT",
                "Binds DNA. Cuts it."
            ],
            ["Q00001", "TWO_YEAST", "TWO", "Saccharomyces cerevisiae", "4932", "3", "MKV", "Moves copper."]
        ]
    );
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(counts).unwrap()).unwrap();
    assert_eq!((&report["n_rows"], &report["left_out"][0]["n"]), (&2.into(), &1.into()));

    let again = run(&["texts", "proteins", &dat, "-o", &table]);
    assert_eq!(again.status.code(), Some(2), "{}", stderr(&again));
    assert_done(&run(&["texts", "proteins", &dat, "-o", &table, "--overwrite", "--keep-empty"]));
    assert_eq!(folder.column("p.tsv.gz", 0), ["P00001", "P00009"]);

    assert_done(&run(&["texts", "proteins", &dat, "-o", &folder.text("p.jsonl")]));
    let line = std::fs::read_to_string(folder.path("p.jsonl")).unwrap();
    let row: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&row["accession"], &row["taxon_id"], &row["length"]),
        (&"P00001".into(), &9606.into(), &10.into())
    );
    assert_done(&run(&["texts", "proteins", &dat, "-o", &folder.text("p.parquet")]));
    assert!(std::fs::read(folder.path("p.parquet")).unwrap().starts_with(b"PAR1"));
}

#[test]
fn genes_are_told_by_summary_or_name_and_go_terms() {
    let folder = Folder::new();
    let genes = folder.put(
        "genes.tsv.gz",
        "entrez_id\tsymbol\tgene_name\tgo_curated\tgo_other\n\
         1\tAAA\tgene a\tGO:0000009;GO:0005515\tGO:0004252\n2\tBBB\tgene b\t\tGO:0004252\n3\tCCC\t\t\t\n",
    );
    let summaries =
        folder.put("s.tsv", "entrez_id\tsymbol\tsummary\n1\tAAA\tDoes a. [provided by RefSeq, Jul 2008]\n");
    let obo = folder.put("go.obo", OBO);
    let common = ["texts", "genes", "--genes", &genes, "--summaries", &summaries, "--go", &obo, "-o"];
    let run_to = |name: &str, more: &[&str]| {
        assert_done(&run(&[&common[..], &[folder.text(name).as_str()], more].concat()))
    };
    let said = run_to("g.tsv", &[]);
    assert!(said.contains("texts of name and GO terms, without a summary: 1"), "{said}");
    assert_eq!(
        folder.rows("g.tsv"),
        [
            [
                "1",
                "AAA",
                "gene a",
                "Gene Symbol AAA gene a. Does a. GO molecular function: DNA binding, Binds to DNA.",
                "summary;go"
            ],
            [
                "2",
                "BBB",
                "gene b",
                "Gene Symbol BBB gene b. GO molecular function: serine protease, Cuts proteins.",
                "name;go"
            ],
            ["3", "CCC", "", "Gene Symbol CCC.", "symbol"]
        ]
    );
    run_to("n.tsv", &["--names-only", "--all-go"]);
    let text = &folder.column("n.tsv", 3)[0];
    assert_eq!(text, "Gene Symbol AAA gene a. Does a. GO molecular function: DNA binding; serine protease.");
}

#[test]
fn go_terms_are_texts_of_name_and_definition() {
    let folder = Folder::new();
    let obo = folder.put("go.obo", OBO);
    let said = assert_done(&run(&["texts", "go", &obo, "--namespace", "mf", "-o", &folder.text("go.tsv")]));
    assert!(said.contains("obsolete: 1") && said.contains("another namespace: 1"), "{said}");
    assert_eq!(folder.column("go.tsv", 0), ["GO:0003674", "GO:0003677", "GO:0004252", "GO:0005515"]);
    assert_eq!(
        folder.rows("go.tsv")[1],
        ["GO:0003677", "DNA binding", "molecular_function", "DNA binding: Binds to DNA."]
    );
    let deep = folder.text("deep.tsv");
    assert_done(&run(&["texts", "go", &obo, "--min-depth", "1", "--min-definition", "3", "-o", &deep]));
    assert_eq!(folder.column("deep.tsv", 0), ["GO:0003677", "GO:0004252"]);
    let none = run(&["texts", "go", &obo, "--min-depth", "9", "-o", &folder.text("none.tsv")]);
    assert_eq!(none.status.code(), Some(2), "{}", stderr(&none));
    assert!(!folder.path("none.tsv").exists());
}

/// Runs `texts annotations` on the files above.
fn annotations(folder: &Folder, proteins: &str, output: &str, more: &[&str]) -> String {
    let proteins = folder.put("proteins.tsv.gz", proteins);
    let obo = folder.put("go.obo", OBO);
    let enzyme = folder.put("enzyme.dat.gz", ENZYME);
    let table = folder.put("annotations.tsv", ANNOTATIONS);
    let output = folder.text(output);
    let args =
        ["texts", "annotations", "--proteins", &proteins, "--go", &obo, "--enzyme", &enzyme, "-o", &output];
    let source = if more.contains(&"--annotations") { vec![] } else { vec!["--annotations", &table] };
    assert_done(&run(&[&args[..], &source, more].concat()))
}

#[test]
fn annotations_become_pairs_cluster_by_cluster() {
    let folder = Folder::new();
    let said = annotations(&folder, PROTEINS, "pairs.tsv", &["--max-length", "8"]);
    assert!(said.contains("longer than --max-length: 1") && said.contains("ENZYME entry: 2"), "{said}");
    assert!(said.contains("obsolete without a successor: 1"), "{said}");
    let rows = folder.rows("pairs.tsv");
    let of = |accession: &str| rows.iter().find(|row| row[0] == accession).unwrap().clone();
    let trypsin = "Trypsin. Preferential cleavage: Arg-|-Xaa. Made in the pancreas.";
    let text = format!(
        "{trypsin} DNA binding: Binds to DNA. Serine protease: Cuts proteins. Translation: Makes proteins."
    );
    assert_eq!(of("P1"), ["P1", "A", "A", &text, "MKVA"]);
    assert_eq!(of("P4")[3], trypsin);
    assert_eq!(of("P3")[3], "DNA binding: Binds to DNA.", "a deleted ENZYME entry says nothing");
    let mut clusters = folder.column("pairs.tsv", 1);
    assert_eq!(clusters.split_off(2), ["A", "A"], "one of each cluster comes first");
    assert_eq!(rows.last().unwrap()[0], "P2", "enzymes come first in a cluster");

    annotations(&folder, PROTEINS, "few.tsv", &["--max-length", "8", "--limit", "3"]);
    assert_eq!(folder.rows("few.tsv"), rows[..3]);
    let said = annotations(&folder, PROTEINS, "one.tsv", &["--max-length", "8", "--per-cluster", "1"]);
    assert!(said.contains("past --per-cluster: 2"), "{said}");
    assert_eq!(folder.rows("one.tsv"), rows[..2]);
    let mut lines: Vec<&str> = PROTEINS.lines().collect();
    lines[1..].reverse();
    annotations(&folder, &(lines.join("\n") + "\n"), "turned.tsv", &["--max-length", "8"]);
    assert_eq!(folder.rows("turned.tsv"), rows, "the order of the input does not matter");
}

#[test]
fn a_gaf_gives_pairs_of_the_evidence_asked_for() {
    let folder = Folder::new();
    let line = |accession: &str, qualifier: &str, id: &str, code: &str| {
        format!(
            "UniProtKB\t{accession}\tS\t{qualifier}\t{id}\tPMID:1\t{code}\t\tF\tn\t\tprotein\ttaxon:9606\t20240101\tUniProt\t\t\n"
        )
    };
    let gaf = [
        "!gaf-version: 2.2\n".to_owned(),
        line("P2", "enables", "GO:0003677", "IDA"),
        line("P2", "enables", "GO:0004252", "IEA"),
        line("P3", "NOT|enables", "GO:0004252", "IDA"),
    ];
    let gaf = folder.put("goa.gaf.gz", gaf.concat());
    let said = annotations(&folder, PROTEINS, "g.tsv", &["--annotations", &gaf, "--evidence", "EXP,IDA"]);
    assert!(said.contains("qualified NOT: 1") && said.contains("other evidence: 1"), "{said}");
    let rows = folder.rows("g.tsv");
    let texts: Vec<_> = rows.iter().filter(|row| row[0] == "P2").map(|row| row[3].as_str()).collect();
    assert_eq!(texts, ["DNA binding: Binds to DNA."]);
    assert!(rows.iter().all(|row| row[0] != "P3"));
}

/// Answers as UniProt, NCBI and the GO project do.
fn services(request: &Request) -> Reply {
    let path = request.path.as_str();
    if path.starts_with("/uniprotkb/search") {
        let entry = |accession: &str| {
            format!(
                r#"{{"results":[{{"primaryAccession":"{accession}","sequence":{{"value":"MKV","length":3}},
                "comments":[{{"commentType":"FUNCTION","texts":[{{"value":"Does {accession} (PubMed:1)."}}]}}]}}]}}"#
            )
        };
        return match request.parameter("cursor") {
            Some(_) => Reply::new(200, entry("P2")),
            None => {
                let next = format!("<{}/uniprotkb/search?query=q&cursor=2>; rel=\"next\"", request.origin());
                Reply::new(200, entry("P1")).header("Link", next).header("X-Total-Results", "2")
            }
        };
    }
    if path.starts_with("/entrez/eutils/esearch.fcgi") {
        return Reply::new(200, r#"{"esearchresult":{"count":"2","idlist":["7157","1"]}}"#);
    }
    if path.starts_with("/entrez/eutils/esummary.fcgi") {
        let ids = request.parameter("id").unwrap().split(',').filter(|id| *id != "404");
        let genes = ids.map(|id| {
            format!(
                r#""{id}":{{"uid":"{id}","name":"G{id}","description":"gene {id}","summary":"Does {id}."}}"#
            )
        });
        return Reply::new(
            200,
            format!(r#"{{"result":{{"uids":[],{}}}}}"#, genes.collect::<Vec<_>>().join(",")),
        );
    }
    if path.starts_with("/ontology/go-basic.obo") {
        return Reply::new(200, OBO);
    }
    Reply::new(404, "no such page")
}

/// Runs the program with `server` for all services, and a cache in `folder`.
async fn fetch(server: &Server, folder: &Folder, args: &[&str]) -> Output {
    let mut command = protext(&[&["texts"], args].concat());
    for name in ["PROTEXT_UNIPROT_URL", "PROTEXT_NCBI_URL", "PROTEXT_GO_URL"] {
        command.env(name, &server.url);
    }
    command
        .env("PROTEXT_CACHE", folder.path("cache"))
        .env("NO_PROXY", "127.0.0.1")
        .env_remove("NCBI_API_KEY");
    let task = tokio::task::spawn_blocking(move || command.output().unwrap());
    bounded(task).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_fetched_is_kept_and_not_asked_for_again() {
    let folder = Folder::new();
    let server = Server::start(services).await;
    let ids = folder.put("ids.txt", "gene_id\n7157\n404\n");
    let genes = folder.put("genes.tsv", "entrez_id\tsymbol\tgene_name\n1\tA1\tgene one\n5\tA5\tgene five\n");
    let kinds: [(&str, &[&str], &[&str], usize); 5] = [
        ("p.tsv", &["proteins", "--fetch", "organism_id:9606 AND reviewed:true"], &["P1", "P2"], 2),
        ("g.tsv", &["genes", "--fetch", "9606"], &["7157", "1"], 2),
        ("i.tsv", &["genes", "--ids", &ids], &["7157"], 1),
        ("j.tsv", &["genes", "--genes", &genes, "--fetch", "9606", "--release", "2026-01"], &["1", "5"], 2),
        (
            "o.tsv",
            &["go", "--fetch"],
            &["GO:0003674", "GO:0003677", "GO:0004252", "GO:0005515", "GO:0006412"],
            1,
        ),
    ];
    for (name, args, first_column, n_requests) in kinds {
        let before = server.requests().len();
        let output = folder.text(name);
        let args = [args, &["-o", &output]].concat();
        assert_done(&fetch(&server, &folder, &args).await);
        assert_eq!(folder.column(name, 0), first_column, "{name}");
        assert_eq!(server.requests().len() - before, n_requests, "{name}");
        let bytes = std::fs::read(&output).unwrap();
        let said = assert_done(&fetch(&server, &folder, &[&args[..], &["--overwrite"]].concat()).await);
        assert!(said.contains(&format!("{n_requests} pages were in")), "{said}");
        assert_eq!(std::fs::read(&output).unwrap(), bytes, "{name}");
        assert_eq!(server.requests().len() - before, n_requests, "{name} was asked for again");
    }
    assert_eq!(folder.column("p.tsv", 7), ["Does P1.", "Does P2."]);
    assert_eq!(folder.column("g.tsv", 3)[0], "Gene Symbol G7157 gene 7157. Does 7157.");
    assert_eq!(folder.column("j.tsv", 3), ["Gene Symbol A1 gene one. Does 1.", "Gene Symbol A5 gene five."]);
    assert!(folder.path("cache/texts/2026-01").is_dir(), "a release names the folder");
    let agent = &server.requests()[0].headers["user-agent"];
    assert!(agent.starts_with("protext/"), "{agent}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_fetches_leave_nothing_and_say_why() {
    let folder = Folder::new();
    let nonsense = Server::start(|_| Reply::new(200, "maintenance")).await;
    let refusing = Server::start(|_| Reply::new(400, "bad query")).await;
    for (server, code, says) in [(&nonsense, 1, "cannot be read"), (&refusing, 2, "status 400")] {
        for args in [&["proteins", "--fetch", "q"][..], &["genes", "--fetch", "9606"], &["go", "--fetch"]] {
            let output = folder.text("out.tsv");
            let ran = fetch(server, &folder, &[args, &["-o", &output]].concat()).await;
            let said = stderr(&ran);
            assert_eq!(ran.status.code(), Some(code), "{args:?}: {said}");
            assert!(said.contains(says) && said.contains(&server.url), "{args:?}: {said}");
            assert_eq!(folder.names(), ["cache"], "{args:?}");
        }
    }
    let mut command = protext(&["texts", "go", "--fetch", "-o", &folder.text("out.tsv")]);
    let ran =
        command.env("PROTEXT_GO_URL", "nowhere").env("PROTEXT_CACHE", folder.path("cache")).output().unwrap();
    assert_eq!(ran.status.code(), Some(2));
    assert!(stderr(&ran).contains("PROTEXT_GO_URL"), "{}", stderr(&ran));
}

#[test]
fn bad_input_is_named_with_file_line_and_rule() {
    let folder = Folder::new();
    let obo = folder.put("go.obo", OBO);
    let proteins = folder.put("p.tsv", PROTEINS);
    let table = folder.put("a.tsv", ANNOTATIONS);
    let bad = [
        ("bad.dat", "ID   A_B\nAC   P1;\n", vec!["proteins"], vec!["bad.dat", "before its //"]),
        ("bad.txt", "Dear reader\n", vec!["proteins"], vec!["bad.txt", "none of the formats"]),
        ("bad.obo", "[Term]\nid: GO:1\n", vec!["go"], vec!["bad.obo, line 2", "seven digits"]),
        ("nosymbol.tsv", "entrez_id\tname\n", vec!["genes", "--genes"], vec!["nosymbol.tsv", "\"symbol\""]),
        ("noid.txt", "7157\nTP53\n", vec!["genes", "--ids"], vec!["noid.txt, line 2", "TP53"]),
        (
            "bad.gaf",
            "!gaf-version: 2.2\na\tb\n",
            vec!["annotations", "--proteins", &proteins, "--go", &obo, "--annotations"],
            vec!["bad.gaf, line 2", "columns"],
        ),
        (
            "bad_enzyme.dat",
            "DE   Trypsin.\n",
            vec!["annotations", "--proteins", &proteins, "--go", &obo, "--annotations", &table, "--enzyme"],
            vec!["bad_enzyme.dat, line 1", "before an ID"],
        ),
        (
            "noseq.tsv",
            "accession\tname\n",
            vec!["annotations", "--go", &obo, "--annotations", &table, "--proteins"],
            vec!["noseq.tsv", "\"sequence\""],
        ),
    ];
    for (name, content, args, says) in &bad {
        let input = folder.put(name, content);
        let output = folder.text("out.tsv");
        let ran = run(&[&["texts"], args.as_slice(), &[&input, "-o", &output]].concat());
        let said = stderr(&ran);
        assert_eq!(ran.status.code(), Some(2), "{name}: {said}");
        assert!(says.iter().all(|part| said.contains(part)) && !said.contains("panicked"), "{name}: {said}");
        std::fs::remove_file(&input).unwrap();
        assert_eq!(folder.names(), ["a.tsv", "go.obo", "p.tsv"], "{name} left something behind");
    }
}

#[test]
fn every_help_has_examples() {
    for command in ["proteins", "genes", "go", "annotations"] {
        let help = run(&["texts", command, "--help"]);
        let text = String::from_utf8(help.stdout).unwrap();
        assert!(text.contains("Examples:") && text.contains(&format!("protext texts {command}")), "{text}");
    }
}

/// Texts of the demo's collection: real GO ids, in our own words.
#[test]
fn demo_functions_name_current_go_terms() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../services/cli/demo/functions.tsv");
    let text = std::fs::read_to_string(file).unwrap();
    let mut lines = text.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    assert_eq!(lines.next().unwrap(), ["id", "name", "text"]);
    let rows: Vec<_> = lines.collect();
    assert!(rows.len() >= 200 && rows.iter().all(|row| row.len() == 3 && row[2].ends_with('.')));
    assert!(rows.is_sorted_by(|one, next| one[0] < next[0]), "ids are sorted, each once");
    let shared = std::env::var_os("PROTEXT_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let terms = shared.join("data/text/go_terms.tsv.gz");
    if !terms.exists() {
        let _ = writeln!(
            std::io::stderr(),
            "NOT RUN: demo_functions_name_current_go_terms: {} is not here",
            terms.display()
        );
        return;
    }
    let folder = Folder::new();
    assert_done(&run(&["texts", "go", terms.to_str().unwrap(), "-o", &folder.text("go.tsv")]));
    let current = folder.rows("go.tsv");
    for row in rows {
        let term = current.iter().find(|term| term[0] == row[0]);
        let term = term.unwrap_or_else(|| panic!("{} is no current term", row[0]));
        assert_eq!(term[1], row[1]);
        assert!(!term[3].contains(row[2]), "{} repeats the definition", row[0]);
    }
}
