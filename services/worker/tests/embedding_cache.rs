//! Embeddings that service and jobs share: nothing is encoded twice that need not be, and no byte of a job changes for it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use protext_core::{EncoderInput, LongPolicy, Modality, ProteinSequence, ResiduePolicy};
use protext_engine::EmbedOptions;
use protext_engine::row_cache::EmbeddingCache;
use protext_worker::JobSpec;
use support::{Desk, Faults, Fixed, fasta, healthy, keeping};

/// Above half of it a protein goes alone; those of `fasta` have 5 to 64 residues.
const BATCH_TOKENS: usize = 64;

fn spec(desk: &Desk, output: &str) -> JobSpec {
    let mut spec = desk.spec(output);
    spec.cutting.batch_tokens = Some(BATCH_TOKENS);
    spec
}

/// An interactive caller asks for every protein.
fn ask_for_all(models: &Fixed, input: &str) -> Vec<Vec<f32>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    let embedder = models.0.embedder(None, Modality::Protein).unwrap();
    let records = input.split('>').skip(1).map(|record| record.split_once('\n').unwrap().1.trim());
    let row = |residues: &str| {
        let (sequence, _) = ProteinSequence::parse(residues, ResiduePolicy::default()).unwrap();
        let input = EncoderInput::Protein(sequence);
        let encoded = runtime.block_on(embedder.embed(&input, EmbedOptions::new(LongPolicy::Window)));
        encoded.unwrap().pooled.as_slice().to_vec()
    };
    // What was kept is on the disk when the runtime is gone.
    records.map(row).collect()
}

#[test]
fn a_job_takes_what_it_would_have_got_and_nothing_else() {
    let desk = Desk::new(&fasta(200));
    let input = fasta(200);
    let (_, without) = desk.done(&spec(&desk, "without.parquet"), &healthy());
    let file = desk.path("embeddings.sqlite");
    let open = || EmbeddingCache::open(&file, 64 << 20).unwrap();
    let run = |models: &Fixed, name: &str| desk.done(&spec(&desk, name), models).1;

    // The service encodes each protein in other batches than a job: no job takes that.
    let faults = Arc::new(Faults::default());
    ask_for_all(&keeping(open(), &faults), &input);
    let n_alone = faults.n_batches.swap(0, Ordering::SeqCst);
    assert!(n_alone >= 180, "{n_alone} batches for 180 different proteins");
    assert!(run(&keeping(open(), &faults), "after_service.parquet") == without, "the service changed a job");
    let n_batches = faults.n_batches.swap(0, Ordering::SeqCst);

    // A second job encodes only what shares batches.
    let models = keeping(open(), &faults);
    assert!(run(&models, "again.parquet") == without, "what was kept changed a job");
    let n_again = faults.n_batches.swap(0, Ordering::SeqCst);
    assert!(n_again > 0 && n_again < n_batches / 2, "{n_batches} batches, then {n_again}");
    let (hits, misses) = models.0.embedder(None, Modality::Protein).unwrap().kept_counts().unwrap();
    assert_eq!((misses, n_batches - n_again), (0, hits));

    // The service takes everything, whoever made it.
    let after = keeping(open(), &faults);
    let rows = ask_for_all(&after, &input);
    assert_eq!(faults.n_batches.load(Ordering::SeqCst), 0);
    assert_eq!(rows, ask_for_all(&keeping(open(), &faults), &input));
}

#[test]
fn a_cache_that_is_damaged_while_it_is_used_costs_nothing_but_time() {
    let desk = Desk::new(&fasta(100));
    let (_, without) = desk.done(&spec(&desk, "without.parquet"), &healthy());
    let file = desk.path("embeddings.sqlite");
    let faults = Arc::new(Faults::default());
    desk.done(
        &spec(&desk, "filling.parquet"),
        &keeping(EmbeddingCache::open(&file, 64 << 20).unwrap(), &faults),
    );
    let models = keeping(EmbeddingCache::open(&file, 64 << 20).unwrap(), &faults);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..].iter_mut().step_by(97).for_each(|byte| *byte ^= 0x55);
    std::fs::write(&file, bytes).unwrap();
    assert!(desk.done(&spec(&desk, "after.parquet"), &models).1 == without, "a flipped byte changed a job");
}
