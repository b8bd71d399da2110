//! One protein in UniProt's three formats, whole and broken.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

use std::io::{Cursor, Read, Write};

use proptest::prelude::*;
use protext_texts::TextError;
use protext_texts::uniprot::{Entries, Entry, FunctionText};

/// Written for this test in the layout of the flat file.
const FLAT: &str = "\
ID   TEST1_MOUSE             Reviewed;          24 AA.
AC   Q00001; P54101;
AC   Q00002;
DT   13-APR-2004, integrated into UniProtKB/Swiss-Prot.
DE   RecName: Full=Test protein 1 {ECO:0000305};
DE            Short=TP1;
DE   AltName: Full=Other name {ECO:0000250|UniProtKB:Q9H3Z4};
DE   Contains:
DE     RecName: Full=Small part;
DE   Flags: Precursor;
GN   Name=Tst1 {ECO:0000312|MGI:MGI:892995};
GN   Synonyms=Old1 {ECO:0000303|PubMed:20847230};
OS   Mus musculus (Mouse).
OC   Eukaryota; Metazoa; Chordata.
OX   NCBI_TaxID=10090 {ECO:0000305};
CC   -!- FUNCTION: Acts as a co-chaperone & folds others (PubMed:22187053,
CC       PubMed:20847230). May be involved in calcium-
CC       dependent release (By similarity).
CC       {ECO:0000250|UniProtKB:Q29455, ECO:0000269|PubMed:20847230}.
CC   -!- FUNCTION: [Isoform 2]: Does nothing. {ECO:0000269|PubMed:22187053}.
CC   -!- SUBUNIT: Homodimer (Probable).
CC       Not a function.
CC   ---------------------------------------------------------------------------
CC   Copyrighted by the UniProt Consortium, see https://www.uniprot.org/terms
CC   ---------------------------------------------------------------------------
DR   EMBL; AF032115; AAB87080.1; -; mRNA.
DR   GO; GO:0005829; C:cytosol; ISS:UniProtKB.
DR   GO; GO:0061077; P:chaperone-mediated protein folding; IDA:SynGO.
PE   1: Evidence at protein level;
FT   CHAIN           1..24
SQ   SEQUENCE   24 AA;  2500 MW;  B4840739BF7D4121 CRC64;
     MADQRQRSLS TSGESLYHVL GLDK
//
";

const XML: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<uniprot xmlns="https://uniprot.org/uniprot">
<!-- a remark -->
<entry dataset="Swiss-Prot"><accession>Q00001</accession><accession>P54101</accession><name>TEST1_MOUSE</name>
<protein><recommendedName><fullName evidence="9">Test protein 1</fullName><shortName>TP1</shortName></recommendedName>
<alternativeName><fullName>Other name</fullName></alternativeName>
<component><recommendedName><fullName>Small part</fullName></recommendedName></component></protein>
<gene><name type="synonym">Old1</name><name type="primary">Tst1</name></gene>
<organism><name type="scientific">Mus musculus</name><name type="common">Mouse</name>
<dbReference type="NCBI Taxonomy" id="10090"/></organism>
<reference key="1"><citation><title>Name</title></citation><source><strain>x</strain></source></reference>
<comment type="function"><text evidence="1">Acts as a co-chaperone &amp; folds others (PubMed:22187053,
 PubMed:20847230). May be involved in calcium&#45;dependent release (By similarity).</text></comment>
<comment type="function"><molecule>Isoform 2</molecule><text>Does nothing.</text></comment>
<comment type="alternative products"><isoform><id>Q00001-1</id><name>1</name><sequence type="displayed"/></isoform></comment>
<comment type="subunit"><text>Homodimer (Probable).</text></comment>
<dbReference type="EMBL" id="AF032115"><property type="molecule type" value="mRNA"/></dbReference>
<dbReference type="GO" id="GO:0005829"><property type="term" value="C:cytosol"/></dbReference>
<dbReference type="GO" id="GO:0061077"/>
<sequence length="24" mass="2500">
MADQRQRSLSTSG
ESLYHVLGLDK
</sequence></entry>
</uniprot>
"#;

