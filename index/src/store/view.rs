//! One state of a collection: the snapshot, what came after it, and what is deleted. A view never changes.

use std::sync::Arc;

use protext_core::{JointVector, Space};

use super::change::{Change, WriteReport};
use super::segment::Segment;
use crate::collection::{Collection, CollectionInfo, Record};
use crate::error::IndexError;
use crate::row_set::RowSet;
use crate::vector_index::VectorIndex;

/// A state of a collection, as it was when [`super::Store::view`] was called.
///
/// Searches of a view see all of a batch of writes or nothing of it, and go on seeing the same while others write.
/// A view is cheap to clone. It keeps what it shows alive, in memory and on disk, so let go of it after each request.
#[derive(Debug, Clone)]
pub struct View {
    pub(super) base: Arc<Collection>,
    pub(super) spaces: Arc<[Space]>,
    /// Rows of the base that are neither deleted nor replaced; `None` while that is all of them.
    pub(super) live: Option<Arc<RowSet>>,
    pub(super) n_dead: usize,
    /// Later records, the oldest segment first. Only the last one grows.
    pub(super) segments: Vec<Arc<Segment>>,
    n_residues: u64,
}

/// Where a live record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Base(u32),
    Segment(usize, u32),
}

/// A record of a view with its vectors.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    view: &'a View,
    place: Place,
}

impl From<Collection> for View {
    /// The state that a snapshot alone is.
    fn from(collection: Collection) -> Self {
        Self::of(Arc::new(collection))
    }
}

impl View {
    pub(super) fn of(base: Arc<Collection>) -> Self {
        let spaces = base.spaces().cloned().collect();
        let n_residues = base.records.n_residues();
        Self { base, spaces, live: None, n_dead: 0, segments: Vec::new(), n_residues }
    }

    /// What the collection is. The index is that of the snapshot; later records are compared one by one.
    #[must_use]
    pub fn info(&self) -> CollectionInfo {
        CollectionInfo { n_records: self.len() as u64, ..self.base.info() }
    }

    /// The snapshot below this state.
    #[must_use]
    pub fn base(&self) -> &Arc<Collection> {
        &self.base
    }

    /// The main space.
    #[must_use]
    pub fn space(&self) -> &Space {
        self.base.space()
    }

    /// Every space, the main one first.
    #[must_use]
    pub fn spaces(&self) -> &[Space] {
        &self.spaces
    }

    /// Position of a space among [`View::spaces`].
    ///
    /// # Errors
    /// [`IndexError::Space`] naming the main space if the collection has no vectors in that one.
    pub fn position_of(&self, space: &Space) -> Result<usize, IndexError> {
        let position = self.spaces.iter().position(|own| own.fingerprint == space.fingerprint);
        let position = position.unwrap_or(0);
        self.spaces[position].ensure_same("the collection", space, "the query")?;
        Ok(position)
    }

