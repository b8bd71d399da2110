//! The stored vectors: one row each, contiguous, in memory.
//!
//! Every index reads its vectors from here, so an exact and an approximate index over the same vectors share
//! one table. A table holds only finite rows of norm 1 and of its space's width, which is what keeps NaN,
//! unnormalized and short vectors away from the graph builder.

use protext_core::{JointVector, Space, VectorError};
use rayon::prelude::*;

use crate::error::IndexError;
use crate::kernel::{Kernel, Lanes, N_LANES, n_lanes_of, pack_into};
use crate::slab::Slab;

/// Most rows of one table: the graph builder numbers its points in an `i32`.
pub const MAX_ROWS: usize = i32::MAX as usize;

/// How far a stored row's norm may be from 1. Rounding to f32 stays below 1e-6; half-precision sources below 1e-3.
const NORM_TOLERANCE: f64 = 1e-3;

/// Unit vectors of one space, row after row.
#[derive(Debug, Clone)]
pub struct VectorTable {
    space: Space,
    n_lanes: usize,
    n_rows: usize,
    lanes: Slab<Lanes>,
    kernel: Kernel,
}

impl VectorTable {
    /// A table without rows.
    ///
    /// # Errors
    /// [`IndexError::NoComponents`] if the space has dimension 0.
    pub fn new(space: Space) -> Result<Self, IndexError> {
        if space.dim == 0 {
            return Err(IndexError::NoComponents(Box::new(space)));
        }
        let n_lanes = n_lanes_of(space.dim);
        Ok(Self { space, n_lanes, n_rows: 0, lanes: Slab::default(), kernel: Kernel::detect() })
    }

    /// A table of the rows of a row-major matrix, `[n_rows, dim]`.
    ///
    /// # Errors
    /// [`IndexError::RaggedMatrix`], and for a row that is not a unit vector [`IndexError::Vector`] or
    /// [`IndexError::NotUnit`].
    pub fn from_matrix(space: Space, values: &[f32]) -> Result<Self, IndexError> {
        let mut table = Self::new(space)?;
        let dim = table.space.dim;
        if !values.len().is_multiple_of(dim) {
            return Err(IndexError::RaggedMatrix { n_values: values.len(), dim });
        }
        table.reserve(values.len() / dim);
        values.chunks_exact(dim).try_for_each(|row| table.push_unit(row))?;
        Ok(table)
    }

    /// Makes room for more rows.
    pub fn reserve(&mut self, n_rows: usize) {
        self.lanes.to_mut().reserve(n_rows.saturating_mul(self.n_lanes));
    }

    /// Appends one vector.
    ///
    /// # Errors
    /// [`IndexError::WrongDim`], [`IndexError::TooManyRows`].
    pub fn push(&mut self, vector: &JointVector) -> Result<u32, IndexError> {
        self.ensure_fits(vector)?;
        pack_into(self.lanes.to_mut(), vector.as_slice());
        self.n_rows += 1;
        Ok((self.n_rows - 1) as u32)
    }

    /// Whether [`VectorTable::push`] would take `vector`.
    pub(crate) fn ensure_fits(&self, vector: &JointVector) -> Result<(), IndexError> {
        let found = vector.as_slice().len();
        if found != self.space.dim {
            return Err(IndexError::WrongDim { found, space: Box::new(self.space.clone()) });
        }
        ensure_room(self.n_rows + 1)
    }

    /// Appends one row of `dim` values that come from outside.
    pub(crate) fn push_unit(&mut self, values: &[f32]) -> Result<(), IndexError> {
        let row = self.n_rows;
        ensure_room(row + 1)?;
        ensure_unit(row, values.iter().copied())?;
        pack_into(self.lanes.to_mut(), values);
        self.n_rows += 1;
        Ok(())
    }

    /// Takes `n_rows` packed rows as they are; the table was empty.
    pub(crate) fn take(&mut self, n_rows: usize, lanes: Slab<Lanes>) -> Result<(), IndexError> {
        ensure_room(n_rows)?;
        (self.n_rows, self.lanes) = (n_rows, lanes);
        Ok(())
    }

