//! From a FASTA file as UniProt writes it to hits under a filter and by keywords: on the command line and over HTTP.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::Path;

use serde_json::json;
use support::{Service, is_ready, run, some_proteins, stderr};

/// Headers for real sequences: what a search is to find is in them.
const HEADERS: [&str; 6] = [
    "sp|P07327|ADH1A_HUMAN Alcohol dehydrogenase 1A OS=Homo sapiens OX=9606 GN=ADH1A PE=1 SV=2",
    "sp|P00329|ADH1_MOUSE Alcohol dehydrogenase 1 OS=Mus musculus OX=10090 GN=Adh1 PE=1 SV=2",
    "sp|P06525|ADH1_ARATH Alcohol dehydrogenase class-P OS=Arabidopsis thaliana OX=3702 GN=ADH1 PE=1 SV=2",
    "sp|P69905|HBA_HUMAN Hemoglobin subunit alpha OS=Homo sapiens OX=9606 GN=HBA1 PE=1 SV=2",
    "tr|A0A024R1|A0A024R1_HUMAN Calmodulin OS=Homo sapiens OX=9606 GN=CALM1 PE=4 SV=1",
    "sp|P0DP23|CALM1_HUMAN Calmodulin-1 OS=Homo sapiens OX=9606 GN=CALM1 PE=1 SV=1",
];
const NODES: &str = "1\t|\t1\t|\tno rank\t|\n2759\t|\t1\t|\tdomain\t|\n7711\t|\t2759\t|\tphylum\t|\n\
    9606\t|\t7711\t|\tspecies\t|\n10090\t|\t7711\t|\tspecies\t|\n3702\t|\t2759\t|\tspecies\t|\n";

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}

/// FASTA of the first sequences of the demo under the headers from `first` on.
fn fasta(first: usize, n: usize) -> String {
    let all = some_proteins(HEADERS.len());
    let bodies: Vec<&str> = all.split('>').filter(|part| !part.is_empty()).collect();
    let record = |at: usize| format!(">{}\n{}", HEADERS[at], bodies[at].split_once('\n').unwrap().1);
    (first..first + n).map(record).collect()
}

