//! What every index of joint vectors promises, exact or approximate, here or on another machine.

use protext_core::{JointVector, Space};
use rayon::prelude::*;

use crate::error::IndexError;
use crate::row_set::RowSet;

/// One hit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour {
    /// 0-based row of the index.
    pub row: u32,
    /// Cosine with the query in -1..=1, computed from the stored f32 vector.
    pub cosine: f32,
}

/// How to search.
#[derive(Debug, Clone, Copy)]
pub struct SearchParams<'a> {
    /// Hits wanted, at least 1; more than there are gives all of them.
    pub k: usize,
    /// Candidates that an approximate walk keeps: greater finds more and takes longer. At least `k` are kept
    /// whatever is asked; `None` keeps twice `k` or what the index needs for a recall of 0.99 at 10 hits, whichever is
    /// more, and so do searches under a filter at least. Exact searches do not read it.
    pub ef: Option<usize>,
    /// Rows that may be returned; `None` allows all.
    pub filter: Option<&'a RowSet>,
    /// Compare with every allowed row, also where the index could take a short cut.
    pub exact: bool,
    /// What an approximate walk reads on its way; the cosines of hits come from the full vectors in any case.
    pub precision: Precision,
}

/// What an approximate walk compares with the query to find its way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// Eight bits a component, a quarter of the memory to wait for. What may belong to the hits is compared again
    /// with its full vector.
    #[default]
    Codes,
    /// The stored f32 vectors. Codes only lead to the lowest layer of the graph, and spare reading vectors that cannot be
    /// among the candidates there.
    Full,
}

impl<'a> SearchParams<'a> {
    /// The best `k`, defaults otherwise.
    #[must_use]
    pub fn new(k: usize) -> Self {
        Self { k, ef: None, filter: None, exact: false, precision: Precision::default() }
    }

    /// Walks over vectors of this precision.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Keeps `ef` candidates.
    #[must_use]
    pub fn with_ef(self, ef: usize) -> Self {
        Self { ef: Some(ef), ..self }
    }

    /// Returns only rows of `allowed`.
    #[must_use]
    pub fn with_filter(self, allowed: &'a RowSet) -> Self {
        Self { filter: Some(allowed), ..self }
    }

    /// Compares with every allowed row.
    #[must_use]
    pub fn exactly(self) -> Self {
        Self { exact: true, ..self }
    }

    /// Rows that may be returned, out of `n_rows`.
    pub(crate) fn n_allowed(&self, n_rows: usize) -> usize {
        self.filter.map_or(n_rows, RowSet::count)
    }
}

/// Finds the stored vectors with the greatest cosine to a query.
///
/// Every implementation keeps these promises, and `tests/conformance.rs` holds each to them:
///
/// - Hits come cosine descending, then row ascending. No row comes twice.
/// - With `n` rows allowed, `min(k, n)` hits come back, never fewer. An empty index has no hits.
/// - A cosine is that of the stored vector: approximate means that a hit can be missed, never that a score is off.
/// - A filter that allows few rows costs no recall: below the point where the walk would cost more than comparing
///   with every allowed row, that is what is done.
/// - [`VectorIndex::search_batch`] gives for each query what [`VectorIndex::search`] gives for it alone.
/// - Searches run concurrently and never block one another. A vector does not change once stored.
/// - No input panics: a wrong dimension, `k` = 0 and a filter made for another index are typed errors.
pub trait VectorIndex: Send + Sync {
    /// The space of the stored vectors. Callers compare it with the query's; see [`Space::ensure_same`].
    fn space(&self) -> &Space;

    /// Rows stored.
    fn len(&self) -> usize;

    /// True if no row is stored.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if every stored vector is compared with every query.
    fn is_exact(&self) -> bool {
        false
    }

    /// The stored vector of a row.
    ///
    /// # Errors
    /// [`IndexError::UnknownRow`].
    fn vector(&self, row: u32) -> Result<JointVector, IndexError>;

    /// The nearest rows to one query.
    ///
    /// # Errors
    /// [`IndexError::ZeroK`], [`IndexError::WrongDim`], [`IndexError::FilterRows`].
    fn search(&self, query: &JointVector, params: &SearchParams<'_>) -> Result<Vec<Neighbour>, IndexError>;

    /// The nearest rows to each query, in the order of the queries, searched in parallel.
    ///
    /// # Errors
    /// As [`VectorIndex::search`]; one refused query refuses the batch.
    fn search_batch(
        &self,
        queries: &[JointVector],
        params: &SearchParams<'_>,
    ) -> Result<Vec<Vec<Neighbour>>, IndexError> {
        queries.par_iter().map(|query| self.search(query, params)).collect()
    }
}

/// The checks that all searches share.
pub(crate) fn ensure_searchable(
    index: &impl VectorIndex,
    query: &JointVector,
    params: &SearchParams<'_>,
) -> Result<(), IndexError> {
    if params.k == 0 {
        return Err(IndexError::ZeroK);
    }
    let n_components = query.as_slice().len();
    if n_components != index.space().dim {
        return Err(IndexError::WrongDim { found: n_components, space: Box::new(index.space().clone()) });
    }
    match params.filter {
        Some(filter) if filter.n_rows() != index.len() => {
            Err(IndexError::FilterRows { found: filter.n_rows(), expected: index.len() })
        }
        _ => Ok(()),
    }
}
