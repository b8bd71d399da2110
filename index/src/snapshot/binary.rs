//! Little-endian numbers of the binary files, and their first bytes.

use std::io::BufRead;
use std::path::Path;

use super::checked_file::io_error;
use crate::error::SnapshotError;

/// Follows the magic of every binary file; reads differently in another byte order.
pub(super) const BYTE_ORDER_MARK: u32 = 0x0102_0304;

/// Reads and compares the magic and the byte order mark.
pub(super) fn read_magic(from: &mut dyn BufRead, path: &Path, magic: &[u8; 8]) -> Result<(), SnapshotError> {
    ensure_agrees(
        path,
        "kind of file",
        u64::from_be_bytes(*magic),
        u64::from_be_bytes(read_array(from, path)?),
    )?;
    ensure_agrees(path, "byte order mark", BYTE_ORDER_MARK.into(), read_u32(from, path)?.into())
}

pub(super) fn read_u32(from: &mut dyn BufRead, path: &Path) -> Result<u32, SnapshotError> {
    Ok(u32::from_le_bytes(read_array(from, path)?))
}

pub(super) fn read_u64(from: &mut dyn BufRead, path: &Path) -> Result<u64, SnapshotError> {
    Ok(u64::from_le_bytes(read_array(from, path)?))
}

/// Reads `n` numbers of `N` bytes. The caller has checked that the file is long enough for them.
pub(super) fn read_numbers<const N: usize, T>(
    from: &mut dyn BufRead,
    path: &Path,
    n: u64,
    decode: impl Fn([u8; N]) -> T,
) -> Result<Vec<T>, SnapshotError> {
    let mut numbers = Vec::with_capacity(n as usize);
    for _ in 0..n {
        numbers.push(decode(read_array(from, path)?));
    }
    Ok(numbers)
}

/// Refuses a value that is not the expected one.
pub(super) fn ensure_agrees(
    path: &Path,
    field: &'static str,
    expected: u64,
    found: u64,
) -> Result<(), SnapshotError> {
    if expected == found {
        return Ok(());
    }
    Err(SnapshotError::Disagrees { path: path.into(), field, expected, found })
}

fn read_array<const N: usize>(from: &mut dyn BufRead, path: &Path) -> Result<[u8; N], SnapshotError> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes).map_err(io_error("read", path))?;
    Ok(bytes)
}
