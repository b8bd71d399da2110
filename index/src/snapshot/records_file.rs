//! `records.sqlite`: the records, as [`crate::records`] writes and reads them, under the snapshot's digests.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::Verify;
use super::binary::ensure_agrees;
use super::checked_file::{FileEntry, entry_of, io_error};
use super::mapped_file::MappedFile;
use crate::error::{IndexError, SnapshotError};
use crate::records::{RecordFile, Records, WriteFault, write as write_tables};

/// Writes the records to a new file and syncs it.
pub(super) fn write(records: &Records, folder: &Path, name: &str) -> Result<FileEntry, SnapshotError> {
    let path = folder.join(name);
    write_tables(records, &path).map_err(|fault| match fault {
        WriteFault::File(source) => io_error("write", &path)(io::Error::other(source)),
        WriteFault::Records(source) => SnapshotError::Content { path: path.clone(), source },
    })?;
    File::open(&path).and_then(|file| file.sync_all()).map_err(io_error("write", &path))?;
    entry_of(folder, name)
}

/// Opens the records; none is read.
pub(super) fn open(
    folder: &Path,
    entry: &FileEntry,
    verify: Verify,
    n_records: u64,
) -> Result<RecordFile, SnapshotError> {
    let (path, map) = MappedFile::open(folder, entry, verify)?.into_map();
    let unusable = |source: IndexError| SnapshotError::Content { path: path.clone(), source };
    let records = RecordFile::open(Arc::clone(&map), path.clone()).map_err(unusable)?;
    ensure_agrees(&path, "number of records", n_records, records.len() as u64)?;
    Ok(records)
}
