//! One ONNX Runtime session with one owner: runs batches and takes pooled rows out.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use ort::session::builder::GraphOptimizationLevel;
use ort::session::{OutputSelector, RunOptions, Session};
use protext_core::{EncodeError, EncoderWorker, Piece, PieceOutput};

use crate::batch::{Batch, Layout};
use crate::blocks::PackedBlocks;
use crate::device::{Device, SessionPlan};
use crate::error::ModelError;
use crate::placement::REMEMBER;
use crate::runtime::OnnxRuntime;
use crate::shared_weights::SharedWeights;

/// True once the domain of our operators stands in the runtime's table of domains. That table is one for the process and has no lock: the
/// first session that adds to it has to open alone.
static DOMAIN_IS_KNOWN: RwLock<bool> = RwLock::new(false);

/// Opens an `.onnx` file on the CPU with `n_threads` of intra-op parallelism (1: the caller's thread does the work).
pub(crate) fn open_session(
    runtime: &OnnxRuntime,
    path: &Path,
    n_threads: usize,
) -> Result<Session, ModelError> {
    let plan = SessionPlan { threads_per_session: n_threads, ..SessionPlan::default() };
    open_planned(runtime, path, (&plan, 0), &Shared::default())
}

/// What sessions of one graph have in common.
#[derive(Clone, Default)]
pub(crate) struct Shared {
    /// Of a graph that has such.
    pub(crate) blocks: Option<Arc<PackedBlocks>>,
    /// Where the CPU's kernels pack weights of their own.
    pub(crate) weights: Option<Arc<SharedWeights>>,
}

/// Opens an `.onnx` file for the worker `number` on the plan's device, which is used or refused: nodes that a provider does not
/// take are the only ones that may run on the CPU. The session must not outlive what it shares.
pub(crate) fn open_planned(
    runtime: &OnnxRuntime,
    path: &Path,
    (plan, number): (&SessionPlan, usize),
    shared: &Shared,
) -> Result<Session, ModelError> {
    let open = || -> ort::Result<Session> {
        let mut builder = Session::builder(runtime.environment())?;
        if let Some(blocks) = &shared.blocks {
            builder = builder.with_operators(blocks.operators()?)?;
        }
        if let Some(weights) = &shared.weights {
            builder = weights.give(builder)?;
        }
        builder
            .with_execution_providers(plan.providers(number))?
            .with_config_entry(REMEMBER, "1")?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(plan.threads_per_session)?
            .with_inter_threads(1)?
            // Lengths vary from call to call, so patterns of one call do not fit the next.
            .with_memory_pattern(false)?
            .with_intra_op_spinning(false)?
            .commit_from_file(path)
    };
    let is_known = DOMAIN_IS_KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    let opened = if shared.blocks.is_none() || *is_known {
        open()
    } else {
        drop(is_known);
        let mut is_known = DOMAIN_IS_KNOWN.write().unwrap_or_else(PoisonError::into_inner);
        let opened = open();
        *is_known |= opened.is_ok();
        opened
    };
    opened.map_err(|source| match plan.device {
        Device::Auto | Device::Cpu if shared.blocks.is_none() => {
            ModelError::Open { path: path.to_owned(), source }
        }
        device => {
            ModelError::Device { device, reason: format!("it cannot open {}: {source}", path.display()) }
        }
    })
}

/// A session of an encoder.
pub(crate) struct SessionWorker {
    encoder: String,
    session: Session,
    /// Let go of after the session.
    _shared: Shared,
    layout: Layout,
    pad_token: i64,
    pooled_only: RunOptions<ort::session::HasSelectedOutputs>,
    with_hidden: RunOptions<ort::session::HasSelectedOutputs>,
    has_statistics: bool,
}

impl SessionWorker {
    pub(crate) fn new(
        encoder: String,
        (session, shared): (Session, Shared),
        pad_token: i64,
        has_statistics: bool,
    ) -> ort::Result<Self> {
        let pooled = || {
            let outputs = OutputSelector::no_default().with("mean");
            if has_statistics { outputs.with("layer_means").with("layer_variances") } else { outputs }
        };
        Ok(Self {
            encoder,
            layout: Layout::of(&session),
            session,
            _shared: shared,
            pad_token,
            pooled_only: RunOptions::new()?.with_outputs(pooled()),
            with_hidden: RunOptions::new()?.with_outputs(pooled().with("hidden")),
            has_statistics,
        })
    }

