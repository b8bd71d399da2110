//! Temperature scaling: from cosines to confidences that mean what they say.

use ndarray::{ArrayView2, Axis};

/// Greatest inverse temperature that is looked at.
const MAX_INVERSE: f64 = 1_000.0;
/// Halvings of the range; leaves less than a millionth of it.
const N_STEPS: usize = 32;

/// The inverse temperature under which the right text of each protein is likeliest among all texts, by maximum
/// likelihood over unit rows `[n, dim]`; row `i` of both belong together. Source: Guo et al. 2017, "On Calibration of
/// Modern Neural Networks".
///
/// The log-likelihood is concave, so its slope (what the right text has over the expected cosine) is followed to zero.
#[must_use]
pub fn fit_inverse_temperature(proteins: &ArrayView2<'_, f32>, texts: &ArrayView2<'_, f32>) -> f64 {
    let (mut low, mut high) = (0.0, MAX_INVERSE);
    for _ in 0..N_STEPS {
        let middle = (low + high) / 2.0;
        if slope(proteins, texts, middle) > 0.0 { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

fn slope(proteins: &ArrayView2<'_, f32>, texts: &ArrayView2<'_, f32>, inverse: f64) -> f64 {
    let mut total = 0.0;
    for (block, first) in proteins.axis_chunks_iter(Axis(0), 256).zip((0..).step_by(256)) {
        let cosines = block.dot(&texts.t());
        for (offset, row) in cosines.rows().into_iter().enumerate() {
            let greatest = row.fold(f32::NEG_INFINITY, |most, &cosine| most.max(cosine));
            let (mut weights, mut expected) = (0.0, 0.0);
            for &cosine in row {
                let weight = (inverse * f64::from(cosine - greatest)).exp();
                weights += weight;
                expected += weight * f64::from(cosine);
            }
            total += f64::from(row[first + offset]) - expected / weights;
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    #[test]
    fn two_texts_of_known_odds_give_their_temperature() {
        // Cosines 1 and 0; the right text is the nearer one for 3 of 4 proteins: odds of 3 need exp(s) = 3.
        let texts = Array2::eye(2);
        let texts = ndarray::concatenate![Axis(0), texts, texts];
        let mut proteins = texts.clone();
        proteins.row_mut(3).assign(&texts.row(0));
        let found = fit_inverse_temperature(&proteins.view(), &texts.view());
        assert!((found - 3_f64.ln()).abs() < 1e-3, "{found}");
    }
}
