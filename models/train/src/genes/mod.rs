//! Heads on rows of genes: ridge regression on wide, sparse rows, an MLP on their leading components, and ridge regression for
//! pairs of genes.
//!
//! A [`Design`] is whatever can multiply; `services/engine`'s sparse rows are one. [`fit_genes`] gives a [`GeneHead`] that
//! predicts many numbers through few components, [`fit_pairs`] a [`GenePairHead`]; both write the ONNX files that heads ship as.
//! Called by `protext train head --task perturbation` and by cross-validation in `protext eval`.

mod head;
mod mlp;
mod pairs;
mod solve;
mod write;

use std::path::PathBuf;

use ndarray::{Array2, ArrayView2};
use protext_graph::GraphError;

use crate::heads::HeadTrainError;

pub use head::{GeneHead, GeneSettings, RidgeSettings, fit_genes, fit_ridge};
pub use mlp::{GeneMlp, GeneMlpSettings};
pub use pairs::{GenePairHead, PairSettings, fit_pairs};

/// Rows `[n, dim]` of which only products are needed.
pub trait Design: Sync {
    /// Rows.
    fn n_rows(&self) -> usize;
    /// Width of a row.
    fn dim(&self) -> usize;
    /// Inner products of all rows, `[n, n]`.
    fn gram(&self) -> Array2<f64>;
    /// `rows * weight`, `[n, outputs]` for weights `[dim, outputs]`.
    fn times(&self, weight: &ArrayView2<'_, f32>) -> Array2<f32>;
    /// `rows' * values`, `[dim, outputs]` for values `[n, outputs]`.
    fn transposed_times(&self, values: &ArrayView2<'_, f32>) -> Array2<f32>;
    /// Mean squared length of a row.
    fn mean_square(&self) -> f64;
}

/// A head of genes that cannot be fitted or written.
#[derive(Debug, thiserror::Error)]
pub enum GeneHeadError {
    /// Not enough to learn from.
    #[error("{n_rows} training genes are too few; at least {least} are needed")]
    TooFewRows {
        /// Genes given.
        n_rows: usize,
        /// Genes needed.
        least: usize,
    },
    /// As many targets as rows are needed.
    #[error("{n_rows} rows of genes, but {n_targets} rows of targets")]
    Uneven {
        /// Rows.
        n_rows: usize,
        /// Targets.
        n_targets: usize,
    },
    /// A target that is not a number.
    #[error("row {row}: target {target} is not a finite number")]
    NotFinite {
        /// 0-based row.
        row: usize,
        /// 0-based target.
        target: usize,
    },
    /// A setting out of range.
    #[error("{name} is {value}, but must be {rule}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What is allowed.
        rule: &'static str,
    },
    /// The equations have no solution.
    #[error("the equations of ridge regression cannot be solved with penalty {penalty}; take a greater one")]
    Singular {
        /// Penalty given.
        penalty: f64,
    },
    /// Neither ridge regression nor an MLP.
    #[error("a head of genes is fitted by ridge regression, an MLP or both, but neither was asked for")]
    NoMethod,
    /// The MLP could not be trained.
    #[error("the MLP cannot be trained")]
    Mlp(#[from] HeadTrainError),
    /// The eigenvalues could not be computed.
    #[error("the eigenvalues of targets or rows did not converge; look for constant or repeated rows")]
    NoConvergence,
    /// The ONNX file could not be written.
    #[error("cannot write {}", path.display())]
    Graph {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: GraphError,
    },
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Dense rows.
    pub(super) struct Dense(pub(super) Array2<f32>);

    impl Design for Dense {
        fn n_rows(&self) -> usize {
            self.0.nrows()
        }
        fn dim(&self) -> usize {
            self.0.ncols()
        }
        fn gram(&self) -> Array2<f64> {
            let rows = self.0.mapv(f64::from);
            rows.dot(&rows.t())
        }
        fn times(&self, weight: &ArrayView2<'_, f32>) -> Array2<f32> {
            self.0.dot(weight)
        }
        fn transposed_times(&self, values: &ArrayView2<'_, f32>) -> Array2<f32> {
            self.0.t().dot(values)
        }
        fn mean_square(&self) -> f64 {
            self.0.iter().map(|value| f64::from(value * value)).sum::<f64>() / self.0.nrows() as f64
        }
    }

    /// Rows that look random and always are the same.
    pub(super) fn wave(n: usize, dim: usize, seed: f64) -> Array2<f32> {
        Array2::from_shape_fn((n, dim), |(i, j)| {
            ((i * dim + j) as f64 * 12.9898 + seed).sin().mul_add(43_758.545_3, 0.0).fract() as f32
        })
    }
}
