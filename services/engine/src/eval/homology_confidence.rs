//! What a cosine says about relatedness: fitted on one part of labelled domains, held against another.
//!
//! Probabilities come from the first hits of each query, whose share of relatives is made to rise with the cosine (isotonic
//! regression). The share of unrelated pairs above a cosine, which gives expected false hits, counts pairs of different
//! topologies only, as the benchmark does.

use ndarray::ArrayView2;
use protext_core::HomologyCalibration;
use serde::Serialize;

use super::homology::HomologyQueries;
use super::reliability::{Reliability, reliability};

/// First hits of a query that count: what a search returns unless asked for more.
const N_FIRST: usize = 10;
/// Hits whose share of relatives makes one point, before points are made to rise.
const HITS_PER_POINT: usize = 100;
/// Steps of the histogram of cosines from -1 to 1.
const N_STEPS: usize = 20_000;
/// Rarest share of unrelated pairs that is read off, in pairs: fewer would say little.
const FEWEST_PAIRS: u64 = 30;
/// Shares are read off at so many points a decade.
const POINTS_A_DECADE: usize = 4;
/// Numbers of expected false hits that are held against what is found.
const EXPECTED: [f64; 4] = [0.01, 0.1, 1.0, 10.0];

/// How well probabilities and expected false hits hold on a part that nothing was fitted on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HomologyConfidence {
    /// Of the probabilities of each query's first ten hits.
    pub probability: Reliability,
    /// Expected false hits a query, and those found.
    pub false_hits: Vec<FalseHits>,
}

/// False hits at one threshold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FalseHits {
    /// A query is expected to have so many at the threshold or above.
    pub expected: f64,
    /// Mean over queries.
    pub found: f64,
}

/// What a part's queries found among the candidates.
struct Counts {
    /// Cosine of each query's first hits, and whether it is of the superfamily.
    first: Vec<(f32, bool)>,
    /// Pairs of different topologies by cosine, `[N_STEPS]`.
    unrelated: Vec<u64>,
}

/// Fits on the queries, with unit rows `vectors` `[domains, dim]`; only domains for which `is_candidate` holds are hits.
#[must_use]
pub fn fit_homology(
    queries: &HomologyQueries,
    vectors: &ArrayView2<'_, f32>,
    is_candidate: &[bool],
) -> HomologyCalibration {
    let Counts { mut first, unrelated } = count(queries, vectors, is_candidate);
    first.sort_by(|one, other| one.0.total_cmp(&other.0));
    let points = first.chunks(HITS_PER_POINT).map(|hits| {
        let n = hits.len() as f64;
        let right = hits.iter().filter(|(_, is_right)| *is_right).count() as f64;
        let cosine = hits.iter().map(|(cosine, _)| f64::from(*cosine)).sum::<f64>() / n;
        // Half a hit of each kind beside them: no share is 0 or 1 for want of hits.
        Point { cosine, share: (right + 0.5) / (n + 1.0), weight: n }
    });
    HomologyCalibration {
        probability: rising(points)
            .into_iter()
            .map(|point| [point.cosine, point.share].map(rounded))
            .collect(),
        log10_unrelated: tail(&unrelated),
        n_first: N_FIRST,
        n_hits: first.len(),
        n_unrelated: unrelated.iter().sum(),
    }
}

/// Holds a calibration against the queries, all domains being candidates.
#[must_use]
pub fn check_homology(
    queries: &HomologyQueries,
    vectors: &ArrayView2<'_, f32>,
    calibration: &HomologyCalibration,
) -> HomologyConfidence {
    let n_domains = vectors.nrows();
    let Counts { first, unrelated } = count(queries, vectors, &vec![true; n_domains]);
    let answers: Vec<(f64, bool)> =
        first.iter().map(|&(cosine, is_right)| (calibration.probability(cosine), is_right)).collect();
    let false_hits = EXPECTED.map(|expected| {
        let is_above = |&step: &usize| {
            calibration.expected_false_hits(cosine_of(step) as f32, n_domains - 1) <= expected
        };
        let found: u64 = (0..N_STEPS).filter(is_above).map(|step| unrelated[step]).sum();
        FalseHits { expected, found: found as f64 / queries.rows.len() as f64 }
    });
    HomologyConfidence { probability: reliability(&answers), false_hits: false_hits.to_vec() }
}

