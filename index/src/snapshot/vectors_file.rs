//! `vectors.bin`: the rows of a table as they lie in memory.
//!
//! | bytes | content |
//! |---|---|
//! | 8, 4 | `PTXVECT2`, byte order mark 0x01020304 |
//! | 4 | components of a row |
//! | 8 | rows |
//! | 40 | zeros |
//! | rows | little-endian f32, each row filled up with zeros to a multiple of 64 bytes |
//!
//! The first version had the magic `PTXVECTR`, a head of 24 bytes and rows without filling.

use std::io::{self, BufRead, Write};
use std::path::Path;

use super::Verify;
use super::binary::{ensure_agrees, read_magic, read_u32, read_u64};
use super::checked_file::{FileEntry, io_error};
use super::mapped_file::{MappedFile, write_head, write_section};
use crate::error::SnapshotError;
use crate::kernel::n_lanes_of;
use crate::vector_table::VectorTable;

const MAGIC: &[u8; 8] = b"PTXVECT2";
const MAGIC_1: &[u8; 8] = b"PTXVECTR";
const HEADER_BYTES_1: u64 = 24;

pub(super) fn write(table: &VectorTable, to: &mut dyn Write) -> io::Result<()> {
    let (dim, n_rows) = ((table.space().dim as u32).to_le_bytes(), (table.len() as u64).to_le_bytes());
    write_head(to, MAGIC, &[&dim[..], &n_rows[..]].concat())?;
    write_section(to, table.lanes(), true)
}

/// Reads `n_rows` rows into `table`, which is empty.
pub(super) fn read(
    folder: &Path,
    entry: &FileEntry,
    verify: Verify,
    n_rows: u64,
    mut table: VectorTable,
) -> Result<VectorTable, SnapshotError> {
    let mut file = MappedFile::open(folder, entry, verify)?;
    let dim = table.space().dim;
    file.ensure_magic(MAGIC)?;
    let found = file.u32()?;
    ensure_agrees(file.path(), "dimension", dim as u64, found.into())?;
    let found = file.u64()?;
    ensure_agrees(file.path(), "number of rows", n_rows, found)?;
    file.skip_head();
    let lanes = file.section(n_rows.saturating_mul(n_lanes_of(dim) as u64))?;
    file.ensure_end()?;
    let content = |source| SnapshotError::Content { path: file.path().into(), source };
    table.take(n_rows as usize, lanes).map_err(content)?;
    if verify == Verify::Full {
        table.ensure_units().map_err(content)?;
    }
    Ok(table)
}

/// Reads `n_rows` rows of the first version into `table`, which is empty. The file has `n_bytes`.
pub(super) fn read_1(
    from: &mut dyn BufRead,
    path: &Path,
    n_bytes: u64,
    n_rows: u64,
    mut table: VectorTable,
) -> Result<VectorTable, SnapshotError> {
    let dim = table.space().dim;
    read_magic(from, path, MAGIC_1)?;
    ensure_agrees(path, "dimension", dim as u64, read_u32(from, path)?.into())?;
    ensure_agrees(path, "number of rows", n_rows, read_u64(from, path)?)?;
    // Only now is the number of rows believed, and memory taken for it.
    let row_bytes = (dim as u64).saturating_mul(4);
    ensure_agrees(path, "length", HEADER_BYTES_1.saturating_add(n_rows.saturating_mul(row_bytes)), n_bytes)?;
    table.reserve(n_rows as usize);
    let mut bytes = vec![0; dim * 4];
    let mut values = Vec::with_capacity(dim);
    for _ in 0..n_rows {
        from.read_exact(&mut bytes).map_err(io_error("read", path))?;
        values.clear();
        values.extend(bytes.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)));
        table.push_unit(&values).map_err(|source| SnapshotError::Content { path: path.into(), source })?;
    }
    Ok(table)
}
