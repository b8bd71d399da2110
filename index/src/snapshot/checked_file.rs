//! Files with a known length and digest: writing one gives them, reading one holds it to them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Verify;
use super::digest::{Digest, Hasher};
use crate::error::SnapshotError;

const BUFFER_BYTES: usize = 1 << 20;

/// A file as the manifest knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileEntry {
    /// Its name in the snapshot's folder.
    pub(super) name: String,
    pub(super) n_bytes: u64,
    #[serde(flatten)]
    pub(super) digest: Digest,
}

/// Turns a system error into ours.
pub(super) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SnapshotError {
    let path = path.to_path_buf();
    move |source| match source.kind() {
        io::ErrorKind::NotFound if action == "read" => SnapshotError::MissingFile { path },
        _ => SnapshotError::Io { action, path, source },
    }
}

/// Writes a new file and syncs it.
pub(super) fn write(
    folder: &Path,
    name: &str,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<FileEntry, SnapshotError> {
    let path = folder.join(name);
    let write_synced = || {
        let file = Hashing { inner: File::create_new(&path)?, hasher: Hasher::default(), n_bytes: 0 };
        let mut writer = BufWriter::with_capacity(BUFFER_BYTES, file);
        content(&mut writer)?;
        let Hashing { inner, hasher, n_bytes } =
            writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        inner.sync_all()?;
        Ok(FileEntry { name: name.into(), n_bytes, digest: hasher.finish() })
    };
    write_synced().map_err(io_error("write", &path))
}

/// What the manifest will say of a file that was written otherwise, and that the disk has.
pub(super) fn entry_of(folder: &Path, name: &str) -> Result<FileEntry, SnapshotError> {
    let path = folder.join(name);
    let read_through = || {
        let mut file = Hashing { inner: File::open(&path)?, hasher: Hasher::default(), n_bytes: 0 };
        io::copy(&mut BufReader::with_capacity(BUFFER_BYTES, &mut file), &mut io::sink())?;
        Ok(FileEntry { name: name.into(), n_bytes: file.n_bytes, digest: file.hasher.finish() })
    };
    read_through().map_err(io_error("read", &path))
}

/// Reads a file through `parse`, in one pass with the checks.
///
/// A digest that differs explains whatever `parse` made of the content, so it is reported first.
pub(super) fn read<T>(
    folder: &Path,
    entry: &FileEntry,
    verify: Verify,
    parse: impl FnOnce(&mut dyn BufRead, &Path) -> Result<T, SnapshotError>,
) -> Result<T, SnapshotError> {
    let path = folder.join(&entry.name);
    let file = File::open(&path).map_err(io_error("read", &path))?;
    let found = file.metadata().map_err(io_error("read", &path))?.len();
    if found != entry.n_bytes {
        return Err(SnapshotError::Length { path, expected: entry.n_bytes, found });
    }
    if verify == Verify::Lengths {
        return parse(&mut BufReader::with_capacity(BUFFER_BYTES, file), &path);
    }
    let hashing = Hashing { inner: file, hasher: entry.digest.same_hasher(), n_bytes: 0 };
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, hashing);
    let parsed = parse(&mut reader, &path);
    io::copy(&mut reader, &mut io::sink()).map_err(io_error("read", &path))?;
    entry.ensure_digest(path, &reader.into_inner().hasher.finish())?;
    parsed
}

impl FileEntry {
    /// Refuses a file whose content has another digest.
    pub(super) fn ensure_digest(&self, path: PathBuf, found: &Digest) -> Result<(), SnapshotError> {
        if *found == self.digest {
            return Ok(());
        }
        Err(SnapshotError::Checksum { path, expected: self.digest.spelled(), found: found.spelled() })
    }
}

/// Passes bytes through and hashes them.
struct Hashing<T> {
    inner: T,
    hasher: Hasher,
    n_bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        self.n_bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(bytes)?;
        self.hasher.update(&bytes[..n]);
        self.n_bytes += n as u64;
        Ok(n)
    }
}
