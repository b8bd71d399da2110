//! Changes of a collection: what a writer asks for, and its form in the log.
//!
//! An entry of the log is a batch: the number of changes as `u32`, then each change. An upsert is the byte 1, the
//! length of the record's JSON as `u32`, the JSON, then the vector of every space as `f32`; a delete is the byte 2,
//! the length of the id as `u32` and the id. Numbers are little-endian.

use std::collections::HashMap;

use protext_core::{JointVector, Space};

use super::error::StoreError;
use crate::collection::{Record, ensure_id};
use crate::error::IndexError;

/// Largest batch, 1 GiB: what one entry may take in memory when a collection is opened.
pub(super) const MAX_BATCH_BYTES: usize = 1 << 30;

const UPSERT: u8 = 1;
const DELETE: u8 = 2;

/// A record to insert, or to put in place of the one with its id.
#[derive(Debug, Clone, PartialEq)]
pub struct Upsert {
    /// The record.
    pub record: Record,
    /// Its vector in every space of the collection, in their order.
    pub vectors: Vec<JointVector>,
}

/// What a write did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct WriteReport {
    /// Records whose id was new.
    pub n_inserted: usize,
    /// Records that took the place of one with their id.
    pub n_replaced: usize,
    /// Records deleted.
    pub n_deleted: usize,
    /// Ids to delete that no record had. This is not an error: the record is not there, as was asked.
    pub unknown: Vec<String>,
}

/// One change, with plain rows: it was checked before it came here.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    Upsert { record: Box<Record>, rows: Vec<Vec<f32>> },
    Delete { id: String },
}

impl Change {
    pub(super) fn id(&self) -> &str {
        match self {
            Change::Upsert { record, .. } => &record.id,
            Change::Delete { id } => id,
        }
    }
}

/// The changes of a batch that was checked.
pub(super) fn checked(upserts: Vec<Upsert>, spaces: &[Space]) -> Result<Vec<Change>, StoreError> {
    let change = |Upsert { record, vectors }| {
        let rows = vectors.into_iter().map(JointVector::into_vec).collect();
        Change::Upsert { record: Box::new(record), rows }
    };
    Ok(check_upserts(upserts, spaces)?.into_iter().map(change).collect())
}

/// Checks a batch of upserts against the rules of a collection with these spaces; the records as collections keep them.
///
/// # Errors
/// [`StoreError::Record`], [`StoreError::VectorCount`] or [`StoreError::DuplicateId`] for the first bad record.
pub fn check_upserts(upserts: Vec<Upsert>, spaces: &[Space]) -> Result<Vec<Upsert>, StoreError> {
    let mut first_of: HashMap<String, usize> = HashMap::with_capacity(upserts.len());
    let mut checked = Vec::with_capacity(upserts.len());
    for (index, Upsert { record, vectors }) in upserts.into_iter().enumerate() {
        let number = index + 1;
        let id = shown(&record.id);
        let refuse = |source| StoreError::Record { record: number, id: id.clone(), source };
        let record = record.checked(number).map_err(refuse)?;
        if vectors.len() != spaces.len() {
            let (expected, found) = (spaces.len(), vectors.len());
            return Err(StoreError::VectorCount { record: number, id: record.id, expected, found });
        }
        for (vector, space) in vectors.iter().zip(spaces) {
            let found = vector.as_slice().len();
            if found != space.dim {
                return Err(refuse(IndexError::WrongDim { found, space: Box::new(space.clone()) }));
            }
        }
        if let Some(&first_record) = first_of.get(&record.id) {
            return Err(StoreError::DuplicateId { id: record.id, first_record, second_record: number });
        }
        first_of.insert(record.id.clone(), number);
        checked.push(Upsert { record, vectors });
    }
    Ok(checked)
}

/// The start of an id, for a message.
fn shown(id: &str) -> String {
    id.chars().take(40).collect()
}

/// The bytes of a batch.
///
/// # Errors
/// [`StoreError::LargeBatch`].
pub(super) fn encode(changes: &[Change]) -> Result<Vec<u8>, StoreError> {
    let mut bytes = (changes.len() as u32).to_le_bytes().to_vec();
    for change in changes {
        match change {
            Change::Upsert { record, rows } => {
                // A record is strings and numbers under string keys, which JSON always has a form for.
                let json = serde_json::to_vec(record).unwrap_or_default();
                bytes.push(UPSERT);
                bytes.extend((json.len() as u32).to_le_bytes());
                bytes.extend(json);
                rows.iter().for_each(|row| bytes.extend(row.iter().flat_map(|value| value.to_le_bytes())));
            }
            Change::Delete { id } => {
                bytes.push(DELETE);
                bytes.extend((id.len() as u32).to_le_bytes());
                bytes.extend(id.as_bytes());
            }
        }
        if bytes.len() > MAX_BATCH_BYTES {
            return Err(StoreError::LargeBatch { n_bytes: bytes.len(), max_bytes: MAX_BATCH_BYTES });
        }
    }
    Ok(bytes)
}

