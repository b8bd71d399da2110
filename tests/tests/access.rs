//! Who may use the service: keys and their scopes, shares, origins, TLS, and what is noted of writes.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Service, is_ready, protext, run, stderr};

const JSON: (&str, &str) = ("content-type", "application/json");

/// A key of a scope: its id and what opens.
fn key(file: &Path, scope: &str, extra: &[&str]) -> (String, String) {
    let args = ["keys", "create", "--keys", file.to_str().unwrap(), "--name", scope, "--scope", scope];
    let made = run(&[&args[..], extra].concat());
    assert!(made.status.success(), "{}", stderr(&made));
    let listed = run(&["keys", "list", "--keys", file.to_str().unwrap(), "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let id = listed["keys"].as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned();
    (id, String::from_utf8(made.stdout).unwrap().trim().to_owned())
}

fn status(service: &Service, method: &str, path: &str, key: &str, body: &Value) -> u16 {
    let bearer = format!("Bearer {key}");
    service.send(method, path, &[JSON, ("authorization", &bearer)], body.to_string().as_bytes()).status
}

#[test]
fn other_addresses_need_keys_or_the_word_that_none_are_wanted() {
    if !is_ready("open_listener") {
        return;
    }
    let refused = run(&["serve", "--listen", "0.0.0.0:0"]);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    for way_out in ["protext keys create", "--keys", "--without-keys"] {
        assert!(stderr(&refused).contains(way_out), "{}", stderr(&refused));
    }
    let missing = run(&["serve", "--listen", "127.0.0.1:0", "--keys", "/nowhere/keys.json"]);
    assert_eq!(missing.status.code(), Some(2), "{}", stderr(&missing));
    let odd =
        protext(&["serve", "--listen", "127.0.0.1:0"]).env("PROTEXT_CORS_ORIGINS", "*").output().unwrap();
    assert_eq!(odd.status.code(), Some(2), "{}", stderr(&odd));
}

#[test]
fn keys_open_what_their_scope_covers_and_writes_are_noted() {
    if !is_ready("keys") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    let ((reader_id, reader), (_, writer), (admin_id, admin)) =
        (key(&file, "read", &[]), key(&file, "write", &[]), key(&file, "admin", &[]));
    let data = folder.path().join("data");
    let environment = [("PROTEXT_KEYS", file.to_str().unwrap()), ("PROTEXT_DATA", data.to_str().unwrap())];
    let service = Service::start(&[], &environment);
    // Alive, ready and described without a key; nothing else.
    for path in ["/healthz", "/readyz", "/openapi.json", "/docs/", "/"] {
        assert_eq!(service.get(path).status, 200, "{path}");
    }
    for path in ["/v1/info", "/v1/collections", "/metrics", "/v1/nothing"] {
        let refused = service.get(path);
        assert_eq!(refused.status, 401, "{path}");
        assert!(refused.head.contains("www-authenticate: bearer"), "{}", refused.head);
    }
    let make = json!({"name": "mine"});
    let record = json!({"records": [{"id": "a", "sequence": "MKTAYIAKQR"}]});
    let records = "/v1/collections/mine/records";
    // (method, path, body, status for read, write and admin)
    let table = [
        ("GET", "/v1/info", &json!({}), [200, 200, 200]),
        ("POST", "/v1/embeddings", &json!({"input": "MKT"}), [200, 200, 200]),
        ("POST", "/v1/collections", &make, [403, 403, 201]),
        ("POST", records, &record, [403, 200, 200]),
        ("POST", "/v1/search", &json!({"id": "a"}), [200, 200, 200]),
        ("GET", records, &json!({}), [200, 200, 200]),
        ("POST", "/v1/collections/mine/snapshots", &json!({}), [403, 403, 201]),
        ("DELETE", records, &json!({"ids": ["a"]}), [403, 200, 200]),
        // The same route, spelled so that only a router would see it.
        ("POST", "/v1/%63ollections", &json!({"name": "other"}), [403, 403, 201]),
        ("DELETE", "/v1/collections/mine", &json!({}), [403, 403, 204]),
    ];
    for (method, path, body, expected) in &table {
        let found = [&reader, &writer, &admin].map(|key| status(&service, method, path, key, body));
        assert_eq!(found, *expected, "{method} {path}");
    }
    assert_eq!(status(&service, "GET", "/v1/info", "ptx_wrong", &json!({})), 401);
    assert_eq!(service.send("GET", "/v1/info", &[("x-api-key", &reader)], b"").status, 200);

    let noted = std::fs::read_to_string(data.join("audit.jsonl")).unwrap();
    let lines: Vec<Value> = noted.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let is_noted = |id: &str, method: &str, path: &str, status: u64| {
        lines.iter().any(|line| {
            line["key_id"] == id
                && line["method"] == method
                && line["path"] == path
                && line["status"] == status
        })
    };
    assert!(is_noted(&admin_id, "DELETE", "/v1/collections/mine", 204), "{noted}");
    assert!(lines.iter().any(|line| line["status"] == 403), "attempts are noted, too: {noted}");
    assert!(lines.iter().all(|line| line["path"] != "/v1/search"), "{noted}");
    for secret in [&reader, &writer, &admin] {
        assert!(
            !noted.contains(secret.as_str())
                && !std::fs::read_to_string(&file).unwrap().contains(secret.as_str())
        );
    }
    // A key that is revoked stops working while the service runs.
    assert!(run(&["keys", "revoke", "--keys", file.to_str().unwrap(), &reader_id]).status.success());
    let revoked = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        status(&service, "GET", "/v1/info", &reader, &json!({})) == 401
    });
    assert!(revoked && status(&service, "GET", "/v1/info", &admin, &json!({})) == 200);
    let unknown = run(&["keys", "revoke", "--keys", file.to_str().unwrap(), "nobody"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", stderr(&unknown));
    assert_eq!(service.terminate(), Some(0));
}

#[test]
fn a_key_that_has_used_its_share_is_told_when_to_come_back() {
    if !is_ready("shares") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    let (_, hasty) = key(&file, "read", &["--per-minute", "3"]);
    let (_, daily) = key(&file, "read", &["--per-day", "2"]);
    let service = Service::start(&[], &[("PROTEXT_KEYS", file.to_str().unwrap())]);
    for (key, n, says) in [(&hasty, 3, "a minute"), (&daily, 2, "a day")] {
        let send = || service.send("GET", "/v1/info", &[("x-api-key", key)], b"");
        for _ in 0..n {
            assert_eq!(send().status, 200);
        }
        let refused = send();
        assert_eq!(refused.status, 429, "{}", refused.text());
        assert!(refused.text().contains(says) && refused.head.contains("retry-after: "), "{}", refused.head);
    }
    assert_eq!(service.terminate(), Some(0));
}

#[test]
fn only_listed_origins_may_read_answers_in_a_browser() {
    if !is_ready("origins") {
        return;
    }
    let closed = Service::start(&[], &[]);
    let answer = closed.send("GET", "/v1/info", &[("origin", "https://evil.example")], b"");
    assert!(!answer.head.contains("access-control"), "{}", answer.head);
    drop(closed);
    let service = Service::start(&[], &[("PROTEXT_CORS_ORIGINS", "https://lab.example")]);
    let asked = |origin: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type"),
        ];
        service.send("OPTIONS", "/v1/search", &headers, b"")
    };
    let allowed = asked("https://lab.example");
    assert!(allowed.head.contains("access-control-allow-origin: https://lab.example"), "{}", allowed.head);
    assert!(!asked("https://evil.example").head.contains("access-control-allow-origin"));
    let read = service.send("GET", "/v1/info", &[("origin", "https://lab.example")], b"");
    assert!(read.head.contains("access-control-allow-origin: https://lab.example"), "{}", read.head);
    assert_eq!(service.terminate(), Some(0));
}

