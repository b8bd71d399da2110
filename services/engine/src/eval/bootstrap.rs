//! Percentile bootstrap over groups of queries.
//!
//! Queries of one superfamily are not independent, so whole superfamilies are resampled. 1,000 rounds with a fixed
//! seed: the same values give the same interval.

use serde::Serialize;

const N_ROUNDS: usize = 1_000;
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

/// Mean of `values` with its interval; `groups[i]` is the group of query `i`. Values are not empty.
pub(super) fn interval(values: &[f64], groups: &[usize]) -> Interval {
    let n_groups = groups.iter().max().map_or(0, |last| last + 1);
    let (mut sums, mut counts) = (vec![0.0; n_groups], vec![0_u32; n_groups]);
    for (&value, &group) in values.iter().zip(groups) {
        sums[group] += value;
        counts[group] += 1;
    }
    let present: Vec<usize> = (0..n_groups).filter(|&group| counts[group] > 0).collect();
    let mut random = SplitMix64(SEED);
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

/// SplitMix64. Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
struct SplitMix64(u64);

impl SplitMix64 {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(z ^ (z >> 31)) * n as u128) >> 64) as usize
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