const JSON: &str = r#"{"entryType": "UniProtKB reviewed (Swiss-Prot)", "primaryAccession": "Q00001",
"secondaryAccessions": ["P54101"], "uniProtkbId": "TEST1_MOUSE",
"proteinDescription": {"recommendedName": {"fullName": {"value": "Test protein 1"}, "shortNames": [{"value": "TP1"}]},
    "alternativeNames": [{"fullName": {"value": "Other name"}}]},
"genes": [{"geneName": {"value": "Tst1"}, "synonyms": [{"value": "Old1"}]}],
"organism": {"scientificName": "Mus musculus", "commonName": "Mouse", "taxonId": 10090},
"comments": [
    {"commentType": "FUNCTION", "texts": [{"evidences": [{"evidenceCode": "ECO:0000269"}],
        "value": "Acts as a co-chaperone & folds others (PubMed:22187053, PubMed:20847230). May be involved in calcium-dependent release (By similarity)."}]},
    {"commentType": "FUNCTION", "molecule": "Isoform 2", "texts": [{"value": "Does nothing."}]},
    {"commentType": "ALTERNATIVE PRODUCTS", "events": [], "isoforms": []},
    {"commentType": "SUBUNIT", "texts": [{"value": "Homodimer (Probable)."}]}],
"uniProtKBCrossReferences": [{"database": "EMBL", "id": "AF032115"}, {"database": "GO", "id": "GO:0005829"},
    {"database": "GO", "id": "GO:0061077", "properties": []}],
"sequence": {"value": "MADQRQRSLSTSGESLYHVLGLDK", "length": 24}}"#;

const FUNCTION: &str = "Acts as a co-chaperone & folds others. May be involved in calcium-dependent release. \
                        [Isoform 2]: Does nothing.";

