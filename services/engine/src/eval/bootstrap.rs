//! Percentile bootstrap over groups of queries.
//!
//! Queries of one superfamily are not independent, so whole superfamilies are resampled. 1,000 rounds with a fixed
//! seed: the same values give the same interval.

use protext_core::SplitMix64;
use serde::Serialize;

pub(super) const N_ROUNDS: usize = 1_000;
const SEED: u64 = 20_261_121;

/// A mean and its 95% interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// Mean over queries.
    pub mean: f64,
    /// 2.5th percentile of the resampled means.
    pub low: f64,
    /// 97.5th percentile.
    pub high: f64,
}

/// `mean [low, high]`, to three decimals.
impl std::fmt::Display for Interval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3} [{:.3}, {:.3}]", self.mean, self.low, self.high)
    }
}

/// Mean of `values` with its interval; `groups[i]` is the group of query `i`. Values are not empty.
pub(in crate::eval) fn interval(values: &[f64], groups: &[usize]) -> Interval {
    let n_groups = groups.iter().max().map_or(0, |last| last + 1);
    let (mut sums, mut counts) = (vec![0.0; n_groups], vec![0_u32; n_groups]);
    for (&value, &group) in values.iter().zip(groups) {
        sums[group] += value;
        counts[group] += 1;
    }
    let present: Vec<usize> = (0..n_groups).filter(|&group| counts[group] > 0).collect();
    let mut random = Random::seeded();
    let mut means: Vec<f64> = (0..N_ROUNDS)
        .map(|_| {
            let (mut sum, mut count) = (0.0, 0);
            for _ in &present {
                let group = present[random.below(present.len())];
                sum += sums[group];
                count += counts[group];
            }
            sum / f64::from(count)
        })
        .collect();
    means.sort_by(f64::total_cmp);
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    Interval { mean, low: means[N_ROUNDS / 40], high: means[N_ROUNDS - 1 - N_ROUNDS / 40] }
}

/// Interval of a statistic of records, such as a correlation: `statistic` is given the places of the records of one round,
/// some several times, and answers NaN where it has no value. `groups[i]` is the group of record `i`, drawn as a whole.
#[must_use]
pub fn resampled(groups: &[usize], statistic: impl Fn(&[usize]) -> f64) -> Interval {
    let n_groups = groups.iter().max().map_or(0, |last| last + 1);
    let mut members = vec![Vec::new(); n_groups];
    groups.iter().enumerate().for_each(|(at, &group)| members[group].push(at));
    members.retain(|members| !members.is_empty());
    let mut random = Random::seeded();
    let mut rounds = Vec::with_capacity(N_ROUNDS);
    for _ in 0..N_ROUNDS {
        let drawn = (0..members.len()).flat_map(|_| members[random.below(members.len())].iter().copied());
        rounds.push(statistic(&drawn.collect::<Vec<_>>()));
    }
    rounds.retain(|value| value.is_finite());
    let mean = statistic(&(0..groups.len()).collect::<Vec<_>>());
    let (low, high) = percentiles(rounds).unwrap_or((mean, mean));
    Interval { mean, low, high }
}

/// 2.5th and 97.5th percentile; `None` of nothing.
pub(super) fn percentiles(mut values: Vec<f64>) -> Option<(f64, f64)> {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    Some((*values.get(n / 40)?, *values.get(n - 1 - n / 40)?))
}

/// What intervals are drawn by.
pub(super) struct Random(SplitMix64);

impl Random {
    /// From the seed of all intervals.
    pub(super) fn seeded() -> Self {
        Self(SplitMix64::from_state(SEED))
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.0.draw()) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_holds_its_mean_and_is_reproducible() {
        let values: Vec<f64> = (0..200).map(|i| f64::from(i % 2)).collect();
        let groups: Vec<usize> = (0..200).map(|i| i / 4).collect();
        let first = interval(&values, &groups);
        assert!(first.low <= first.mean && first.mean <= first.high);
        assert_eq!(first, interval(&values, &groups));
        let certain = interval(&[1.0; 10], &[0, 0, 1, 1, 2, 2, 3, 3, 4, 4]);
        assert_eq!((certain.low, certain.mean, certain.high), (1.0, 1.0, 1.0));
    }

    #[test]
    fn groups_widen_the_interval() {
        let values: Vec<f64> = (0..200).map(|i| f64::from(i / 20 % 2)).collect();
        let alone = interval(&values, &(0..200).collect::<Vec<_>>());
        let grouped = interval(&values, &(0..200).map(|i| i / 20).collect::<Vec<_>>());
        assert!(grouped.high - grouped.low > alone.high - alone.low);
    }
}
