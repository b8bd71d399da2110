//! The service and the commands over collections on a Qdrant server.
//!
//! The server is Qdrant's own client library in local mode behind the routes of its REST API (`clients/qdrant_local.py`): its
//! semantics, not its server. Where it is not installed these tests say loudly that they did not run.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use protext_local_server::qdrant::{KEY, QdrantLocal};
use serde_json::{Value, json};
use support::{Service, is_ready, protext, some_proteins, stderr};

/// The server, and its address.
fn start(test: &str) -> Option<(QdrantLocal, String)> {
    if !is_ready(test) {
        return None;
    }
    let server = QdrantLocal::start(test)?;
    let address = format!("qdrant://{}", server.authority);
    Some((server, address))
}

fn run(args: &[&str]) -> std::process::Output {
    protext(args).env("PROTEXT_QDRANT_API_KEY", KEY).output().unwrap()
}

fn ids(answer: &Value) -> Vec<String> {
    let hits = answer["hits"].as_array().unwrap().iter();
    hits.map(|hit| hit["id"].as_str().unwrap().to_owned()).collect()
}

fn cosines(answer: &Value) -> Vec<f64> {
    answer["hits"].as_array().unwrap().iter().map(|hit| hit["cosine"].as_f64().unwrap()).collect()
}

#[test]
fn commands_build_search_and_change_a_collection_on_a_server() {
    let Some((_server, server)) = start("commands over Qdrant") else { return };
    let folder = tempfile::tempdir().unwrap();
    let fasta = folder.path().join("in.fasta");
    std::fs::write(&fasta, some_proteins(30)).unwrap();
    let (fasta, local) = (fasta.to_str().unwrap(), folder.path().join("here.index"));
    let (local, far) = (local.to_str().unwrap(), format!("{server}/demo"));
    for place in [local, &far] {
        let built = run(&["index", "build", fasta, "-o", place]);
        assert!(built.status.success(), "{}", stderr(&built));
    }
    let search = |place: &str, further: &[&str]| -> Value {
        let found = run(&[&["search", "--index", place, "--format", "json"], further].concat());
        assert!(found.status.success(), "{}", stderr(&found));
        serde_json::from_slice(&found.stdout).unwrap()
    };
    let id = ids(&search(local, &["--keywords", "protein", "-k", "1"])).remove(0);
    for further in [&["--id", &id, "-k", "12"][..], &["--id", &id, "--filter", "length between 100 and 300"]]
    {
        let (here, there) = (search(local, further), search(&far, further));
        assert_eq!(ids(&here), ids(&there), "{further:?}");
        for (here, there) in cosines(&here).iter().zip(cosines(&there)) {
            assert!((here - there).abs() < 1e-5);
        }
        assert_eq!(here["explanation"]["n_allowed"], there["explanation"]["n_allowed"]);
    }
    let deleted = run(&["index", "delete", &far, &id, "nobody"]);
    assert!(deleted.status.success() && stderr(&deleted).contains("1 deleted, 1 not there; 29 now"));
    let added = run(&["index", "add", &far, fasta]);
    assert!(stderr(&added).contains("1 proteins added, 29 replaced; 30 now"), "{}", stderr(&added));
    let info = run(&["index", "info", &far, "--json"]);
    let info: Value = serde_json::from_slice(&info.stdout).unwrap();
    assert_eq!((&info["n_records"], &info["index"]["kind"]), (&json!(30), &json!("qdrant")));

    let denied = protext(&["search", "--id", &id, "--index", &far]).output().unwrap();
    assert_eq!(denied.status.code(), Some(2), "{}", stderr(&denied));
    assert!(stderr(&denied).contains("PROTEXT_QDRANT_API_KEY"), "{}", stderr(&denied));
    let absent = run(&["search", "--id", &id, "--index", &format!("{server}/absent")]);
    assert_eq!(absent.status.code(), Some(2), "{}", stderr(&absent));
    let nobody = run(&["search", "--id", &id, "--index", "qdrant://127.0.0.1:1/demo"]);
    assert_eq!(nobody.status.code(), Some(1), "{}", stderr(&nobody));
    let words = run(&["search", "--keywords", "protein", "--index", &far]);
    assert!(stderr(&words).contains("no index of words"), "{}", stderr(&words));
    let copied = run(&["index", "copy", &far, "/tmp/x"]);
    assert_eq!(copied.status.code(), Some(2), "{}", stderr(&copied));
}

