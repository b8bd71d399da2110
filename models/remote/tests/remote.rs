//! Encoding by services that behave, and by services that do not.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use protext_core::{
    EncodeError, Encoded, Encoder, EncoderInput, LongPolicy, LongReport, Piece, RowKind, Text,
};
use protext_remote::{ApiKey, NumberFormat, Patience, RemoteEncoder, RemoteSpec, SpendAccount, SpendLimits};
use serde_json::json;
use support::{Reply, Request, Server, chain, good, row_of};

const KEY: &str = "sk-c0ffee5ecret-0123_456789";
const DIM: usize = 6;

fn spec(server: &Server, cache: &Path) -> RemoteSpec {
    RemoteSpec {
        id: "remote-test".to_owned(),
        model: "text-model-1".to_owned(),
        base_url: server.base_url.clone(),
        dim: DIM,
        asks_dim: false,
        window: 100,
        normalize: false,
        key_variable: Some("TEST_KEY".to_owned()),
        key: Some(ApiKey::new(KEY)),
        number_format: NumberFormat::Float,
        max_inputs: 3,
        max_request_tokens: 1000,
        bytes_per_token: 2.0,
        usd_per_million_tokens: Some(0.5),
        timeout: Duration::from_secs(20),
        patience: Patience {
            n_tries: 3,
            first_wait: Duration::from_millis(5),
            longest_wait: Duration::from_secs(5),
        },
        environment_proxies: false,
        cache: cache.to_owned(),
    }
}

fn open(spec: RemoteSpec, limits: SpendLimits) -> (RemoteEncoder, Arc<SpendAccount>) {
    let account = Arc::new(SpendAccount::new(limits));
    (RemoteEncoder::open(spec, Arc::clone(&account)).unwrap(), account)
}

fn encode(encoder: &RemoteEncoder, texts: &[&str]) -> Result<Vec<Encoded>, EncodeError> {
    let input = |text: &&str| EncoderInput::Text(Text::parse(text).unwrap());
    let prepared: Vec<_> =
        texts.iter().map(|text| encoder.prepare(&input(text), LongPolicy::Window).unwrap()).collect();
    let pieces: Vec<&Piece> = prepared.iter().flat_map(|prepared| &prepared.pieces).collect();
    let mut outputs = encoder.open_worker()?.run(&pieces, false)?.into_iter();
    let mut join = |prepared| {
        let prepared: &protext_core::Prepared = prepared;
        encoder.join(prepared, outputs.by_ref().take(prepared.pieces.len()).collect())
    };
    prepared.iter().map(&mut join).collect()
}

fn rows(encoded: &[Encoded]) -> Vec<Vec<f32>> {
    encoded.iter().map(|encoded| encoded.pooled.as_slice().to_vec()).collect()
}

fn expected(texts: &[&str]) -> Vec<Vec<f32>> {
    texts.iter().map(|text| row_of(text, DIM)).collect()
}

/// One text sent to a service that answers like this; nothing may hold the key.
fn fails(reply: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> (EncodeError, String, usize) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(reply);
    let (encoder, _) = open(spec(&server, folder.path()), SpendLimits::default());
    let error = encode(&encoder, &["copper transport", "iron transport"]).unwrap_err();
    let said = chain(&error);
    assert!(said.contains("127.0.0.1") && !said.contains(KEY), "{said}");
    assert!(!format!("{encoder:?}").contains(KEY));
    let n_requests = server.requests().len();
    // Nothing of a wrong answer is kept.
    let server = Server::good(DIM);
    let (again, account) = open(spec(&server, folder.path()), SpendLimits::default());
    encode(&again, &["copper transport", "iron transport"]).unwrap();
    assert_eq!(account.spent().n_cached, 0);
    (error, said, n_requests)
}

