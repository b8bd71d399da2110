//! Files that are read where they lie: a head of 64 bytes, then sections that each start at a multiple of 64.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;

use super::Verify;
use super::binary::{BYTE_ORDER_MARK, ensure_agrees};
use super::checked_file::{FileEntry, io_error};
use crate::error::SnapshotError;
use crate::slab::{Plain, Slab, bytes_of};

#[cfg(target_endian = "big")]
compile_error!("collections are read where they lie, in little-endian byte order");

/// Sections start at multiples of this: a cache line, which is also how [`crate::kernel::Lanes`] are aligned.
pub(super) const SECTION_BYTES: usize = 64;

/// A file of a snapshot, mapped for reading, with a place up to which it has been read.
pub(super) struct MappedFile {
    path: PathBuf,
    map: Arc<Mmap>,
    /// Whether values are taken into memory, where they lie in huge pages and no disk is waited for.
    takes_in: bool,
    at: usize,
}

impl MappedFile {
    /// Maps a file and holds it to its entry. Values are taken into memory if it is verified in full, because
    /// then it has all been read, and stay where they are otherwise.
    pub(super) fn open(folder: &Path, entry: &FileEntry, verify: Verify) -> Result<Self, SnapshotError> {
        let path = folder.join(&entry.name);
        let file = File::open(&path).map_err(io_error("read", &path))?;
        let found = file.metadata().map_err(io_error("read", &path))?.len();
        if found != entry.n_bytes {
            return Err(SnapshotError::Length { path, expected: entry.n_bytes, found });
        }
        // SAFETY: files of a snapshot are never written once they have their names, only removed, which leaves
        // the map as it is.
        let map = unsafe { Mmap::map(&file) }.map_err(io_error("read", &path))?;
        if verify == Verify::Full {
            entry.ensure_digest(path.clone(), &entry.digest.same_of(&map))?;
        }
        Ok(Self { path, map: Arc::new(map), takes_in: verify == Verify::Full, at: 0 })
    }

    /// The path and the whole map.
    pub(super) fn into_map(self) -> (PathBuf, Arc<Mmap>) {
        (self.path, self.map)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads and compares the magic and the byte order mark.
    pub(super) fn ensure_magic(&mut self, magic: &[u8; 8]) -> Result<(), SnapshotError> {
        let found = self.number::<8>()?;
        let (expected, found) = (u64::from_be_bytes(*magic), u64::from_be_bytes(found));
        ensure_agrees(&self.path, "kind of file", expected, found)?;
        let found = self.u32()?;
        ensure_agrees(&self.path, "byte order mark", BYTE_ORDER_MARK.into(), found.into())
    }

    pub(super) fn u32(&mut self) -> Result<u32, SnapshotError> {
        self.number().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, SnapshotError> {
        self.number().map(u64::from_le_bytes)
    }

    /// Goes to the end of the head.
    pub(super) fn skip_head(&mut self) {
        self.at = SECTION_BYTES;
    }

    /// The next section, of `len` values.
    pub(super) fn section<T: Plain>(&mut self, len: u64) -> Result<Slab<T>, SnapshotError> {
        let start = self.at.next_multiple_of(SECTION_BYTES);
        let slab = usize::try_from(len).ok().and_then(|len| Slab::mapped(&self.map, start, len));
        let Some(slab) = slab else {
            let n_bytes = len.saturating_mul(size_of::<T>() as u64).saturating_add(start as u64);
            return Err(self.length(n_bytes));
        };
        self.at = start + size_of_val(&*slab);
        Ok(if self.takes_in { slab.taken_in() } else { slab })
    }

    /// Refuses bytes after the last section.
    pub(super) fn ensure_end(&self) -> Result<(), SnapshotError> {
        if self.at == self.map.len() { Ok(()) } else { Err(self.length(self.at as u64)) }
    }

    fn length(&self, expected: u64) -> SnapshotError {
        SnapshotError::Length { path: self.path.clone(), expected, found: self.map.len() as u64 }
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let bytes = self.map.get(self.at..).and_then(<[u8]>::first_chunk);
        let number = *bytes.ok_or_else(|| self.length((self.at + N) as u64))?;
        self.at += N;
        Ok(number)
    }
}

/// Writes the head, filled up to its 64 bytes.
pub(super) fn write_head(to: &mut dyn Write, magic: &[u8; 8], numbers: &[u8]) -> io::Result<()> {
    let mut head = [0; SECTION_BYTES];
    head[..8].copy_from_slice(magic);
    head[8..12].copy_from_slice(&BYTE_ORDER_MARK.to_le_bytes());
    head[12..12 + numbers.len()].copy_from_slice(numbers);
    to.write_all(&head)
}

/// Writes a section, filled up to a multiple of 64 bytes if another one follows.
pub(super) fn write_section<T: Plain>(to: &mut dyn Write, values: &[T], is_last: bool) -> io::Result<()> {
    let bytes = bytes_of(values);
    to.write_all(bytes)?;
    let n_missing = bytes.len().next_multiple_of(SECTION_BYTES) - bytes.len();
    if is_last { Ok(()) } else { to.write_all(&[0; SECTION_BYTES][..n_missing]) }
}
