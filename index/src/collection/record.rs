//! Records: what a collection knows about each vector, and finding them by id.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::error::IndexError;

/// Longest id, in bytes.
pub const MAX_ID_BYTES: usize = 512;

/// One protein, gene or text of a collection.
///
/// Fields that a later version adds are skipped when an earlier one reads the collection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Unique in the collection, 1 to [`MAX_ID_BYTES`] bytes.
    pub id: String,
    /// What it is, in words; may be empty.
    #[serde(default)]
    pub description: String,
    /// Organism's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organism: Option<String>,
    /// NCBI taxonomy id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taxon_id: Option<u32>,
    /// Gene symbol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gene: Option<String>,
    /// Residues; 0 for a text.
    #[serde(default)]
    pub length: u32,
    /// The sequence, if the collection keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<String>,
    /// The text that was embedded, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// File or database that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// Records by row and by id.
#[derive(Debug, Clone, Default)]
pub(crate) struct RecordTable {
    records: Vec<Record>,
    rows: HashMap<Box<str>, u32>,
}

impl RecordTable {
    /// Appends a record; nothing changes if it is refused.
    pub(crate) fn push(&mut self, record: Record) -> Result<(), IndexError> {
        let number = self.records.len() + 1;
        let n_bytes = record.id.len();
        if n_bytes == 0 {
            return Err(IndexError::EmptyId { record: number });
        }
        if n_bytes > MAX_ID_BYTES {
            return Err(IndexError::LongId { record: number, n_bytes, max_bytes: MAX_ID_BYTES });
        }
        if let Some(&row) = self.rows.get(record.id.as_str()) {
            let first_record = row as usize + 1;
            return Err(IndexError::DuplicateId { id: record.id, first_record, second_record: number });
        }
        self.rows.insert(record.id.as_str().into(), (number - 1) as u32);
        self.records.push(record);
        Ok(())
    }

    pub(crate) fn as_slice(&self) -> &[Record] {
        &self.records
    }

    pub(crate) fn row_of(&self, id: &str) -> Option<u32> {
        self.rows.get(id).copied()
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

    #[test]
    fn later_fields_are_skipped_and_missing_ones_have_defaults() {
        let read: Record = serde_json::from_str(r#"{"id":"P1","length":7,"ligand":"heme"}"#).unwrap();
        assert_eq!(read, Record { length: 7, ..record("P1") });
        assert_eq!(serde_json::to_string(&read).unwrap(), r#"{"id":"P1","description":"","length":7}"#);
    }
}
