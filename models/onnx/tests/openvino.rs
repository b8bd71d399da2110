//! OpenVINO runs the encoders as the CPU does, or is refused. `PROTEXT_TEST_OPENVINO` names its build of the runtime.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::Write as _;
use std::path::Path;

use protext_core::{Encoder as _, EncoderInput, LongPolicy, ProteinSequence, ResiduePolicy};
use protext_onnx::{
    Device, DeviceChoice, EncoderSpec, ModelError, OnnxEncoder, OnnxRuntime, Precision, SessionPlan,
};
use protext_registry::convert::Dialect;
use support::tiny_spec_in;

fn openvino_or_say(test: &str) -> Option<OnnxRuntime> {
    let named = std::env::var_os("PROTEXT_TEST_OPENVINO").filter(|path| !path.is_empty());
    if named.is_none() {
        let _ = writeln!(
            std::io::stderr(),
            "NOT RUN: {test}: PROTEXT_TEST_OPENVINO names no runtime; type `make test`, which fetches it"
        );
    }
    named.map(|path| OnnxRuntime::load(path.as_ref()).unwrap())
}

fn plan(precision: Precision) -> SessionPlan {
    SessionPlan::on(DeviceChoice { device: Device::Openvino, precision: Some(precision) }).unwrap()
}

/// Of the same weights, and with other answers.
const OTHER_CONFIG: &str = "config_norm_before.json";

fn tiny(dialect: Dialect, folder: &Path) -> EncoderSpec {
    tiny_spec_in(dialect, "tiny_esm", "config.json", &[1, 2], folder)
}

fn protein(residues: &str) -> EncoderInput {
    EncoderInput::Protein(ProteinSequence::parse(residues, ResiduePolicy::default()).unwrap().0)
}

#[test]
fn it_answers_as_the_cpu_does_whatever_shares_the_batch() {
    let Some(runtime) = openvino_or_say("encoders on OpenVINO") else { return };
    let folder = tempfile::tempdir().unwrap();
    let fused = tiny(Dialect::OnnxRuntime, folder.path());
    let mut spec = tiny(Dialect::Standard, folder.path());
    spec.reference = Some(fused.onnx.clone());
    let on_cpu = OnnxEncoder::open(&runtime, fused, SessionPlan::default()).unwrap();
    let encoder = OnnxEncoder::open(&runtime, spec, plan(Precision::Fp32)).unwrap();
    let running = encoder.running().unwrap();
    assert_eq!((running.device.as_str(), running.precision.as_str()), ("openvino", "fp32"));
    assert!(running.proof.unwrap() > 0.99999, "{running:?}");
    assert!(running.nodes.get("OpenVINOExecutionProvider").is_some_and(|&n| n > 0), "{running:?}");
    assert_eq!(on_cpu.running().unwrap().proof, None);

    let residues = ["MKTAYIAKQRQISFVKSHFSRQ", "GSGS", "MVLSPADKTNVKAAWGKVGAHAGEYGAEALERM"];
    let prepared: Vec<_> = residues
        .iter()
        .map(|residues| encoder.prepare(&protein(residues), LongPolicy::Window).unwrap().pieces.remove(0))
        .collect();
    let (mut worker, mut cpu) = (encoder.open_worker().unwrap(), on_cpu.open_worker().unwrap());
    let together = worker.run(&prepared.iter().collect::<Vec<_>>(), true).unwrap();
    for (piece, together) in prepared.iter().zip(together) {
        let alone = worker.run(&[piece], true).unwrap().remove(0);
        let expected = cpu.run(&[piece], true).unwrap().remove(0);
        for (row, expected) in [
            (&together.mean, &expected.mean),
            (&alone.mean, &expected.mean),
            (&alone.layer_variances, &expected.layer_variances),
            (alone.hidden.as_ref().unwrap(), expected.hidden.as_ref().unwrap()),
        ] {
            assert_eq!(row.len(), expected.len());
            for (found, expected) in row.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-4, "{found} {expected}");
            }
        }
    }
    refuses_what_it_cannot_run(&runtime, folder.path());
}

/// Never the CPU in its place, and never another answer.
fn refuses_what_it_cannot_run(runtime: &OnnxRuntime, folder: &Path) {
    let refused = |spec| match OnnxEncoder::open(runtime, spec, plan(Precision::Fp32)) {
        Err(ModelError::Device { device: Device::Openvino, reason }) => reason,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was opened"),
    };
    let fused = tiny(Dialect::OnnxRuntime, folder);
    assert!(refused(fused).contains("cannot open"), "operators that it does not know");
    let mut other = tiny(Dialect::Standard, folder);
    other.reference = Some(support::tiny_spec("tiny_esm", OTHER_CONFIG, &[1, 2], folder).onnx);
    assert!(refused(other).contains("golden inputs"), "another answer than the CPU's");
}
