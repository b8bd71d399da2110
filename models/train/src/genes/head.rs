//! Heads of many outputs, through the leading components of the targets: ridge regression, an MLP, or the mean of both.

use ndarray::{Array1, Array2, ArrayView2, Axis};

use super::mlp::{GeneMlp, GeneMlpSettings};
use super::solve::{coefficients, leading};
use super::{Design, GeneHeadError};
use crate::heads::OnEpoch;

/// How a head is fitted: by ridge regression, an MLP, or both.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct GeneSettings {
    /// Of ridge regression, the weight of the prior, in units of the mean squared length of a row.
    pub penalty: Option<f64>,
    /// Of an MLP.
    pub mlp: Option<GeneMlpSettings>,
    /// Components of the targets that are learnt; fewer where there are fewer outputs or rows.
    pub max_rank: usize,
}

/// `changes * up + mean`, where changes are the mean of what ridge regression and an MLP give of a row, or what one of them
/// gives.
#[derive(Debug, Clone, PartialEq)]
pub struct GeneHead {
    /// Ridge regression, `[inputs, rank]`.
    pub down: Option<Array2<f32>>,
    /// An MLP to as many components.
    pub mlp: Option<GeneMlp>,
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

    /// Width of a row.
    #[must_use]
    pub fn n_inputs(&self) -> usize {
        let matrices = self.down.iter().chain(self.mlp.iter().map(|mlp| &mlp.components));
        matrices.map(Array2::nrows).next().unwrap_or(0)
    }

    /// Predictions `[n, outputs]`.
    ///
    /// # Errors
    /// [`GeneHeadError::Mlp`].
    pub fn predict(&self, design: &dyn Design) -> Result<Array2<f32>, GeneHeadError> {
        let linear = self.down.as_ref().map(|down| design.times(&down.view()));
        let mlp = self.mlp.as_ref().map(|mlp| mlp.outputs(design)).transpose()?;
        let components = match (linear, mlp) {
            (Some(one), Some(other)) => (one + other) / 2.0,
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => return Err(GeneHeadError::NoMethod),
        };
        let changes = match &self.up {
            Some(up) => components.dot(up),
            None => components,
        };
        Ok(changes + &self.mean)
    }

    /// The head on rows before each column was multiplied by `scale` `[inputs]`.
    #[must_use]
    pub fn on_unscaled(mut self, scale: &[f32]) -> Self {
        let matrices = self.down.iter_mut().chain(self.mlp.iter_mut().map(|mlp| &mut mlp.components));
        for matrix in matrices {
            for (mut row, scale) in matrix.rows_mut().into_iter().zip(scale) {
                row *= *scale;
            }
        }
        self
    }
}

/// Fits `targets` `[n, outputs]`; `on_epoch` hears of the epochs of an MLP. Source: Hoerl and Kennard 1970; of gene texts,
/// GenePert (Chen and Zou 2024).
///
/// # Errors
/// [`GeneHeadError`].
pub fn fit_genes(
    design: &dyn Design,
    targets: &ArrayView2<'_, f32>,
    settings: &GeneSettings,
    on_epoch: OnEpoch<'_>,
) -> Result<GeneHead, GeneHeadError> {
    check(design, targets, settings)?;
    let mean = targets.mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(targets.ncols()));
    let centred = targets - &mean;
    let rank = settings.max_rank.min(targets.nrows());
    let (scores, up) = if targets.ncols() <= rank {
        (centred, None)
    } else {
        let gram = centred.dot(&centred.t()).mapv(f64::from);
        let up = directions(&leading(&gram, rank)?.vectors, &centred);
        (centred.dot(&up.t()), Some(up))
    };
    let ridge = |penalty| {
        let found = coefficients(design, &scores, penalty)?;
        Ok::<_, GeneHeadError>(design.transposed_times(&found.view()))
    };
    let down = settings.penalty.map(ridge).transpose()?;
    let mlp = settings.mlp.map(|mlp| GeneMlp::fit(design, scores.clone(), &mlp, on_epoch)).transpose()?;
    Ok(GeneHead { down, mlp, up, mean })
}

