//! Figures of predictions for perturbations, with 95% intervals and the paired difference to a baseline.
//!
//! Spearman's coefficient is resampled on the ranks of the whole set, which saves sorting in every round.

use ndarray::Array2;
use serde::Serialize;

use super::data::RankedResponses;

use crate::eval::bootstrap::{Interval, N_ROUNDS, Random, interval, percentiles};
use crate::eval::correlation::{pearson, ranks};

/// Genes of a predicted ranking that are looked through, and of the true one that are looked for.
const STRONGEST: usize = 100;

/// What was predicted for one perturbation.
#[derive(Debug, Clone, Copy)]
pub struct RankedOutcome<'a> {
    /// Predicted score of every output.
    pub predicted: &'a [f32],
    /// The training mean of every output.
    pub mean: &'a [f32],
    /// The true score of every output.
    pub measured: &'a [f32],
    /// The true ranking.
    pub ranking: &'a [usize],
}

/// Figures over perturbations.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RankedFigures {
    /// Perturbations.
    pub n: usize,
    /// Share of the 100 strongest true genes among the predicted 100.
    pub recall_at_100: f64,
    /// Pearson's coefficient over all genes.
    pub pearson: f64,
    /// The same, both sides less the training mean.
    pub pearson_delta: f64,
    /// 95% intervals of these, by perturbation.
    pub intervals: std::collections::BTreeMap<&'static str, Interval>,
    #[serde(skip)]
    each: [Vec<f64>; 3],
}

/// Measures predictions; there is at least one.
#[must_use]
pub fn ranked(outcomes: &[RankedOutcome<'_>]) -> RankedFigures {
    let each: Vec<[f64; 3]> = outcomes.iter().map(one).collect();
    let column = |at: usize| -> Vec<f64> { each.iter().map(|values| values[at]).collect() };
    let columns = [column(0), column(1), column(2)];
    let alone: Vec<usize> = (0..outcomes.len()).collect();
    let names = ["recall_at_100", "pearson", "pearson_delta"];
    let found = [0, 1, 2].map(|at| interval(&columns[at], &alone));
    RankedFigures {
        n: outcomes.len(),
        recall_at_100: found[0].mean,
        pearson: found[1].mean,
        pearson_delta: found[2].mean,
        intervals: names.into_iter().zip(found).collect(),
        each: columns,
    }
}

/// Measures predicted scores `[perturbed, outputs]` of all of `data`; `mean` holds the training mean of each row.
///
/// # Panics
/// If the matrices are of another shape than the data's.
#[must_use]
pub fn ranked_figures(data: &RankedResponses, predicted: &Array2<f32>, mean: &Array2<f32>) -> RankedFigures {
    assert!(
        predicted.dim() == data.scores.dim() && mean.dim() == data.scores.dim(),
        "one row a perturbation"
    );
    let rows = |matrix: &Array2<f32>| -> Vec<Vec<f32>> {
        matrix.rows().into_iter().map(|row| row.to_vec()).collect()
    };
    let (predicted, mean, measured) = (rows(predicted), rows(mean), rows(&data.scores));
    let outcome = |row: usize| RankedOutcome {
        predicted: &predicted[row],
        mean: &mean[row],
        measured: &measured[row],
        ranking: &data.rankings[row],
    };
    ranked(&(0..data.perturbed.len()).map(outcome).collect::<Vec<_>>())
}

fn one(outcome: &RankedOutcome<'_>) -> [f64; 3] {
    let RankedOutcome { predicted, mean, measured, ranking } = *outcome;
    let mut order: Vec<usize> = (0..predicted.len()).collect();
    let n = STRONGEST.min(order.len());
    if n < order.len() {
        order.select_nth_unstable_by(n, |&a, &b| predicted[b].total_cmp(&predicted[a]).then(a.cmp(&b)));
    }
    let chosen: std::collections::HashSet<usize> = order[..n].iter().copied().collect();
    let wanted = &ranking[..STRONGEST.min(ranking.len())];
    let found = wanted.iter().filter(|place| chosen.contains(place)).count();
    let wide = |values: &[f32]| -> Vec<f64> { values.iter().map(|&value| f64::from(value)).collect() };
    let less =
        |values: &[f32]| -> Vec<f64> { values.iter().zip(mean).map(|(v, m)| f64::from(v - m)).collect() };
    [
        found as f64 / wanted.len() as f64,
        pearson(&wide(predicted), &wide(measured)),
        pearson(&less(predicted), &less(measured)),
    ]
}

impl RankedFigures {
    /// How much better recall is than a baseline's on the same perturbations.
    #[must_use]
    pub fn recall_advantage(&self, baseline: &Self) -> Interval {
        let differences: Vec<f64> = self.each[0].iter().zip(&baseline.each[0]).map(|(a, b)| a - b).collect();
        interval(&differences, &(0..differences.len()).collect::<Vec<_>>())
    }
}

/// Figures of one screen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScreenFigures {
    /// Genes.
    pub n_genes: usize,
    /// Spearman's coefficient.
    pub spearman: f64,
    /// Share of the strongest 5%, by distance from the median, in the predicted 5%.
    pub top5_recall: f64,
    /// 95% interval of `spearman`, by gene.
    pub spearman_interval: Interval,
}

