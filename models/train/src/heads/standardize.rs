//! Rows scaled to mean 0 and deviation 1 by the training part, each component or the row as a whole.

use ndarray::{Array1, Array2, ArrayView2, Axis};

/// Mean and inverse deviation of each component.
#[derive(Debug, Clone, PartialEq)]
pub struct Standardizer {
    /// `[inputs]`.
    pub mean: Array1<f32>,
    /// One over the deviation, `[inputs]`; 0 for components that hardly vary.
    pub scale: Array1<f32>,
}

impl Standardizer {
    /// Measures rows `[n, inputs]`; there is at least one.
    #[must_use]
    pub fn fit(rows: &ArrayView2<'_, f32>) -> Self {
        let n = rows.nrows().max(1) as f64;
        let mean = rows.fold_axis(Axis(0), 0.0_f64, |sum, value| sum + f64::from(*value)) / n;
        let mut variance = Array1::<f64>::zeros(rows.ncols());
        for row in rows.rows() {
            for ((sum, value), mean) in variance.iter_mut().zip(row).zip(&mean) {
                *sum += (f64::from(*value) - mean).powi(2);
            }
        }
        let deviation = variance.mapv(|sum| (sum / n).sqrt());
        // A component that hardly varies says nothing, and its scale would blow up what little it has.
        let least = deviation.sum() / rows.ncols().max(1) as f64 * 1e-3;
        let scale = deviation.mapv(|value| if value > least { (1.0 / value) as f32 } else { 0.0 });
        Self { mean: mean.mapv(|value| value as f32), scale }
    }

    /// Measures rows whose components keep their shares of the variance, as principal components must: the mean of each, but
    /// one scale for all.
    #[must_use]
    pub fn fit_whole(rows: &ArrayView2<'_, f32>) -> Self {
        let each = Self::fit(rows);
        let variance = |scale: &f32| if *scale > 0.0 { f64::from(*scale).powi(-2) } else { 0.0 };
        let mean_variance = each.scale.iter().map(variance).sum::<f64>() / rows.ncols().max(1) as f64;
        let scale = if mean_variance > 0.0 { mean_variance.sqrt().recip() as f32 } else { 0.0 };
        Self { scale: Array1::from_elem(rows.ncols(), scale), ..each }
    }

    /// Standardised rows `[n, inputs]`.
    #[must_use]
    pub fn apply(&self, rows: &ArrayView2<'_, f32>) -> Array2<f32> {
        (rows - &self.mean) * &self.scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_get_unit_variance_and_constant_ones_vanish() {
        let rows = Array2::from_shape_fn((50, 3), |(i, j)| match j {
            0 => 100.0 + (i as f32 * 0.7).sin() * 5.0,
            1 => (i as f32 * 1.3).cos() * 0.01,
            _ => 4.0,
        });
        let found = Standardizer::fit(&rows.view()).apply(&rows.view());
        for (index, column) in found.columns().into_iter().enumerate() {
            let variance = column.dot(&column) / 50.0;
            let expected = if index == 2 { 0.0 } else { 1.0 };
            assert!((variance - expected).abs() < 1e-3, "{index}: {variance}");
        }
    }

    #[test]
    fn as_a_whole_components_keep_their_shares() {
        let rows = Array2::from_shape_fn((50, 2), |(i, j)| {
            if j == 0 { 3.0 + 2.0 * (i as f32 * 0.7).sin() } else { (i as f32 * 1.3).cos() }
        });
        let found = Standardizer::fit_whole(&rows.view()).apply(&rows.view());
        let variance = |at: usize| found.column(at).dot(&found.column(at)) / 50.0;
        assert!((variance(0) + variance(1) - 2.0).abs() < 1e-3, "{} {}", variance(0), variance(1));
        assert!((3.5..4.5).contains(&(variance(0) / variance(1))), "{} {}", variance(0), variance(1));
    }
}