/// Ridge regression alone.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct RidgeSettings {
    /// As in [`GeneSettings`].
    pub penalty: f64,
    /// As in [`GeneSettings`].
    pub max_rank: usize,
}

/// Fits ridge regression alone.
///
/// # Errors
/// [`GeneHeadError`].
pub fn fit_ridge(
    design: &dyn Design,
    targets: &ArrayView2<'_, f32>,
    settings: RidgeSettings,
) -> Result<GeneHead, GeneHeadError> {
    let RidgeSettings { penalty, max_rank } = settings;
    let settings = GeneSettings { penalty: Some(penalty), mlp: None, max_rank };
    fit_genes(design, targets, &settings, &mut |_| true)
}

fn check(
    design: &dyn Design,
    targets: &ArrayView2<'_, f32>,
    settings: &GeneSettings,
) -> Result<(), GeneHeadError> {
    let (n_rows, n_targets) = (design.n_rows(), targets.nrows());
    if n_rows != n_targets {
        return Err(GeneHeadError::Uneven { n_rows, n_targets });
    }
    if n_rows < 3 {
        return Err(GeneHeadError::TooFewRows { n_rows, least: 3 });
    }
    if settings.penalty.is_none() && settings.mlp.is_none() {
        return Err(GeneHeadError::NoMethod);
    }
    if let Some(value) = settings.penalty.filter(|penalty| !(penalty.is_finite() && *penalty > 0.0)) {
        return Err(GeneHeadError::Setting { name: "the penalty", value, rule: "a number above 0" });
    }
    match targets.indexed_iter().find(|(_, value)| !value.is_finite()) {
        Some(((row, target), _)) => Err(GeneHeadError::NotFinite { row, target }),
        None => Ok(()),
    }
}

/// Directions `[rank, outputs]` of unit length that belong to eigenvectors `[n, rank]` of inner products of centred rows.
fn directions(vectors: &Array2<f32>, centred: &Array2<f32>) -> Array2<f32> {
    let mut directions = vectors.t().dot(centred);
    for mut direction in directions.rows_mut() {
        let length = direction.dot(&direction).sqrt();
        if length > 0.0 {
            direction /= length;
        }
    }
    directions
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
        let settings = GeneSettings { penalty: Some(1e-4), mlp: None, max_rank: 3 };
        let (train, test) = (rows.slice(ndarray::s![..100, ..]), rows.slice(ndarray::s![100.., ..]));
        let centred = |part: ArrayView2<'_, f32>| Dense(part.to_owned());
        let head =
            fit_genes(&centred(train), &targets.slice(ndarray::s![..100, ..]), &settings, &mut |_| true)
                .unwrap();
        assert_eq!(head.up.as_ref().map(Array2::nrows), Some(3));
        let found = head.predict(&centred(test)).unwrap();
        let wrong = (&found - &targets.slice(ndarray::s![100.., ..])).mapv(|v| v * v).sum();
        let total = (&targets.slice(ndarray::s![100.., ..]) - &head.mean).mapv(|v| v * v).sum();
        assert!(wrong < 0.05 * total, "{wrong} of {total}");
    }

    #[test]
    fn faults_are_named() {
        let design = Dense(wave(5, 4, 0.0));
        let fit = |targets: Array2<f32>, penalty| {
            let settings = GeneSettings { penalty, mlp: None, max_rank: 2 };
            fit_genes(&design, &targets.view(), &settings, &mut |_| true).unwrap_err()
        };
        assert!(matches!(fit(wave(4, 2, 0.0), Some(1.0)), GeneHeadError::Uneven { .. }));
        assert!(matches!(fit(wave(5, 2, 0.0), Some(0.0)), GeneHeadError::Setting { .. }));
        assert!(matches!(fit(wave(5, 2, 0.0), None), GeneHeadError::NoMethod));
        let mut broken = wave(5, 2, 0.0);
        broken[[3, 1]] = f32::NAN;
        assert!(matches!(fit(broken, Some(1.0)), GeneHeadError::NotFinite { row: 3, target: 1 }));
    }
}
