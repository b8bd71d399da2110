//! Remote homology: does a domain find its superfamily?
//!
//! A query is a domain of the split with a partner in its superfamily anywhere in the file; it searches all other
//! domains of the file. `top1` and `hit_at_10`: the first, or one of the first ten, is of the superfamily.
//! `sens_1fp`: share of the superfamily found before the first domain of another topology; domains of the same
//! topology but another superfamily count neither way. `map`: mean over queries of the average precision.

use std::collections::HashMap;

use ndarray::{ArrayView1, ArrayView2, Axis};
use rayon::prelude::*;
use serde::Serialize;

use super::bootstrap::{Interval, interval};
use super::cath::CathDomain;
use super::error::EvalError;

/// Queries in one matrix product.
const BLOCK: usize = 128;

/// Labels as numbers, and which domains ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomologyQueries {
    superfamily: Vec<usize>,
    topology: Vec<usize>,
    size: Vec<usize>,
    /// Rows that ask, in file order.
    pub rows: Vec<usize>,
}

/// What one query found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QueryOutcome {
    /// The first is of the superfamily: 1 or 0.
    pub top1: f64,
    /// One of the first ten is: 1 or 0.
    pub hit_at_10: f64,
    /// Share found before the first of another topology.
    pub sens_1fp: f64,
    /// Average precision.
    pub average_precision: f64,
}

/// Means over queries, with 95% intervals.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HomologyMetrics {
    /// Queries.
    pub n_queries: usize,
    /// Share whose first hit is of the superfamily.
    pub top1: f64,
    /// Share with one of the superfamily among the first ten.
    pub hit_at_10: f64,
    /// Mean sensitivity to the first false positive.
    pub sens_1fp: f64,
    /// Mean average precision.
    pub map: f64,
    /// Intervals of the four, by the same names.
    pub intervals: HashMap<&'static str, Interval>,
}

impl HomologyQueries {
    /// Numbers the labels and finds the queries; `selected[i]` says whether domain `i` is in the split.
    ///
    /// # Errors
    /// [`EvalError::NoQueries`].
    pub fn new(domains: &[CathDomain], selected: &[bool]) -> Result<Self, EvalError> {
        let superfamily = numbered(domains.iter().map(|domain| domain.superfamily.as_str()));
        let topology = numbered(domains.iter().map(|domain| domain.topology.as_str()));
        let mut size = vec![0; superfamily.iter().max().map_or(0, |last| last + 1)];
        superfamily.iter().for_each(|&family| size[family] += 1);
        let asks = |&row: &usize| selected[row] && size[superfamily[row]] > 1;
        let rows: Vec<usize> = (0..domains.len()).filter(asks).collect();
        if rows.is_empty() {
            return Err(EvalError::NoQueries);
        }
        Ok(Self { superfamily, topology, size, rows })
    }

    /// Whether two rows are of one superfamily.
    pub(super) fn is_of_superfamily(&self, row: usize, other: usize) -> bool {
        self.superfamily[row] == self.superfamily[other]
    }

    /// Whether two rows are of one topology, which superfamilies are parts of.
    pub(super) fn is_of_topology(&self, row: usize, other: usize) -> bool {
        self.topology[row] == self.topology[other]
    }

