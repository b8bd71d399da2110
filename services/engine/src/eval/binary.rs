//! Figures of yes-or-no predictions: AUPRC, AUROC, accuracy, F1 and calibration error, with bootstrap intervals.
//!
//! A [`Resampling`] says what is drawn anew in each round: groups of relatives, or, of pairs, their proteins. Called by
//! `protext eval` and `protext train head`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::bootstrap::{Interval, Random, percentiles};

/// Bins of the calibration error; the same as in [`super::reliability`].
const N_BINS: usize = 10;

/// What is resampled.
#[derive(Debug, Clone, Copy)]
pub enum Resampling<'a> {
    /// Whole groups: the number of each record's group.
    Groups(&'a [usize]),
    /// Both members of a pair, by their numbers: a pair counts as often as the product of how often its members were
    /// drawn, since pairs of one protein are not independent. Source: Owen 2007, "The pigeonhole bootstrap".
    Members(&'a [(usize, usize)]),
}

impl Resampling<'_> {
    fn n_units(&self) -> usize {
        match self {
            Self::Groups(groups) => groups.iter().max().map_or(0, |last| last + 1),
            Self::Members(pairs) => pairs.iter().map(|(a, b)| a.max(b)).max().map_or(0, |last| last + 1),
        }
    }

    /// How often each record counts in one round.
    fn draw(&self, random: &mut Random) -> Vec<f64> {
        let n = self.n_units();
        let mut counts = vec![0.0; n];
        (0..n).for_each(|_| counts[random.below(n)] += 1.0);
        match self {
            Self::Groups(groups) => groups.iter().map(|&group| counts[group]).collect(),
            Self::Members(pairs) => pairs.iter().map(|&(a, b)| counts[a] * counts[b]).collect(),
        }
    }
}

/// Figures of one predictor. Accuracy and F1 are taken at a probability of one half.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BinaryMetrics {
    /// Records.
    pub n: usize,
    /// Share of positive records, what guessing gives as AUPRC.
    pub positive_rate: f64,
    /// Area under the precision-recall curve, as average precision.
    pub auprc: f64,
    /// Area under the receiver operating characteristic; ties count half.
    pub auroc: f64,
    /// Share that is on the right side of one half.
    pub accuracy: f64,
    /// Harmonic mean of precision and recall.
    pub f1: f64,
    /// Expected calibration error over ten bins of equal width.
    pub ece: f64,
    /// 95% intervals of these, by the same names.
    pub intervals: BTreeMap<&'static str, Interval>,
}

/// Measures probabilities (0 to 1) against what is true; there is a record of each class.
#[must_use]
pub fn binary(probabilities: &[f64], labels: &[bool], resampling: Resampling<'_>) -> BinaryMetrics {
    let sorted = Sorted::new(probabilities, labels);
    let found = sorted.figures(None);
    let mut random = Random::seeded();
    let mut rounds: [Vec<f64>; 5] = Default::default();
    for _ in 0..super::bootstrap::N_ROUNDS {
        let drawn = sorted.figures(Some(&resampling.draw(&mut random)));
        // A round without a record of one class has no curve.
        if drawn.iter().all(|value| value.is_finite()) {
            rounds.iter_mut().zip(drawn).for_each(|(all, value)| all.push(value));
        }
    }
    let names = ["auprc", "auroc", "accuracy", "f1", "ece"];
    let intervals = names.into_iter().zip(found).zip(rounds);
    let intervals = intervals.map(|((name, mean), rounds)| {
        let (low, high) = percentiles(rounds).unwrap_or((mean, mean));
        (name, Interval { mean, low, high })
    });
    let [auprc, auroc, accuracy, f1, ece] = found;
    let n_positive = labels.iter().filter(|label| **label).count();
    BinaryMetrics {
        n: labels.len(),
        positive_rate: n_positive as f64 / labels.len() as f64,
        auprc,
        auroc,
        accuracy,
        f1,
        ece,
        intervals: intervals.collect(),
    }
}

/// Area under the precision-recall curve, as average precision; records of equal score count together.
#[must_use]
pub fn auprc(scores: &[f64], labels: &[bool]) -> f64 {
    Sorted::new(scores, labels).figures(None)[0]
}

/// Area under the receiver operating characteristic; ties count half.
#[must_use]
pub fn auroc(scores: &[f64], labels: &[bool]) -> f64 {
    Sorted::new(scores, labels).figures(None)[1]
}

/// Records from the highest score down.
struct Sorted {
    /// Place in the caller's order, score, label.
    records: Vec<(usize, f64, bool)>,
}