#[test]
fn texts_go_out_together_and_rows_come_back_to_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::good(DIM);
    let spec = RemoteSpec { asks_dim: true, ..spec(&server, folder.path()) };
    let (encoder, account) = open(spec, SpendLimits::default());
    let texts = ["a b", "c", "d", "a b", "e", "f", "g", "h"];
    assert_eq!(rows(&encode(&encoder, &texts).unwrap()), expected(&texts));
    let requests = server.requests();
    let sent: Vec<Vec<String>> = requests.iter().map(Request::texts).collect();
    assert_eq!(sent, [vec!["a b", "c", "d"], vec!["e", "f", "g"], vec!["h"]], "no text twice");
    for request in &requests {
        assert_eq!(request.path, "/v1/embeddings");
        assert_eq!(request.headers["authorization"], format!("Bearer {KEY}"));
        assert_eq!(
            (&request.body["model"], &request.body["dimensions"]),
            (&json!("text-model-1"), &json!(DIM))
        );
        assert_eq!(request.body["encoding_format"], "float");
    }
    let spent = account.spent();
    assert_eq!((spent.n_requests, spent.n_tokens), (3, 8), "the service's own count");
    assert!((spent.usd - 8.0 * 0.5e-6).abs() < 1e-12);
}

#[test]
fn requests_keep_their_limit_of_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::good(DIM);
    let spec = RemoteSpec { max_inputs: 100, max_request_tokens: 10, ..spec(&server, folder.path()) };
    let (encoder, _) = open(spec, SpendLimits::default());
    // Of 5, 5, 1 and 15 tokens, by bytes.
    encode(&encoder, &["aaaaaaaaaa", "bbbbbbbbbb", "cc", "dddddddddddddddddddddddddddddd"]).unwrap();
    assert_eq!(server.requests().iter().map(|request| request.texts().len()).collect::<Vec<_>>(), [2, 1, 1]);
}

#[test]
fn numbers_and_base64_are_the_same_rows() {
    let texts = ["one", "two words"];
    for number_format in [NumberFormat::Unsaid, NumberFormat::Float, NumberFormat::Base64] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::good(DIM);
        let (encoder, _) =
            open(RemoteSpec { number_format, ..spec(&server, folder.path()) }, SpendLimits::default());
        assert_eq!(rows(&encode(&encoder, &texts).unwrap()), expected(&texts), "{number_format:?}");
    }
}

#[test]
fn a_busy_service_is_waited_for_as_long_as_it_asks() {
    let in_two_seconds = || httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(2));
    type Busy = Box<dyn Fn() -> Reply + Send + Sync>;
    let cases: [(Busy, u64); 4] = [
        (Box::new(|| Reply::new(429, "{}").header("retry-after-ms", 400).header("Retry-After", 60)), 400),
        (Box::new(|| Reply::new(503, "busy").header("Retry-After", 1)), 1000),
        (Box::new(move || Reply::new(429, "").header("Retry-After", in_two_seconds())), 900),
        (Box::new(|| Reply::new(500, "oh")), 5),
    ];
    for (busy, least_ms) in cases {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(move |request, n| if n == 1 { busy() } else { good(request, DIM) });
        let (encoder, account) = open(spec(&server, folder.path()), SpendLimits::default());
        assert_eq!(rows(&encode(&encoder, &["one"]).unwrap()), expected(&["one"]));
        let requests = server.requests();
        assert_eq!(requests.len(), 2);
        assert!(requests[1].at - requests[0].at >= Duration::from_millis(least_ms), "{least_ms} ms");
        assert_eq!(account.spent().n_tokens, 1, "a refusal costs nothing");
    }
}

