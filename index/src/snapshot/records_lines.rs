//! `records.jsonl` of snapshots before version 3: one record a line, in row order. Read, no longer written.

use std::io::BufRead;
use std::path::Path;

use rayon::prelude::*;

use super::checked_file::io_error;
use crate::collection::Record;
use crate::error::SnapshotError;
use crate::records::RecordTable;

/// Records below which one thread parses all.
const MIN_PARALLEL_RECORDS: usize = 10_000;

pub(super) fn read(
    from: &mut dyn BufRead,
    path: &Path,
    n_records: u64,
) -> Result<RecordTable, SnapshotError> {
    let mut records = RecordTable::default();
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).map_err(io_error("read", path))?;
    let lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
    // Parsing takes most of the time; small collections are not worth sharing it.
    let parse = |line: &&[u8]| serde_json::from_slice::<Record>(line);
    let parsed: Vec<_> = if lines.len() < MIN_PARALLEL_RECORDS {
        lines.iter().map(parse).collect()
    } else {
        lines.par_iter().map(parse).collect()
    };
    for (record, line) in parsed.into_iter().zip(1..) {
        let record = record.map_err(|source| SnapshotError::Record { path: path.into(), line, source })?;
        records.push(record).map_err(|source| SnapshotError::Content { path: path.into(), source })?;
    }
    let found = records.len() as u64;
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
