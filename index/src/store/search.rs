//! Searching a view: the snapshot's index for what it holds, a scan of what came later, merged.

use std::sync::Arc;

use protext_core::{JointVector, Space};
use rayon::prelude::*;

use super::select::Selection;
use super::view::{Entry, Place, View};
use crate::collection::Record;
use crate::error::IndexError;
use crate::vector_index::{Neighbour, SearchParams};

/// Components above which segments are scanned on several cores. Source: that of the exact index.
const MIN_PARALLEL_COMPONENTS: usize = 1 << 21;

/// How to search a view.
#[derive(Debug, Clone, Copy)]
pub struct ViewSearch<'a> {
    /// Hits wanted, at least 1; more than there are gives all of them.
    pub k: usize,
    /// Candidates that a graph walk keeps, as [`SearchParams::ef`].
    pub ef: Option<usize>,
    /// Records that may be returned; `None` allows all.
    pub within: Option<&'a Selection>,
    /// Compare with every allowed record.
    pub exact: bool,
}

impl<'a> ViewSearch<'a> {
    /// The best `k`, defaults otherwise.
    #[must_use]
    pub fn new(k: usize) -> Self {
        Self { k, ef: None, within: None, exact: false }
    }

    /// Returns only records of `selection`.
    #[must_use]
    pub fn within(self, selection: &'a Selection) -> Self {
        Self { within: Some(selection), ..self }
    }

    /// Compares with every allowed record.
    #[must_use]
    pub fn exactly(self) -> Self {
        Self { exact: true, ..self }
    }
}

/// One answer of a view.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewHit {
    /// The record found.
    pub record: Arc<Record>,
    /// Cosine with the query, in -1..=1.
    pub cosine: f32,
    /// 1 for the best.
    pub rank: usize,
}

/// One answer of a view whose record has not been read.
#[derive(Debug, Clone, Copy)]
pub struct Nearest<'a> {
    /// Where the record and its vectors are.
    pub entry: Entry<'a>,
    /// Cosine with the query, in -1..=1.
    pub cosine: f32,
}

impl View {
    /// The records nearest to a query of `query_space`: cosine descending, no record twice, `k` of them or all.
    ///
    /// # Errors
    /// [`IndexError::Space`] for a space that the collection has no vectors in, [`IndexError::ZeroK`],
    /// [`IndexError::WrongDim`], [`IndexError::FilterRows`] for a selection of another view, and [`IndexError::Records`]
    /// where the snapshot cannot be read.
    pub fn search(
        &self,
        query_space: &Space,
        query: &JointVector,
        search: &ViewSearch<'_>,
    ) -> Result<Vec<ViewHit>, IndexError> {
        self.read(&self.nearest(query_space, query, search)?)
    }

