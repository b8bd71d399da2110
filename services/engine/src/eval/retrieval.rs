//! Retrieval both ways: does a protein find its text, and a text its protein?
//!
//! Candidates are the pairs given. Ranks come from `protext_train::contrastive::ranks`, where a tie counts against us;
//! intervals resample groups of relatives.

use std::collections::HashMap;

use serde::Serialize;

use super::bootstrap::{Interval, interval};

/// Figures of one direction.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RetrievalMetrics {
    /// Queries; also the number of candidates.
    pub n: usize,
    /// Share whose partner comes first.
    pub recall_at_1: f64,
    /// Share whose partner is among the first 10.
    pub recall_at_10: f64,
    /// Share whose partner is among the first 50.
    pub recall_at_50: f64,
    /// Mean of `1 / rank`.
    pub mrr: f64,
    /// Median rank, 1 for the best.
    pub median_rank: f64,
    /// 95% intervals of the first four, by the same names.
    pub intervals: HashMap<&'static str, Interval>,
}

/// Both directions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Retrieval {
    /// A protein asks for texts.
    pub protein_to_text: RetrievalMetrics,
    /// A text asks for proteins.
    pub text_to_protein: RetrievalMetrics,
}

/// Measures ranks (0 for the best) of the right partner, by protein and by text; `groups[i]` is the group of pair `i`.
/// There is at least one pair.
#[must_use]
pub fn retrieval(by_protein: &[usize], by_text: &[usize], groups: &[&str]) -> Retrieval {
    let mut numbers = HashMap::new();
    let numbered = groups.iter().map(|&group| {
        let next = numbers.len();
        *numbers.entry(group).or_insert(next)
    });
    let groups: Vec<usize> = numbered.collect();
    Retrieval {
        protein_to_text: summarize(by_protein, &groups),
        text_to_protein: summarize(by_text, &groups),
    }
}

fn summarize(ranks: &[usize], groups: &[usize]) -> RetrievalMetrics {
    let of = |value: &dyn Fn(usize) -> f64| {
        interval(&ranks.iter().map(|&rank| value(rank)).collect::<Vec<_>>(), groups)
    };
    let within = |k: usize| of(&move |rank| f64::from(u8::from(rank < k)));
    let intervals = HashMap::from([
        ("recall_at_1", within(1)),
        ("recall_at_10", within(10)),
        ("recall_at_50", within(50)),
        ("mrr", of(&|rank| 1.0 / (rank + 1) as f64)),
    ]);
    let mut sorted = ranks.to_vec();
    sorted.sort_unstable();
    let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
    RetrievalMetrics {
        n: ranks.len(),
        recall_at_1: intervals["recall_at_1"].mean,
        recall_at_10: intervals["recall_at_10"].mean,
        recall_at_50: intervals["recall_at_50"].mean,
        mrr: intervals["mrr"].mean,
        median_rank: (low + high) as f64 / 2.0 + 1.0,
        intervals,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_follow_from_ranks() {
        let found = retrieval(&[1, 2, 0], &[0, 60, 9], &["a", "b", "a"]);
        assert!((found.protein_to_text.recall_at_1 - 1.0 / 3.0).abs() < 1e-12);
        assert!((found.protein_to_text.mrr - (0.5 + 1.0 / 3.0 + 1.0) / 3.0).abs() < 1e-12);
        assert!((found.text_to_protein.recall_at_10 - 2.0 / 3.0).abs() < 1e-12);
        assert!((found.text_to_protein.recall_at_50 - 2.0 / 3.0).abs() < 1e-12);
        assert!((found.text_to_protein.median_rank - 10.0).abs() < 1e-12);
        let interval = found.text_to_protein.intervals["mrr"];
        assert!(interval.low <= interval.mean && interval.mean <= interval.high);
    }
}
