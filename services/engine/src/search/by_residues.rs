//! The re-ranking step of a search: residues of the query and of the first hits are embedded and aligned.

use std::sync::Arc;

use futures_util::future::join_all;
use protext_core::{EncoderInput, Modality, ProteinSequence};
use rayon::prelude::*;

use super::{Draft, SearchHit};
use crate::embedder::{EmbedOptions, Embedder};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::rerank::{ResidueRows, mean_of_residues, rerank_score};

/// Proteins whose residues are embedded at once; bounds what one request puts into the queue.
const EMBED_TOGETHER: usize = 16;

/// Orders the hits of `draft` anew.
pub(super) async fn rerank(engine: &Arc<Engine>, draft: Draft) -> Result<Draft, EngineError> {
    let no_query = EngineError::CannotRerank { missing: "the query has no sequence" };
    let query = draft.query_sequence.clone().ok_or(no_query)?;
    let targets = draft.answer.hits.iter().map(|hit| hit.record.sequence.clone());
    let targets: Option<Vec<String>> = targets.collect();
    let targets =
        targets.ok_or(EngineError::CannotRerank { missing: "the collection keeps no sequences" })?;
    let embedder = engine.embedder(None, Modality::Protein)?;
    let dim = embedder.encoder_space().dim;
    let mut rows = Vec::with_capacity(targets.len() + 1);
    for together in std::iter::once(&query).chain(&targets).collect::<Vec<_>>().chunks(EMBED_TOGETHER) {
        let embedded = join_all(together.iter().map(|sequence| residues(engine, embedder, sequence))).await;
        rows.extend(embedded.into_iter().collect::<Result<Vec<_>, _>>()?);
    }
    let ranked = tokio::task::spawn_blocking(move || order(draft, &rows, dim));
    ranked.await.map_err(|_| EngineError::WorkerLost)
}

async fn residues(engine: &Engine, embedder: &Embedder, raw: &str) -> Result<Vec<f32>, EngineError> {
    let (sequence, _) = ProteinSequence::parse(raw, engine.residue_policy())?;
    let long = Engine::default_long(Modality::Protein);
    let options = EmbedOptions { per_residue: true, ..EmbedOptions::new(long) };
    let encoded = embedder.embed(&EncoderInput::Protein(sequence), options).await?;
    encoded.residues.ok_or(EngineError::WorkerLost)
}

/// Scores each hit with its rows (the first are the query's) and sorts; ties stay as they were.
fn order(mut draft: Draft, rows: &[Vec<f32>], dim: usize) -> Draft {
    let mean = mean_of_residues(rows.iter().map(Vec::as_slice), dim);
    let centred: Vec<ResidueRows> = rows.par_iter().map(|values| ResidueRows::new(values, &mean)).collect();
    let Some((query, targets)) = centred.split_first() else { return draft };
    let hits = &mut draft.answer.hits;
    hits.par_iter_mut().zip(targets).for_each(|(hit, target)| {
        hit.rerank_score = hit.cosine.map(|cosine| rerank_score(cosine, query, target));
    });
    let score = |hit: &SearchHit| hit.rerank_score.unwrap_or(f32::MIN);
    hits.sort_by(|one, other| score(other).total_cmp(&score(one)));
    hits.iter_mut().enumerate().for_each(|(index, hit)| hit.rank = index + 1);
    draft
}