    /// As [`View::search`], without reading the records.
    ///
    /// # Errors
    /// As [`View::search`].
    pub fn nearest(
        &self,
        query_space: &Space,
        query: &JointVector,
        search: &ViewSearch<'_>,
    ) -> Result<Vec<Nearest<'_>>, IndexError> {
        let space = self.ensure_searchable(query_space, query, search)?;
        let of_base = self.with_base_params(search, |params| match params {
            Some(params) => self.base_index(space).search(query, params),
            None => Ok(Vec::new()),
        })?;
        self.merged(space, query, search, &of_base)
    }

    /// The records nearest to each query, in the order of the queries, searched in parallel.
    ///
    /// # Errors
    /// As [`View::search`]; one refused query refuses the batch.
    pub fn search_batch(
        &self,
        query_space: &Space,
        queries: &[JointVector],
        search: &ViewSearch<'_>,
    ) -> Result<Vec<Vec<ViewHit>>, IndexError> {
        let Some(first) = queries.first() else { return Ok(Vec::new()) };
        let space = self.ensure_searchable(query_space, first, search)?;
        for query in queries {
            self.ensure_searchable(query_space, query, search)?;
        }
        let of_base = self.with_base_params(search, |params| match params {
            Some(params) => self.base_index(space).search_batch(queries, params),
            None => Ok(vec![Vec::new(); queries.len()]),
        })?;
        let merge = |(query, of_base): (&JointVector, &Vec<Neighbour>)| {
            self.read(&self.merged(space, query, search, of_base)?)
        };
        queries.par_iter().zip(&of_base).map(merge).collect()
    }

    /// Whether a search without `exact` compares with every record.
    ///
    /// # Errors
    /// [`IndexError::Space`].
    pub fn is_exact(&self, space: &Space) -> Result<bool, IndexError> {
        Ok(self.base_index(self.position_of(space)?).is_exact())
    }

    fn ensure_searchable(
        &self,
        query_space: &Space,
        query: &JointVector,
        search: &ViewSearch<'_>,
    ) -> Result<usize, IndexError> {
        if search.k == 0 {
            return Err(IndexError::ZeroK);
        }
        let position = self.position_of(query_space)?;
        let (space, found) = (&self.spaces[position], query.as_slice().len());
        if found != space.dim {
            return Err(IndexError::WrongDim { found, space: Box::new(space.clone()) });
        }
        search.within.map_or(Ok(()), |selection| selection.ensure_fits(self))?;
        Ok(position)
    }

    /// Calls `run` with what the base is searched by; `None` if nothing of it may be returned.
    fn with_base_params<T>(
        &self,
        search: &ViewSearch<'_>,
        run: impl FnOnce(Option<&SearchParams<'_>>) -> Result<T, IndexError>,
    ) -> Result<T, IndexError> {
        let selected = search.within.map(|selection| {
            let mut rows = selection.base.clone();
            self.live.iter().for_each(|live| rows.intersect(live));
            rows
        });
        let filter = selected.as_ref().or(self.live.as_deref());
        if self.base.is_empty() || filter.is_some_and(|rows| rows.count() == 0) {
            return run(None);
        }
        run(Some(&SearchParams { ef: search.ef, filter, exact: search.exact, ..SearchParams::new(search.k) }))
    }

    /// Adds the hits of the segments. Equal cosines: the record that was stored earlier comes first.
    fn merged(
        &self,
        space: usize,
        query: &JointVector,
        search: &ViewSearch<'_>,
        of_base: &[Neighbour],
    ) -> Result<Vec<Nearest<'_>>, IndexError> {
        let scan = |(at, segment): (usize, &Arc<super::segment::Segment>)| {
            let within = search.within.map(|selection| &selection.segments[at]);
            let found = segment.search(space, query, search.k, within)?;
            let place = |hit: Neighbour| (Place::Segment(at, hit.row), hit.cosine);
            Ok(found.into_iter().map(place).collect::<Vec<_>>())
        };
        let n_components = self.segments.len() * super::segment::SEGMENT_ROWS * self.spaces[space].dim;
        let later: Vec<Vec<(Place, f32)>> = if n_components < MIN_PARALLEL_COMPONENTS {
            self.segments.iter().enumerate().map(scan).collect::<Result<_, IndexError>>()?
        } else {
            self.segments.par_iter().enumerate().map(scan).collect::<Result<_, IndexError>>()?
        };
        let base = of_base.iter().map(|hit| (Place::Base(hit.row), hit.cosine));
        let mut found: Vec<(Place, f32)> = base.chain(later.into_iter().flatten()).collect();
        // Stable, and places came in the order in which records were stored.
        found.sort_by(|one, other| other.1.total_cmp(&one.1));
        found.truncate(search.k);
        Ok(found.into_iter().map(|(place, cosine)| Nearest { entry: self.entry(place), cosine }).collect())
    }
}

impl View {
    /// Reads the records of an answer.
    fn read(&self, found: &[Nearest<'_>]) -> Result<Vec<ViewHit>, IndexError> {
        let places: Vec<_> = found.iter().map(|found| found.entry.place()).collect();
        let records = self.records_at(&places)?;
        let to_hit = |(index, (found, record)): (usize, (&Nearest<'_>, Arc<Record>))| ViewHit {
            record,
            cosine: found.cosine,
            rank: index + 1,
        };
        Ok(found.iter().zip(records).enumerate().map(to_hit).collect())
    }
}