#[test]
fn https_is_served_with_a_certificate_and_key() {
    if !is_ready("https") {
        return;
    }
    let tls = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls");
    let (certificate, private) = (tls.join("cert.pem"), tls.join("key.pem"));
    let half = run(&["serve", "--listen", "127.0.0.1:0", "--tls-certificate", certificate.to_str().unwrap()]);
    assert_eq!(half.status.code(), Some(2));
    let swapped =
        ["--tls-certificate", private.to_str().unwrap(), "--tls-key", certificate.to_str().unwrap()];
    let swapped = run(&[&["serve", "--listen", "127.0.0.1:0"][..], &swapped].concat());
    assert_ne!(swapped.status.code(), Some(0));
    assert!(
        stderr(&swapped).contains("cert.pem") || stderr(&swapped).contains("key.pem"),
        "{}",
        stderr(&swapped)
    );
    let service = TlsService::start(&certificate, &private);
    let script = "import ssl, sys, urllib.request\n\
                  context = ssl.create_default_context(cafile=sys.argv[2])\n\
                  answer = urllib.request.urlopen(f'https://{sys.argv[1]}/healthz', context=context)\n\
                  assert answer.read() == b'alive\\n' and answer.headers['strict-transport-security'], answer.headers\n";
    let ran =
        Command::new("python3").args(["-c", script, &service.address]).arg(&certificate).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

/// A service over HTTPS; stopped by its process id when dropped.
struct TlsService {
    child: std::process::Child,
    address: String,
}

impl TlsService {
    fn start(certificate: &PathBuf, key: &PathBuf) -> Self {
        use std::io::BufRead as _;
        let mut command = protext(&["serve", "--listen", "127.0.0.1:0"]);
        command.arg("--tls-certificate").arg(certificate).arg("--tls-key").arg(key);
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit("https://").next().unwrap().replace("127.0.0.1", "localhost");
        Self { child, address }
    }
}

impl Drop for TlsService {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
