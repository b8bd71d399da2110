//! Do confidences mean what they say? Reliability by bins, and the expected calibration error.

use serde::Serialize;

/// Bins of equal width over 0 to 1, as is usual.
const N_BINS: usize = 10;

/// Confidences held against what turned out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reliability {
    /// Answers.
    pub n: usize,
    /// Expected calibration error: over all answers, the mean distance between the confidence of an answer's bin and the
    /// share of that bin that was right. Source: Guo et al. 2017, "On calibration of modern neural networks".
    pub ece: f64,
    /// Bins that hold an answer, from the least confident on.
    pub bins: Vec<ReliabilityBin>,
}

/// Answers of about one confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ReliabilityBin {
    /// Answers.
    pub n: usize,
    /// Their mean confidence.
    pub confidence: f64,
    /// Share of them that was right.
    pub share_right: f64,
}

/// Of answers with their confidence (0 to 1) and whether they were right; there is at least one.
#[must_use]
pub fn reliability(answers: &[(f64, bool)]) -> Reliability {
    let mut sums = [(0_usize, 0.0, 0_usize); N_BINS];
    for &(confidence, is_right) in answers {
        let bin = &mut sums[((confidence * N_BINS as f64) as usize).min(N_BINS - 1)];
        bin.0 += 1;
        bin.1 += confidence;
        bin.2 += usize::from(is_right);
    }
    let filled = sums.into_iter().filter(|(n, ..)| *n > 0);
    let bins: Vec<ReliabilityBin> = filled
        .map(|(n, confidence, right)| ReliabilityBin {
            n,
            confidence: confidence / n as f64,
            share_right: right as f64 / n as f64,
        })
        .collect();
    let distance = |bin: &ReliabilityBin| bin.n as f64 * (bin.confidence - bin.share_right).abs();
    let ece = bins.iter().map(distance).sum::<f64>() / answers.len() as f64;
    Reliability { n: answers.len(), ece, bins }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_the_mean_distance_of_the_bins() {
        // Two answers at 0.9 of which one is right, and two at 0.25 of which none is.
        let found = reliability(&[(0.9, true), (0.9, false), (0.2, false), (0.28, false)]);
        assert_eq!(found.bins.len(), 2);
        assert!((found.bins[0].confidence - 0.24).abs() < 1e-12 && found.bins[0].share_right == 0.0);
        assert!((found.ece - (0.5 * 0.4 + 0.5 * 0.24)).abs() < 1e-12);
        assert_eq!(reliability(&[(1.0, true)]).ece, 0.0);
    }
}
