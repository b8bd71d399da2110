//! Correlation of predicted with measured numbers.

/// Pearson's coefficient, -1 to 1; 0 where either side does not vary.
#[must_use]
pub fn pearson(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len().min(b.len());
    let (mean_a, mean_b) = (mean(&a[..n]), mean(&b[..n]));
    let (mut both, mut of_a, mut of_b) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        both += (x - mean_a) * (y - mean_b);
        of_a += (x - mean_a).powi(2);
        of_b += (y - mean_b).powi(2);
    }
    if of_a > 0.0 && of_b > 0.0 { (both / (of_a * of_b).sqrt()).clamp(-1.0, 1.0) } else { 0.0 }
}

/// Spearman's coefficient: Pearson's of the ranks; equal values share the mean of their ranks.
#[must_use]
pub fn spearman(a: &[f64], b: &[f64]) -> f64 {
    pearson(&ranks(a), &ranks(b))
}

/// Coefficient of determination: the share of the variance that predictions explain; 0 for the mean, negative below it.
#[must_use]
pub fn r_squared(predicted: &[f64], measured: &[f64]) -> f64 {
    let mean = mean(measured);
    let total: f64 = measured.iter().map(|value| (value - mean).powi(2)).sum();
    let left: f64 = predicted.iter().zip(measured).map(|(p, m)| (p - m).powi(2)).sum();
    if total > 0.0 { 1.0 - left / total } else { 0.0 }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

pub(super) fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = first as f64 + (tied.len() - 1) as f64 / 2.0;
        tied.iter().for_each(|&at| ranks[at] = rank);
        first += tied.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coefficients_are_those_of_the_definition() {
        assert!((pearson(&[1.0, 2.0, 3.0], &[2.0, 4.0, 6.0]) - 1.0).abs() < 1e-12);
        assert!((pearson(&[1.0, 2.0, 3.0], &[1.0, 3.0, 2.0]) - 0.5).abs() < 1e-12);
        assert_eq!(pearson(&[1.0, 1.0], &[1.0, 2.0]), 0.0);
        assert!((spearman(&[1.0, 10.0, 100.0], &[-3.0, -2.0, 50.0]) - 1.0).abs() < 1e-12);
        // Ranks 0, 1.5, 1.5, 3 against 0, 1, 2, 3.
        let tied = spearman(&[0.0, 1.0, 1.0, 2.0], &[0.0, 1.0, 2.0, 3.0]);
        assert!((tied - 4.5 / (4.5_f64 * 5.0).sqrt()).abs() < 1e-12, "{tied}");
        assert_eq!(r_squared(&[2.0, 2.0], &[1.0, 3.0]), 0.0);
        assert_eq!(r_squared(&[1.0, 3.0], &[1.0, 3.0]), 1.0);
    }
}
