//! Rows in eight bits: a quarter of the memory that a walk has to wait for.

use rayon::prelude::*;

use crate::error::GraphFault;
use crate::kernel::codes::{Bytes, CodeKernel, QueryCode, encode_into, n_bytes_of};
use crate::slab::{Slab, ask_for_huge_pages};
use crate::vector_table::VectorTable;

/// Rows that one task encodes.
const N_TASK_ROWS: usize = 1_024;

/// The codes of every row of a table.
#[derive(Debug, Clone)]
pub(crate) struct Codes {
    /// `[n_rows][n_bytes]`, padded to whole cache lines.
    bytes: Slab<Bytes>,
    /// What one step of a row's codes is worth, `[n_rows]`.
    scales: Slab<f32>,
    kernel: CodeKernel,
}

impl Codes {
    /// Encodes every row of `table`.
    pub(crate) fn of(table: &VectorTable) -> Self {
        let n_bytes = n_bytes_of(table.space().dim);
        let mut bytes = Vec::with_capacity(table.len() * n_bytes);
        let starts: Vec<usize> = (0..table.len()).step_by(N_TASK_ROWS).collect();
        let encode = |&start: &usize| {
            let (mut bytes, mut scales) = (Vec::with_capacity(N_TASK_ROWS * n_bytes), Vec::new());
            let mut values = Vec::with_capacity(table.space().dim);
            for row in start..table.len().min(start + N_TASK_ROWS) {
                values.clear();
                values.extend(table.values(row as u32));
                scales.push(encode_into(&mut bytes, &values));
            }
            (bytes, scales)
        };
        let mut scales = Vec::with_capacity(table.len());
        for starts in starts.chunks(64) {
            let parts: Vec<_> = starts.par_iter().map(encode).collect();
            for (of_bytes, of_scales) in parts {
                bytes.extend(of_bytes);
                scales.extend(of_scales);
            }
        }
        ask_for_huge_pages(&bytes);
        Self { bytes: bytes.into(), scales: scales.into(), kernel: CodeKernel::detect() }
    }

    /// Puts together codes that were stored, of `n_rows` rows of `dim` components.
    ///
    /// # Errors
    /// [`GraphFault::Count`].
    pub(crate) fn new(
        bytes: Slab<Bytes>,
        scales: Slab<f32>,
        n_rows: usize,
        dim: usize,
    ) -> Result<Self, GraphFault> {
        for (what, expected, found) in
            [("codes", n_rows * n_bytes_of(dim), bytes.len()), ("scales", n_rows, scales.len())]
        {
            if expected != found {
                return Err(GraphFault::Count { what, expected: expected as u64, found: found as u64 });
            }
        }
        Ok(Self { bytes, scales, kernel: CodeKernel::detect() })
    }

    pub(crate) fn bytes(&self) -> &[Bytes] {
        &self.bytes
    }

    pub(crate) fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// Standard error of the score of a row: rounding is off by a twelfth of a squared step on average, and both
    /// vectors have norm 1.
    pub(super) fn deviation(&self, row: u32, query: &QueryCode) -> f32 {
        (self.scales[row as usize].powi(2) + query.scale().powi(2)).sqrt() / 12.0_f32.sqrt()
    }

    #[inline]
    pub(super) fn scores_at(&self, rows: &[u32], query: &QueryCode, to: &mut [f32]) {
        self.kernel.scores_at((&self.bytes, &self.scales), rows, query, to);
    }
}
