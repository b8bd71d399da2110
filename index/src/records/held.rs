//! Records in memory: those of a collection that is being built, of earlier snapshot versions, and of later writes.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use crate::collection::Record;
use crate::error::IndexError;
use crate::filter::{Condition, Descent};
use crate::keywords::WordCounts;
use crate::row_set::RowSet;
use crate::taxonomy::Taxonomy;

/// A record with its words, which are counted when keywords first ask for them.
#[derive(Debug)]
pub(crate) struct HeldRecord {
    record: Arc<Record>,
    words: OnceLock<WordCounts>,
}

impl HeldRecord {
    pub(crate) fn new(record: Record) -> Self {
        Self { record: Arc::new(record), words: OnceLock::new() }
    }

    pub(crate) fn record(&self) -> &Arc<Record> {
        &self.record
    }

    pub(crate) fn words(&self) -> &WordCounts {
        self.words.get_or_init(|| WordCounts::of(&self.record))
    }
}

/// Records by row and by id.
#[derive(Debug, Default)]
pub(crate) struct RecordTable {
    records: Vec<HeldRecord>,
    rows: HashMap<Box<str>, u32>,
    fields: BTreeSet<String>,
    n_residues: u64,
    taxonomy: Option<Arc<Taxonomy>>,
}

impl RecordTable {
    /// Appends a record; nothing changes if it is refused.
    pub(crate) fn push(&mut self, record: Record) -> Result<(), IndexError> {
        let number = self.records.len() + 1;
        let record = record.checked(number)?;
        if let Some(&row) = self.rows.get(record.id.as_str()) {
            let first_record = row as usize + 1;
            return Err(IndexError::DuplicateId { id: record.id, first_record, second_record: number });
        }
        self.rows.insert(record.id.as_str().into(), (number - 1) as u32);
        for name in
            record.fields.keys().filter(|name| !self.fields.contains(*name)).cloned().collect::<Vec<_>>()
        {
            self.fields.insert(name);
        }
        self.n_residues += u64::from(record.length);
        self.records.push(HeldRecord::new(record));
        Ok(())
    }

    pub(crate) fn set_taxonomy(&mut self, taxonomy: Option<Arc<Taxonomy>>) {
        self.taxonomy = taxonomy;
    }

    pub(crate) fn taxonomy(&self) -> Option<&Arc<Taxonomy>> {
        self.taxonomy.as_ref()
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn n_residues(&self) -> u64 {
        self.n_residues
    }

    pub(crate) fn record(&self, row: u32) -> Result<Arc<Record>, IndexError> {
        let found = self.records.get(row as usize).map(|held| Arc::clone(held.record()));
        found.ok_or(IndexError::UnknownRow { row, n_rows: self.records.len() })
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().map(|held| &**held.record())
    }

    pub(crate) fn words(&self) -> impl Iterator<Item = &WordCounts> {
        self.records.iter().map(HeldRecord::words)
    }

    pub(crate) fn row_of(&self, id: &str) -> Option<u32> {
        self.rows.get(id).copied()
    }

    pub(crate) fn field_names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(String::as_str)
    }

    pub(crate) fn rows_where(&self, condition: &Condition, descent: &Descent) -> RowSet {
        let holds = |row: u32| condition.holds_for(self.records[row as usize].record(), descent);
        RowSet::where_true(self.records.len(), holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str) -> Record {
        Record { id: id.into(), ..Record::default() }
    }

    #[test]
    fn ids_are_checked_and_a_refusal_changes_nothing() {
        let mut table = RecordTable::default();
        table.push(record("P1")).unwrap();
        table.push(record("P2")).unwrap();
        let duplicate = IndexError::DuplicateId { id: "P1".into(), first_record: 1, second_record: 3 };
        assert_eq!(table.push(record("P1")), Err(duplicate));
        assert_eq!(table.push(record("")), Err(IndexError::EmptyId { record: 3 }));
        let long = table.push(record(&"x".repeat(513))).unwrap_err();
        assert_eq!(long, IndexError::LongId { record: 3, n_bytes: 513, max_bytes: 512 });
        table.push(record(&"x".repeat(512))).unwrap();
        assert_eq!((table.row_of("P2"), table.row_of("P3")), (Some(1), None));
    }
}
