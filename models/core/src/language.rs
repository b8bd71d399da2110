//! Language heads: which amino acid a position wants, read from the encoder's row of that position.
//!
//! A head belongs to one encoder. Some checkpoints bring theirs; for others one is fitted with the encoder frozen,
//! and its card says so.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::amino_acid::AminoAcid;
use crate::card::CardData;
use crate::error::ProjectionError;
use crate::space::Space;

/// Natural logarithms of the probabilities of the 20 amino acids at one position, by [`AminoAcid::index`].
pub type LogProbabilities = [f32; AminoAcid::COUNT];

/// Reads rows of residues.
pub trait LanguageHead: Send + Sync {
    /// The card's id, or that of the encoder whose checkpoint brought it.
    fn id(&self) -> &str;

    /// The pooled space of the encoder whose residues it reads.
    fn input_space(&self) -> &Space;

    /// One distribution for each row of `rows`, row-major `[residues, dim]`.
    ///
    /// # Errors
    /// [`ProjectionError`] if the runtime fails or a value is not finite.
    fn log_probabilities(&self, rows: &[f32]) -> Result<Vec<LogProbabilities>, ProjectionError>;
}

/// The card of a fitted head, `card.toml` beside its `head.onnx`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanguageCard {
    /// Unique name.
    pub id: String,
    /// Encoder whose residues it reads.
    pub encoder: String,
    /// sha256 of `head.onnx`.
    pub head_sha256: String,
    /// How it was made, with its parameters.
    pub method: String,
    /// What it is not.
    pub caveat: String,
    /// The pooled space of the encoder it was fitted on.
    pub input_space: Space,
    /// What it was fitted on.
    pub data: CardData,
    /// Figures on held-out data, by name.
    pub metrics: BTreeMap<String, f64>,
    /// Command that gave the metrics.
    pub measured_by: String,
}

/// Turns scores into logarithms of probabilities, in place.
pub fn log_softmax(scores: &mut LogProbabilities) {
    let greatest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f32 = scores.iter().map(|score| (score - greatest).exp()).sum();
    let shift = greatest + total.ln();
    scores.iter_mut().for_each(|score| *score -= shift);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_whatever_the_scores() {
        for offset in [-1e4, 0.0, 1e4] {
            let mut scores: LogProbabilities = std::array::from_fn(|index| offset + index as f32 / 4.0);
            log_softmax(&mut scores);
            let total: f32 = scores.iter().map(|score| score.exp()).sum();
            assert!((total - 1.0).abs() < 1e-3, "{offset}: {total}");
            assert!(scores.is_sorted());
        }
    }
}
