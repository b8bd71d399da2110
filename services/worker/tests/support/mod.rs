//! An encoder of four components whose rows can be told from the residues, and that misbehaves where a test says so.
#![allow(
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "each test file uses a part"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use protext_core::{
    EncodeError, Encoded, Encoder, EncoderInput, EncoderRow, EncoderWorker, Fingerprint, LongPolicy,
    LongReport, Modality, Piece, PieceOutput, Prepared, RowKind, Space,
};
use protext_engine::row_cache::EmbeddingCache;
use protext_engine::{BatcherSettings, Embedder, Engine, Limits};
use protext_worker::{JobError, JobSpec, Jobs, Models, Task, Watch};

/// What goes wrong, and when.
#[derive(Default)]
pub struct Faults {
    /// Nothing can be encoded.
    pub is_away: AtomicBool,
    /// Batches that were run.
    pub n_batches: AtomicU64,
    /// The watch is told to stop after so many batches; 0 for never.
    pub stop_after: AtomicU64,
}

pub struct Letters {
    space: Space,
    faults: Arc<Faults>,
    watch: Option<Arc<Watch>>,
}

struct Worker {
    faults: Arc<Faults>,
    watch: Option<Arc<Watch>>,
}

impl EncoderWorker for Worker {
    fn run(&mut self, pieces: &[&Piece], _: bool) -> Result<Vec<PieceOutput>, EncodeError> {
        let n = self.faults.n_batches.fetch_add(1, Ordering::SeqCst) + 1;
        let stop_after = self.faults.stop_after.load(Ordering::SeqCst);
        if let Some(watch) = &self.watch
            && stop_after > 0
            && n >= stop_after
        {
            watch.stop.store(true, Ordering::SeqCst);
        }
        if self.faults.is_away.load(Ordering::SeqCst) {
            return Err(EncodeError::Unavailable { encoder: "letters".into(), source: "it is away".into() });
        }
        // A batch with a protein of four tryptophans fails whole, one of four cysteines ends the thread's work.
        let holds = |letters: &[u8; 4]| {
            let tokens = letters.map(i64::from);
            pieces.iter().any(|piece| piece.token_ids.windows(4).any(|window| window == tokens))
        };
        if holds(b"WWWW") {
            return Err(EncodeError::NotFinite { encoder: "letters".into() });
        }
        assert!(!holds(b"CCCC"), "a protein of four cysteines");
        let longest = pieces.iter().map(|piece| piece.n_tokens()).max().unwrap() as f32;
        let output = |piece: &&Piece| {
            let n = piece.n_tokens() as f32;
            let sum: i64 = piece.token_ids.iter().sum();
            // Depends on the batch, as sums of a real model do in their last bits: batches must be the same each time.
            let batch = 1e-6 * pieces.len() as f32 + 1e-7 * longest;
            let mean = vec![n, sum as f32 / n, piece.token_ids[0] as f32, batch];
            PieceOutput { mean, layer_means: vec![], layer_variances: vec![], hidden: None }
        };
        Ok(pieces.iter().map(output).collect())
    }
}

impl Encoder for Letters {
    fn id(&self) -> &str {
        "letters"
    }
    fn modality(&self) -> Modality {
        Modality::Protein
    }
    fn space(&self, kind: RowKind) -> Option<&Space> {
        (kind == RowKind::Pooled).then_some(&self.space)
    }
    fn window(&self) -> usize {
        1_000
    }
    fn prepare(&self, input: &EncoderInput, _: LongPolicy) -> Result<Prepared, EncodeError> {
        let EncoderInput::Protein(sequence) = input else { panic!("a protein") };
        let token_ids: Vec<i64> = sequence.as_str().bytes().map(i64::from).collect();
        let weights = vec![1.0; token_ids.len()];
        let piece = Piece { start: 0, token_ids, weights, text: None };
        Ok(Prepared { pieces: vec![piece], report: LongReport::Whole })
    }
    fn open_worker(&self) -> Result<Box<dyn EncoderWorker>, EncodeError> {
        Ok(Box::new(Worker { faults: Arc::clone(&self.faults), watch: self.watch.clone() }))
    }
    fn join(&self, prepared: &Prepared, mut outputs: Vec<PieceOutput>) -> Result<Encoded, EncodeError> {
        let pooled = EncoderRow::new(outputs.swap_remove(0).mean).unwrap();
        let n_tokens = prepared.pieces.iter().map(Piece::n_tokens).sum();
        Ok(Encoded { pooled, statistics: None, residues: None, report: LongReport::Whole, n_tokens })
    }
}

