//! Records that came after the snapshot, in blocks: small enough to copy when one more comes, many enough to scan fast.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use protext_core::{JointVector, Space};

use crate::collection::Record;
use crate::error::IndexError;
use crate::exact::ExactIndex;
use crate::records::HeldRecord;
use crate::row_set::RowSet;
use crate::vector_index::{Neighbour, SearchParams, VectorIndex};
use crate::vector_table::VectorTable;

/// Records of a full segment. A write copies at most one segment, half a megabyte at 256 dimensions.
pub(super) const SEGMENT_ROWS: usize = 512;

/// A block of records with their vectors in every space. Rows are added and killed, never changed.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    records: Vec<Arc<HeldRecord>>,
    /// The latest row of each id; it may be dead.
    rows: HashMap<Arc<str>, u32>,
    tables: Vec<Arc<VectorTable>>,
    /// Names of free fields.
    fields: BTreeSet<String>,
    is_live: Vec<bool>,
    n_live: usize,
}

impl Segment {
    pub(super) fn new(spaces: &[Space]) -> Result<Self, IndexError> {
        let table = |space: &Space| VectorTable::new(space.clone()).map(Arc::new);
        let tables = spaces.iter().map(table).collect::<Result<_, _>>()?;
        let (records, rows, fields) = (Vec::new(), HashMap::new(), BTreeSet::new());
        Ok(Self { records, rows, tables, fields, is_live: Vec::new(), n_live: 0 })
    }

    pub(super) fn is_full(&self) -> bool {
        self.records.len() >= SEGMENT_ROWS
    }

    pub(super) fn n_live(&self) -> usize {
        self.n_live
    }

    /// Adds a record with a row in every space. The row of the same id must have been killed.
    pub(super) fn push(&mut self, record: Record, rows: &[Vec<f32>]) -> Result<(), IndexError> {
        // Rows are checked in all tables before one is touched, so that they stay of one length.
        for (table, row) in self.tables.iter().zip(rows) {
            VectorTable::from_matrix(table.space().clone(), row)?;
        }
        for (table, row) in self.tables.iter_mut().zip(rows) {
            Arc::make_mut(table).push_unit(row)?;
        }
        self.rows.insert(record.id.as_str().into(), self.records.len() as u32);
        self.fields.extend(record.fields.keys().cloned());
        self.records.push(Arc::new(HeldRecord::new(record)));
        self.is_live.push(true);
        self.n_live += 1;
        Ok(())
    }

    /// The latest row of an id, and whether it is live; `None` if this segment never had it.
    pub(super) fn find(&self, id: &str) -> Option<(u32, bool)> {
        self.rows.get(id).map(|&row| (row, self.is_live[row as usize]))
    }

    /// Makes a live row dead.
    pub(super) fn kill(&mut self, row: u32) {
        if std::mem::take(&mut self.is_live[row as usize]) {
            self.n_live -= 1;
        }
    }

    pub(super) fn record(&self, row: u32) -> &Arc<Record> {
        self.records[row as usize].record()
    }

    /// The record with its words.
    pub(super) fn held(&self, row: u32) -> &HeldRecord {
        &self.records[row as usize]
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(String::as_str)
    }

    pub(super) fn live_rows(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.records.len() as u32).filter(|&row| self.is_live[row as usize])
    }

    pub(super) fn live_set(&self) -> RowSet {
        RowSet::where_true(self.records.len(), |row| self.is_live[row as usize])
    }

    /// Rows, dead ones included.
    pub(super) fn n_rows(&self) -> usize {
        self.records.len()
    }

    pub(super) fn table(&self, space: usize) -> &VectorTable {
        &self.tables[space]
    }

    pub(super) fn vector(&self, space: usize, row: u32) -> Result<JointVector, IndexError> {
        self.tables[space].vector(row)
    }

    /// The nearest live rows that `within` allows, compared one by one.
    pub(super) fn search(
        &self,
        space: usize,
        query: &JointVector,
        k: usize,
        within: Option<&RowSet>,
    ) -> Result<Vec<Neighbour>, IndexError> {
        let is_allowed = |row: u32| self.is_live[row as usize] && within.is_none_or(|set| set.contains(row));
        let is_whole = within.is_none() && self.n_live == self.records.len();
        let allowed = (!is_whole).then(|| RowSet::where_true(self.records.len(), is_allowed));
        let params = SearchParams { filter: allowed.as_ref(), ..SearchParams::new(k) };
        ExactIndex::new(Arc::clone(&self.tables[space])).search(query, &params)
    }
}