#[test]
fn a_service_serves_makes_and_deletes_collections_on_a_server() {
    let Some((mut process, server)) = start("a service over Qdrant") else { return };
    let environment = [("PROTEXT_INDEX", server.as_str()), ("PROTEXT_QDRANT_API_KEY", KEY)];
    let service = Service::start(&[], &environment);
    let json_type = [("content-type", "application/json")];
    let post = |path: &str, body: &Value| service.send("POST", path, &json_type, body.to_string().as_bytes());
    let made = post("/v1/collections", &json!({"name": "mine"}));
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.json()["index"], json!({"kind": "qdrant", "shards": 1, "replicas": 1}));
    let taken = post("/v1/collections", &json!({"name": "mine"}));
    assert_eq!(taken.status, 409, "{}", taken.text());
    let fasta = [("content-type", "text/x-fasta")];
    let sent = service.send("POST", "/v1/collections/mine/records", &fasta, some_proteins(20).as_bytes());
    assert_eq!((sent.status, &sent.json()["n_inserted"]), (200, &json!(20)), "{}", sent.text());

    let page = service.get("/v1/collections/mine/records?limit=7&vectors=true").json();
    assert_eq!((&page["n_records"], &page["next_offset"]), (&json!(20), &json!(7)));
    let id = page["records"][0]["id"].as_str().unwrap().to_owned();
    assert!(page["records"][0]["vectors"][0]["values"].as_array().unwrap().len() > 100);
    assert_eq!(service.get(&format!("/v1/collections/mine/records/{id}")).json()["id"], json!(id));
    let filter = "length > 1 and not id = nobody";
    let found = post("/v1/search", &json!({"id": id, "k": 30, "filter": filter, "exact": true}));
    assert_eq!((found.status, found.json()["hits"].as_array().unwrap().len()), (200, 19), "{}", found.text());
    let unknown = post("/v1/search", &json!({"id": id, "filter": "colour = red"}));
    assert_eq!((unknown.status, &unknown.json()["field"]), (422, &json!("filter")), "{}", unknown.text());
    let deleted = service.send("DELETE", &format!("/v1/collections/mine/records/{id}"), &[], b"");
    assert_eq!(deleted.status, 204, "{}", deleted.text());
    assert_eq!(service.get(&format!("/v1/collections/mine/records/{id}")).status, 404);
    assert_eq!(service.get("/v1/collections").json()["collections"][0]["n_records"], json!(19));

    // Another service sees the same; one that only reads neither writes nor deletes.
    let mut reading = environment.to_vec();
    reading.push(("PROTEXT_READ_ONLY", "true"));
    let reader = Service::start(&[], &reading);
    assert_eq!(reader.get("/v1/collections/mine").json()["n_records"], json!(19));
    let refused = reader.send("DELETE", "/v1/collections/mine", &[], b"");
    assert_eq!(refused.status, 409, "{}", refused.text());
    let gone = service.send("DELETE", "/v1/collections/mine", &[], b"");
    assert_eq!(gone.status, 204, "{}", gone.text());
    assert_eq!(service.get("/v1/collections/mine").status, 404);

    // Without the server nothing falls over: the caller is told to come back.
    assert_eq!(post("/v1/collections", &json!({"name": "again"})).status, 201);
    process.kill();
    let away = post("/v1/search", &json!({"id": "P1", "collection": "again"}));
    assert_eq!(away.status, 503, "{}", away.text());
    assert!(!away.text().contains("127.0.0.1"), "{}", away.text());
    assert_eq!(service.get("/readyz").status, 200);
}