fn count(queries: &HomologyQueries, vectors: &ArrayView2<'_, f32>, is_candidate: &[bool]) -> Counts {
    let blocks = queries.by_block(vectors, |block| {
        let mut counts = Counts { first: Vec::new(), unrelated: vec![0; N_STEPS] };
        for (query, cosines) in block {
            let is_hit = |&row: &usize| row != query && is_candidate[row];
            let mut hits: Vec<(f32, usize)> =
                (0..cosines.len()).filter(is_hit).map(|row| (cosines[row], row)).collect();
            let unrelated = hits.iter().filter(|(_, row)| !queries.is_of_topology(query, *row));
            unrelated.for_each(|(cosine, _)| counts.unrelated[step_of(*cosine)] += 1);
            let n_first = N_FIRST.min(hits.len());
            if n_first < hits.len() {
                hits.select_nth_unstable_by(n_first, |one, other| other.0.total_cmp(&one.0));
            }
            let first = hits[..n_first].iter();
            counts.first.extend(first.map(|&(cosine, row)| (cosine, queries.is_of_superfamily(query, row))));
        }
        counts
    });
    let mut all = Counts { first: Vec::new(), unrelated: vec![0; N_STEPS] };
    for block in blocks {
        all.first.extend(block.first);
        all.unrelated.iter_mut().zip(block.unrelated).for_each(|(sum, n)| *sum += n);
    }
    all
}

fn step_of(cosine: f32) -> usize {
    (((f64::from(cosine) + 1.0) / 2.0 * N_STEPS as f64) as usize).min(N_STEPS - 1)
}

/// Least cosine of a step.
fn cosine_of(step: usize) -> f64 {
    step as f64 / N_STEPS as f64 * 2.0 - 1.0
}

/// To four decimals, as the card keeps it.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[derive(Debug, Clone, Copy)]
struct Point {
    cosine: f64,
    share: f64,
    weight: f64,
}

/// Pools neighbouring points until shares rise. Source: pool adjacent violators, Ayer et al. 1955.
fn rising(points: impl Iterator<Item = Point>) -> Vec<Point> {
    let mut pooled: Vec<Point> = Vec::new();
    for mut point in points {
        while let Some(last) = pooled.pop_if(|last| last.share >= point.share) {
            let weight = last.weight + point.weight;
            let mean = |a: f64, b: f64| (a * last.weight + b * point.weight) / weight;
            point = Point {
                cosine: mean(last.cosine, point.cosine),
                share: mean(last.share, point.share),
                weight,
            };
        }
        pooled.push(point);
    }
    pooled
}

/// Cosines above which a share of all pairs lies, and the decimal logarithm of that share.
fn tail(unrelated: &[u64]) -> Vec<[f64; 2]> {
    let total: u64 = unrelated.iter().sum();
    let mut points: Vec<[f64; 2]> = Vec::new();
    let (mut above, mut step, mut at) = (total, 0, 0);
    loop {
        let share = 10_f64.powf(-(at as f64) / POINTS_A_DECADE as f64);
        let wanted = (share * total as f64) as u64;
        if wanted < FEWEST_PAIRS {
            return points;
        }
        while step + 1 < unrelated.len() && above - unrelated[step] >= wanted {
            above -= unrelated[step];
            step += 1;
        }
        let cosine = cosine_of(step);
        if points.last().is_none_or(|last| last[0] < cosine) {
            points.push([cosine, (above as f64 / total as f64).log10()].map(rounded));
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_rise_and_pools_keep_their_mean() {
        let shares = [0.1, 0.4, 0.2, 0.3, 0.9];
        let points =
            shares.iter().enumerate().map(|(i, &share)| Point { cosine: i as f64, share, weight: 1.0 });
        let found = rising(points);
        let found: Vec<(f64, f64)> = found.iter().map(|point| (point.cosine, point.share)).collect();
        assert_eq!(found.len(), 3);
        assert_eq!((found[0], found[2]), ((0.0, 0.1), (4.0, 0.9)));
        assert!((found[1].0 - 2.0).abs() < 1e-12 && (found[1].1 - 0.3).abs() < 1e-12);
    }

    #[test]
    fn a_tail_says_how_many_lie_above() {
        // A thousand pairs at each step of the lower half.
        let mut unrelated = vec![0; N_STEPS];
        unrelated[..N_STEPS / 2].fill(1_000);
        let points = tail(&unrelated);
        assert_eq!(points[0], [-1.0, 0.0]);
        for [cosine, logarithm] in &points {
            assert!((10_f64.powf(*logarithm) + cosine).abs() < 1e-3, "{cosine} {logarithm}");
        }
        assert!(points.last().is_some_and(|last| last[1] < -3.9));
        assert_eq!(tail(&vec![0; N_STEPS]), Vec::<[f64; 2]>::new());
    }
}
