//! Whitening: encoder rows, centred, scaled and rotated so that no direction dominates the cosine.
//!
//! Rows are standardised per component, then projected on the leading eigenvectors of their covariance and divided
//! by the square root of the (shrunk) eigenvalue. Fitting uses no labels. Source: Su et al., "Whitening sentence
//! representations for better semantics and faster retrieval", 2021; shrinkage and the number of components are chosen on
//! validation domains (`docs/results/whitening.md`).

use std::path::{Path, PathBuf};

use faer::Side;
use half::f16;
use ndarray::{Array1, Array2, ArrayView2, Axis, s};
use protext_graph::{Dim, ElementType, GraphBuilder, GraphError, WriteOptions};

/// How a whitening is fitted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WhiteningSettings {
    /// Leading components kept.
    pub n_components: usize,
    /// Share of the mean kept eigenvalue that is added to each, 0 or more.
    pub shrinkage: f64,
}

/// A fitted whitening: `unit_norm((row - mean) * matrix)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Whitening {
    /// `[inputs]`.
    pub mean: Array1<f32>,
    /// `[inputs, n_components]`.
    pub matrix: Array2<f32>,
}

/// A whitening that cannot be fitted or written.
#[derive(Debug, thiserror::Error)]
pub enum WhiteningError {
    /// Fewer rows than components.
    #[error(
        "{n_rows} rows are too few to fit {n_components} components; give more rows or ask for fewer components"
    )]
    TooFewRows {
        /// Rows given.
        n_rows: usize,
        /// Components asked for.
        n_components: usize,
    },
    /// More components than inputs, or none.
    #[error("n_components is {n_components}, but must be from 1 to {n_inputs}, the width of a row")]
    Components {
        /// Asked for.
        n_components: usize,
        /// Width of a row.
        n_inputs: usize,
    },
    /// Shrinkage below zero or not a number.
    #[error("shrinkage is {shrinkage}, but must be 0 or more")]
    Shrinkage {
        /// Given.
        shrinkage: f64,
    },
    /// NaN or infinity in the data.
    #[error("row {row} holds a value that is not finite")]
    NotFinite {
        /// 0-based row.
        row: usize,
    },
    /// The eigenvalues could not be computed.
    #[error("the eigenvalues of the covariance did not converge; look for constant or repeated components")]
    NoConvergence,
    /// The ONNX file could not be written.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

impl Whitening {
    /// Fits on `rows` `[n, inputs]`. The same rows give the same numbers.
    ///
    /// # Errors
    /// [`WhiteningError`].
    pub fn fit(rows: &ArrayView2<'_, f32>, settings: WhiteningSettings) -> Result<Self, WhiteningError> {
        check(rows, settings)?;
        let k = settings.n_components;
        let rows = rows.mapv(f64::from);
        let mean = rows.sum_axis(Axis(0)) / rows.nrows() as f64;
        let mut scaled = rows - &mean;
        // A constant component says nothing; a scale of one keeps it at zero.
        let deviation = scaled.map_axis(Axis(0), |column| (column.dot(&column) / column.len() as f64).sqrt());
        let deviation = deviation.mapv(|deviation| if deviation > 0.0 { deviation } else { 1.0 });
        scaled /= &deviation;
        let covariance = scaled.t().dot(&scaled) / (scaled.nrows() - 1) as f64;
        let (values, vectors) = eigen(&covariance)?;
        let leading: Vec<usize> = (0..values.len()).rev().take(k).collect();
        let shrink = settings.shrinkage * leading.iter().map(|&i| values[i]).sum::<f64>() / k as f64;
        let floor = values[values.len() - 1] * 1e-9;
        let mut matrix = Array2::zeros((deviation.len(), k));
        for (column, &index) in leading.iter().enumerate() {
            let vector = vectors.column(index);
            let scale = (values[index] + shrink).max(floor).sqrt();
            let sign = if vector.iter().fold(0.0_f64, |a, &b| if b.abs() > a.abs() { b } else { a }) < 0.0 {
                -1.0
            } else {
                1.0
            };
            for (row, &value) in vector.iter().enumerate() {
                // Halves are what the file holds; rounding here keeps the fit and the file the same.
                matrix[[row, column]] = f16::from_f64(sign * value / (scale * deviation[row])).to_f32();
            }
        }
        Ok(Self { mean: mean.mapv(|value| value as f32), matrix })
    }

