//! From the cosine of two proteins to how sure it makes us that they are relatives.

use serde::{Deserialize, Serialize};

/// What cosines of one space say about relatedness, as measured on proteins whose superfamily is known and that nothing was
/// fitted on. Kept in the card of the projection that leads to the space.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HomologyCalibration {
    /// Rising points: a cosine, and the share of hits at that cosine that were of the query's superfamily.
    pub probability: Vec<[f64; 2]>,
    /// Rising cosines, and the decimal logarithm of the share of unrelated pairs at or above each.
    pub log10_unrelated: Vec<[f64; 2]>,
    /// First hits of a query that the probabilities rest on.
    pub n_first: usize,
    /// Hits that the probabilities rest on.
    pub n_hits: usize,
    /// Unrelated pairs that the shares rest on.
    pub n_unrelated: u64,
}

impl HomologyCalibration {
    /// Probability that a hit shares the query's superfamily, 0 to 1.
    #[must_use]
    pub fn probability(&self, cosine: f32) -> f64 {
        interpolate(&self.probability, f64::from(cosine), false).unwrap_or(0.0).clamp(0.0, 1.0)
    }

    /// How many unrelated records of a collection of `n_records` are expected at this cosine or above: what an E-value is for
    /// alignments. Beyond the rarest cosine that was measured, the last slope goes on.
    #[must_use]
    pub fn expected_false_hits(&self, cosine: f32, n_records: usize) -> f64 {
        let logarithm = interpolate(&self.log10_unrelated, f64::from(cosine), true).unwrap_or(0.0);
        n_records as f64 * 10_f64.powf(logarithm.min(0.0))
    }
}

/// Straight lines between rising points; the first value before the first point, and after the last point its value, or its
/// slope if the line is to go on.
pub(crate) fn interpolate(points: &[[f64; 2]], x: f64, goes_on: bool) -> Option<f64> {
    let (first, last) = (points.first()?, points.last()?);
    if x <= first[0] {
        return Some(first[1]);
    }
    if x >= last[0] && !goes_on {
        return Some(last[1]);
    }
    let after = points.partition_point(|point| point[0] <= x).min(points.len() - 1);
    let [[x0, y0], [x1, y1]] = [points[after.checked_sub(1)?], points[after]];
    Some(y0 + (y1 - y0) * (x - x0) / (x1 - x0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calibration() -> HomologyCalibration {
        HomologyCalibration {
            probability: vec![[0.2, 0.01], [0.4, 0.5], [0.6, 0.9]],
            log10_unrelated: vec![[0.0, 0.0], [0.2, -2.0], [0.4, -6.0]],
            n_first: 10,
            n_hits: 100,
            n_unrelated: 1_000,
        }
    }

    #[test]
    fn probabilities_lie_on_lines_between_points_and_stay_at_the_ends() {
        let known = calibration();
        for (cosine, expected) in
            [(-1.0, 0.01), (0.2, 0.01), (0.3, 0.255), (0.5, 0.7), (0.6, 0.9), (1.0, 0.9)]
        {
            assert!((known.probability(cosine) - expected).abs() < 1e-6, "{cosine}");
        }
    }

    #[test]
    fn false_hits_grow_with_the_collection_and_fall_beyond_what_was_measured() {
        let known = calibration();
        for (cosine, expected) in [(-0.5, 1e6), (0.1, 1e5), (0.2, 1e4), (0.3, 1e2), (0.4, 1.0), (0.5, 0.01)] {
            let found = known.expected_false_hits(cosine, 1_000_000);
            assert!((found / expected - 1.0).abs() < 1e-4, "{cosine}: {found}");
        }
        let empty = HomologyCalibration { probability: vec![], log10_unrelated: vec![], ..known };
        assert_eq!((empty.probability(0.9), empty.expected_false_hits(0.9, 10)), (0.0, 10.0));
    }
}
