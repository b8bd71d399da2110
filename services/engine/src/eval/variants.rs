//! How well scores of mutants order what was measured: Spearman's rank correlation per assay, and its mean.
//!
//! Assays of one protein are not independent, so whole proteins are resampled for the interval. Baselines need no model:
//! a substitution matrix, and how much hydropathy and volume change.

use std::collections::BTreeMap;

use bio::scores::blosum62;
use serde::Serialize;

use super::bootstrap::{Interval, interval};
use super::dms::DmsAssay;
use crate::variants::Mutant;

/// Spearman's rank correlation; tied values share their mean rank. `None` with fewer than three values, or where one side
/// is constant.
///
/// # Panics
/// If the sides differ in length.
#[must_use]
pub fn rank_correlation(left: &[f64], right: &[f64]) -> Option<f64> {
    assert_eq!(left.len(), right.len(), "one value a mutant on both sides");
    if left.len() < 3 {
        return None;
    }
    let (left, right) = (ranks(left), ranks(right));
    let middle = (left.len() as f64 - 1.0) / 2.0;
    let (mut product, mut squares) = (0.0, [0.0; 2]);
    for (a, b) in left.iter().zip(&right) {
        let (a, b) = (a - middle, b - middle);
        product += a * b;
        squares[0] += a * a;
        squares[1] += b * b;
    }
    let scale = (squares[0] * squares[1]).sqrt();
    (scale > 0.0).then(|| product / scale)
}

/// Ranks from 0; tied values share their mean rank.
#[must_use]
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let value = values[order[start]];
        let n_tied = order[start..].iter().take_while(|&&index| values[index] == value).count();
        let rank = start as f64 + (n_tied as f64 - 1.0) / 2.0;
        order[start..start + n_tied].iter().for_each(|&index| ranks[index] = rank);
        start += n_tied;
    }
    ranks
}

/// Mean of some assays' correlations with its interval; proteins are resampled. `None` without any.
#[must_use]
pub fn mean_correlation(assays: &[&DmsAssay], correlations: &[Option<f64>]) -> Option<Interval> {
    let mut proteins: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut values, mut groups) = (Vec::new(), Vec::new());
    for (assay, correlation) in assays.iter().zip(correlations) {
        let Some(value) = correlation else { continue };
        let next = proteins.len();
        groups.push(*proteins.entry(assay.sequence.as_str()).or_insert(next));
        values.push(*value);
    }
    (!values.is_empty()).then(|| interval(&values, &groups))
}

/// Scores that need no model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VariantBaseline {
    /// Sum over substitutions of their entry in BLOSUM62. Source: Henikoff and Henikoff 1992.
    Blosum62,
    /// Less the change of hydropathy (Kyte and Doolittle), in units of its whole range.
    Hydropathy,
    /// Less the change of volume (Zamyatnin), in units of its whole range.
    Volume,
}

impl VariantBaseline {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Blosum62, Self::Hydropathy, Self::Volume];

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Blosum62 => "blosum62",
            Self::Hydropathy => "hydropathy",
            Self::Volume => "volume",
        }
    }

    /// Higher is fitter.
    #[must_use]
    pub fn score(self, mutant: &Mutant) -> f64 {
        const HYDROPATHY_RANGE: f32 = 9.0;
        const VOLUME_RANGE: f32 = 167.7;
        let of = |change: &crate::variants::Substitution| {
            let (from, to) = (change.wild_type, change.mutant);
            match self {
                Self::Blosum62 => f64::from(blosum62(from.letter(), to.letter())),
                Self::Hydropathy => {
                    f64::from(-(to.hydropathy() - from.hydropathy()).abs() / HYDROPATHY_RANGE)
                }
                Self::Volume => f64::from(-(to.volume() - from.volume()).abs() / VOLUME_RANGE),
            }
        };
        mutant.substitutions().iter().map(of).sum()
    }
}

#[cfg(test)]
mod tests {
    use protext_core::{ProteinSequence, ResiduePolicy};

    use super::*;

    #[test]
    fn correlations_are_those_of_the_definition() {
        let right = [1.0, 2.0, 3.0, 4.0, 5.0];
        assert_eq!(rank_correlation(&[10.0, 20.0, 30.0, 40.0, 1e9], &right), Some(1.0));
        assert_eq!(rank_correlation(&[5.0, 4.0, 3.0, 2.0, 1.0], &right), Some(-1.0));
        // By scipy.stats.spearmanr([1, 2, 2, 3, 0], [1, 2, 3, 4, 5]).
        let tied = rank_correlation(&[1.0, 2.0, 2.0, 3.0, 0.0], &right).unwrap();
        assert!((tied + 0.051_298_917).abs() < 1e-6, "{tied}");
        assert_eq!(rank_correlation(&[1.0; 5], &right), None);
        assert_eq!(rank_correlation(&[1.0, 2.0], &[1.0, 2.0]), None);
    }

    #[test]
    fn baselines_prefer_what_is_alike() {
        let (sequence, _) = ProteinSequence::parse("ILW", ResiduePolicy::default()).unwrap();
        for baseline in VariantBaseline::ALL {
            let score = |written| baseline.score(&Mutant::parse(written, &sequence).unwrap());
            assert!(score("I1V") > score("I1D"), "{}", baseline.name());
            let sum = score("I1D") + score("L2G");
            assert!((score("I1D:L2G") - sum).abs() < 1e-6);
        }
    }
}