/// The hits of `protext search`, best first: id, and the line's fields.
fn searched(args: &[&str]) -> Vec<Vec<String>> {
    let ran = run(args);
    assert!(ran.status.success(), "{args:?}: {}", stderr(&ran));
    let out = String::from_utf8(ran.stdout).unwrap();
    out.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn ids(lines: &[Vec<String>]) -> Vec<&str> {
    lines.iter().map(|line| line[2].as_str()).collect()
}

#[test]
fn uniprot_headers_become_fields_that_filters_and_keywords_find() {
    if !is_ready("uniprot_headers_become_fields_that_filters_and_keywords_find") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| path(folder.path(), name);
    let (index, nodes) = (file("p.index"), file("nodes.dmp"));
    std::fs::write(file("first.fasta"), fasta(0, 4)).unwrap();
    std::fs::write(file("last.fasta"), fasta(4, 2)).unwrap();
    std::fs::write(&nodes, NODES).unwrap();
    let built = run(&["index", "build", &file("first.fasta"), "-o", &index, "--taxonomy", &nodes]);
    assert!(built.status.success(), "{}", stderr(&built));
    let added = run(&["index", "add", &index, &file("last.fasta")]);
    assert!(added.status.success(), "{}", stderr(&added));

    // Before and after a compaction: what was built and what was written later are found alike.
    for round in 0..2 {
        let by = |filter: &str| {
            searched(&["search", &file("first.fasta"), "--index", &index, "--filter", filter, "-k", "9"])
        };
        let human = by("organism = 'Homo sapiens' and db = sp");
        assert_eq!(human.len(), 4 * 3, "round {round}");
        let first: Vec<_> = human.iter().filter(|line| line[0] == "P07327" && line[1] == "1").collect();
        assert_eq!(
            (first[0][2].as_str(), first[0][5].as_str(), first[0][6].as_str()),
            ("P07327", "ADH1A", "Homo sapiens")
        );
        assert_eq!((first[0][7].as_str(), first[0][11].as_str()), ("Alcohol dehydrogenase 1A", "9606"));
        assert_eq!(by("pe >= 4").len(), 4);
        assert_eq!(by("entry_name = adh1_mouse and sv = 2 and length > 1").len(), 4);
        assert_eq!(by("taxon under 7711 and not gene = calm1").len(), 4 * 3);
        assert!(by("gene = nothing").is_empty());
        let alone = searched(&["search", "--keywords", "alcohol dehydrogenase", "--index", &index]);
        assert_eq!(alone.len(), 3, "{alone:?}");
        assert!(alone.iter().all(|line| line[3].is_empty() && line[12].parse::<f32>().unwrap() > 0.0));
        let within =
            searched(&["search", "--keywords", "calmodulin", "--index", &index, "--filter", "db != tr"]);
        assert_eq!(ids(&within), ["P0DP23"]);
        let both =
            searched(&["search", "--id", "P69905", "--keywords", "calmodulin", "--index", &index, "-k", "2"]);
        assert!(both.len() == 2 && both.iter().all(|line| line[7].starts_with("Calmodulin")), "{both:?}");
        serve(&index);
        assert!(run(&["index", "verify", &index]).status.success());
        assert!(run(&["index", "compact", &index]).status.success());
    }

    let refused = |args: &[&str], says: &str| {
        let ran = run(&[&["search", "--keywords", "x", "--index", &index][..], args].concat());
        assert_eq!(ran.status.code(), Some(2), "{args:?}: {}", stderr(&ran));
        assert!(stderr(&ran).contains(says), "{args:?}: {}", stderr(&ran));
    };
    refused(
        &["--filter", "organsim = x"],
        "no record has a field \"organsim\"; there is: id, description, organism",
    );
    refused(&["--filter", "length >"], "character 9");
    refused(&["--filter", "taxon under 77"], "taxon 77 is not in the taxonomy");
    let bad = run(&[
        "index",
        "build",
        &file("first.fasta"),
        "-o",
        &file("q.index"),
        "--taxonomy",
        &file("first.fasta"),
    ]);
    assert!(bad.status.code() == Some(2) && stderr(&bad).contains("line 1"), "{}", stderr(&bad));
    let empty = run(&["search", "--keywords", "!?", "--index", &index]);
    assert!(empty.status.code() == Some(2) && stderr(&empty).contains("no letter"), "{}", stderr(&empty));
}

fn serve(index: &str) {
    let service = Service::start(&[format!("proteins={index}")], &[]);
    let hits = |body: serde_json::Value| -> Vec<serde_json::Value> {
        let answer = service.post("/v1/search", &body);
        assert_eq!(answer.status, 200, "{body}: {}", answer.text());
        answer.json()["hits"].as_array().unwrap().clone()
    };
    let by_id = hits(json!({"id": "P07327", "filter": "taxon = 9606 and pe < 4", "k": 9}));
    assert_eq!(by_id.len(), 2, "{by_id:?}");
    let found = hits(json!({"keywords": "Hemoglobin; DROP TABLE record", "filter": "taxon under 7711"}));
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0]["id"], &found[0]["organism"]), (&json!("P69905"), &json!("Homo sapiens")));
    assert_eq!((&found[0]["gene"], &found[0]["taxon_id"]), (&json!("HBA1"), &json!(9606)));
    assert_eq!(found[0]["fields"], json!({"db": "sp", "entry_name": "HBA_HUMAN", "pe": "1", "sv": "2"}));
    assert!(found[0]["keyword_score"].as_f64().unwrap() > 0.0 && found[0].get("cosine").is_none());
    let both = hits(json!({"id": "P69905", "keywords": "calmodulin", "k": 5}));
    assert!(
        both.len() == 5 && both.iter().all(|hit| hit["cosine"].is_number() && hit["fused_score"].is_number())
    );
    assert!(both[0]["keyword_score"].is_number() && both[0]["id"] != "P69905");
    let many = service
        .post("/v1/search", &json!({"queries": [{"keywords": "calmodulin"}, {"id": "P69905"}], "k": 1}));
    assert_eq!(many.json()["results"].as_array().unwrap().len(), 2, "{}", many.text());
    let explained =
        service.post("/v1/search", &json!({"id": "P69905", "filter": "gene exists", "explain": true}));
    assert_eq!(explained.json()["explanation"]["n_allowed"], 6, "{}", explained.text());

    let deep = "(".repeat(5_000);
    let table = [
        (json!({"id": "P69905", "filter": "organsim = x"}), "filter", "there is: id, description, organism"),
        (json!({"id": "P69905", "filter": "length = "}), "filter", "character 10"),
        (json!({"id": "P69905", "filter": ""}), "filter", "empty"),
        (json!({"id": "P69905", "filter": deep}), "filter", "deep"),
        (json!({"id": "P69905", "filter": "x".repeat(200_000)}), "filter", "longer than"),
        (json!({"id": "P69905", "filter": "taxon under 77"}), "filter", "taxon 77"),
        (json!({"keywords": "\"*"}), "keywords", "no letter"),
        (json!({"keywords": "x".repeat(5_000)}), "keywords", "4096"),
        (json!({"filter": "length > 1"}), "query", "exactly one"),
    ];
    for (body, field, says) in table {
        let answer = service.post("/v1/search", &body);
        assert_eq!((answer.status, answer.json()["field"].as_str()), (422, Some(field)), "{}", answer.text());
        assert!(answer.text().contains(says), "{says}: {}", answer.text());
    }
    assert_eq!(service.terminate(), Some(0));
}
