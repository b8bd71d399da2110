//! `vectors.bin`: a header of 24 bytes, then the rows as little-endian f32.
//!
//! | bytes | content |
//! |---|---|
//! | 8 | `PTXVECTR` |
//! | 4 | byte order mark 0x01020304 |
//! | 4 | components of a row |
//! | 8 | rows |

use std::io::{self, BufRead, Write};
use std::path::Path;

use super::binary::{BYTE_ORDER_MARK, ensure_agrees, read_magic, read_u32, read_u64};
use super::checked_file::io_error;
use crate::error::SnapshotError;
use crate::vector_table::VectorTable;

const MAGIC: &[u8; 8] = b"PTXVECTR";
const HEADER_BYTES: u64 = 24;

pub(super) fn write(table: &VectorTable, to: &mut dyn Write) -> io::Result<()> {
    to.write_all(MAGIC)?;
    to.write_all(&BYTE_ORDER_MARK.to_le_bytes())?;
    to.write_all(&(table.space().dim as u32).to_le_bytes())?;
    to.write_all(&(table.len() as u64).to_le_bytes())?;
    let mut bytes = Vec::with_capacity(table.space().dim * 4);
    for row in 0..table.len() as u32 {
        bytes.clear();
        bytes.extend(table.values(row).flat_map(f32::to_le_bytes));
        to.write_all(&bytes)?;
    }
    Ok(())
}

/// Reads `n_rows` rows into `table`, which is empty. The file has `n_bytes`.
pub(super) fn read(
    from: &mut dyn BufRead,
    path: &Path,
    n_bytes: u64,
    n_rows: u64,
    mut table: VectorTable,
) -> Result<VectorTable, SnapshotError> {
    let dim = table.space().dim;
    read_magic(from, path, MAGIC)?;
    ensure_agrees(path, "dimension", dim as u64, read_u32(from, path)?.into())?;
    ensure_agrees(path, "number of rows", n_rows, read_u64(from, path)?)?;
    // Only now is the number of rows believed, and memory taken for it.
    let row_bytes = (dim as u64).saturating_mul(4);
    ensure_agrees(path, "length", HEADER_BYTES.saturating_add(n_rows.saturating_mul(row_bytes)), n_bytes)?;
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
