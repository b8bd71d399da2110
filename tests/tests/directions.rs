//! Every direction: a sequence, a text, a gene and a record find proteins, texts and genes; and annotation.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::Path;

use serde_json::{Value, json};
use support::{Service, is_here, is_ready, run, some_proteins, stderr};

const TEXTS: &str = "id\tname\ttext\n\
    GO:0003735\tribosome\tIs a building block of the ribosome.\n\
    GO:0004672\tkinase\tMoves a phosphate group from ATP onto another protein.\n\
    GO:0005344\toxygen\tCarries oxygen. It takes oxygen up where there is much of it.\n\
    GO:0022857\ttransport\tMoves molecules across the membrane.\n";
const GENES: &str = "id\tgene\tname\ttext\n\
    g1\tRPS3\tribosomal protein S3\tGene RPS3 encodes a protein of the small subunit of the ribosome.\n\
    g2\tHBA1\themoglobin\tGene HBA1 encodes a chain of hemoglobin, which carries oxygen.\n";

fn is_all_here(test: &str) -> bool {
    is_ready(test) && is_here("all-MiniLM-L6-v2", test)
}

fn build(folder: &Path, name: &str, content: &str, target: &str) -> String {
    let input = folder.join(format!("{name}.{}", if target == "proteins" { "fasta" } else { "tsv" }));
    std::fs::write(&input, content).unwrap();
    let index = folder.join(format!("{name}.index")).to_str().unwrap().to_owned();
    let ran = run(&["index", "build", input.to_str().unwrap(), "-o", &index, "--target", target]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert!(stderr(&ran).contains(target), "{}", stderr(&ran));
    index
}

fn build_all(folder: &Path) -> [String; 3] {
    [
        build(folder, "proteins", &some_proteins(30), "proteins"),
        build(folder, "functions", TEXTS, "texts"),
        build(folder, "genes", GENES, "genes"),
    ]
}

fn first_sequence() -> String {
    some_proteins(1).lines().skip(1).collect()
}

#[test]
fn each_kind_of_query_finds_each_kind_of_record() {
    if !is_all_here("each_kind_of_query_finds_each_kind_of_record") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let [proteins, functions, genes] = build_all(folder.path());
    let collections =
        [format!("proteins={proteins}"), format!("functions={functions}"), format!("genes={genes}")];
    let service = Service::start(&collections, &[("PROTEXT_TEXT_ENCODER", "all-MiniLM-L6-v2")]);
    let search = |body: Value| service.post("/v1/search", &body);
    let queries = [
        json!({"sequence": first_sequence()}),
        json!({"text": "carries oxygen in the blood"}),
        json!({"gene": "hba1"}),
        json!({"id": "F1SPW6"}),
        json!({"id": "GO:0005344"}),
    ];
    for query in queries {
        for target in ["proteins", "texts", "genes"] {
            let mut body = query.clone();
            body["target"] = json!(target);
            body["k"] = json!(2);
            body["explain"] = json!(true);
            let answer = search(body.clone());
            assert_eq!(answer.status, 200, "{body}: {}", answer.text());
            let answer = answer.json();
            assert_eq!(
                (answer["target"].as_str(), answer["hits"].as_array().unwrap().len()),
                (Some(target), 2 - usize::from(is_own(&query, target))),
                "{body}"
            );
            assert!(answer["explanation"]["search_ms"].as_f64().unwrap() >= 0.0, "{answer}");
            // A record never finds itself.
            assert!(
                answer["hits"].as_array().unwrap().iter().all(|hit| hit["id"] != query["id"]),
                "{answer}"
            );
        }
    }
    let texts = search(json!({"text": "oxygen carrier", "target": "texts", "k": 1})).json();
    assert_eq!(texts["hits"][0]["id"], "GO:0005344", "{texts}");
    assert!(texts["hits"][0]["text"].as_str().unwrap().starts_with("Carries oxygen."), "{texts}");
    let genes = search(json!({"text": "a chain of hemoglobin", "collection": "genes", "k": 1})).json();
    assert_eq!(genes["hits"][0]["gene"], "HBA1", "{genes}");
    // Between proteins a cosine says how probable a relative is; between a protein and a text it does not.
    let relatives = search(json!({"id": "F1SPW6", "target": "proteins", "k": 2})).json();
    for hit in relatives["hits"].as_array().unwrap() {
        assert!((0.0..=1.0).contains(&hit["probability"].as_f64().unwrap()), "{hit}");
        assert!(hit["expected_false_hits"].as_f64().unwrap() >= 0.0, "{hit}");
    }
    assert!(texts["hits"][0].get("probability").is_none(), "{texts}");
    // Without a target, proteins are searched.
    assert_eq!(search(json!({"sequence": "MKVLAA", "k": 1})).json()["collection"], "proteins");
    check_refusals(&service);
    annotate(&service);
}

/// True where the query is one of two records of the target, so that one is left to find.
fn is_own(query: &Value, target: &str) -> bool {
    query.get("gene").is_some() && target == "genes"
}

fn check_refusals(service: &Service) {
    let table = [
        (json!({"sequence": "MKV", "target": "genomes"}), 400, "genomes"),
        (
            json!({"sequence": "MKV", "target": "texts", "collection": "proteins"}),
            422,
            "holds proteins, not texts",
        ),
        (json!({"gene": "NOSUCHGENE", "target": "texts"}), 404, "NOSUCHGENE"),
    ];
    for (body, status, says) in table {
        let answer = service.post("/v1/search", &body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        assert!(answer.text().contains(says), "{body}: {}", answer.text());
    }
}

fn annotate(service: &Service) {
    let answer = service.post("/v1/annotate", &json!({"sequence": first_sequence(), "k": 4}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    let found = answer["annotations"].as_array().unwrap();
    assert_eq!((found.len(), answer["n_texts"].as_u64()), (4, Some(4)), "{answer}");
    let total: f64 = found.iter().map(|one| one["confidence"].as_f64().unwrap()).sum();
    assert!((total - 1.0).abs() < 1e-6, "the confidences of all texts sum to one: {answer}");
    for pair in found.windows(2) {
        assert!(pair[0]["confidence"].as_f64() >= pair[1]["confidence"].as_f64(), "{answer}");
    }
    assert_eq!(found[0]["source"], "functions.tsv", "{answer}");
    let many = service.post("/v1/annotate", &json!({"queries": [{"id": "F1SPW6"}, {"sequence": "MKV1"}]}));
    assert_eq!((many.status, many.json()["record"].as_u64()), (422, Some(2)), "{}", many.text());
    let other = service.post("/v1/annotate", &json!({"id": "F1SPW6", "collection": "genes"}));
    assert_eq!(other.status, 422, "{}", other.text());
}

#[test]
fn the_command_line_goes_in_every_direction_too() {
    if !is_all_here("the_command_line_goes_in_every_direction_too") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let [proteins, functions, genes] = build_all(folder.path());
    let search = |args: &[&str]| {
        let ran = run(&[&["search"], args, &["-k", "1", "--format", "json"]].concat());
        assert!(ran.status.success(), "{}", stderr(&ran));
        serde_json::from_slice::<Value>(&ran.stdout).unwrap()
    };
    let both = ["--index", &proteins, "--index", &functions];
    let found = search(&[&["--id", "F1SPW6", "--target", "texts"][..], &both].concat());
    assert_eq!(found["collection"], "functions", "{found}");
    let found = search(&["--text", "hemoglobin carries oxygen", "--index", &genes]);
    assert_eq!((found["target"].as_str(), found["hits"][0]["gene"].as_str()), (Some("genes"), Some("HBA1")));
    let fasta = folder.path().join("proteins.fasta");
    let fasta = fasta.to_str().unwrap();
    let annotated = run(&["annotate", fasta, "--index", &functions, "-k", "1"]);
    assert!(annotated.status.success(), "{}", stderr(&annotated));
    let annotated = String::from_utf8(annotated.stdout).unwrap();
    assert!(annotated.starts_with("query\trank\tid\tname\tconfidence"), "{annotated}");
    assert_eq!(annotated.lines().count(), 31);
    let shipped = run(&["annotate", fasta, "-k", "1", "--format", "json"]);
    assert!(shipped.status.success(), "{}", stderr(&shipped));
    let wrong = run(&["annotate", fasta, "--index", &proteins]);
    assert_eq!(wrong.status.code(), Some(2), "{}", stderr(&wrong));
    assert!(stderr(&wrong).contains("no collection holds texts"), "{}", stderr(&wrong));
    let twice = run(&["search", "--id", "x", "--index", &proteins, "--index", &proteins]);
    assert!(stderr(&twice).contains("two of the collections"), "{}", stderr(&twice));
}