/// Gives every job the same engine.
pub struct Fixed(pub Arc<Engine>);

impl Models for Fixed {
    fn open(&self, _: &JobSpec) -> Result<Arc<Engine>, JobError> {
        Ok(Arc::clone(&self.0))
    }
}

/// So many sessions; `space` names their space.
fn embedder(space: &str, n_workers: usize, faults: &Arc<Faults>, watch: Option<Arc<Watch>>) -> Embedder {
    let space = Space { name: space.into(), dim: 4, fingerprint: Fingerprint::of([space]) };
    let encoder = Letters { space, faults: Arc::clone(faults), watch };
    let settings =
        BatcherSettings { n_workers, max_batch_tokens: 64, max_queued_tokens: 10_000, unload_after: None };
    Embedder::start(Arc::new(encoder), Vec::new(), settings).unwrap()
}

fn fixed(embedder: Embedder) -> Fixed {
    Fixed(Arc::new(Engine::new(vec![embedder], BTreeMap::new(), Limits::default())))
}

/// An engine of so many sessions; `space` names its space.
pub fn models(space: &str, n_workers: usize, faults: &Arc<Faults>, watch: Option<Arc<Watch>>) -> Fixed {
    fixed(embedder(space, n_workers, faults, watch))
}

/// As [`models`], with embeddings kept in `cache`.
pub fn keeping(cache: EmbeddingCache, faults: &Arc<Faults>) -> Fixed {
    fixed(embedder("letters", 2, faults, None).keeping(Arc::new(cache)))
}

pub fn healthy() -> Fixed {
    models("letters", 2, &Arc::default(), None)
}

/// So many proteins of 5 to 64 residues, every tenth the same as an earlier one.
pub fn fasta(n: usize) -> String {
    let letters = b"ADEFGHIKLMNPQRSTVY";
    let mut state = 7_u64;
    let mut next = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as usize) % below
    };
    let mut sequences: Vec<String> = Vec::new();
    for number in 0..n {
        let sequence = if number % 10 == 9 {
            sequences[number / 2].clone()
        } else {
            (0..5 + next(60)).map(|_| letters[next(letters.len())] as char).collect()
        };
        sequences.push(sequence);
    }
    let records = sequences
        .iter()
        .enumerate()
        .map(|(number, sequence)| format!(">p{number} protein {number}\n{sequence}\n"));
    records.collect()
}

/// An embedding job of small shards.
pub fn spec(input: &Path, output: &Path) -> JobSpec {
    let task = Task::Embed { space: Default::default(), per_residue: false, format: None };
    let mut spec = JobSpec::new(task, vec![input.to_string_lossy().into_owned()]);
    spec.output = Some(output.to_string_lossy().into_owned());
    spec.cutting.shard_residues = 500;
    spec
}

/// A folder with an input and a place for jobs.
pub struct Desk {
    pub folder: tempfile::TempDir,
    pub jobs: Jobs,
}

impl Desk {
    pub fn new(input: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("in.fasta"), input).unwrap();
        let jobs = Jobs::open(&folder.path().join("jobs").to_string_lossy()).unwrap();
        Self { folder, jobs }
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    pub fn spec(&self, output: &str) -> JobSpec {
        spec(&self.path("in.fasta"), &self.path(output))
    }

    /// Submits and runs a job to its end. Returns its id and the output's bytes.
    pub fn done(&self, spec: &JobSpec, models: &dyn Models) -> (String, Vec<u8>) {
        let id = self.jobs.submit(spec).unwrap();
        self.jobs.run(&id, models, &Watch::default()).unwrap();
        (id, std::fs::read(spec.output.as_ref().unwrap()).unwrap())
    }
}