    fn run_batch(&mut self, pieces: &[&Piece], want_hidden: bool) -> ort::Result<Vec<PieceOutput>> {
        let batch = Batch::new(pieces, self.layout, self.pad_token);
        let options = if want_hidden { &self.with_hidden } else { &self.pooled_only };
        let outputs = self.session.run_with_options(batch.inputs()?, options)?;
        let row = |name: &str, index: usize| -> ort::Result<Vec<f32>> {
            let (shape, values) = outputs[name].try_extract_tensor::<f32>()?;
            let width = shape[1] as usize;
            Ok(values[index * width..(index + 1) * width].to_vec())
        };
        let hidden = |index: usize| -> ort::Result<Vec<f32>> {
            let (shape, values) = outputs["hidden"].try_extract_tensor::<f32>()?;
            let (rows, dim) = (batch.rows_of(index), shape[2] as usize);
            Ok(values[rows.start * dim..rows.end * dim].to_vec())
        };
        (0..pieces.len())
            .map(|index| {
                Ok(PieceOutput {
                    mean: row("mean", index)?,
                    layer_means: if self.has_statistics { row("layer_means", index)? } else { Vec::new() },
                    layer_variances: if self.has_statistics {
                        row("layer_variances", index)?
                    } else {
                        Vec::new()
                    },
                    hidden: if want_hidden { Some(hidden(index)?) } else { None },
                })
            })
            .collect()
    }
}

impl EncoderWorker for SessionWorker {
    fn run(&mut self, pieces: &[&Piece], want_hidden: bool) -> Result<Vec<PieceOutput>, EncodeError> {
        if pieces.is_empty() {
            return Ok(Vec::new());
        }
        let run = &mut |part: &[&Piece]| self.run_batch(part, want_hidden);
        halving(pieces, run).map_err(|source| EncodeError::Runtime {
            encoder: self.encoder.clone(),
            source: Box::new(source),
        })
    }
}

/// Runs pieces at once, or each half of them by itself where the device's memory does not hold them all.
fn halving<E, R>(pieces: &[&Piece], run: &mut R) -> Result<Vec<PieceOutput>, E>
where
    E: std::fmt::Display,
    R: FnMut(&[&Piece]) -> Result<Vec<PieceOutput>, E>,
{
    match run(pieces) {
        Err(error) if pieces.len() > 1 && is_out_of_memory(&error) => {
            tracing::warn!(n_pieces = pieces.len(), %error, "a batch does not fit into memory; its halves are tried");
            let (one, other) = pieces.split_at(pieces.len() / 2);
            let mut outputs = halving(one, run)?;
            outputs.extend(halving(other, run)?);
            Ok(outputs)
        }
        outcome => outcome,
    }
}

/// What ONNX Runtime's arenas and CUDA's libraries say when memory is short; they have no code for it.
fn is_out_of_memory(error: &impl std::fmt::Display) -> bool {
    const SAYINGS: [&str; 4] =
        ["Failed to allocate memory", "is smaller than requested bytes", "out of memory", "ALLOC_FAILED"];
    let said = error.to_string();
    SAYINGS.iter().any(|saying| said.contains(saying))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(start: usize) -> Piece {
        Piece { start, token_ids: vec![0, 5, 2], weights: vec![0.0, 1.0, 0.0], text: None }
    }

    fn output(piece: &Piece) -> PieceOutput {
        let mean = vec![piece.start as f32];
        PieceOutput { mean, layer_means: Vec::new(), layer_variances: Vec::new(), hidden: None }
    }

    /// The sizes that were tried, and what came of seven pieces where `most` fit.
    fn tried(most: usize, said: &str) -> (Vec<usize>, Result<Vec<PieceOutput>, String>) {
        let pieces: Vec<Piece> = (0..7).map(piece).collect();
        let mut sizes = Vec::new();
        let outcome = halving(&pieces.iter().collect::<Vec<_>>(), &mut |part| {
            sizes.push(part.len());
            if part.len() > most {
                return Err(said.to_owned());
            }
            Ok(part.iter().map(|piece| output(piece)).collect())
        });
        (sizes, outcome)
    }

    #[test]
    fn a_batch_that_memory_does_not_hold_goes_on_in_halves() {
        let said = "Failed to allocate memory for requested buffer of size 123";
        let (sizes, outcome) = tried(2, said);
        assert_eq!(sizes, [7, 3, 1, 2, 4, 2, 2]);
        let order: Vec<f32> = outcome.unwrap().iter().map(|output| output.mean[0]).collect();
        assert_eq!(order, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        // What does not fit by itself is an error, and so is anything else at once.
        let (sizes, outcome) = tried(0, said);
        assert_eq!((sizes, outcome.unwrap_err() == said), (vec![7, 3, 1], true));
        assert_eq!(tried(2, "the device is gone").0, [7]);
    }
}