    /// Only centres and scales each component to unit variance; nothing is rotated.
    ///
    /// # Errors
    /// [`WhiteningError::TooFewRows`] for less than two rows, [`WhiteningError::NotFinite`].
    pub fn standardize(rows: &ArrayView2<'_, f32>) -> Result<Self, WhiteningError> {
        let (n_rows, n_inputs) = rows.dim();
        if n_rows < 2 {
            return Err(WhiteningError::TooFewRows { n_rows, n_components: n_inputs });
        }
        if let Some(row) = rows.rows().into_iter().position(|row| row.iter().any(|value| !value.is_finite()))
        {
            return Err(WhiteningError::NotFinite { row });
        }
        let rows = rows.mapv(f64::from);
        let mean = rows.sum_axis(Axis(0)) / n_rows as f64;
        let centred = rows - &mean;
        let deviations = centred.map_axis(Axis(0), |column| (column.dot(&column) / n_rows as f64).sqrt());
        // A component that hardly varies says nothing, and its scale would pass what a float16 holds.
        let least = deviations.sum() / n_inputs as f64 * 1e-3;
        let mut matrix = Array2::zeros((n_inputs, n_inputs));
        for (index, &deviation) in deviations.iter().enumerate() {
            let scale = if deviation > least { 1.0 / deviation } else { 0.0 };
            matrix[[index, index]] = f16::from_f64(scale).to_f32();
        }
        Ok(Self { mean: mean.mapv(|value| value as f32), matrix })
    }

    /// One whitening of rows that stand side by side: this one for the first inputs, `other` for those behind them.
    #[must_use]
    pub fn beside(&self, other: &Self) -> Self {
        let (own, further) = (self.matrix.dim(), other.matrix.dim());
        let mut matrix = Array2::zeros((own.0 + further.0, own.1 + further.1));
        matrix.slice_mut(s![..own.0, ..own.1]).assign(&self.matrix);
        matrix.slice_mut(s![own.0.., own.1..]).assign(&other.matrix);
        Self { mean: self.mean.iter().chain(&other.mean).copied().collect(), matrix }
    }

    /// Centred and rotated rows `[n, n_components]`, not scaled to unit norm.
    #[must_use]
    pub fn rotate(&self, rows: &ArrayView2<'_, f32>) -> Array2<f32> {
        (rows - &self.mean).dot(&self.matrix)
    }

    /// Projects `rows` `[n, inputs]` to unit rows `[n, n_components]`; a row at the mean stays zero.
    #[must_use]
    pub fn apply(&self, rows: &ArrayView2<'_, f32>) -> Array2<f32> {
        let mut projected = self.rotate(rows);
        for mut row in projected.rows_mut() {
            let norm = row.dot(&row).sqrt();
            if norm > 0.0 {
                row /= norm;
            }
        }
        projected
    }

    /// Writes the head: input `rows` `[batch, inputs]`, output `vectors` `[batch, n_components]` of unit norm.
    ///
    /// The matrix is kept as float16, which halves the file.
    ///
    /// # Errors
    /// [`WhiteningError::Graph`].
    pub fn write(&self, path: &Path) -> Result<PathBuf, WhiteningError> {
        let (n_inputs, k) = self.matrix.dim();
        let mut graph = GraphBuilder::new("whitening");
        let rows = graph.input("rows", ElementType::Float32, [Dim::from("batch"), Dim::from(n_inputs)]);
        let mean = graph.f32("mean", [n_inputs], self.mean.to_vec());
        let halves = self.matrix.iter().map(|&value| f16::from_f32(value)).collect();
        let halves = graph.f16("matrix", [n_inputs, k], halves);
        let matrix = graph.cast(&halves, ElementType::Float32);
        let centred = graph.sub(&rows, &mean);
        let projected = graph.matmul(&centred, &matrix);
        let vectors = graph.unit_norm(&projected);
        graph.output("vectors", &vectors, ElementType::Float32, [Dim::from("batch"), Dim::from(k)]);
        Ok(graph.finish()?.write(path, &WriteOptions::default())?.model)
    }
}

fn check(rows: &ArrayView2<'_, f32>, settings: WhiteningSettings) -> Result<(), WhiteningError> {
    let (n_rows, n_inputs) = rows.dim();
    let n_components = settings.n_components;
    if n_components == 0 || n_components > n_inputs {
        return Err(WhiteningError::Components { n_components, n_inputs });
    }
    if n_rows <= n_components {
        return Err(WhiteningError::TooFewRows { n_rows, n_components });
    }
    if settings.shrinkage.is_nan() || settings.shrinkage < 0.0 {
        return Err(WhiteningError::Shrinkage { shrinkage: settings.shrinkage });
    }
    match first_not_finite(rows) {
        Some(row) => Err(WhiteningError::NotFinite { row }),
        None => Ok(()),
    }
}

/// First row with a value that is not finite.
pub(crate) fn first_not_finite(rows: &ArrayView2<'_, f32>) -> Option<usize> {
    rows.rows().into_iter().position(|row| row.iter().any(|value| !value.is_finite()))
}

