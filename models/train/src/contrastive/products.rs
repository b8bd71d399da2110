//! Matrix products on all cores of a pool: plain ones, and of fixed rows with a weight that is learned.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use super::block::values;

/// Of rows `[batch, inputs]` and weights `[inputs, outputs]`: their product, differentiable by the weights alone. Autodiff would
/// also work out the gradient of the rows, a third of the work, which nobody reads.
pub(super) struct FixedRows;

impl CustomOp2 for FixedRows {
    fn name(&self) -> &'static str {
        "fixed-rows"
    }

    fn cpu_fwd(
        &self,
        rows: &CpuStorage,
        of_rows: &Layout,
        weights: &CpuStorage,
        of_weights: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (n_rows, n_inputs) = of_rows.shape().dims2()?;
        let n_outputs = of_weights.shape().dims2()?.1;
        let rows = MatRef::from_row_major_slice(values(rows, of_rows)?, n_rows, n_inputs);
        let weights = MatRef::from_row_major_slice(values(weights, of_weights)?, n_inputs, n_outputs);
        let product = multiply(rows, weights, 1.0);
        Ok((CpuStorage::F32(product), Shape::from((n_rows, n_outputs))))
    }

    fn bwd(
        &self,
        rows: &Tensor,
        _: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((None, Some(rows.t()?.matmul(gradient)?)))
    }
}

/// `factor * left * right`, row by row.
pub(super) fn multiply(left: MatRef<'_, f32>, right: MatRef<'_, f32>, factor: f32) -> Vec<f32> {
    let (n_rows, n_columns) = (left.nrows(), right.ncols());
    let mut values = vec![0.0_f32; n_rows * n_columns];
    let into = MatMut::from_row_major_slice_mut(&mut values, n_rows, n_columns);
    matmul(into, Accum::Replace, left, right, factor, Par::rayon(0));
    values
}
