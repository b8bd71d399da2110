//! Searching a view: the snapshot's index for what it holds, a scan of what came later, merged.

use protext_core::{JointVector, Space};
use rayon::prelude::*;

use super::view::{Place, View};
use crate::collection::Record;
use crate::error::IndexError;
use crate::row_set::RowSet;
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

/// Records of one view that a search may return. It fits the view that made it and no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    base: RowSet,
    segments: Vec<RowSet>,
}

/// One answer of a view.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewHit<'a> {
    /// The record found.
    pub record: &'a Record,
    /// Cosine with the query, in -1..=1.
    pub cosine: f32,
    /// 1 for the best.
    pub rank: usize,
}

impl View {
    /// The records for which `allowed` says yes.
    #[must_use]
    pub fn select(&self, allowed: impl Fn(&Record) -> bool) -> Selection {
        let records = self.base.records();
        let base =
            RowSet::where_true(records.len(), |row| self.is_live(row) && allowed(&records[row as usize]));
        let of_segment = |segment: &std::sync::Arc<super::segment::Segment>| {
            RowSet::where_true(segment.n_rows(), |row| allowed(segment.record(row)))
        };
        Selection { base, segments: self.segments.iter().map(of_segment).collect() }
    }

    /// The records with these ids; ids that no record has are left out.
    #[must_use]
    pub fn select_ids<'a>(&self, ids: impl IntoIterator<Item = &'a str>) -> Selection {
        let mut selection = Selection {
            base: RowSet::none(self.base.len()),
            segments: self.segments.iter().map(|segment| RowSet::none(segment.n_rows())).collect(),
        };
        for place in ids.into_iter().filter_map(|id| self.place_of(id)) {
            match place {
                Place::Base(row) => selection.base.insert(row),
                Place::Segment(at, row) => selection.segments[at].insert(row),
            };
        }
        selection
    }

    /// The records nearest to a query of `query_space`: cosine descending, no record twice, `k` of them or all.
    ///
    /// # Errors
    /// [`IndexError::Space`] for a space that the collection has no vectors in, [`IndexError::ZeroK`],
    /// [`IndexError::WrongDim`], and [`IndexError::FilterRows`] for a selection of another view.
    pub fn search(
        &self,
        query_space: &Space,
        query: &JointVector,
        search: &ViewSearch<'_>,
    ) -> Result<Vec<ViewHit<'_>>, IndexError> {
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
    ) -> Result<Vec<Vec<ViewHit<'_>>>, IndexError> {
        let Some(first) = queries.first() else { return Ok(Vec::new()) };
        let space = self.ensure_searchable(query_space, first, search)?;
        for query in queries {
            self.ensure_searchable(query_space, query, search)?;
        }
        let of_base = self.with_base_params(search, |params| match params {
            Some(params) => self.base_index(space).search_batch(queries, params),
            None => Ok(vec![Vec::new(); queries.len()]),
        })?;
        let merge =
            |(query, of_base): (&JointVector, &Vec<Neighbour>)| self.merged(space, query, search, of_base);
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
        if let Some(selection) = search.within {
            let expected =
                self.base.len() + self.segments.iter().map(|segment| segment.n_rows()).sum::<usize>();
            let found =
                selection.base.n_rows() + selection.segments.iter().map(RowSet::n_rows).sum::<usize>();
            if found != expected || selection.segments.len() != self.segments.len() {
                return Err(IndexError::FilterRows { found, expected });
            }
        }
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
    ) -> Result<Vec<ViewHit<'_>>, IndexError> {
        let scan = |(at, segment): (usize, &std::sync::Arc<super::segment::Segment>)| {
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
        let to_hit = |(index, (place, cosine)): (usize, (Place, f32))| ViewHit {
            record: self.record_at(place),
            cosine,
            rank: index + 1,
        };
        Ok(found.into_iter().enumerate().map(to_hit).collect())
    }
}
