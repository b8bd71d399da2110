//! Rows in eight bits: a quarter of the memory that a walk has to wait for.

use rayon::prelude::*;

use crate::error::GraphFault;
use crate::kernel::codes::{Bytes, CodeKernel, QueryCode, encode_into, n_bytes_of};
use crate::kernel::prefetch;
use crate::slab::Slab;
use crate::vector_table::VectorTable;

/// Scores from codes are taken to be off by no more standard errors than this.
pub(super) const MARGIN_DEVIATIONS: f32 = 6.0;
/// Rows that one task encodes.
const N_TASK_ROWS: usize = 1_024;

/// The codes of every row of a table.
#[derive(Debug, Clone)]
pub(crate) struct Codes {
    /// `[n_rows][n_bytes]`, padded to whole cache lines.
    bytes: Slab<Bytes>,
    /// [`Bytes`] of a row.
    n_row_bytes: usize,
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
        Self {
            bytes: bytes.into(),
            n_row_bytes: n_bytes,
            scales: scales.into(),
            kernel: CodeKernel::detect(),
        }
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
        Ok(Self { bytes, n_row_bytes: n_bytes_of(dim), scales, kernel: CodeKernel::detect() })
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

    /// Whether the cosine of a row with this score from codes may be `floor` or more.
    #[inline]
    pub(super) fn may_reach(&self, row: u32, query: &QueryCode, score: f32, floor: f32) -> bool {
        let below = floor - score;
        let margin = MARGIN_DEVIATIONS * MARGIN_DEVIATIONS / 12.0;
        below <= 0.0 || below * below <= margin * (self.scales[row as usize].powi(2) + query.scale().powi(2))
    }

    /// Asks for the code of a row and its scale.
    #[inline]
    pub(super) fn ask_for(&self, row: u32) {
        prefetch(&self.bytes[row as usize * self.n_row_bytes..][..self.n_row_bytes]);
        prefetch(&self.scales[row as usize..][..1]);
    }

    #[inline]
    pub(super) fn scores_at(&self, rows: &[u32], query: &QueryCode, to: &mut [f32]) {
        self.kernel.scores_at((&self.bytes, &self.scales), rows, query, to);
    }
}

#[cfg(test)]
mod tests {
    use protext_core::{Fingerprint, JointVector, Space};
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    #[test]
    fn no_row_that_reaches_the_floor_is_passed_over() {
        let mut random = StdRng::seed_from_u64(11);
        for dim in [3, 64, 320] {
            let space = Space { name: "s".into(), dim, fingerprint: Fingerprint::of(["s"]) };
            let mut table = VectorTable::new(space).unwrap();
            let mut vector =
                || JointVector::normalized((0..dim).map(|_| random.random::<f32>() - 0.4).collect()).unwrap();
            for _ in 0..500 {
                table.push(&vector()).unwrap();
            }
            let query = vector();
            let (codes, code) = (Codes::of(&table), QueryCode::new(query.as_slice()));
            let rows: Vec<u32> = (0..500).collect();
            let mut scores = vec![0.0; 500];
            codes.scores_at(&rows, &code, &mut scores);
            let mut n_passed_over = 0;
            for (&row, &score) in rows.iter().zip(&scores) {
                let cosine: f32 = table.values(row).zip(query.as_slice()).map(|(a, b)| a * b).sum();
                assert!(codes.may_reach(row, &code, score, cosine), "{dim}: {score} for {cosine}");
                n_passed_over += usize::from(!codes.may_reach(row, &code, score, cosine + 0.1));
            }
            assert!(n_passed_over > 400, "{dim}: only {n_passed_over} of 500 are passed over");
        }
    }
}
