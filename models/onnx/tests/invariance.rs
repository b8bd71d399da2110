//! Alone, in any batch, padded or not, windowed or whole: the same vector. On a tiny random ESM-2.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use proptest::test_runner::{Config, TestRunner};
use protext_core::{
    Encoded, Encoder, EncoderInput, EncoderWorker, LongPolicy, LongReport, Prepared, ProteinSequence,
    ResiduePolicy,
};
use protext_onnx::OnnxEncoder;
use protext_registry::convert::Dialect;

const TOLERANCE: f32 = 1e-4;

fn input(residues: &str) -> EncoderInput {
    EncoderInput::Protein(ProteinSequence::parse(residues, ResiduePolicy::default()).unwrap().0)
}

fn alone(encoder: &OnnxEncoder, worker: &mut dyn EncoderWorker, prepared: &Prepared) -> Encoded {
    let outputs = prepared.pieces.iter().map(|piece| worker.run(&[piece], true).unwrap().swap_remove(0));
    let outputs = outputs.collect();
    encoder.join(prepared, outputs).unwrap()
}

fn same(a: &Encoded, b: &Encoded) {
    let close = |x: &[f32], y: &[f32]| {
        assert!(support::largest_difference(x, y) < TOLERANCE);
        assert!(support::cosine(x, y) >= 0.9999);
    };
    close(a.pooled.as_slice(), b.pooled.as_slice());
    close(a.statistics.as_ref().unwrap().as_slice(), b.statistics.as_ref().unwrap().as_slice());
    close(a.residues.as_ref().unwrap(), b.residues.as_ref().unwrap());
}

#[test]
fn alone_equals_batched_equals_padded() {
    check_company(Dialect::OnnxRuntime);
}

/// CUDA's attention spelled out.
#[test]
fn alone_equals_one_behind_the_other() {
    check_company(Dialect::Packed);
}

fn check_company(dialect: Dialect) {
    let Some(runtime) = support::runtime_or_say("alone equals in company") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut spec = support::tiny_spec_in(dialect, "tiny_esm", "config.json", &[1, 3], folder.path());
    if dialect == Dialect::Packed {
        spec.onnx = support::spelled::spell_out(&spec.onnx, folder.path());
    }
    let encoder = support::open(&runtime, spec);
    let worker = std::cell::RefCell::new(encoder.open_worker().unwrap());
    let sequences = proptest::collection::vec("[ACDEFGHIKLMNPQRSTVWYX*]{1,80}[ACDEF]", 1..6);
    let mut runner = TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() });
    runner
        .run(&sequences, |sequences| {
            let prepared: Vec<Prepared> =
                sequences.iter().map(|s| encoder.prepare(&input(s), LongPolicy::Window).unwrap()).collect();
            let pieces: Vec<_> = prepared.iter().flat_map(|record| &record.pieces).collect();
            let mut worker = worker.borrow_mut();
            let mut outputs = worker.run(&pieces, true).unwrap().into_iter();
            for record in &prepared {
                let batched =
                    encoder.join(record, outputs.by_ref().take(record.pieces.len()).collect()).unwrap();
                same(&batched, &alone(&encoder, &mut **worker, record));
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn windows_average_by_residues() {
    let Some(runtime) = support::runtime_or_say("windows_average_by_residues") else { return };
    let folder = tempfile::tempdir().unwrap();
    let encoder =
        support::open(&runtime, support::tiny_spec("tiny_esm", "config.json", &[1, 3], folder.path()));
    let mut worker = encoder.open_worker().unwrap();
    let residues = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQVKVKALPDAQ";
    let prepared = encoder.prepare(&input(residues), LongPolicy::Window).unwrap();
    assert_eq!(prepared.report, LongReport::Windowed { n_windows: 3 });
    let encoded = alone(&encoder, &mut *worker, &prepared);
    // The pooled row is the plain mean of the residues' rows, and so are the moments of the last layer.
    let dim = encoded.pooled.as_slice().len();
    let rows = encoded.residues.as_ref().unwrap();
    assert_eq!(rows.len(), residues.len() * dim);
    for component in 0..dim {
        let values = rows.iter().skip(component).step_by(dim);
        let mean = values.map(|&v| f64::from(v)).sum::<f64>() / residues.len() as f64;
        assert!((mean as f32 - encoded.pooled.as_slice()[component]).abs() < TOLERANCE);
    }
    let kept = encoder.prepare(&input(residues), LongPolicy::Truncate).unwrap();
    assert_eq!(kept.report, LongReport::Truncated { kept: 30, length: residues.len() });
    same(
        &alone(&encoder, &mut *worker, &kept),
        &alone(
            &encoder,
            &mut *worker,
            &encoder.prepare(&input(&residues[..30]), LongPolicy::Reject).unwrap(),
        ),
    );
    assert!(encoder.prepare(&input(residues), LongPolicy::Reject).is_err());
}

#[test]
fn a_text_encoder_refuses_proteins_and_a_wrong_file_is_named() {
    let Some(runtime) = support::runtime_or_say("a_wrong_file_is_named") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut spec = support::tiny_spec("tiny_esm", "config.json", &[1], folder.path());
    spec.dim = 99;
    let error = protext_onnx::OnnxEncoder::open(&runtime, spec.clone(), protext_onnx::SessionPlan::default())
        .err()
        .unwrap();
    assert!(error.to_string().contains("99"), "{error}");
    std::fs::write(&spec.onnx, b"not a model").unwrap();
    let error =
        protext_onnx::OnnxEncoder::open(&runtime, spec, protext_onnx::SessionPlan::default()).err().unwrap();
    assert!(error.to_string().contains("protext models pull"), "{error}");
}
