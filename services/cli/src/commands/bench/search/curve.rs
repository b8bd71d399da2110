//! Queries per second against recall, and what lies between the points measured.

use std::collections::BTreeMap;

/// Missed shares below this are taken for this, so that a recall of 1 has a logarithm.
const LEAST_MISSED: f64 = 1e-5;

/// One point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) recall: f64,
    pub(super) queries_per_s: f64,
}

/// Points by the number of candidates kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Curve {
    points: BTreeMap<usize, Point>,
}

impl Curve {
    /// Adds a measurement; of several with one number of candidates the fastest stays.
    pub(super) fn keep_best(&mut self, candidates: usize, recall: f64, queries_per_s: f64) {
        let point = self.points.entry(candidates).or_insert(Point { recall, queries_per_s });
        point.queries_per_s = point.queries_per_s.max(queries_per_s);
    }

    pub(super) fn points(&self) -> impl Iterator<Item = (usize, Point)> {
        self.points.iter().map(|(&candidates, &point)| (candidates, point))
    }

    /// The fewest candidates measured that reach `recall`.
    pub(super) fn least_candidates(&self, recall: f64) -> Option<usize> {
        self.points().find(|(_, point)| point.recall >= recall).map(|(candidates, _)| candidates)
    }

    /// Queries per second at exactly `recall`: between the two points around it the logarithm of the rate runs
    /// straight over the logarithm of the share missed. `None` outside the points measured.
    pub(super) fn queries_per_s_at(&self, recall: f64) -> Option<f64> {
        let missed = |recall: f64| (1.0 - recall).max(LEAST_MISSED).ln();
        let points: Vec<Point> = self.points.values().copied().collect();
        let around = points.windows(2).find(|pair| pair[0].recall <= recall && recall <= pair[1].recall)?;
        let [low, high] = [around[0], around[1]];
        let width = missed(high.recall) - missed(low.recall);
        let part = if width == 0.0 { 0.0 } else { (missed(recall) - missed(low.recall)) / width };
        Some((low.queries_per_s.ln() * (1.0 - part) + high.queries_per_s.ln() * part).exp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_between_points_run_straight_in_logarithms() {
        let mut curve = Curve::default();
        curve.keep_best(10, 0.9, 1_000.0);
        curve.keep_best(10, 0.9, 4_000.0);
        curve.keep_best(20, 0.999, 1_000.0);
        assert_eq!(curve.queries_per_s_at(0.9).map(f64::round), Some(4_000.0));
        assert_eq!(curve.queries_per_s_at(0.99).map(f64::round), Some(2_000.0));
        assert_eq!(curve.queries_per_s_at(0.999).map(f64::round), Some(1_000.0));
        assert_eq!(curve.queries_per_s_at(0.9999), None);
        assert_eq!(curve.queries_per_s_at(0.5), None);
        assert_eq!(curve.least_candidates(0.99), Some(20));
    }
}