    /// Live records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.base.len() - self.n_dead + self.segments.iter().map(|segment| segment.n_live()).sum::<usize>()
    }

    /// True without records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Changes since the snapshot that cost a search time: rows of the base that are dead, and later rows.
    #[must_use]
    pub fn n_changes(&self) -> usize {
        self.n_dead + self.segments.iter().map(|segment| segment.n_rows()).sum::<usize>()
    }

    /// Residues of all records.
    #[must_use]
    pub fn n_residues(&self) -> u64 {
        self.n_residues
    }

    /// The record with this id.
    ///
    /// # Errors
    /// [`IndexError::Records`] where the snapshot cannot be read.
    pub fn get(&self, id: &str) -> Result<Option<Entry<'_>>, IndexError> {
        Ok(self.place_of(id)?.map(|place| self.entry(place)))
    }

    pub(super) fn entry(&self, place: Place) -> Entry<'_> {
        Entry { view: self, place }
    }

    /// Every record: those of the snapshot in their order, then later ones in the order in which they came.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let base = (0..self.base.len() as u32).filter(|&row| self.is_live(row)).map(Place::Base);
        let later = self.segments.iter().enumerate();
        let later =
            later.flat_map(|(at, segment)| segment.live_rows().map(move |row| Place::Segment(at, row)));
        base.chain(later).map(|place| self.entry(place))
    }

    /// Vector of the record with this id in the main space.
    ///
    /// # Errors
    /// [`IndexError::UnknownId`], or as [`View::get`].
    pub fn vector_of(&self, id: &str) -> Result<JointVector, IndexError> {
        self.get(id)?.ok_or_else(|| IndexError::UnknownId { id: id.into() })?.vector(0)
    }

    pub(super) fn is_live(&self, base_row: u32) -> bool {
        self.live.as_ref().is_none_or(|live| live.contains(base_row))
    }

    pub(super) fn place_of(&self, id: &str) -> Result<Option<Place>, IndexError> {
        for (at, segment) in self.segments.iter().enumerate().rev() {
            // The latest row of the id tells: if it is dead, the record was deleted after all earlier ones.
            if let Some((row, is_live)) = segment.find(id) {
                return Ok(is_live.then_some(Place::Segment(at, row)));
            }
        }
        Ok(self.base.by_id(id)?.filter(|&row| self.is_live(row)).map(Place::Base))
    }

    /// The records of these places, in their order; in less time than one by one.
    pub(super) fn records_at(&self, places: &[Place]) -> Result<Vec<Arc<Record>>, IndexError> {
        let of_base = places.iter().filter_map(|place| match place {
            Place::Base(row) => Some(*row),
            Place::Segment(..) => None,
        });
        let mut of_base = self.base.records.read(&of_base.collect::<Vec<_>>())?.into_iter();
        let record = |place: &Place| match *place {
            Place::Base(row) => of_base.next().map_or_else(|| self.base.record(row), Ok),
            Place::Segment(at, row) => Ok(Arc::clone(self.segments[at].record(row))),
        };
        places.iter().map(record).collect()
    }

    pub(super) fn record_at(&self, place: Place) -> Result<Arc<Record>, IndexError> {
        match place {
            Place::Base(row) => self.base.record(row),
            Place::Segment(at, row) => Ok(Arc::clone(self.segments[at].record(row))),
        }
    }

    /// Makes the changes, in order. The view must be one that nobody else sees yet.
    ///
    /// # Errors
    /// [`IndexError`] for a row that breaks the rules, or a snapshot that cannot be read; the view is then half changed and must be dropped.
    pub(super) fn apply(&mut self, changes: Vec<Change>) -> Result<WriteReport, IndexError> {
        let mut report = WriteReport::default();
        for change in changes {
            match change {
                Change::Upsert { record, rows } => {
                    let was_there = self.kill(&record.id)?;
                    self.n_residues += u64::from(record.length);
                    if self.segments.last().is_none_or(|segment| segment.is_full()) {
                        self.begin_segment()?;
                    }
                    if let Some(segment) = self.segments.last_mut() {
                        Arc::make_mut(segment).push(*record, &rows)?;
                    }
                    if was_there { report.n_replaced += 1 } else { report.n_inserted += 1 }
                }
                Change::Delete { id } if self.kill(&id)? => report.n_deleted += 1,
                Change::Delete { id } => report.unknown.push(id),
            }
        }
        Ok(report)
    }

    /// Records from now on come into a new segment.
    pub(super) fn begin_segment(&mut self) -> Result<(), IndexError> {
        self.segments.push(Arc::new(Segment::new(&self.spaces)?));
        Ok(())
    }

    /// Makes the record with this id dead; false if there is none.
    fn kill(&mut self, id: &str) -> Result<bool, IndexError> {
        let Some(place) = self.place_of(id)? else { return Ok(false) };
        self.n_residues -= u64::from(self.record_at(place)?.length);
        match place {
            Place::Base(row) => self.kill_base_row(row),
            Place::Segment(at, row) => Arc::make_mut(&mut self.segments[at]).kill(row),
        }
        Ok(true)
    }

    fn kill_base_row(&mut self, row: u32) {
        let n_rows = self.base.len();
        let live = self.live.get_or_insert_with(|| Arc::new(RowSet::all(n_rows)));
        Arc::make_mut(live).remove(row);
        self.n_dead += 1;
    }

    /// This state over a new base, which holds what an earlier state held: everything before the segment `n_before`.
    /// Of the base's records those in `touched` were changed or deleted since.
    pub(super) fn rebased<'a>(
        &self,
        base: Arc<Collection>,
        n_before: usize,
        touched: impl Iterator<Item = &'a str>,
    ) -> Result<Self, IndexError> {
        let mut view = Self::of(base);
        for id in touched {
            if let Some(row) = view.base.by_id(id)?.filter(|&row| view.is_live(row)) {
                view.kill_base_row(row);
            }
        }
        view.segments = self.segments[n_before..].to_vec();
        view.n_residues = self.n_residues;
        Ok(view)
    }
}

impl Entry<'_> {
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// Spaces in which it has a vector: those of the view.
    #[must_use]
    pub fn n_spaces(&self) -> usize {
        self.view.spaces.len()
    }

    /// The record, read from the snapshot if it is not of the later ones.
    ///
    /// # Errors
    /// [`IndexError::Records`] where the snapshot cannot be read.
    pub fn record(&self) -> Result<Arc<Record>, IndexError> {
        self.view.record_at(self.place)
    }

    /// Its vector in the space at this position of [`View::spaces`].
    ///
    /// # Errors
    /// [`IndexError::UnknownRow`] if the index below is broken.
    ///
    /// # Panics
    /// If there is no such space.
    pub fn vector(&self, space: usize) -> Result<JointVector, IndexError> {
        match self.place {
            Place::Base(row) => self.view.base_index(space).vector(row),
            Place::Segment(at, row) => self.view.segments[at].vector(space, row),
        }
    }

    /// The stored components, to the last bit.
    pub(super) fn values(&self, space: usize) -> Vec<f32> {
        let (table, row) = match self.place {
            Place::Base(row) => (self.view.base.indexes[space].table(), row),
            Place::Segment(at, row) => (self.view.segments[at].table(space), row),
        };
        table.values(row).collect()
    }
}

impl View {
    pub(super) fn base_index(&self, space: usize) -> &dyn VectorIndex {
        self.base.indexes[space].as_index()
    }
}