#[test]
fn patience_ends_with_what_the_service_said() {
    let (error, said, n_requests) = fails(|_, _| Reply::new(503, r#"{"error":{"message":"loading"}}"#));
    assert!(matches!(error, EncodeError::Unavailable { .. }));
    assert!(said.contains("status 503 after 3 tries (loading)"), "{said}");
    assert_eq!(n_requests, 3);
    let (_, said, n_requests) = fails(|_, _| Reply::new(429, "").header("Retry-After", 3600));
    assert!(said.contains("asking to wait 3600 s"), "{said}");
    assert_eq!(n_requests, 1, "longer than anyone waits");
    let quota = r#"{"error":{"message":"You exceeded your quota","code":"insufficient_quota"}}"#;
    let (_, said, n_requests) = fails(move |_, _| Reply::new(429, quota));
    assert!(said.contains("exceeded your quota"), "{said}");
    assert_eq!(n_requests, 1, "no wait brings a quota back");
}

#[test]
fn a_refused_key_leaks_nowhere() {
    for status in [401, 403] {
        // Services quote keys, whole or shortened.
        let body =
            format!(r#"{{"error":{{"message":"Incorrect API key provided: {KEY} (sk-c0ff*******6789)"}}}}"#);
        let (error, said, n_requests) = fails(move |_, _| Reply::new(status, &body));
        assert!(matches!(error, EncodeError::Unavailable { .. }));
        assert!(said.contains("check TEST_KEY") && said.contains(&status.to_string()), "{said}");
        assert!(!said.contains("c0ff") && !said.contains("6789"), "{said}");
        assert_eq!(n_requests, 1);
    }
}

#[test]
fn a_refused_text_is_told_from_a_refused_request() {
    let body = format!(r#"{{"error":{{"message":"text 2 is too long for {KEY}","param":null}}}}"#);
    let (error, said, n_requests) = fails(move |_, _| Reply::new(400, &body));
    assert!(matches!(error, EncodeError::Refused { .. }));
    assert!(said.contains("status 400 (text 2 is too long for (hidden))"), "{said}");
    assert_eq!(n_requests, 1);
    let body = r#"{"error":{"message":"no such width","param":"dimensions"}}"#;
    for (status, body) in [(400, body), (404, "{}"), (402, "{}"), (302, "")] {
        let (error, said, n_requests) = fails(move |_, _| Reply::new(status, body));
        assert!(matches!(error, EncodeError::Unavailable { .. }), "{said}");
        assert!(said.contains(&format!("status {status}")), "{said}");
        assert_eq!(n_requests, 1);
    }
}

#[test]
fn redirects_are_not_followed() {
    let elsewhere = Server::good(DIM);
    let target = format!("{}/embeddings", elsewhere.base_url);
    let (error, ..) = fails(move |_, _| Reply::new(307, "").header("Location", &target));
    assert!(matches!(error, EncodeError::Unavailable { .. }));
    assert_eq!(elsewhere.requests().len(), 0, "the key went nowhere else");
}

#[test]
fn a_wrong_answer_is_named_and_not_asked_for_again() {
    let data = |items: serde_json::Value| json!({"data": items, "usage": {"total_tokens": 2}}).to_string();
    let row = |index: usize, n: usize| json!({"index": index, "embedding": vec![0.5; n]});
    let with_null = json!({"index": 1, "embedding": [0.5, 0.5, null, 0.5, 0.5, 0.5]});
    let cases = [
        (data(json!([row(0, DIM), row(1, DIM - 1)])), "row 1 has 5 dimensions instead of 6"),
        (data(json!([row(0, DIM), with_null])), "row 1, component 2 is not a finite number"),
        (data(json!([row(0, DIM)])).replace("0.5,", "NaN,"), "NaN or Infinity"),
        (data(json!([row(0, DIM)])), "2 texts were sent, 1 rows came back"),
        (data(json!([row(0, DIM), row(0, DIM)])), "index 0"),
        ("<html>welcome</html>".to_owned(), "cannot be read"),
        (json!({"error": "out of memory"}).to_string(), "no `data`"),
        (data(json!([row(0, DIM), row(1, 400_000)])), "longer than"),
    ];
    for (body, says) in cases {
        let (error, said, n_requests) = fails(move |_, _| Reply::new(200, &body));
        assert!(matches!(error, EncodeError::Unavailable { .. }));
        assert!(said.contains("/v1/embeddings: the answer is wrong") && said.contains(says), "{said}");
        assert_eq!(n_requests, 1);
    }
}

#[test]
fn a_broken_answer_is_asked_for_again_and_its_estimate_stays_charged() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|request, n| match n {
        1 => Reply { cut_after: Some(40), ..good(request, DIM) },
        _ => good(request, DIM),
    });
    let (encoder, account) = open(spec(&server, folder.path()), SpendLimits::default());
    let text = "twenty bytes of text";
    assert_eq!(rows(&encode(&encoder, &[text]).unwrap()), expected(&[text]));
    assert_eq!((server.requests().len(), account.spent().n_tokens), (2, 10 + 4));
}

#[test]
fn a_slow_service_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|_, _| Reply::held());
    let slow = RemoteSpec {
        timeout: Duration::from_millis(200),
        patience: Patience { n_tries: 2, ..spec(&server, folder.path()).patience },
        ..spec(&server, folder.path())
    };
    let (encoder, account) = open(slow, SpendLimits::default());
    let said = chain(&encode(&encoder, &["one two"]).unwrap_err());
    assert!(said.contains("no whole answer in 2 tries") && said.contains("timed out"), "{said}");
    assert!(!said.contains(KEY), "{said}");
    assert_eq!((server.requests().len(), account.spent().n_tokens), (2, 8), "it may have been billed");
}

