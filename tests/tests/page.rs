//! The page as a browser without scripts sees it, and what its scripts ask for.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::time::Duration;

use serde_json::Value;
use support::{Answer, Service, is_ready, run, some_proteins, stderr};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const FRAGMENT: (&str, &str) = ("x-fragment", "1");

/// A service over forty demo proteins.
fn service(folder: &std::path::Path, environment: &[(&str, &str)]) -> Service {
    let (fasta, collection) = (folder.join("some.fasta"), folder.join("some"));
    std::fs::write(&fasta, some_proteins(40)).unwrap();
    let built = run(&["index", "build", fasta.to_str().unwrap(), "-o", collection.to_str().unwrap()]);
    assert!(built.status.success(), "{}", stderr(&built));
    Service::start(&[format!("some={}", collection.display())], environment)
}

fn post(service: &Service, path: &str, form: &str, headers: &[(&str, &str)]) -> Answer {
    service.send("POST", path, &[&[FORM], headers].concat(), form.as_bytes())
}

/// Accession and residues of the first demo protein.
fn first() -> (String, String) {
    let text = some_proteins(1);
    let (header, residues) = text.trim_start_matches('>').split_once('\n').unwrap();
    (header.split('|').nth(1).unwrap().to_owned(), residues.replace('\n', ""))
}

#[test]
fn a_search_needs_no_script_and_fetches_nothing_from_elsewhere() {
    if !is_ready("the page") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let service = service(folder.path(), &[]);
    let page = service.get("/");
    assert_eq!(page.status, 200);
    assert!(page.head.contains("default-src 'self'") && !page.head.contains("unsafe"), "{}", page.head);
    let html = page.text();
    for part in ["<form", "name=\"q\"", "some (40 proteins)", "lang=\"en\"", "name=\"viewport\""] {
        assert!(html.contains(part), "{part} is not in {html}");
    }
    let sources = html.split("src=\"").skip(1).chain(html.split("stylesheet\" href=\"").skip(1));
    for source in sources.map(|rest| rest.split('"').next().unwrap()) {
        assert!(source.starts_with("/assets/"), "{source} is fetched from elsewhere");
        assert_eq!(service.get(source).status, 200, "{source}");
    }
    let (id, residues) = first();
    let by_link = service.get(&format!("/?q={id}"));
    let by_form = post(&service, "/", &format!("q={residues}&k=5"), &[]);
    for answer in [&by_link, &by_form] {
        assert_eq!(answer.status, 200);
        assert!(
            answer.text().contains("class=\"hits\"") && answer.text().contains("Why this hit?"),
            "{}",
            answer.text()
        );
    }
    // The protein finds itself first by its residues, and never by its own accession.
    assert!(by_form.text().contains(&format!("<span class=\"id\">{id}</span>")));
    assert!(!by_link.text().contains(&format!("<span class=\"id\">{id}</span>")));
    let fragment = post(&service, "/", &format!("q={id}"), &[FRAGMENT]).text();
    assert!(fragment.starts_with("<section") && !fragment.contains("<html"), "{fragment}");
}

#[test]
fn whatever_is_typed_is_answered_and_never_becomes_markup() {
    if !is_ready("the page's form") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let service = service(folder.path(), &[]);
    let script = "%3Cscript%3Ealert(1)%3C%2Fscript%3E%22%27";
    for path in [format!("/?q={script}"), format!("/?q={script}&by=id"), format!("/?q=A&in={script}&by=id")] {
        let answer = service.get(&path);
        assert!(!answer.text().contains("<script>alert"), "{}", answer.text());
        assert!(answer.text().contains("role=\"alert\""), "{path}: {}", answer.text());
        assert!((400..500).contains(&answer.status), "{path}: {}", answer.status);
    }
    let fasta =
        |n: usize| (0..n).map(|at| format!("%3Es{at}%0AMKTAYIAKQRQISFVKSHFSRQ%0A")).collect::<String>();
    for (form, status, says) in [
        ("q=MKT1AYIAKQRQISFVKSHFSRQ&by=sequence".to_owned(), 422, "residue"),
        ("q=MKTAYIAKQRQISFVKSHFSRQ&k=ten".to_owned(), 422, "whole number"),
        ("q=MKTAYIAKQRQISFVKSHFSRQ&k=0".to_owned(), 422, "k is 0"),
        ("q=MKTAYIAKQRQISFVKSHFSRQ&in=other".to_owned(), 404, "other"),
        ("q=%FF%FE".to_owned(), 404, ""),
        (format!("q={}", fasta(21)), 413, "20 records"),
        (format!("q={}", fasta(3)), 200, "s2"),
        ("by=nonsense&q=A".to_owned(), 400, "form"),
    ] {
        let answer = post(&service, "/", &form, &[]);
        assert_eq!(answer.status, status, "{form}: {}", answer.text());
        assert!(answer.text().contains(says), "{form}: {}", answer.text());
    }
}