    /// Hands each block of queries with their cosines to all rows to `each`, on all cores; results come in the order of
    /// [`HomologyQueries::rows`]. `vectors` is `[domains, dim]` with unit rows.
    pub(super) fn by_block<T: Send>(
        &self,
        vectors: &ArrayView2<'_, f32>,
        each: impl Fn(&mut dyn Iterator<Item = (usize, ArrayView1<'_, f32>)>) -> T + Sync,
    ) -> Vec<T> {
        let block = |rows: &[usize]| {
            let cosines = vectors.select(Axis(0), rows).dot(&vectors.t());
            each(&mut rows.iter().copied().zip(cosines.rows()))
        };
        self.rows.par_chunks(BLOCK).map(block).collect()
    }

    /// Scores one ranked list of other rows, best first. Rows that are not listed were not found.
    #[must_use]
    pub fn score(&self, query: usize, ranked: impl Iterator<Item = usize>) -> QueryOutcome {
        let n_partners = (self.size[self.superfamily[query]] - 1) as f64;
        let mut outcome = QueryOutcome { top1: 0.0, hit_at_10: 0.0, sens_1fp: 0.0, average_precision: 0.0 };
        let (mut n_found, mut seen_false) = (0.0, false);
        for (position, row) in ranked.enumerate() {
            if self.superfamily[row] == self.superfamily[query] {
                n_found += 1.0;
                outcome.average_precision += n_found / (position + 1) as f64 / n_partners;
                outcome.top1 = if position == 0 { 1.0 } else { outcome.top1 };
                outcome.hit_at_10 = if position < 10 { 1.0 } else { outcome.hit_at_10 };
                outcome.sens_1fp += if seen_false { 0.0 } else { 1.0 / n_partners };
            } else if self.topology[row] != self.topology[query] {
                seen_false = true;
            }
        }
        outcome
    }

    /// Means and intervals of the outcomes of [`HomologyQueries::rows`].
    #[must_use]
    pub fn summarize(&self, outcomes: &[QueryOutcome]) -> HomologyMetrics {
        let groups: Vec<usize> = self.rows.iter().map(|&row| self.superfamily[row]).collect();
        let of = |field: fn(&QueryOutcome) -> f64| {
            interval(&outcomes.iter().map(field).collect::<Vec<_>>(), &groups)
        };
        let intervals = HashMap::from([
            ("top1", of(|outcome| outcome.top1)),
            ("hit_at_10", of(|outcome| outcome.hit_at_10)),
            ("sens_1fp", of(|outcome| outcome.sens_1fp)),
            ("map", of(|outcome| outcome.average_precision)),
        ]);
        HomologyMetrics {
            n_queries: outcomes.len(),
            top1: intervals["top1"].mean,
            hit_at_10: intervals["hit_at_10"].mean,
            sens_1fp: intervals["sens_1fp"].mean,
            map: intervals["map"].mean,
            intervals,
        }
    }
}

/// Scores cosines: `vectors` is `[domains, dim]` with unit rows.
#[must_use]
pub fn from_vectors(queries: &HomologyQueries, vectors: &ArrayView2<'_, f32>) -> HomologyMetrics {
    let blocks = queries.by_block(vectors, |block| {
        let score = |(query, cosines): (usize, ArrayView1<'_, f32>)| {
            let mut ranked: Vec<usize> = (0..cosines.len()).filter(|&row| row != query).collect();
            ranked.sort_by(|&a, &b| cosines[b].total_cmp(&cosines[a]).then(a.cmp(&b)));
            queries.score(query, ranked.into_iter())
        };
        block.map(score).collect::<Vec<_>>()
    });
    queries.summarize(&blocks.concat())
}

/// Scores ranked lists, one a query in the order of [`HomologyQueries::rows`].
#[must_use]
pub fn from_ranked_lists(queries: &HomologyQueries, lists: &[Vec<usize>]) -> HomologyMetrics {
    let ranked = |(&query, list): (&usize, &Vec<usize>)| queries.score(query, list.iter().copied());
    queries.summarize(&queries.rows.iter().zip(lists).map(ranked).collect::<Vec<_>>())
}

fn numbered<'a>(labels: impl Iterator<Item = &'a str>) -> Vec<usize> {
    let mut numbers = HashMap::new();
    labels
        .map(|label| {
            let next = numbers.len();
            *numbers.entry(label).or_insert(next)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    fn domains(labels: &[&str]) -> Vec<CathDomain> {
        let domain = |(index, label): (usize, &&str)| CathDomain {
            id: format!("d{index}"),
            superfamily: (*label).to_owned(),
            topology: label.rsplit_once('.').unwrap().0.to_owned(),
            split: None,
            sequence: String::new(),
        };
        labels.iter().enumerate().map(domain).collect()
    }

    fn queries(labels: &[&str], selected: &[bool]) -> HomologyQueries {
        HomologyQueries::new(&domains(labels), selected).unwrap()
    }

    #[test]
    fn a_list_is_scored_as_worked_out_by_hand() {
        // Query 0; its superfamily is 1, 2, 3. 4 has the same topology, 5 another.
        let q = queries(&["1.1.1.1", "1.1.1.1", "1.1.1.1", "1.1.1.1", "1.1.1.2", "2.1.1.1"], &[true; 6]);
        let outcome = q.score(0, [1, 4, 2, 5, 3].into_iter());
        assert_eq!((outcome.top1, outcome.hit_at_10), (1.0, 1.0));
        assert!((outcome.sens_1fp - 2.0 / 3.0).abs() < 1e-12);
        assert!((outcome.average_precision - (1.0 + 2.0 / 3.0 + 3.0 / 5.0) / 3.0).abs() < 1e-12);
        let outcome = q.score(0, [5, 1].into_iter());
        assert_eq!((outcome.top1, outcome.hit_at_10, outcome.sens_1fp), (0.0, 1.0, 0.0));
        assert!((outcome.average_precision - 0.5 / 3.0).abs() < 1e-12);
        assert_eq!(q.score(0, std::iter::empty()).average_precision, 0.0);
    }

    #[test]
    fn only_domains_of_the_split_with_a_partner_anywhere_ask() {
        let q = queries(&["1.1.1.1", "1.1.1.1", "1.1.1.2", "2.1.1.1"], &[true, false, true, true]);
        assert_eq!(q.rows, [0]);
        let alone = HomologyQueries::new(&domains(&["1.1.1.1", "2.1.1.1"]), &[true, true]);
        assert!(matches!(alone, Err(EvalError::NoQueries)));
    }

    #[test]
    fn cosines_rank_and_ties_go_by_row() {
        let q = queries(&["1.1.1.1", "2.1.1.1", "1.1.1.1"], &[true; 3]);
        let near = array![[1.0_f32, 0.0], [0.0, 1.0], [0.8, 0.6]];
        let metrics = from_vectors(&q, &near.view());
        assert_eq!((metrics.n_queries, metrics.top1, metrics.map), (2, 1.0, 1.0));
        let tied = array![[1.0_f32, 0.0], [0.6, 0.8], [0.6, 0.8]];
        // Query 0 ties rows 1 and 2, query 2 is nearest to row 1: both miss.
        assert_eq!(from_vectors(&q, &tied.view()).top1, 0.0);
    }

    #[test]
    fn lists_and_vectors_agree() {
        let q = queries(&["1.1.1.1", "2.1.1.1", "1.1.1.1", "2.1.1.1"], &[true; 4]);
        let vectors = array![[1.0_f32, 0.0], [0.0, 1.0], [0.96, 0.28], [0.6, 0.8]];
        let lists = [vec![2, 3, 1], vec![3, 2, 0], vec![0, 3, 1], vec![1, 2, 0]];
        assert_eq!(from_vectors(&q, &vectors.view()), from_ranked_lists(&q, &lists));
    }
}
