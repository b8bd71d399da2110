//! Rows of genes as what heads are fitted on.

use ndarray::{Array2, ArrayView2};
use protext_engine::genes::{GeneTable, SparseRows};
use protext_train::genes::Design;

use super::recipe::Blocks;

/// Rows of some genes, GO terms and text weighed against each other.
#[derive(Debug, Clone)]
pub(crate) struct GeneRows {
    rows: SparseRows,
}

impl GeneRows {
    /// Rows of the genes at `places`; one that is not known has a row of zeros.
    pub(crate) fn new(table: &GeneTable, places: &[Option<usize>], blocks: Blocks) -> Self {
        let scale = table.block_scale(blocks.weights());
        Self { rows: table.rows().select(places).scaled(&scale) }
    }

    /// Some of them.
    pub(crate) fn select(&self, rows: &[usize]) -> Self {
        Self { rows: self.rows.select(&rows.iter().map(|&row| Some(row)).collect::<Vec<_>>()) }
    }
}

impl Design for GeneRows {
    fn n_rows(&self) -> usize {
        self.rows.n_rows()
    }

    fn dim(&self) -> usize {
        self.rows.dim()
    }

    fn gram(&self) -> Array2<f64> {
        self.rows.gram(&self.rows)
    }

    fn times(&self, weight: &ArrayView2<'_, f32>) -> Array2<f32> {
        self.rows.times(weight)
    }

    fn transposed_times(&self, values: &ArrayView2<'_, f32>) -> Array2<f32> {
        self.rows.transposed_times(values)
    }

    fn mean_square(&self) -> f64 {
        let squares = self.rows.norms().into_iter().map(|norm| f64::from(norm * norm));
        squares.sum::<f64>() / self.n_rows().max(1) as f64
    }
}