#[test]
fn hits_are_saved_in_three_formats() {
    if !is_ready("downloads") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let service = service(folder.path(), &[]);
    let (id, residues) = first();
    let saved = |format: &str| post(&service, "/download", &format!("q={residues}&k=3&format={format}"), &[]);
    let m8 = saved("tsv");
    assert!(m8.head.contains("attachment; filename=\"hits.m8\""), "{}", m8.head);
    assert!(m8.text().lines().all(|line| line.split('\t').count() == 12), "{}", m8.text());
    let fasta = saved("fasta").text();
    assert!(fasta.starts_with(&format!(">{id} ")), "{fasta}");
    assert_eq!(fasta.matches('>').count(), 3);
    let json: Value = saved("json").json();
    assert_eq!(json["results"][0]["hits"].as_array().unwrap().len(), 3);
    assert_eq!(saved("docx").status, 422);
}

#[test]
fn a_map_has_a_place_for_every_record() {
    if !is_ready("the map") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let service = service(folder.path(), &[]);
    let mut answer = service.get("/v1/collections/some/map");
    for _ in 0..600 {
        if answer.status != 202 {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
        answer = service.get("/v1/collections/some/map");
    }
    assert_eq!(answer.status, 200, "{}", answer.text());
    let map = answer.json();
    for column in ["ids", "x", "y", "names", "genes", "organisms", "lengths"] {
        assert_eq!(map[column].as_array().unwrap().len(), 40, "{column}");
    }
    let is_within = |value: &Value| value.as_f64().is_some_and(|place| place.abs() <= 1.0);
    assert!(map["x"].as_array().unwrap().iter().chain(map["y"].as_array().unwrap()).all(is_within));
    assert_eq!(service.get("/v1/collections/other/map").status, 404);
    for path in ["/map", "/batch", "/status"] {
        let view = service.get(path);
        assert_eq!(view.status, 200, "{path}");
        assert!(view.text().contains("aria-current=\"page\""), "{path}");
    }
    assert_eq!(service.get("/assets/none.js").status, 404);
}

#[test]
fn pages_show_nothing_of_a_service_with_keys() {
    if !is_ready("pages and keys") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys.json");
    let made = run(&["keys", "create", "--keys", keys.to_str().unwrap(), "--name", "lab", "--scope", "read"]);
    assert!(made.status.success(), "{}", stderr(&made));
    let secret = String::from_utf8(made.stdout).unwrap();
    let secret = secret.split_whitespace().find(|word| word.starts_with("ptx_")).unwrap().to_owned();
    let service = service(folder.path(), &[("PROTEXT_KEYS", keys.to_str().unwrap())]);
    let (id, _) = first();
    for path in ["/", "/map", "/batch", "/status", &format!("/?q={id}")] {
        let page = service.get(path);
        assert_eq!(page.status, 200, "{path}");
        let html = page.text();
        assert!(
            html.contains("data-keys") && !html.contains("some (") && !html.contains("class=\"hits\""),
            "{path}: {html}"
        );
    }
    assert_eq!(post(&service, "/", &format!("q={id}"), &[FRAGMENT]).status, 401);
    assert_eq!(service.send("GET", "/status", &[FRAGMENT], b"").status, 401);
    let bearer = format!("Bearer {secret}");
    let key = ("authorization", bearer.as_str());
    assert_eq!(post(&service, "/", &format!("q={id}"), &[FRAGMENT, key]).status, 200);
    assert!(service.send("GET", "/status", &[FRAGMENT, key], b"").text().contains("some"));
}
