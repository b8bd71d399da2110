//! Search over specs: the one whose outputs score best on validation rows.

use super::error::HeadTrainError;
use super::{Examples, HeadModel, OnEpoch, Spec, Validation, fit};

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The best head.
    pub model: HeadModel,
    /// Its place among the specs.
    pub best: usize,
    /// Score of every spec, in order.
    pub scores: Vec<f64>,
}

/// Fits every spec and keeps the best; of equals the first. There is at least one.
///
/// # Errors
/// [`HeadTrainError`]; a penalty under which the equations cannot be solved scores lowest unless it is the only one.
pub fn search(
    examples: Examples<'_>,
    validation: Validation<'_>,
    specs: &[Spec],
    on_epoch: OnEpoch<'_>,
) -> Result<Found, HeadTrainError> {
    let mut best: Option<(f64, usize, HeadModel)> = None;
    let mut scores = Vec::with_capacity(specs.len());
    for (at, spec) in specs.iter().enumerate() {
        let model = match fit(examples, validation, spec, on_epoch) {
            Err(HeadTrainError::Singular { .. }) if specs.len() > 1 => {
                scores.push(f64::NEG_INFINITY);
                continue;
            }
            model => model?,
        };
        let score = if validation.rows.is_empty() {
            0.0
        } else {
            (validation.score)(&model.apply(&validation.rows)?)
        };
        scores.push(score);
        if best.as_ref().is_none_or(|(known, ..)| score > *known) {
            best = Some((score, at, model));
        }
    }
    let (_, best, model) =
        best.ok_or(HeadTrainError::Singular { what: "every head that was tried", penalty: 0.0 })?;
    Ok(Found { model, best, scores })
}
