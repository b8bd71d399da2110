//! Exact search: every allowed row is compared.
//!
//! The default for small collections, the twin that recall is measured against, and what a graph falls back
//! to when a filter is selective. A single query splits the rows over the cores; a batch is computed as a
//! tiled matrix product, a few queries against a block of rows that stays in the cache.

use std::ops::Range;
use std::sync::Arc;

use protext_core::{JointVector, Space};
use rayon::prelude::*;

use crate::error::IndexError;
use crate::kernel::{Lanes, pack};
use crate::ranking::{Ranked, TopK};
use crate::vector_index::{Neighbour, SearchParams, VectorIndex, ensure_searchable};
use crate::vector_table::VectorTable;

/// Components below which one thread is faster than sharing the work. Source: measured, about 100 us of scanning.
const MIN_PARALLEL_COMPONENTS: usize = 1 << 21;
/// Components of a block of rows, 256 KiB: a share of the second-level cache.
const BLOCK_COMPONENTS: usize = 1 << 16;
/// Queries scored together: their running sums fill half of the AVX-512 registers.
const TILE: usize = 4;
/// Most queries that one task carries through the rows.
const MAX_TASK_QUERIES: usize = 32;

/// Compares the query with every allowed row.
#[derive(Debug, Clone)]
pub struct ExactIndex {
    table: Arc<VectorTable>,
}

/// The rows to compare.
enum Rows {
    All(usize),
    Listed(Vec<u32>),
}

impl Rows {
    fn of(params: &SearchParams<'_>, n_rows: usize) -> Self {
        params.filter.map_or(Rows::All(n_rows), |filter| Rows::Listed(filter.iter().collect()))
    }

    fn len(&self) -> usize {
        match self {
            Rows::All(n) => *n,
            Rows::Listed(rows) => rows.len(),
        }
    }

    /// The row at a position below [`Rows::len`].
    #[inline]
    fn at(&self, position: usize) -> u32 {
        match self {
            Rows::All(_) => position as u32,
            Rows::Listed(rows) => rows[position],
        }
    }
}

impl ExactIndex {
    /// An index over `table`; nothing is built.
    #[must_use]
    pub fn new(table: Arc<VectorTable>) -> Self {
        Self { table }
    }

    /// The vectors, shared.
    #[must_use]
    pub fn table(&self) -> &Arc<VectorTable> {
        &self.table
    }

    fn block_len(&self) -> usize {
        (BLOCK_COMPONENTS / self.table.row_width()).max(16)
    }

    fn scan(&self, query: &[Lanes], rows: &Rows, span: Range<usize>, k: usize) -> TopK {
        let kernel = self.table.kernel();
        let mut top = TopK::new(k, span.len());
        for row in span.map(|position| rows.at(position)) {
            top.offer(Ranked::new(kernel.cosine(self.table.row(row), query), row));
        }
        top
    }

    fn search_rows(&self, query: &[Lanes], rows: &Rows, k: usize) -> TopK {
        let n = rows.len();
        if n.saturating_mul(self.table.row_width()) < MIN_PARALLEL_COMPONENTS {
            return self.scan(query, rows, 0..n, k);
        }
        let span_len = n.div_ceil(rayon::current_num_threads() * 4).max(self.block_len());
        (0..n.div_ceil(span_len))
            .into_par_iter()
            .map(|span| self.scan(query, rows, span * span_len..n.min((span + 1) * span_len), k))
            .reduce_with(|left, right| left.merge(right))
            .unwrap_or_else(|| TopK::new(k, 0))
    }

    /// Carries a handful of queries through all rows, block by block.
    fn search_tiled(&self, queries: &[Vec<Lanes>], rows: &Rows, k: usize) -> Vec<TopK> {
        let n = rows.len();
        let mut tops = vec![TopK::new(k, n); queries.len()];
        for start in (0..n).step_by(self.block_len()) {
            let block = start..n.min(start + self.block_len());
            for (queries, tops) in queries.chunks(TILE).zip(tops.chunks_mut(TILE)) {
                match queries {
                    [a, b, c, d] => self.scan_tile([a, b, c, d], rows, block.clone(), tops),
                    rest => {
                        for (query, top) in rest.iter().zip(tops) {
                            self.scan_tile([query], rows, block.clone(), std::slice::from_mut(top));
                        }
                    }
                }
            }
        }
        tops
    }

    #[inline]
    fn scan_tile<const Q: usize>(
        &self,
        queries: [&[Lanes]; Q],
        rows: &Rows,
        block: Range<usize>,
        tops: &mut [TopK],
    ) {
        let kernel = self.table.kernel();
        for row in block.map(|position| rows.at(position)) {
            let cosines = kernel.cosines(self.table.row(row), queries);
            for (top, cosine) in tops.iter_mut().zip(cosines) {
                top.offer(Ranked::new(cosine, row));
            }
        }
    }
}

impl VectorIndex for ExactIndex {
    fn space(&self) -> &Space {
        self.table.space()
    }

    fn len(&self) -> usize {
        self.table.len()
    }

    fn is_exact(&self) -> bool {
        true
    }

    fn vector(&self, row: u32) -> Result<JointVector, IndexError> {
        self.table.vector(row)
    }

    fn search(&self, query: &JointVector, params: &SearchParams<'_>) -> Result<Vec<Neighbour>, IndexError> {
        ensure_searchable(self, query, params)?;
        let rows = Rows::of(params, self.len());
        Ok(self.search_rows(&pack(query.as_slice()), &rows, params.k).into_neighbours())
    }

    fn search_batch(
        &self,
        queries: &[JointVector],
        params: &SearchParams<'_>,
    ) -> Result<Vec<Vec<Neighbour>>, IndexError> {
        queries.iter().try_for_each(|query| ensure_searchable(self, query, params))?;
        let rows = Rows::of(params, self.len());
        let packed: Vec<_> = queries.iter().map(|query| pack(query.as_slice())).collect();
        let n_threads = rayon::current_num_threads();
        if packed.len() < n_threads * TILE {
            let search_one = |query: &Vec<Lanes>| self.search_rows(query, &rows, params.k).into_neighbours();
            return Ok(packed.par_iter().map(search_one).collect());
        }
        let n_task_queries =
            packed.len().div_ceil(n_threads * 2).next_multiple_of(TILE).clamp(TILE, MAX_TASK_QUERIES);
        let hits = packed.par_chunks(n_task_queries).flat_map_iter(|queries| {
            self.search_tiled(queries, &rows, params.k).into_iter().map(TopK::into_neighbours)
        });
        Ok(hits.collect())
    }
}
