//! One request of the service: a protein, by sequence or by id, and its mutants or a scan of all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use protext_core::{LongPolicy, LongReport, Modality, ProteinSequence, ResidueNotes};

use super::error::VariantError;
use super::model::{VariantModel, VariantScore, VariantScores};
use super::mutant::{Mutant, parse_all};
use super::scan::Scan;
use crate::engine::Engine;
use crate::error::EngineError;

/// What one request may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VariantLimits {
    /// Mutants.
    pub max_mutants: usize,
    /// Passes of one window.
    pub max_passes: usize,
}

impl Default for VariantLimits {
    /// 20,000 mutants (a full scan of a protein of a thousand residues), 2,048 passes.
    fn default() -> Self {
        Self { max_mutants: 20_000, max_passes: 2_048 }
    }
}

/// The protein that is mutated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MutantSource {
    /// Residues as they were sent.
    Sequence(String),
    /// A record of an open collection.
    Id(String),
}

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub struct VariantRequest {
    /// The protein.
    pub source: MutantSource,
    /// Encoder, where several are loaded.
    pub encoder: Option<String>,
    /// Mutants as they were written.
    pub mutants: Vec<String>,
    /// Also score every substitution at every position.
    pub scan: bool,
    /// Scores wanted.
    pub scores: VariantScores,
    /// What to do with a protein over the window.
    pub long: LongPolicy,
}

/// Scores of one protein's mutants.
#[derive(Debug, Clone, PartialEq)]
pub struct VariantAnswer {
    /// Encoder id.
    pub encoder: String,
    /// Language head id, where there is one.
    pub head: Option<String>,
    /// The residues that were scored.
    pub sequence: ProteinSequence,
    /// Mutants with their scores, in the order of the request.
    pub variants: Vec<(Mutant, VariantScore)>,
    /// The scan, if it was asked for.
    pub scan: Option<Scan>,
    /// What the long policy did.
    pub long: LongReport,
    /// What the residue rules did.
    pub residues: ResidueNotes,
}

/// Scores variants for an interactive caller: judged at once, computed on the blocking pool, ended when the caller leaves.
///
/// # Errors
/// [`VariantError`] naming what was wrong; [`EngineError::Busy`] inside it if too much is waiting.
pub async fn predict_variants(
    engine: &Arc<Engine>,
    request: VariantRequest,
) -> Result<VariantAnswer, VariantError> {
    let engine = Arc::clone(engine);
    let caller = Caller::default();
    let has_left = Arc::clone(&caller.has_left);
    let answer = tokio::task::spawn_blocking(move || {
        answer(&engine, &request, &mut |_| !has_left.load(Ordering::Relaxed))
    });
    let answer = answer.await.map_err(|_| EngineError::WorkerLost)?;
    drop(caller);
    answer
}

/// Says that nobody waits any more, when it is dropped.
#[derive(Default)]
struct Caller {
    has_left: Arc<AtomicBool>,
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.has_left.store(true, Ordering::Relaxed);
    }
}

fn answer(
    engine: &Engine,
    request: &VariantRequest,
    on_pass: &mut dyn FnMut(usize) -> bool,
) -> Result<VariantAnswer, VariantError> {
    if request.mutants.is_empty() && !request.scan {
        return Err(VariantError::NothingAsked);
    }
    let limits = VariantLimits::default();
    if request.mutants.len() > limits.max_mutants {
        let (n_given, limit) = (request.mutants.len(), limits.max_mutants);
        return Err(VariantError::TooMany { n_given, limit });
    }
    let raw = residues_of(engine, &request.source)?;
    let parsed = ProteinSequence::parse(&raw, engine.residue_policy()).map_err(EngineError::from)?;
    let (sequence, residues) = parsed;
    let written = request.mutants.iter().map(String::as_str);
    let n_given = request.mutants.len();
    let mutants = parse_all(written, &sequence).map_err(|bad| VariantError::Mutants {
        place: "mutant",
        bad,
        n_given,
    })?;
    let embedder = engine.embedder(request.encoder.as_deref(), Modality::Protein)?;
    let model = VariantModel::new(embedder, engine.language_head(embedder.encoder_space()), request.long)?;
    let scanned = VariantScores { shift: false, ..request.scores };
    let all: Vec<usize> = (0..sequence.len()).collect();
    let mut n_passes =
        model.n_passes(sequence.len(), &Mutant::positions(&mutants), mutants.len(), request.scores);
    if request.scan {
        n_passes += model.n_passes(sequence.len(), &all, 0, scanned);
    }
    if n_passes > limits.max_passes {
        let instead = "ask for masking spread, for fewer mutants, or use `protext variants`";
        return Err(VariantError::TooMuch { n_passes, limit: limits.max_passes, instead });
    }
    let queue = embedder.batcher();
    if queue.n_queued_tokens() >= queue.settings().max_queued_tokens {
        return Err(EngineError::Busy { n_queued_tokens: queue.n_queued_tokens() }.into());
    }
    let scan = request.scan.then(|| Scan::of(&model, &sequence, scanned, on_pass)).transpose()?;
    let (scores, long) = model.score(&sequence, &mutants, request.scores, on_pass)?;
    Ok(VariantAnswer {
        encoder: model.encoder().to_owned(),
        head: model.head().map(str::to_owned),
        variants: mutants.into_iter().zip(scores).collect(),
        scan,
        long,
        residues,
        sequence,
    })
}

/// The residues of the request, or of the record that it names.
fn residues_of(engine: &Engine, source: &MutantSource) -> Result<String, VariantError> {
    let id = match source {
        MutantSource::Sequence(raw) => return Ok(raw.clone()),
        MutantSource::Id(id) => id,
    };
    for open in engine.collections().values() {
        let view = open.view();
        if let Some(found) = view.get(id).map_err(EngineError::from)? {
            let sequence = found.record.sequence.clone();
            return sequence.ok_or_else(|| VariantError::NoSequence { id: id.clone() });
        }
    }
    let collections = engine.collections();
    let names: Vec<&str> = collections.keys().map(String::as_str).collect();
    Err(EngineError::UnknownRecord { collection: names.join(", "), id: id.clone() }.into())
}
