//! The supervised figure: a ridge on what the encoder says of site and substitution, five folds by position.
//!
//! No position is in two folds: the head is asked about positions of which it saw no mutant. Its penalty is chosen on inner
//! folds of the training part, again by position.

use ndarray::ArrayView2;
use protext_engine::eval::{DmsAssay, Sites, rank_correlation, ranks, variant_features};
use protext_engine::variants::{Mutant, ResidueRows};
use protext_train::{cross_validate, principal_components};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use super::Seen;

const N_FOLDS: usize = 5;
/// Fewer positions than this make no folds.
const FEWEST_POSITIONS: usize = 10;
/// Components kept of the rows of a protein's residues. Source: docs/results/variants_method.md.
const N_COMPONENTS: usize = 24;
const FOLD_SEED: u64 = 20_261_121;

/// Spearman's correlation of predictions for positions that were held out; `None` where there are too few positions.
pub(super) fn correlation(assay: &DmsAssay, protein: &Seen) -> anyhow::Result<Option<f64>> {
    let fold_of = folds(assay);
    // A mutant of positions in several folds would bring one fold's positions into another.
    let fold_of_mutant = |mutant: &Mutant| {
        let mut folds = mutant.substitutions().iter().map(|change| fold_of[change.position]);
        let first = folds.next()?;
        folds.all(|fold| fold == first).then_some(first)
    };
    let (mut mutants, mut scores, mut folds) = (Vec::new(), Vec::new(), Vec::new());
    for (mutant, &score) in assay.mutants.iter().zip(&assay.scores) {
        if let Some(fold) = fold_of_mutant(mutant) {
            mutants.push(mutant.clone());
            scores.push(score);
            folds.push(fold);
        }
    }
    if Mutant::positions(&mutants).len() < FEWEST_POSITIONS {
        return Ok(None);
    }
    let rows = components(&protein.whole)?;
    let sites = Sites { sequence: &assay.sequence, rows: rows.view(), profile: &protein.masked_profile };
    let features = variant_features(&sites, &mutants);
    let targets = ranks_by_fold(&scores, &folds);
    let by_rank = |predicted: &[f64], measured: &[f64]| rank_correlation(predicted, measured).unwrap_or(0.0);
    let found = cross_validate(&features.values.view(), &targets, &folds, by_rank)?;
    Ok(rank_correlation(&found.predictions, &scores))
}

/// The fold of each position, from 0; positions without mutants have one, too.
fn folds(assay: &DmsAssay) -> Vec<usize> {
    let mut positions = Mutant::positions(&assay.mutants);
    positions.shuffle(&mut StdRng::seed_from_u64(FOLD_SEED));
    let mut fold_of = vec![0; assay.sequence.len()];
    positions.iter().enumerate().for_each(|(place, &position)| fold_of[position] = place % N_FOLDS);
    fold_of
}

fn components(rows: &ResidueRows) -> anyhow::Result<ndarray::Array2<f32>> {
    let rows = ArrayView2::from_shape((rows.values.len() / rows.dim, rows.dim), &rows.values)?;
    Ok(principal_components(&rows, N_COMPONENTS)?.whitened())
}

/// Ranks within each fold, -1 to 1: outliers of an assay's scale weigh no more than others, and no fold's targets depend on
/// another's scores.
fn ranks_by_fold(scores: &[f64], folds: &[usize]) -> Vec<f64> {
    let mut targets = vec![0.0; scores.len()];
    for fold in 0..N_FOLDS {
        let rows: Vec<usize> = (0..scores.len()).filter(|&row| folds[row] == fold).collect();
        let of_fold: Vec<f64> = rows.iter().map(|&row| scores[row]).collect();
        let half = (rows.len() as f64 - 1.0).max(1.0) / 2.0;
        let ranked = ranks(&of_fold).into_iter();
        rows.into_iter().zip(ranked).for_each(|(row, rank)| targets[row] = rank / half - 1.0);
    }
    targets
}

#[cfg(test)]
mod tests {
    use protext_core::{ProteinSequence, ResiduePolicy};

    use super::*;

    #[test]
    fn no_position_is_in_two_folds_and_all_folds_are_used() {
        let (sequence, _) = ProteinSequence::parse(&"ACDEF".repeat(10), ResiduePolicy::default()).unwrap();
        let mutants: Vec<Mutant> =
            ["A1C", "A1D", "C2A", "D3A", "E4A", "F5A", "A6C", "C7A", "D8A", "E9A", "F10A"]
                .map(|written| Mutant::parse(written, &sequence).unwrap())
                .into();
        let scores = vec![0.0; mutants.len()];
        let assay = DmsAssay { id: "a".to_owned(), sequence, mutants, scores };
        let fold_of = folds(&assay);
        for fold in 0..N_FOLDS {
            assert_eq!((0..10).filter(|&position| fold_of[position] == fold).count(), 2);
        }
    }

    #[test]
    fn targets_are_ranks_of_their_own_fold() {
        let targets = ranks_by_fold(&[5.0, 1.0, 900.0, 3.0, -7.0], &[0, 0, 0, 1, 1]);
        assert_eq!(targets, [0.0, -1.0, 1.0, 1.0, -1.0]);
    }
}
