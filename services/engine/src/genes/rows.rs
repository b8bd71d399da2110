//! Sparse rows: what is known of genes, most of it zero.

use ndarray::{Array1, Array2, ArrayView2};
use rayon::prelude::*;

/// Rows `[n, dim]` that keep what is not zero; columns rise within a row.
#[derive(Debug, Clone, PartialEq)]
pub struct SparseRows {
    dim: usize,
    starts: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f32>,
}

impl SparseRows {
    /// No rows yet.
    #[must_use]
    pub fn new(dim: usize) -> Self {
        Self { dim, starts: vec![0], columns: Vec::new(), values: Vec::new() }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// If a column is not below the width, or columns do not rise.
    pub fn push(&mut self, entries: impl IntoIterator<Item = (u32, f32)>) {
        let start = self.columns.len();
        for (column, value) in entries {
            assert!((column as usize) < self.dim, "a column lies within the row");
            assert!(self.columns[start..].last().is_none_or(|last| *last < column), "columns rise");
            if value != 0.0 {
                self.columns.push(column);
                self.values.push(value);
            }
        }
        self.starts.push(self.columns.len());
    }

    /// Width of a row.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Rows.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.starts.len() - 1
    }

    /// Columns and values of one row.
    #[must_use]
    pub fn row(&self, row: usize) -> (&[u32], &[f32]) {
        let range = self.starts[row]..self.starts[row + 1];
        (&self.columns[range.clone()], &self.values[range])
    }

    /// Some rows, in the order asked for; `None` gives a row of zeros.
    #[must_use]
    pub fn select(&self, rows: &[Option<usize>]) -> Self {
        let mut chosen = Self::new(self.dim);
        for row in rows {
            if let Some(row) = row {
                let (columns, values) = self.row(*row);
                chosen.columns.extend_from_slice(columns);
                chosen.values.extend_from_slice(values);
            }
            chosen.starts.push(chosen.columns.len());
        }
        chosen
    }

    /// Multiplies each column by its scale `[dim]`.
    #[must_use]
    pub fn scaled(mut self, scale: &[f32]) -> Self {
        for (column, value) in self.columns.iter().zip(&mut self.values) {
            *value *= scale[*column as usize];
        }
        self
    }

    /// Row-major dense values of one row, `[dim]`.
    #[must_use]
    pub fn dense(&self, row: usize) -> Vec<f32> {
        let mut dense = vec![0.0; self.dim];
        let (columns, values) = self.row(row);
        columns.iter().zip(values).for_each(|(column, value)| dense[*column as usize] = *value);
        dense
    }

    /// Inner products with a dense row `[dim]`, one a row.
    #[must_use]
    pub fn dot(&self, dense: &[f32]) -> Vec<f32> {
        (0..self.n_rows()).into_par_iter().map(|row| dot(self.row(row), dense)).collect()
    }

    /// Inner products of all rows with all of `others`, `[n, others]`.
    #[must_use]
    pub fn gram(&self, others: &Self) -> Array2<f64> {
        let columns: Vec<Vec<f32>> =
            (0..others.n_rows()).into_par_iter().map(|other| self.dot(&others.dense(other))).collect();
        Array2::from_shape_fn((self.n_rows(), others.n_rows()), |(row, other)| f64::from(columns[other][row]))
    }

    /// `rows * weight`, `[n, outputs]` for weights `[dim, outputs]`.
    #[must_use]
    pub fn times(&self, weight: &ArrayView2<'_, f32>) -> Array2<f32> {
        let rows: Vec<Array1<f32>> = (0..self.n_rows())
            .into_par_iter()
            .map(|row| {
                let mut sum = Array1::zeros(weight.ncols());
                let (columns, values) = self.row(row);
                for (column, value) in columns.iter().zip(values) {
                    sum.scaled_add(*value, &weight.row(*column as usize));
                }
                sum
            })
            .collect();
        let mut product = Array2::zeros((self.n_rows(), weight.ncols()));
        product.rows_mut().into_iter().zip(&rows).for_each(|(mut to, from)| to.assign(from));
        product
    }

    /// `rows' * values`, `[dim, outputs]` for values `[n, outputs]`.
    #[must_use]
    pub fn transposed_times(&self, values: &ArrayView2<'_, f32>) -> Array2<f32> {
        let mut product = Array2::zeros((self.dim, values.ncols()));
        for row in 0..self.n_rows() {
            let (columns, entries) = self.row(row);
            for (column, entry) in columns.iter().zip(entries) {
                product.row_mut(*column as usize).scaled_add(*entry, &values.row(row));
            }
        }
        product
    }

    /// Euclidean length of each row.
    #[must_use]
    pub fn norms(&self) -> Vec<f32> {
        let norm = |row| self.row(row).1.iter().map(|value| value * value).sum::<f32>().sqrt();
        (0..self.n_rows()).map(norm).collect()
    }
}

fn dot((columns, values): (&[u32], &[f32]), dense: &[f32]) -> f32 {
    columns.iter().zip(values).map(|(column, value)| value * dense[*column as usize]).sum()
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    fn rows() -> SparseRows {
        let mut rows = SparseRows::new(4);
        rows.push([(0, 1.0), (2, 2.0)]);
        rows.push([]);
        rows.push([(1, 3.0), (2, -1.0), (3, 0.0)]);
        rows
    }

    #[test]
    fn products_are_those_of_dense_rows() {
        let rows = rows();
        assert_eq!(rows.dense(2), [0.0, 3.0, -1.0, 0.0]);
        assert_eq!(rows.gram(&rows), array![[5.0, 0.0, -2.0], [0.0, 0.0, 0.0], [-2.0, 0.0, 10.0]]);
        let weight = array![[1.0_f32, 0.0], [0.0, 1.0], [1.0, 1.0], [5.0, 5.0]];
        assert_eq!(rows.times(&weight.view()), array![[3.0, 2.0], [0.0, 0.0], [-1.0, 2.0]]);
        let values = array![[1.0_f32], [7.0], [2.0]];
        assert_eq!(rows.transposed_times(&values.view()), array![[1.0], [6.0], [0.0], [0.0]]);
        let chosen = rows.select(&[Some(2), None]);
        assert_eq!((chosen.dense(0), chosen.dense(1)), (rows.dense(2), vec![0.0; 4]));
        assert_eq!(rows.scaled(&[2.0, 1.0, 1.0, 1.0]).dense(0), [2.0, 0.0, 2.0, 0.0]);
    }
}