impl Sorted {
    fn new(scores: &[f64], labels: &[bool]) -> Self {
        let mut records: Vec<_> =
            scores.iter().zip(labels).enumerate().map(|(at, (score, label))| (at, *score, *label)).collect();
        records.sort_by(|a, b| b.1.total_cmp(&a.1));
        Self { records }
    }

    /// AUPRC, AUROC, accuracy, F1 and calibration error, each record with its weight (1 without any).
    fn figures(&self, weights: Option<&[f64]>) -> [f64; 5] {
        let weight = |at: usize| weights.map_or(1.0, |weights| weights[at]);
        // Positives and negatives so far, the two areas, and what lies at or above one half.
        let (mut positives, mut negatives) = (0.0, 0.0);
        let (mut precision_area, mut area) = (0.0, 0.0);
        let (mut true_positives, mut false_positives) = (0.0, 0.0);
        let mut bins = [(0.0, 0.0, 0.0); N_BINS];
        for tied in self.records.chunk_by(|a, b| a.1 == b.1) {
            let (mut up, mut down) = (0.0, 0.0);
            for &(at, probability, label) in tied {
                let weight = weight(at);
                if label {
                    up += weight;
                } else {
                    down += weight;
                }
                let bin = ((probability * N_BINS as f64).max(0.0) as usize).min(N_BINS - 1);
                bins[bin].0 += weight;
                bins[bin].1 += weight * probability;
                bins[bin].2 += if label { weight } else { 0.0 };
            }
            area += down * (positives + up / 2.0);
            positives += up;
            negatives += down;
            if up > 0.0 {
                precision_area += up * positives / (positives + negatives);
            }
            if tied[0].1 >= 0.5 {
                (true_positives, false_positives) = (positives, negatives);
            }
        }
        let total = positives + negatives;
        let error: f64 = bins.iter().map(|(_, confidence, right)| (confidence - right).abs()).sum();
        [
            precision_area / positives,
            area / (positives * negatives),
            (true_positives + negatives - false_positives) / total,
            2.0 * true_positives / (positives + true_positives + false_positives),
            error / total,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: [bool; 6] = [true, false, true, true, false, false];

    #[test]
    fn areas_are_those_of_the_definition() {
        let scores = [0.9, 0.8, 0.7, 0.6, 0.3, 0.1];
        // Positives come first, third and fourth.
        assert!((auprc(&scores, &LABELS) - (1.0 + 2.0 / 3.0 + 3.0 / 4.0) / 3.0).abs() < 1e-12);
        assert!((auroc(&scores, &LABELS) - 7.0 / 9.0).abs() < 1e-12);
        // All tied: guessing.
        assert!((auprc(&[0.5; 6], &LABELS) - 0.5).abs() < 1e-12);
        assert!((auroc(&[0.5; 6], &LABELS) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn thresholds_and_calibration() {
        let groups: Vec<usize> = (0..6).collect();
        let found = binary(&[0.9, 0.8, 0.7, 0.4, 0.3, 0.1], &LABELS, Resampling::Groups(&groups));
        assert!((found.accuracy - 4.0 / 6.0).abs() < 1e-12);
        assert!((found.f1 - 2.0 / 3.0).abs() < 1e-12);
        let error = (0.1 + 0.8 + 0.3 + 0.6 + 0.3 + 0.1) / 6.0;
        assert!((found.ece - error).abs() < 1e-12, "{}", found.ece);
        let interval = found.intervals["auroc"];
        assert!(interval.low <= found.auroc && found.auroc <= interval.high);
    }

    #[test]
    fn pairs_of_one_protein_widen_the_interval() {
        let n = 400;
        let scores: Vec<f64> = (0..n).map(|i| f64::from(i % 97) / 97.0).collect();
        let labels: Vec<bool> = (0..n).map(|i| (i * 7) % 13 < 6).collect();
        let alone: Vec<(usize, usize)> = (0..n as usize).map(|i| (2 * i, 2 * i + 1)).collect();
        let shared: Vec<(usize, usize)> = (0..n as usize).map(|i| (i / 40, 10 + i % 40)).collect();
        let width = |pairs: &[(usize, usize)]| {
            let found = binary(&scores, &labels, Resampling::Members(pairs)).intervals["auroc"];
            found.high - found.low
        };
        assert!(width(&alone) > 0.0 && width(&shared) > 0.0);
        assert_eq!(width(&shared), width(&shared), "the same records give the same interval");
    }
}