fn read(bytes: &[u8]) -> Result<Vec<Entry>, TextError> {
    Entries::new(Cursor::new(bytes.to_vec()), "test")?.collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Raw texts differ in their evidence tags, and nothing else does.
fn without_texts(mut entry: Entry) -> Entry {
    entry.functions.iter_mut().for_each(|function: &mut FunctionText| function.text.clear());
    entry
}

#[test]
fn all_formats_say_the_same() {
    let expected = Entry {
        accession: "Q00001".to_owned(),
        entry_name: Some("TEST1_MOUSE".to_owned()),
        protein_name: Some("Test protein 1".to_owned()),
        gene: Some("Tst1".to_owned()),
        organism: Some("Mus musculus".to_owned()),
        taxon_id: Some(10090),
        sequence: Some("MADQRQRSLSTSGESLYHVLGLDK".to_owned()),
        functions: vec![
            FunctionText { molecule: None, text: String::new() },
            FunctionText { molecule: Some("Isoform 2".to_owned()), text: String::new() },
        ],
        go_terms: vec!["GO:0005829".parse().unwrap(), "GO:0061077".parse().unwrap()],
    };
    let twice = |text: &str| [text, text].concat();
    let entry = &XML[XML.find("<entry").unwrap()..XML.find("</uniprot>").unwrap()];
    let files = [
        (FLAT.to_owned(), 1),
        (twice(FLAT), 2),
        (XML.to_owned(), 1),
        (XML.replace("</entry>", &format!("</entry>{entry}")), 2),
        (JSON.to_owned(), 1),
        (twice(JSON), 2),
        (format!("[{JSON},{JSON}]"), 2),
        (format!("{{\"facets\": [], \"results\": [{JSON}, {JSON}, {JSON}], \"more\": 1}}"), 3),
    ];
    for (text, n_entries) in files {
        let crlf = text.replace('\n', "\r\n");
        let marked = format!("\u{feff}{text}");
        for bytes in [text.as_bytes(), crlf.as_bytes(), marked.as_bytes(), &gzip(text.as_bytes())] {
            let entries = read(bytes).unwrap();
            assert_eq!(entries.len(), n_entries);
            for entry in entries {
                assert_eq!(entry.function_text().as_deref(), Some(FUNCTION));
                assert_eq!(without_texts(entry), expected);
            }
        }
    }
}

#[test]
fn files_on_disk_are_told_by_their_content() {
    let folder = tempfile::tempdir().unwrap();
    for (n, text) in [FLAT, XML, JSON].into_iter().enumerate() {
        let path = folder.path().join(format!("{n}.whatever"));
        std::fs::write(&path, gzip(text.as_bytes())).unwrap();
        assert_eq!(Entries::open(&path).unwrap().count(), 1);
    }
    let missing = Entries::open(&folder.path().join("missing")).unwrap_err();
    assert!(matches!(missing, TextError::Open { .. }) && missing.to_string().contains("missing"));
}

#[test]
fn entries_without_a_function_are_entries() {
    let flat = "ID   A_B  Unreviewed;  0 AA.\nAC   A0A1;\nDE   SubName: Full=Guess {ECO:1};\n//\n";
    let xml = "<uniprot><entry><accession>A0A1</accession><protein><submittedName><fullName>Guess</fullName>\
               </submittedName></protein></entry></uniprot>";
    let json = r#"{"primaryAccession": "A0A1", "proteinDescription": {"submissionNames": [{"fullName": {"value": "Guess"}}]}}"#;
    for text in [flat, xml, json] {
        let entry = &read(text.as_bytes()).unwrap()[0];
        assert_eq!((entry.function_text(), entry.protein_name.as_deref()), (None, Some("Guess")));
        assert_eq!((entry.accession.as_str(), &entry.sequence), ("A0A1", &None));
    }
    for nothing in ["", " \n ", "[]", r#"{"results": []}"#, "<uniprot></uniprot>", "<uniprot/>"] {
        assert!(read(nothing.as_bytes()).unwrap().is_empty(), "{nothing}");
    }
}

#[test]
fn cut_files_are_refused_wherever_they_are_cut() {
    let results = format!("{{\"results\": [{JSON}]}}");
    for text in [FLAT.trim_end(), XML.trim_end(), &results] {
        for n_bytes in 1..text.len() {
            let cut = read(&text.as_bytes()[..n_bytes]);
            assert!(cut.is_err(), "{n_bytes} bytes: {cut:?}");
        }
        let whole = gzip(text.as_bytes());
        for n_bytes in [whole.len() - 1, whole.len() - 8, whole.len() / 2, 5] {
            assert!(
                matches!(read(&whole[..n_bytes]), Err(TextError::Read { .. })),
                "{n_bytes} bytes of gzip"
            );
        }
    }
}

#[test]
fn broken_entries_are_named_with_their_rule() {
    let cases = [
        (FLAT.replace("AC   Q00001; P54101;\nAC   Q00002;\n", ""), "entry 1: no accession"),
        (FLAT.replace("24 AA;", "25 AA;"), "24 residues, but the entry states 25"),
        (FLAT.replace("MADQ", "MA1Q"), "'1' in the sequence"),
        (FLAT.replace("GO; GO:0005829", "GO; GO:58"), "line 27: \"GO:58\""),
        (FLAT.replace("NCBI_TaxID=10090", "NCBI_TaxID=x"), "line 15: a taxon id"),
        (FLAT.replace("//\n", &FLAT[..70]), "second ID line"),
        (format!("{FLAT}stray\n"), "an entry starts with"),
        (XML.replace("length=\"24\"", "length=\"25\""), "entry 1: Q00001: 24 residues"),
        (XML.replace("&amp;", "&bomb;"), "&bomb;"),
        (XML.replace("&amp;", "&#xFFFFFFFF;"), "broken XML"),
        (XML.replace("</organism>", "</organ>"), "entry 1: broken XML"),
        (XML.replace("GO:0005829", "GO:58"), "\"GO:58\""),
        (XML.replace("<accession>Q00001</accession><accession>P54101</accession>", ""), "no accession"),
        (XML.replace("<organism>", &"<a>".repeat(40)), "deeper than 32"),
        ("<html><body/></html>".to_owned(), "<html>"),
        (JSON.replace("\"Q00001\"", "5"), "entry 1: not the JSON"),
        (JSON.replace("\"primaryAccession\": \"Q00001\",", ""), "entry 1: not the JSON"),
        (JSON.replace("\"length\": 24", "\"length\": 25"), "24 residues"),
        (JSON.replace("\"GO:0005829\"", "\"GO:58\""), "\"GO:58\""),
        (format!("[{JSON}, {{]]"), "entry 2: not the JSON"),
        (format!("{JSON} x"), "entry 2: 'x'"),
        ("accession\tname\n".to_owned(), "none of the formats"),
    ];
    for (text, rule) in cases {
        let mut entries = match Entries::new(Cursor::new(text), "file.dat") {
            Ok(entries) => entries,
            Err(error) => {
                assert!(error.to_string().contains(rule), "{error}, not {rule}");
                continue;
            }
        };
        let error = entries.find_map(Result::err).expect(rule);
        let message = error.to_string();
        assert!(message.starts_with("file.dat") && message.contains(rule), "{message}, not {rule}");
        assert!(entries.next().is_none(), "nothing follows an error");
    }
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    for text in [FLAT, XML, JSON] {
        let mut bytes = text.as_bytes().to_vec();
        let at = text.find("co-chaperone").unwrap();
        bytes[at] = 0xff;
        assert!(read(&bytes).is_err());
    }
    let mut bytes = FLAT.as_bytes().to_vec();
    bytes[FLAT.find("co-chaperone").unwrap()] = 0xff;
    assert!(matches!(read(&bytes), Err(TextError::NotUtf8 { line: 16, .. })));
}

#[test]
fn a_record_without_end_does_not_fill_the_memory() {
    // 80 MB of one entry each, made as they are read.
    let starts: [(&[u8], &[u8]); 3] = [
        (b"ID   A_B\nAC   A;\n", b"CC   -!- FUNCTION: on and on and on and on and on\n"),
        (b"<uniprot><entry><accession>A</accession>", b"<keyword>on and on and on and on and on</keyword>"),
        (b"[{\"primaryAccession\": \"A\", \"x\": [0", b",[\"on and on and on and on and on and on and on\"]"),
    ];
    for (start, more) in starts {
        let n_more = (80 << 20) / more.len();
        let more = more.to_vec();
        let stream = Cursor::new(start.to_vec()).chain(Repeat { piece: more, n_left: n_more, at: 0 });
        let result: Result<Vec<_>, _> = Entries::new(stream, "endless").unwrap().collect();
        assert!(matches!(result, Err(TextError::TooLong { record: 1, .. })), "{result:?}");
    }
}

/// A piece again and again.
struct Repeat {
    piece: Vec<u8>,
    n_left: usize,
    at: usize,
}

impl Read for Repeat {
    fn read(&mut self, target: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.piece.len() && self.n_left > 0 {
            self.at = 0;
            self.n_left -= 1;
        }
        let n_bytes = target.len().min(self.piece.len() - self.at);
        target[..n_bytes].copy_from_slice(&self.piece[self.at..self.at + n_bytes]);
        self.at += n_bytes;
        Ok(n_bytes)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400), start in 0_usize..5) {
        let start: &[u8] = [b"".as_slice(), b"ID   A\n", b"<uniprot><entry>", b"{", b"\x1f\x8b\x08"][start];
        let _ = read(&[start, &bytes].concat());
    }

    #[test]
    fn any_change_of_a_file_is_read_or_refused(
        which in 0_usize..3, at in any::<prop::sample::Index>(), n_out in 0_usize..30, new in proptest::collection::vec(any::<u8>(), 0..10),
    ) {
        let mut bytes = [FLAT, XML, JSON][which].as_bytes().to_vec();
        let at = at.index(bytes.len());
        let end = (at + n_out).min(bytes.len());
        bytes.splice(at..end, new);
        if let Ok(entries) = read(&bytes) {
            for entry in entries {
                let _ = entry.function_text();
            }
        }
    }
}