/// Measures predictions for one screen.
#[must_use]
pub fn screen(predicted: &[f64], measured: &[f64]) -> ScreenFigures {
    let weights = Draws::Records(measured.len());
    let found = Correlation::new(predicted, measured);
    ScreenFigures {
        n_genes: measured.len(),
        spearman: found.whole(),
        top5_recall: strongest_shared(predicted, measured),
        spearman_interval: found.resampled(weights),
    }
}

/// Spearman's coefficient over pairs of genes, resampled by gene: a pair counts as often as the product of how often its
/// genes were drawn. Source: Owen 2007, "The pigeonhole bootstrap".
#[must_use]
pub fn pair_spearman(predicted: &[f64], measured: &[f64], members: &[(usize, usize)]) -> Interval {
    Correlation::new(predicted, measured).resampled(Draws::Members(members))
}

/// A figure less that of a baseline, on the same records.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Advantage {
    /// The difference with its 95% interval.
    #[serde(flatten)]
    pub difference: Interval,
    /// Whether the interval lies above zero.
    pub is_clear: bool,
}

impl From<Interval> for Advantage {
    fn from(difference: Interval) -> Self {
        Self { difference, is_clear: difference.low > 0.0 }
    }
}

/// Spearman's coefficient of `ours` less that of `baseline`; by gene, or by the two genes of a pair where `members` names them.
#[must_use]
pub fn against(
    ours: &[f64],
    baseline: &[f64],
    measured: &[f64],
    members: Option<&[(usize, usize)]>,
) -> Advantage {
    let (a, b) = (Correlation::new(ours, measured), Correlation::new(baseline, measured));
    let draws = members.map_or(Draws::Records(measured.len()), Draws::Members);
    let mut random = Random::seeded();
    let rounds = (0..N_ROUNDS).map(|_| {
        let weights = draws.draw(&mut random);
        a.weighted(&weights) - b.weighted(&weights)
    });
    let rounds: Vec<f64> = rounds.filter(|value| value.is_finite()).collect();
    let mean = a.whole() - b.whole();
    let (low, high) = percentiles(rounds).unwrap_or((mean, mean));
    Interval { mean, low, high }.into()
}

/// What is drawn anew in each round.
#[derive(Clone, Copy)]
enum Draws<'a> {
    Records(usize),
    Members(&'a [(usize, usize)]),
}

impl Draws<'_> {
    /// How often each record counts.
    fn draw(self, random: &mut Random) -> Vec<f64> {
        let n = match self {
            Self::Records(n) => n,
            Self::Members(pairs) => pairs.iter().map(|(a, b)| a.max(b) + 1).max().unwrap_or(0),
        };
        let mut counts = vec![0.0; n];
        (0..n).for_each(|_| counts[random.below(n)] += 1.0);
        match self {
            Self::Records(_) => counts,
            Self::Members(pairs) => pairs.iter().map(|&(a, b)| counts[a] * counts[b]).collect(),
        }
    }
}