/// Eigenvalues in rising order and their vectors as columns; on one thread, so that the numbers are always the same.
pub(crate) fn eigen(symmetric: &Array2<f64>) -> Result<(Vec<f64>, Array2<f64>), WhiteningError> {
    faer::set_global_parallelism(faer::Par::Seq);
    let n = symmetric.nrows();
    let matrix = faer::Mat::from_fn(n, n, |i, j| symmetric[[i, j]]);
    let found = matrix.self_adjoint_eigen(Side::Lower).map_err(|_| WhiteningError::NoConvergence)?;
    let values = (0..n).map(|i| found.S().column_vector()[i]).collect();
    Ok((values, Array2::from_shape_fn((n, n), |(i, j)| found.U()[(i, j)])))
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    /// Correlated columns with different means and scales, without randomness.
    fn rows(n: usize) -> Array2<f32> {
        let wave = |i: usize, f: f32| (i as f32 * f).sin();
        Array2::from_shape_fn((n, 4), |(i, j)| match j {
            0 => 5.0 + 3.0 * wave(i, 0.7),
            1 => 2.0 * wave(i, 0.7) + 0.5 * wave(i, 1.9),
            2 => -1.0 + 0.1 * wave(i, 2.3),
            _ => 10.0 * wave(i, 0.31) + wave(i, 1.1),
        })
    }

    #[test]
    fn whitened_components_are_uncorrelated_with_unit_variance() {
        let rows = rows(500);
        let whitening =
            Whitening::fit(&rows.view(), WhiteningSettings { n_components: 4, shrinkage: 0.0 }).unwrap();
        let white = (&rows - &whitening.mean).dot(&whitening.matrix);
        let covariance = white.t().dot(&white) / 499.0;
        for ((i, j), value) in covariance.indexed_iter() {
            let expected = if i == j { 1.0 } else { 0.0 };
            assert!((value - expected).abs() < 0.02, "{i},{j}: {value}");
        }
    }

    #[test]
    fn rows_side_by_side_are_whitened_side_by_side() {
        let rows = rows(500);
        let settings = WhiteningSettings { n_components: 2, shrinkage: 0.0 };
        let (left, right) = rows.view().split_at(Axis(1), 1);
        let standard = Whitening::standardize(&left).unwrap();
        let rotated = Whitening::fit(&right, settings).unwrap();
        let both = standard.beside(&rotated).rotate(&rows.view());
        let expected = ndarray::concatenate![Axis(1), standard.rotate(&left), rotated.rotate(&right)];
        assert!((&both - &expected).iter().all(|difference| difference.abs() < 1e-5));
    }

    #[test]
    fn projected_rows_have_unit_norm_and_fits_repeat() {
        let rows = rows(300);
        let settings = WhiteningSettings { n_components: 2, shrinkage: 0.1 };
        let whitening = Whitening::fit(&rows.view(), settings).unwrap();
        for row in whitening.apply(&rows.view()).rows() {
            assert!((row.dot(&row) - 1.0).abs() < 1e-5);
        }
        assert_eq!(whitening, Whitening::fit(&rows.view(), settings).unwrap());
    }

    #[test]
    fn standardized_components_have_unit_variance_and_constant_ones_vanish() {
        let mut rows = rows(400);
        rows.column_mut(1).fill(0.3);
        rows[[7, 1]] += 1e-7;
        let found = Whitening::standardize(&rows.view()).unwrap().rotate(&rows.view());
        for (index, column) in found.columns().into_iter().enumerate() {
            let variance = column.dot(&column) / 400.0;
            let expected = if index == 1 { 0.0 } else { 1.0 };
            assert!((variance - expected).abs() < 0.01, "{index}: {variance}");
        }
    }

    #[test]
    fn faults_of_data_and_settings_are_named() {
        let fit = |rows: &Array2<f32>, n_components, shrinkage| {
            Whitening::fit(&rows.view(), WhiteningSettings { n_components, shrinkage }).unwrap_err()
        };
        assert!(matches!(fit(&rows(3), 4, 0.0), WhiteningError::TooFewRows { .. }));
        assert!(matches!(fit(&rows(9), 5, 0.0), WhiteningError::Components { .. }));
        assert!(matches!(fit(&rows(9), 0, 0.0), WhiteningError::Components { .. }));
        assert!(matches!(fit(&rows(9), 2, -1.0), WhiteningError::Shrinkage { .. }));
        let mut broken = rows(9);
        broken[[7, 2]] = f32::NAN;
        assert!(matches!(fit(&broken, 2, 0.0), WhiteningError::NotFinite { row: 7 }));
    }

    #[test]
    fn the_file_is_small_and_the_same_each_time() {
        let whitening =
            Whitening::fit(&rows(300).view(), WhiteningSettings { n_components: 2, shrinkage: 0.0 }).unwrap();
        let folder = std::env::temp_dir().join(format!("protext-whitening-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let write = |name: &str| std::fs::read(whitening.write(&folder.join(name)).unwrap()).unwrap();
        assert_eq!(write("head.onnx"), write("head.onnx"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
