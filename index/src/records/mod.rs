//! The records of one snapshot: in memory while it is built, in a file that is read where it lies afterwards.
//!
//! Vectors are rows of an index; this is what is known of each row. A [`Records`] never changes. Both kinds answer
//! the same questions: one record, the row of an id, the rows that meet a condition, the rows that hold a word.

mod connections;
mod held;
mod recent;
mod schema;
mod stored;

use std::sync::Arc;

pub(crate) use held::{HeldRecord, RecordTable};
pub(crate) use schema::{WriteFault, write};
pub(crate) use stored::RecordFile;

use crate::collection::Record;
use crate::error::IndexError;
use crate::filter::{Condition, Descent};
use crate::keywords::{Best, Bm25, Keywords, WordStatistics};
use crate::row_set::RowSet;
use crate::taxonomy::Taxonomy;

/// The records of a snapshot, by row.
#[derive(Debug, Clone)]
pub(crate) enum Records {
    Held(Arc<RecordTable>),
    Stored(Arc<RecordFile>),
}

impl Records {
    pub(crate) fn len(&self) -> usize {
        match self {
            Records::Held(table) => table.len(),
            Records::Stored(file) => file.len(),
        }
    }

    /// Residues of all records.
    pub(crate) fn n_residues(&self) -> u64 {
        match self {
            Records::Held(table) => table.n_residues(),
            Records::Stored(file) => file.n_residues(),
        }
    }

    /// The record of a row.
    pub(crate) fn record(&self, row: u32) -> Result<Arc<Record>, IndexError> {
        self.read(&[row])?.pop().ok_or_else(|| IndexError::UnknownRow { row, n_rows: self.len() })
    }

    /// The records of these rows, in their order; in less time than one by one.
    pub(crate) fn read(&self, rows: &[u32]) -> Result<Vec<Arc<Record>>, IndexError> {
        match self {
            Records::Held(table) => rows.iter().map(|&row| table.record(row)).collect(),
            Records::Stored(file) => file.read(rows),
        }
    }

    /// The row of the record with this id.
    pub(crate) fn row_of(&self, id: &str) -> Result<Option<u32>, IndexError> {
        match self {
            Records::Held(table) => Ok(table.row_of(id)),
            Records::Stored(file) => file.row_of(id),
        }
    }

    /// Names of the free fields that any record has.
    pub(crate) fn field_names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match self {
            Records::Held(table) => Box::new(table.field_names()),
            Records::Stored(file) => Box::new(file.field_names()),
        }
    }

    /// The rows that meet a condition. `descent` knows the taxa of records in memory.
    pub(crate) fn rows_where(
        &self,
        condition: &Condition,
        descent: &Descent,
    ) -> Result<Arc<RowSet>, IndexError> {
        match self {
            Records::Held(table) => Ok(Arc::new(table.rows_where(condition, descent))),
            Records::Stored(file) => file.rows_where(condition),
        }
    }

    /// Whether there is a taxonomy to ask.
    pub(crate) fn has_taxonomy(&self) -> bool {
        match self {
            Records::Held(table) => table.taxonomy().is_some(),
            Records::Stored(file) => file.has_taxonomy(),
        }
    }

    /// The taxon above `taxon`, which is itself at the root; `None` for a taxon that the taxonomy does not have.
    pub(crate) fn parent_of(&self, taxon: u32) -> Result<Option<u32>, IndexError> {
        match self {
            Records::Held(table) => Ok(table.taxonomy().and_then(|taxonomy| taxonomy.parent_of(taxon))),
            Records::Stored(file) => file.parent_of(taxon),
        }
    }

    /// The whole taxonomy, for the next snapshot.
    pub(crate) fn taxonomy(&self) -> Result<Option<Arc<Taxonomy>>, IndexError> {
        match self {
            Records::Held(table) => Ok(table.taxonomy().cloned()),
            Records::Stored(file) => Ok(file.taxonomy()?.map(Arc::new)),
        }
    }

    /// How often each word occurs.
    pub(crate) fn word_statistics(&self, keywords: &Keywords) -> Result<WordStatistics, IndexError> {
        match self {
            Records::Held(table) => Ok(WordStatistics::of(table.words(), keywords)),
            Records::Stored(file) => file.word_statistics(keywords),
        }
    }

    /// Offers `best` every row that `is_allowed` lets pass and that holds a word.
    pub(crate) fn offer_matches(
        &self,
        keywords: &Keywords,
        bm25: &Bm25,
        is_allowed: &dyn Fn(u32) -> bool,
        best: &mut Best<u32>,
    ) -> Result<(), IndexError> {
        match self {
            Records::Held(table) => {
                for (row, words) in (0..).zip(table.words()).filter(|(row, _)| is_allowed(*row)) {
                    best.offer(bm25.score(words, keywords), row);
                }
                Ok(())
            }
            Records::Stored(file) => file.offer_matches(keywords, is_allowed, best),
        }
    }
}
