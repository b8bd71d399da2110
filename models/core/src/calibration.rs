//! From a head's score to a probability that means what it says.

use serde::{Deserialize, Serialize};

use crate::homology::interpolate;

/// How scores (logits) become probabilities; fitted on validation data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ProbabilityCalibration {
    /// Scores are multiplied before the logistic function, or the softmax. Source: Guo et al. 2017, "On calibration of
    /// modern neural networks".
    Temperature {
        /// By maximum likelihood.
        inverse_temperature: f64,
    },
    /// Rising points: a score, and the share of records at that score that were positive; straight lines between them.
    /// Source: Zadrozny and Elkan 2002, "Transforming classifier scores into accurate multiclass probability estimates".
    Isotonic {
        /// At least one.
        points: Vec<[f64; 2]>,
    },
}

impl ProbabilityCalibration {
    /// Probability of one score against its complement, 0 to 1.
    #[must_use]
    pub fn probability(&self, score: f32) -> f64 {
        match self {
            Self::Temperature { inverse_temperature } => {
                1.0 / (1.0 + (-inverse_temperature * f64::from(score)).exp())
            }
            Self::Isotonic { points } => {
                interpolate(points, f64::from(score), false).unwrap_or(0.5).clamp(0.0, 1.0)
            }
        }
    }

    /// Probabilities of classes that exclude one another, in the order of their scores; they sum to 1. Of an isotonic
    /// calibration each class is taken against its complement, then all are scaled.
    #[must_use]
    pub fn probabilities(&self, scores: &[f32]) -> Vec<f64> {
        let greatest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let odds = |score: &f32| match self {
            Self::Temperature { inverse_temperature } => {
                (inverse_temperature * f64::from(score - greatest)).exp()
            }
            Self::Isotonic { .. } => self.probability(*score).max(1e-9),
        };
        let total: f64 = scores.iter().map(odds).sum();
        scores.iter().map(|score| odds(score) / total).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperatures_scale_scores_and_points_replace_them() {
        let cooled = ProbabilityCalibration::Temperature { inverse_temperature: 2.0 };
        assert!((cooled.probability(0.5) - 1.0 / (1.0 + (-1.0_f64).exp())).abs() < 1e-12);
        assert_eq!(cooled.probability(0.0), 0.5);
        let stepped = ProbabilityCalibration::Isotonic { points: vec![[-1.0, 0.1], [1.0, 0.9]] };
        for (score, expected) in [(-5.0, 0.1), (0.0, 0.5), (5.0, 0.9)] {
            assert!((stepped.probability(score) - expected).abs() < 1e-12, "{score}");
        }
    }

    #[test]
    fn probabilities_of_classes_sum_to_one() {
        for calibration in [
            ProbabilityCalibration::Temperature { inverse_temperature: 0.7 },
            ProbabilityCalibration::Isotonic { points: vec![[-1.0, 0.1], [1.0, 0.9]] },
        ] {
            let found = calibration.probabilities(&[800.0, 0.5, -3.0]);
            assert!((found.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            assert!(found[0] > found[1] && found[1] >= found[2], "{found:?}");
        }
    }
}