#[test]
fn nothing_is_sent_that_would_pass_a_limit() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::good(DIM);
    let limits = SpendLimits { max_tokens: Some(12), max_usd: None };
    let (encoder, account) = open(spec(&server, folder.path()), limits);
    let said = chain(&encode(&encoder, &["thirty bytes of text are fifty"]).unwrap_err());
    assert!(said.contains("limit of 12 tokens") && said.contains("needs up to 15"), "{said}");
    assert!(said.contains("PROTEXT_SPEND_LIMIT_TOKENS"), "{said}");
    assert_eq!(server.requests().len(), 0);
    encode(&encoder, &["twenty bytes of text"]).unwrap();
    assert_eq!(account.spent().n_tokens, 4);
    encode(&encoder, &["sixteen bytes xx"]).unwrap();
    assert!(encode(&encoder, &["sixteen bytes yy"]).is_err());
    // What was paid for is still there.
    encode(&encoder, &["twenty bytes of text", "sixteen bytes xx"]).unwrap();
    assert_eq!(server.requests().len(), 2);

    let limits = SpendLimits { max_tokens: None, max_usd: Some(1e-6) };
    let (encoder, _) = open(spec(&server, folder.path()), limits);
    let said = chain(&encode(&encoder, &["eight bytes or more"]).unwrap_err());
    assert!(said.contains("PROTEXT_SPEND_LIMIT_USD"), "{said}");
    assert_eq!(server.requests().len(), 2);
    let unpriced = RemoteSpec { usd_per_million_tokens: None, ..spec(&server, folder.path()) };
    let refused = RemoteEncoder::open(unpriced, Arc::new(SpendAccount::new(limits))).unwrap_err();
    assert!(refused.to_string().contains("price_per_million_tokens"), "{refused}");
}

#[test]
fn what_was_paid_for_is_never_paid_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::good(DIM);
    let texts = ["one", "two", "three", "four"];
    let (encoder, _) = open(spec(&server, folder.path()), SpendLimits::default());
    encode(&encoder, &texts).unwrap();
    drop(encoder);
    // What a writer that was killed leaves: half a record.
    let files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let file =
        files.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "rows")).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, [&bytes[..], &bytes[48..60]].concat()).unwrap();
    let n_requests = server.requests().len();
    drop(server);
    let closed = Server::start(|_, _| Reply::new(500, "nobody should ask"));
    let (encoder, account) = open(spec(&closed, folder.path()), SpendLimits::default());
    assert_eq!(rows(&encode(&encoder, &texts).unwrap()), expected(&texts));
    assert_eq!((n_requests, closed.requests().len(), account.spent().n_cached), (2, 0, 4));
    // A flipped bit costs that one text, no more.
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[60 + 32] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let server = Server::good(DIM);
    let (encoder, _) = open(spec(&server, folder.path()), SpendLimits::default());
    assert_eq!(rows(&encode(&encoder, &texts).unwrap()), expected(&texts));
    assert_eq!(server.texts(), ["one"]);
}

#[test]
fn several_at_once_buy_each_text_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::good(DIM);
    let texts: Vec<String> = (0..40).map(|n| format!("text number {n}")).collect();
    std::thread::scope(|scope| {
        for turn in 0..4 {
            // Each opens the cache for itself, as another process would.
            let (encoder, _) = open(spec(&server, folder.path()), SpendLimits::default());
            let mut texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            texts.rotate_left(turn * 9);
            scope.spawn(move || {
                for part in texts.chunks(5) {
                    assert_eq!(rows(&encode(&encoder, part).unwrap()), expected(part));
                }
            });
        }
    });
    let mut sent = server.texts();
    sent.sort();
    let mut once = texts;
    once.sort();
    assert_eq!(sent, once);
}