/// Ranks of both sides.
struct Correlation {
    predicted: Vec<f64>,
    measured: Vec<f64>,
}

impl Correlation {
    fn new(predicted: &[f64], measured: &[f64]) -> Self {
        Self { predicted: ranks(predicted), measured: ranks(measured) }
    }

    fn whole(&self) -> f64 {
        pearson(&self.predicted, &self.measured)
    }

    fn resampled(&self, draws: Draws<'_>) -> Interval {
        let mut random = Random::seeded();
        let rounds = (0..N_ROUNDS).map(|_| self.weighted(&draws.draw(&mut random)));
        let rounds: Vec<f64> = rounds.filter(|value| value.is_finite()).collect();
        let mean = self.whole();
        let (low, high) = percentiles(rounds).unwrap_or((mean, mean));
        Interval { mean, low, high }
    }

    /// Pearson's coefficient of the ranks, each record with its weight.
    fn weighted(&self, weights: &[f64]) -> f64 {
        let total: f64 = weights.iter().sum();
        let mean = |values: &[f64]| values.iter().zip(weights).map(|(v, w)| v * w).sum::<f64>() / total;
        let (mean_a, mean_b) = (mean(&self.predicted), mean(&self.measured));
        let (mut both, mut of_a, mut of_b) = (0.0, 0.0, 0.0);
        for ((a, b), weight) in self.predicted.iter().zip(&self.measured).zip(weights) {
            both += weight * (a - mean_a) * (b - mean_b);
            of_a += weight * (a - mean_a).powi(2);
            of_b += weight * (b - mean_b).powi(2);
        }
        // A constant prediction orders nothing.
        if of_a > 0.0 && of_b > 0.0 { both / (of_a * of_b).sqrt() } else { 0.0 }
    }
}

fn strongest_shared(predicted: &[f64], measured: &[f64]) -> f64 {
    let n = (measured.len() / 20).max(1);
    let strongest = |values: &[f64]| -> std::collections::HashSet<usize> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let half = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) };
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&a, &b| {
            (values[b] - median).abs().total_cmp(&(values[a] - median).abs()).then(a.cmp(&b))
        });
        order.into_iter().take(n).collect()
    };
    strongest(predicted).intersection(&strongest(measured)).count() as f64 / n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recall_and_correlations_are_those_of_the_definition() {
        let measured: Vec<f32> = (0..300).map(|place| (1.0 - place as f32 / 1000.0).max(0.0)).collect();
        let ranking: Vec<usize> = (0..300).collect();
        let mean = vec![0.5; 300];
        let half: Vec<f32> =
            (0..300).map(|place| if (50..150).contains(&place) { 1.0 } else { 0.0 }).collect();
        let outcome =
            |predicted| RankedOutcome { predicted, mean: &mean, measured: &measured, ranking: &ranking };
        let found = ranked(&[outcome(&measured), outcome(&half)]);
        assert!((found.recall_at_100 - 0.75).abs() < 1e-12, "{found:?}");
        let right = ranked(&[outcome(&measured), outcome(&measured)]);
        assert!((right.pearson - 1.0).abs() < 1e-6 && (right.pearson_delta - 1.0).abs() < 1e-6);
        assert!((right.recall_advantage(&found).mean - 0.25).abs() < 1e-12);
    }

    #[test]
    fn screens_and_pairs() {
        let measured: Vec<f64> = (0..200).map(f64::from).collect();
        let found = screen(&measured, &measured);
        assert!((found.spearman - 1.0).abs() < 1e-12 && (found.top5_recall - 1.0).abs() < 1e-12);
        let turned: Vec<f64> = measured.iter().map(|value| -value).collect();
        assert!((screen(&turned, &measured).spearman + 1.0).abs() < 1e-12);
        let gain = against(&measured, &turned, &measured, None);
        assert!(gain.is_clear && (gain.difference.mean - 2.0).abs() < 1e-9);
        let members: Vec<(usize, usize)> = (0..200).map(|at| (at % 20, at / 20)).collect();
        assert!((pair_spearman(&measured, &measured, &members).mean - 1.0).abs() < 1e-12);
    }
}
