//! `records.jsonl`: one record a line, in row order.

use std::io::{self, BufRead, Write};
use std::path::Path;

use super::checked_file::io_error;
use crate::collection::{Record, RecordTable};
use crate::error::SnapshotError;

pub(super) fn write(records: &[Record], to: &mut dyn Write) -> io::Result<()> {
    for record in records {
        serde_json::to_writer(&mut *to, record)?;
        to.write_all(b"\n")?;
    }
    Ok(())
}

pub(super) fn read(
    from: &mut dyn BufRead,
    path: &Path,
    n_records: u64,
) -> Result<RecordTable, SnapshotError> {
    let mut records = RecordTable::default();
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line).map_err(io_error("read", path))? > 0 {
        let number = records.as_slice().len() + 1;
        let record: Record = serde_json::from_slice(&line).map_err(|source| SnapshotError::Record {
            path: path.into(),
            line: number,
            source,
        })?;
        records.push(record).map_err(|source| SnapshotError::Content { path: path.into(), source })?;
        line.clear();
    }
    let found = records.as_slice().len() as u64;
    if found != n_records {
        let path = path.into();
        return Err(SnapshotError::Disagrees {
            path,
            field: "number of records",
            expected: n_records,
            found,
        });
    }
    Ok(records)
}
