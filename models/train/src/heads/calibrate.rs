//! From scores to probabilities, fitted on validation records.

use ndarray::ArrayView2;
use protext_core::ProbabilityCalibration;

/// Greatest inverse temperature that is looked at.
const MAX_INVERSE: f64 = 100.0;
/// Halvings of the range; leaves less than a millionth of it.
const N_STEPS: usize = 40;
/// Points of an isotonic calibration at most: what a card can hold.
const MAX_POINTS: usize = 40;

/// Scores (logits) of one output, and whether the records were positive.
pub type Scored<'a> = (&'a [f32], &'a [bool]);

/// The inverse temperature under which what turned out is likeliest. Each part counts alike, however many records it has: records of a
/// part have more in common than those of two, and others will be unlike either. The log-likelihood is concave, so its slope is followed
/// to zero.
#[must_use]
pub fn fit_temperature(parts: &[Scored<'_>]) -> ProbabilityCalibration {
    let slope_of = |&(scores, labels): &Scored<'_>, inverse: f64| {
        let of = |(score, label): (&f32, &bool)| {
            let score = f64::from(*score);
            score * (f64::from(u8::from(*label)) - 1.0 / (1.0 + (-inverse * score).exp()))
        };
        scores.iter().zip(labels).map(of).sum::<f64>() / scores.len().max(1) as f64
    };
    let slope = |inverse: f64| parts.iter().map(|part| slope_of(part, inverse)).sum::<f64>();
    ProbabilityCalibration::Temperature { inverse_temperature: rise(slope) }
}

/// As [`fit_temperature`] for classes that exclude one another: scores `[n, classes]` and the class of each row.
#[must_use]
pub fn fit_temperature_of_classes(scores: &ArrayView2<'_, f32>, of_row: &[u32]) -> ProbabilityCalibration {
    let slope = |inverse: f64| {
        let mut total = 0.0;
        for (row, &class) in scores.rows().into_iter().zip(of_row) {
            let greatest = row.fold(f32::NEG_INFINITY, |most, &score| most.max(score));
            let (mut weights, mut expected) = (0.0, 0.0);
            for &score in row {
                let weight = (inverse * f64::from(score - greatest)).exp();
                weights += weight;
                expected += weight * f64::from(score);
            }
            total += f64::from(row[class as usize]) - expected / weights;
        }
        total
    };
    ProbabilityCalibration::Temperature { inverse_temperature: rise(slope) }
}

/// Where a falling function passes zero.
fn rise(slope: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0, MAX_INVERSE);
    for _ in 0..N_STEPS {
        let middle = (low + high) / 2.0;
        if slope(middle) > 0.0 { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

/// The rising curve nearest to what turned out, by pooling adjacent violators, thinned to at most 40 points.
/// Source: Ayer et al. 1955, "An empirical distribution function for sampling with incomplete information".
#[must_use]
pub fn fit_isotonic(scores: &[f32], labels: &[bool]) -> ProbabilityCalibration {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    // Sum of scores, positives, records of each block.
    let mut blocks: Vec<(f64, f64, f64)> = Vec::new();
    for index in order {
        let mut block = (f64::from(scores[index]), f64::from(u8::from(labels[index])), 1.0);
        while let Some(last) = blocks.last().copied() {
            if last.1 / last.2 < block.1 / block.2 {
                break;
            }
            block = (block.0 + last.0, block.1 + last.1, block.2 + last.2);
            blocks.pop();
        }
        blocks.push(block);
    }
    // Blocks at the ends may hold few records; a step joins them until each point stands on its share of them.
    let least = scores.len() as f64 / MAX_POINTS as f64;
    let mut joined: Vec<(f64, f64, f64)> = Vec::new();
    for block in blocks {
        match joined.last_mut() {
            Some(last) if last.2 < least => *last = (last.0 + block.0, last.1 + block.1, last.2 + block.2),
            _ => joined.push(block),
        }
    }
    if let [.., before, last] = joined.as_mut_slice()
        && last.2 < least
    {
        *before = (before.0 + last.0, before.1 + last.1, before.2 + last.2);
        joined.pop();
    }
    let points = joined.into_iter().map(|(score, positive, n)| [score / n, positive / n]).collect();
    ProbabilityCalibration::Isotonic { points }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    /// Scores whose true log odds are three times the score.
    fn scored() -> (Vec<f32>, Vec<bool>) {
        let scores: Vec<f32> = (0..4000).map(|i| (i % 80) as f32 / 40.0 - 1.0).collect();
        let labels = scores.iter().enumerate().map(|(i, score)| {
            // Every 50th record of a score stands for one of 50 equal parts of 0 to 1.
            let part = ((i / 80) as f64 + 0.5) / 50.0;
            part < 1.0 / (1.0 + (-3.0 * f64::from(*score)).exp())
        });
        let labels = labels.collect();
        (scores, labels)
    }

    #[test]
    fn temperatures_are_found() {
        let (scores, labels) = scored();
        let found = |calibration| match calibration {
            ProbabilityCalibration::Temperature { inverse_temperature } => inverse_temperature,
            ProbabilityCalibration::Isotonic { .. } => unreachable!("a temperature was fitted"),
        };
        let binary = found(fit_temperature(&[(&scores, &labels)]));
        assert!((binary - 3.0).abs() < 0.05, "{binary}");
        let two = Array2::from_shape_fn((scores.len(), 2), |(i, j)| if j == 1 { scores[i] } else { 0.0 });
        let of_row: Vec<u32> = labels.iter().map(|label| u32::from(*label)).collect();
        let classes = found(fit_temperature_of_classes(&two.view(), &of_row));
        assert!((classes - binary).abs() < 1e-3, "{classes} {binary}");
        // A part that is surer of itself than it should be, a tenth as large, counts as much.
        let surer: Vec<f32> = scores[..400].iter().map(|score| score * 3.0).collect();
        let of_surer = found(fit_temperature(&[(&surer, &labels[..400])]));
        let both = found(fit_temperature(&[(&scores, &labels), (&surer, &labels[..400])]));
        let twice =
            found(fit_temperature(&[(&scores.repeat(2), &labels.repeat(2)), (&surer, &labels[..400])]));
        assert!(
            of_surer < both && both < binary && (both - twice).abs() < 1e-6,
            "{of_surer} {both} {binary} {twice}"
        );
    }

    #[test]
    fn isotonic_points_rise_and_follow_the_shares() {
        let (scores, labels) = scored();
        let calibration = fit_isotonic(&scores, &labels);
        let ProbabilityCalibration::Isotonic { points } = &calibration else { panic!("points were fitted") };
        assert!(points.len() <= MAX_POINTS && points.len() > 10, "{}", points.len());
        assert!(points.windows(2).all(|pair| pair[0][0] < pair[1][0] && pair[0][1] <= pair[1][1]));
        for score in [-0.8_f32, -0.2, 0.0, 0.5] {
            let expected = 1.0 / (1.0 + (-3.0 * f64::from(score)).exp());
            assert!((calibration.probability(score) - expected).abs() < 0.04, "{score}");
        }
    }
}