#[test]
fn long_texts_are_averaged_by_size_cut_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::good(DIM);
    let short = RemoteSpec { window: 10, normalize: true, ..spec(&server, folder.path()) };
    let (encoder, _) = open(short, SpendLimits::default());
    let text = "One is here. Two is here. Three.";
    let pieces = ["One is here.", "Two is here. Three."];
    let encoded = encode(&encoder, &[text]).unwrap().remove(0);
    assert_eq!(encoded.report, LongReport::Windowed { n_windows: 2 });
    assert_eq!(server.texts(), pieces);
    let mut mean = vec![0.0_f64; DIM];
    for piece in pieces {
        for (sum, value) in mean.iter_mut().zip(row_of(piece, DIM)) {
            *sum += f64::from(value) * piece.len() as f64;
        }
    }
    let norm = mean.iter().map(|value| value * value).sum::<f64>().sqrt();
    for (ours, plain) in encoded.pooled.as_slice().iter().zip(&mean) {
        assert!((f64::from(*ours) - plain / norm).abs() < 1e-6);
    }
    let input = EncoderInput::Text(Text::parse(text).unwrap());
    let cut = encoder.prepare(&input, LongPolicy::Truncate).unwrap();
    assert_eq!(cut.report, LongReport::Truncated { kept: 6, length: 16 });
    assert_eq!(cut.pieces.len(), 1);
    let refused = encoder.prepare(&input, LongPolicy::Reject).unwrap_err();
    assert!(matches!(refused, EncodeError::TooLong { length: 16, window: 10, .. }));
    let empty = encoder.prepare(&EncoderInput::Text(Text::parse(" ").unwrap()), LongPolicy::Window);
    assert!(matches!(empty.unwrap_err(), EncodeError::Refused { .. }));
}

#[test]
fn a_space_is_a_model_and_a_width_whoever_runs_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::good(DIM);
    let plain = spec(&server, folder.path());
    let elsewhere = RemoteSpec { base_url: "https://other.example.org/v1".to_owned(), ..plain.clone() };
    let renamed = RemoteSpec { id: "mine".to_owned(), max_inputs: 7, ..plain.clone() };
    for same in [elsewhere, renamed] {
        assert_eq!(same.space().fingerprint, plain.space().fingerprint);
    }
    let others = [
        RemoteSpec { model: "text-model-2".to_owned(), ..plain.clone() },
        RemoteSpec { dim: 5, ..plain.clone() },
        RemoteSpec { normalize: true, ..plain.clone() },
    ];
    for other in others {
        assert!(plain.space().ensure_same("a", &other.space(), "b").is_err());
    }
    let (encoder, _) = open(plain.clone(), SpendLimits::default());
    assert_eq!(encoder.space(RowKind::Pooled), Some(&plain.space()));
    assert_eq!(encoder.space(RowKind::LayerStatistics), None);
}

#[test]
fn settings_are_refused_by_name_without_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let plain = spec(&Server::good(DIM), folder.path());
    let keyed = |key: &str| RemoteSpec { key: Some(ApiKey::new(key)), ..plain.clone() };
    let at = |url: &str| RemoteSpec { base_url: url.to_owned(), ..plain.clone() };
    let cases = [
        (RemoteSpec { key: None, ..plain.clone() }, "export TEST_KEY="),
        (keyed("two words-s3cret"), "key_env"),
        (keyed("s3cret\u{e9}"), "key_env"),
        (at("http://gpu-box.example.org:8000/v1"), "not sent without encryption"),
        (at("ftp://127.0.0.1"), "base_url"),
        (at("https://user:s3cret@h/v1"), "base_url"),
        (RemoteSpec { max_inputs: 0, ..plain.clone() }, "max_inputs"),
        (RemoteSpec { bytes_per_token: 0.0, ..plain.clone() }, "bytes_per_token"),
    ];
    for (spec, says) in cases {
        let error = RemoteEncoder::open(spec, Arc::default()).unwrap_err();
        let said = chain(&error);
        assert!(said.contains(says) && !said.contains("s3cret") && !said.contains(KEY), "{said}");
    }
    let no_key = RemoteSpec {
        key: None,
        key_variable: None,
        base_url: "http://gpu-box.example.org:8000/v1".to_owned(),
        ..plain.clone()
    };
    RemoteEncoder::open(no_key, Arc::default()).unwrap();
}