/// Reads a batch; the reason if it is none.
pub(super) fn decode(mut bytes: &[u8], spaces: &[Space]) -> Result<Vec<Change>, String> {
    let n_changes = take_u32(&mut bytes)?;
    let mut changes = Vec::new();
    for number in 1..=n_changes as usize {
        let kind = take(&mut bytes, 1)?[0];
        let n_bytes = take_u32(&mut bytes)? as usize;
        let content = take(&mut bytes, n_bytes)?;
        changes.push(match kind {
            UPSERT => {
                let record: Record = serde_json::from_slice(content).map_err(|error| error.to_string())?;
                ensure_id(&record.id, number).map_err(|error| error.to_string())?;
                let row = |space: &Space| {
                    let values = take(&mut bytes, space.dim * 4)?.as_chunks().0;
                    Ok(values.iter().map(|&value| f32::from_le_bytes(value)).collect())
                };
                let rows = spaces.iter().map(row).collect::<Result<_, String>>()?;
                Change::Upsert { record: Box::new(record), rows }
            }
            DELETE => Change::Delete { id: String::from_utf8_lossy(content).into_owned() },
            other => return Err(format!("change {number} is of the unknown kind {other}")),
        });
    }
    if bytes.is_empty() { Ok(changes) } else { Err(format!("{} bytes too many", bytes.len())) }
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Result<&'a [u8], String> {
    let (taken, rest) = bytes.split_at_checked(n).ok_or("it ends too early")?;
    *bytes = rest;
    Ok(taken)
}

fn take_u32(bytes: &mut &[u8]) -> Result<u32, String> {
    let taken = take(bytes, 4)?;
    Ok(u32::from_le_bytes([taken[0], taken[1], taken[2], taken[3]]))
}

#[cfg(test)]
mod tests {
    use protext_core::Fingerprint;

    use super::*;

    fn space(dim: usize) -> Space {
        Space { name: "s".into(), dim, fingerprint: Fingerprint::of(["s"]) }
    }

    fn upsert(id: &str, vectors: &[&[f32]]) -> Upsert {
        let vectors =
            vectors.iter().map(|values| JointVector::normalized(values.to_vec()).unwrap()).collect();
        Upsert { record: Record { id: id.into(), length: 3, ..Record::default() }, vectors }
    }

    #[test]
    fn a_batch_comes_back_from_its_bytes() {
        let spaces = [space(2), space(3)];
        let batch =
            vec![upsert("a", &[&[1.0, 2.0], &[0.0, 0.5, 0.25]]), upsert("\u{e9}", &[&[3.0, 4.0], &[1.0; 3]])];
        let mut changes = checked(batch, &spaces).unwrap();
        changes.push(Change::Delete { id: "gone".into() });
        let bytes = encode(&changes).unwrap();
        assert_eq!(decode(&bytes, &spaces).unwrap(), changes);
        for n in 0..bytes.len() {
            assert!(decode(&bytes[..n], &spaces).is_err(), "{n} bytes");
        }
        assert!(decode(&[&bytes[..], &[0]].concat(), &spaces).unwrap_err().contains("too many"));
        assert!(decode(&[1, 0, 0, 0, 7, 0, 0, 0, 0], &spaces).unwrap_err().contains("unknown kind 7"));
    }

    #[test]
    fn bad_records_are_named_and_refuse_their_batch() {
        let spaces = [space(2)];
        let refuse = |batch: Vec<Upsert>| checked(batch, &spaces).unwrap_err();
        let good = || upsert("a", &[&[1.0, 0.0]]);
        let wrong = refuse(vec![good(), upsert("b", &[&[1.0, 0.0, 0.0]])]);
        assert!(
            matches!(&wrong, StoreError::Record { record: 2, id, source: IndexError::WrongDim { found: 3, .. } } if id == "b")
        );
        assert!(matches!(
            refuse(vec![upsert("b", &[])]),
            StoreError::VectorCount { expected: 1, found: 0, .. }
        ));
        let empty = refuse(vec![upsert("", &[&[1.0, 0.0]])]);
        assert!(matches!(empty, StoreError::Record { source: IndexError::EmptyId { record: 1 }, .. }));
        let long = refuse(vec![upsert(&"x".repeat(513), &[&[1.0, 0.0]])]);
        assert!(matches!(long, StoreError::Record { source: IndexError::LongId { n_bytes: 513, .. }, .. }));
        let twice = refuse(vec![good(), upsert("b", &[&[1.0, 0.0]]), good()]);
        assert!(
            matches!(twice, StoreError::DuplicateId { first_record: 1, second_record: 3, .. }),
            "{twice}"
        );
    }
}
