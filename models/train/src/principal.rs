//! Principal components of rows: fewer numbers that hold most of what varies.

use ndarray::{Array2, ArrayView2, Axis};

use crate::whitening::{WhiteningError, eigen};

/// Centred rows on their leading directions.
#[derive(Debug, Clone, PartialEq)]
pub struct PrincipalComponents {
    /// `[n, components]`.
    pub scores: Array2<f32>,
    /// Share of the variance that they hold, 0 to 1.
    pub variance_share: f64,
}

/// The leading components of `rows` `[n, inputs]`, at most as many as there are inputs.
///
/// # Errors
/// [`WhiteningError::TooFewRows`], [`WhiteningError::NotFinite`] or [`WhiteningError::NoConvergence`].
pub fn principal_components(
    rows: &ArrayView2<'_, f32>,
    n_components: usize,
) -> Result<PrincipalComponents, WhiteningError> {
    let n_rows = rows.nrows();
    let n_components = n_components.min(rows.ncols());
    if n_rows < 2 || n_components == 0 {
        return Err(WhiteningError::TooFewRows { n_rows, n_components });
    }
    if let Some(row) = crate::whitening::first_not_finite(rows) {
        return Err(WhiteningError::NotFinite { row });
    }
    let rows = rows.mapv(f64::from);
    let mean = rows.sum_axis(Axis(0)) / n_rows as f64;
    let centred = rows - &mean;
    let covariance = centred.t().dot(&centred) / n_rows as f64;
    let (values, vectors) = eigen(&covariance)?;
    let leading: Vec<usize> = (0..values.len()).rev().take(n_components).collect();
    let total: f64 = values.iter().sum();
    let held: f64 = leading.iter().map(|&at| values[at]).sum();
    let scores = centred.dot(&vectors.select(Axis(1), &leading)).mapv(|value| value as f32);
    Ok(PrincipalComponents { scores, variance_share: if total > 0.0 { held / total } else { 1.0 } })
}

impl PrincipalComponents {
    /// The scores with each component at deviation 1; components that do not vary stay zero.
    #[must_use]
    pub fn whitened(mut self) -> Array2<f32> {
        let n_rows = self.scores.nrows() as f32;
        for mut column in self.scores.columns_mut() {
            let deviation = (column.dot(&column) / n_rows).sqrt();
            column.mapv_inplace(|score| if deviation > 1e-4 { score / deviation } else { 0.0 });
        }
        self.scores
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_varies_is_kept() {
        let rows = Array2::from_shape_fn((50, 3), |(i, j)| match j {
            0 => (i as f32 * 0.7).sin() * 5.0,
            1 => (i as f32 * 0.7).sin() * 2.0,
            _ => 4.0,
        });
        let found = principal_components(&rows.view(), 1).unwrap();
        assert!(found.variance_share > 0.999_999 && found.scores.dim() == (50, 1));
        let product = found.scores[[3, 0]] / (rows[[3, 0]] - rows.column(0).mean().unwrap());
        assert!((product.abs() - (29.0_f32 / 25.0).sqrt()).abs() < 1e-3, "{product}");
    }

    #[test]
    fn whitened_components_have_deviation_one_or_none() {
        let rows = Array2::from_shape_fn((40, 3), |(i, j)| if j == 0 { i as f32 } else { 1.0 });
        let found = principal_components(&rows.view(), 2).unwrap().whitened();
        let deviation = |at: usize| (found.column(at).dot(&found.column(at)) / 40.0).sqrt();
        assert!((deviation(0) - 1.0).abs() < 1e-4 && deviation(1) == 0.0);
    }
}
