//! Ridge regression of many outputs, through the leading components of the targets.

use faer::Side;
use ndarray::{Array1, Array2, ArrayView2, Axis};

use super::solve::coefficients;
use super::{Design, GeneHeadError};

/// Share of the first component's variance below which a component is rounding in single precision.
const LEAST_VARIANCE: f64 = 1e-5;

/// How a head is fitted.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct RidgeSettings {
    /// Weight of the prior, in units of the mean squared length of a row.
    pub penalty: f64,
    /// Components of the targets that are learnt; fewer where there are fewer outputs or rows.
    pub max_rank: usize,
}

/// `row * down * up + mean`.
#[derive(Debug, Clone, PartialEq)]
pub struct GeneHead {
    /// `[inputs, rank]`.
    pub down: Array2<f32>,
    /// `[rank, outputs]`; `None` where each component is an output.
    pub up: Option<Array2<f32>>,
    /// Mean of the training targets, `[outputs]`: what is predicted of a gene of which nothing is known.
    pub mean: Array1<f32>,
}

impl GeneHead {
    /// Outputs.
    #[must_use]
    pub fn n_outputs(&self) -> usize {
        self.mean.len()
    }

    /// What is predicted for rows beyond the mean, `[n, outputs]`.
    #[must_use]
    pub fn changes(&self, design: &dyn Design) -> Array2<f32> {
        let components = design.times(&self.down.view());
        match &self.up {
            Some(up) => components.dot(up),
            None => components,
        }
    }

    /// Predictions `[n, outputs]`.
    #[must_use]
    pub fn predict(&self, design: &dyn Design) -> Array2<f32> {
        self.changes(design) + &self.mean
    }

    /// The head on rows before each column was multiplied by `scale` `[inputs]`.
    #[must_use]
    pub fn on_unscaled(mut self, scale: &[f32]) -> Self {
        for (mut row, scale) in self.down.rows_mut().into_iter().zip(scale) {
            row *= *scale;
        }
        self
    }
}

/// Fits `targets` `[n, outputs]`. Source: Hoerl and Kennard 1970; of gene texts, GenePert (Chen and Zou 2024).
///
/// # Errors
/// [`GeneHeadError`].
pub fn fit_ridge(
    design: &dyn Design,
    targets: &ArrayView2<'_, f32>,
    settings: RidgeSettings,
) -> Result<GeneHead, GeneHeadError> {
    check(design, targets, settings)?;
    let mean = targets.mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(targets.ncols()));
    let centred = targets - &mean;
    let rank = settings.max_rank.min(targets.nrows());
    if targets.ncols() <= rank {
        let found = coefficients(design, &centred, settings.penalty)?;
        return Ok(GeneHead { down: design.transposed_times(&found.view()), up: None, mean });
    }
    let (scores, up) = components(&centred, rank)?;
    let found = coefficients(design, &scores, settings.penalty)?;
    Ok(GeneHead { down: design.transposed_times(&found.view()), up: Some(up), mean })
}

fn check(
    design: &dyn Design,
    targets: &ArrayView2<'_, f32>,
    settings: RidgeSettings,
) -> Result<(), GeneHeadError> {
    let (n_rows, n_targets) = (design.n_rows(), targets.nrows());
    if n_rows != n_targets {
        return Err(GeneHeadError::Uneven { n_rows, n_targets });
    }
    if n_rows < 3 {
        return Err(GeneHeadError::TooFewRows { n_rows, least: 3 });
    }
    if !(settings.penalty.is_finite() && settings.penalty > 0.0) {
        let rule = "a number above 0";
        return Err(GeneHeadError::Setting { name: "the penalty", value: settings.penalty, rule });
    }
    match targets.indexed_iter().find(|(_, value)| !value.is_finite()) {
        Some(((row, target), _)) => Err(GeneHeadError::NotFinite { row, target }),
        None => Ok(()),
    }
}

/// Leading principal components of centred rows: scores `[n, rank]` and directions `[rank, outputs]`.
fn components(centred: &Array2<f32>, rank: usize) -> Result<(Array2<f32>, Array2<f32>), GeneHeadError> {
    faer::set_global_parallelism(faer::Par::Seq);
    let gram = centred.dot(&centred.t());
    let n = gram.nrows();
    let matrix = faer::Mat::from_fn(n, n, |i, j| f64::from(gram[[i.max(j), i.min(j)]]));
    let found = matrix.self_adjoint_eigen(Side::Lower).map_err(|_| GeneHeadError::NoConvergence)?;
    // Directions in which nothing varies are rounding, and not at right angles to the others.
    let value = |i: usize| found.S().column_vector()[n - 1 - i];
    let rank = (0..rank).take_while(|&i| value(i) > value(0) * LEAST_VARIANCE).count().max(1);
    let vectors = found.U();
    let vectors = Array2::from_shape_fn((n, rank), |(i, j)| vectors[(i, n - 1 - j)] as f32);
    let mut directions = vectors.t().dot(centred);
    for mut direction in directions.rows_mut() {
        let length = direction.dot(&direction).sqrt();
        if length > 0.0 {
            direction /= length;
        }
    }
    Ok((centred.dot(&directions.t()), directions))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Dense, wave};
    use super::*;

    #[test]
    fn a_linear_truth_is_found_through_its_components() {
        let rows = wave(120, 10, 0.3);
        let truth = wave(10, 3, 0.9).dot(&wave(3, 50, 1.7));
        let targets = rows.dot(&truth) + 2.0;
        let settings = RidgeSettings { penalty: 1e-4, max_rank: 3 };
        let (train, test) = (rows.slice(ndarray::s![..100, ..]), rows.slice(ndarray::s![100.., ..]));
        let centred = |part: ArrayView2<'_, f32>| Dense(part.to_owned());
        let head = fit_ridge(&centred(train), &targets.slice(ndarray::s![..100, ..]), settings).unwrap();
        assert_eq!(head.up.as_ref().map(Array2::nrows), Some(3));
        let found = head.predict(&centred(test));
        let wrong = (&found - &targets.slice(ndarray::s![100.., ..])).mapv(|v| v * v).sum();
        let total = (&targets.slice(ndarray::s![100.., ..]) - &head.mean).mapv(|v| v * v).sum();
        assert!(wrong < 0.05 * total, "{wrong} of {total}");
    }

    #[test]
    fn faults_are_named() {
        let design = Dense(wave(5, 4, 0.0));
        let fit = |targets: Array2<f32>, penalty| {
            fit_ridge(&design, &targets.view(), RidgeSettings { penalty, max_rank: 2 }).unwrap_err()
        };
        assert!(matches!(fit(wave(4, 2, 0.0), 1.0), GeneHeadError::Uneven { .. }));
        assert!(matches!(fit(wave(5, 2, 0.0), 0.0), GeneHeadError::Setting { .. }));
        let mut broken = wave(5, 2, 0.0);
        broken[[3, 1]] = f32::NAN;
        assert!(matches!(fit(broken, 1.0), GeneHeadError::NotFinite { row: 3, target: 1 }));
    }
}
