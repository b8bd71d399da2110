//! Scores of training pairs by heads that have not seen their proteins: what probabilities are fitted to beside validation pairs.

use protext_engine::split::folds;
use protext_train::heads::{PairExamples, PairScore, PairSettings, train_pairs};

use super::with_bar;
use crate::fault::UsageError;

/// Scores, and whether the pairs interact. For each fold of whole `groups` (one a record) a head is trained on pairs without a
/// record of the fold, chosen on the validation pairs, and asked for pairs that lie within the fold.
pub(super) fn held_out_scores(
    training: PairExamples<'_>,
    validation: PairExamples<'_>,
    groups: &[&str],
    n_folds: usize,
    score: PairScore<'_>,
    settings: &PairSettings,
) -> anyhow::Result<(Vec<f32>, Vec<bool>)> {
    let fold_of = folds(groups, n_folds, settings.seed);
    let (mut scores, mut labels) = (Vec::new(), Vec::new());
    for fold in 0..n_folds {
        let chosen = |is_wanted: &dyn Fn([bool; 2]) -> bool| -> (Vec<(u32, u32)>, Vec<bool>) {
            let each = training.pairs.iter().copied().zip(training.labels.iter().copied());
            each.filter(|&((a, b), _)| is_wanted([a, b].map(|record| fold_of[record as usize] == fold)))
                .unzip()
        };
        let (outside, outside_labels) = chosen(&|is_inside| is_inside == [false; 2]);
        let (inside, inside_labels) = chosen(&|is_inside| is_inside == [true; 2]);
        if outside.is_empty() || inside.is_empty() {
            let said = format!(
                "--calibration-folds {n_folds}: a fold has {} pairs to train on and {} of its own; take fewer folds",
                outside.len(),
                inside.len()
            );
            return Err(UsageError(said).into());
        }
        eprintln!("calibration, fold {} of {n_folds}", fold + 1);
        let without = PairExamples { pairs: &outside, labels: &outside_labels, ..training };
        let head = with_bar(|on_epoch| train_pairs(without, validation, score, settings, on_epoch))?;
        scores.extend(head.scores(&head.codes(&training.rows)?.view(), &inside)?);
        labels.extend(inside_labels);
    }
    Ok((scores, labels))
}