    /// Refuses rows that are not unit vectors.
    pub(crate) fn ensure_units(&self) -> Result<(), IndexError> {
        let wrong = |row: usize| ensure_unit(row, self.values(row as u32)).err();
        (0..self.n_rows).into_par_iter().find_map_first(wrong).map_or(Ok(()), Err)
    }

    /// The vectors' space.
    #[must_use]
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// Rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.n_rows
    }

    /// True without rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.n_rows == 0
    }

    /// The vector of a row.
    ///
    /// # Errors
    /// [`IndexError::UnknownRow`].
    pub fn vector(&self, row: u32) -> Result<JointVector, IndexError> {
        if row as usize >= self.n_rows {
            return Err(IndexError::UnknownRow { row, n_rows: self.n_rows });
        }
        JointVector::normalized(self.values(row).collect())
            .map_err(|source| IndexError::Vector { row: row as usize, source })
    }

    /// The components of a stored row, without padding.
    pub(crate) fn values(&self, row: u32) -> impl Iterator<Item = f32> + Clone + '_ {
        self.row(row).iter().flat_map(|lanes| lanes.0).take(self.space.dim)
    }

    /// A stored row, zero padded.
    #[inline]
    pub(crate) fn row(&self, row: u32) -> &[Lanes] {
        let start = row as usize * self.n_lanes;
        &self.lanes[start..start + self.n_lanes]
    }

    /// All rows, zero padded, `[n_rows][n_lanes]`.
    #[inline]
    pub(crate) fn lanes(&self) -> &[Lanes] {
        &self.lanes
    }

    #[inline]
    pub(crate) fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Components that one comparison reads, padding included.
    pub(crate) fn row_width(&self) -> usize {
        self.n_lanes * N_LANES
    }
}

fn ensure_unit(row: usize, values: impl Iterator<Item = f32> + Clone) -> Result<(), IndexError> {
    if let Some(index) = values.clone().position(|value| !value.is_finite()) {
        return Err(IndexError::Vector { row, source: VectorError::NotFinite { index } });
    }
    let norm = values.map(|v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
    if (norm - 1.0).abs() > NORM_TOLERANCE {
        return Err(IndexError::NotUnit { row, norm });
    }
    Ok(())
}

fn ensure_room(n_rows: usize) -> Result<(), IndexError> {
    if n_rows > MAX_ROWS {
        return Err(IndexError::TooManyRows { found: n_rows, max: MAX_ROWS });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use protext_core::Fingerprint;

    use super::*;

    fn space(dim: usize) -> Space {
        Space { name: "s".into(), dim, fingerprint: Fingerprint::of(["s"]) }
    }

    #[test]
    fn rows_come_back_as_they_were() {
        let mut table = VectorTable::new(space(3)).unwrap();
        let vector = JointVector::normalized(vec![1.0, 2.0, -2.0]).unwrap();
        assert_eq!(table.push(&vector).unwrap(), 0);
        assert_eq!(table.values(0).collect::<Vec<_>>(), vector.as_slice());
        assert_eq!(table.vector(1), Err(IndexError::UnknownRow { row: 1, n_rows: 1 }));
    }

    #[test]
    fn only_whole_finite_unit_rows_enter() {
        let refuse = |values: &[f32]| VectorTable::from_matrix(space(2), values).unwrap_err();
        assert!(matches!(refuse(&[1.0, 0.0, 1.0]), IndexError::RaggedMatrix { n_values: 3, dim: 2 }));
        assert!(matches!(refuse(&[1.0, 0.0, f32::NAN, 0.0]), IndexError::Vector { row: 1, .. }));
        assert!(matches!(refuse(&[0.6, 0.9]), IndexError::NotUnit { row: 0, .. }));
        assert!(matches!(refuse(&[0.0, 0.0]), IndexError::NotUnit { row: 0, .. }));
        assert_eq!(VectorTable::from_matrix(space(2), &[1.000_000_2, 0.0]).unwrap().len(), 1);
        assert!(matches!(VectorTable::new(space(0)), Err(IndexError::NoComponents(_))));
    }

    #[test]
    fn rows_past_the_limit_are_refused() {
        assert!(ensure_room(MAX_ROWS).is_ok());
        let error = ensure_room(MAX_ROWS + 1).unwrap_err();
        assert!(error.to_string().contains("split them"), "{error}");
    }
}
