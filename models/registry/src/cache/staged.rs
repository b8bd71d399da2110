//! A file on its way into the cache: written and hashed under a temporary name, put in place once it is right.
//!
//! Dropping it removes it, so no failure between the first byte and the rename leaves anything.

use std::fs::{File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::CacheError;
use super::leftovers::PREFIX;

/// Written, synced and hashed, but not in place yet.
#[derive(Debug)]
pub(crate) struct Staged {
    file: NamedTempFile,
    destination: PathBuf,
    pub(crate) sha256: String,
    pub(crate) n_bytes: u64,
}

/// Why a file could not be staged.
#[derive(Debug)]
pub(crate) enum StageError {
    /// The source broke off.
    Read(io::Error),
    /// The cache did.
    Write(CacheError),
}

impl Staged {
    /// Copies `reader` next to `destination`, whose folder is created if needed. `on_bytes` hears of each block.
    pub(crate) fn write(
        destination: &Path,
        reader: &mut dyn Read,
        on_bytes: impl Fn(u64),
    ) -> Result<Self, StageError> {
        let failed = |source| StageError::Write(CacheError::from_io(destination, source));
        let folder = destination.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(failed)?;
        let mut file = temporary_file(folder).map_err(failed)?;
        let (sha256, n_bytes) =
            copy_hashed(reader, file.as_file_mut(), on_bytes).map_err(|error| match error {
                CopyError::Read(source) => StageError::Read(source),
                CopyError::Write(source) => failed(source),
            })?;
        file.as_file().sync_all().map_err(failed)?;
        Ok(Self { file, destination: destination.to_owned(), sha256, n_bytes })
    }

    /// Renames it to its destination, replacing what is there.
    pub(crate) fn put_in_place(self) -> Result<(), CacheError> {
        let Self { file, destination, .. } = self;
        file.persist(&destination).map(drop).map_err(|error| CacheError::from_io(&destination, error.error))
    }
}

/// sha256 of a file, in lower-case hexadecimal.
///
/// # Errors
/// The system's.
pub fn sha256_of(path: &Path) -> io::Result<String> {
    match copy_hashed(&mut File::open(path)?, &mut io::sink(), |_| ()) {
        Ok((sha256, _)) => Ok(sha256),
        Err(CopyError::Read(source) | CopyError::Write(source)) => Err(source),
    }
}

/// Readable by whoever the process's umask lets, not by its owner alone: caches are shared.
fn temporary_file(folder: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(PREFIX).permissions(Permissions::from_mode(0o666)).tempfile_in(folder)
}

enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

fn copy_hashed(
    reader: &mut dyn Read,
    writer: &mut dyn io::Write,
    on_bytes: impl Fn(u64),
) -> Result<(String, u64), CopyError> {
    let mut hasher = Sha256::new();
    let mut block = vec![0; 1 << 20];
    let mut total = 0;
    loop {
        let n_bytes = match reader.read(&mut block) {
            Ok(0) => return Ok((hex::encode(hasher.finalize()), total)),
            Ok(n_bytes) => n_bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(CopyError::Read(error)),
        };
        hasher.update(&block[..n_bytes]);
        writer.write_all(&block[..n_bytes]).map_err(CopyError::Write)?;
        total += n_bytes as u64;
        on_bytes(n_bytes as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_file_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "before").unwrap();
        drop(Staged::write(&path, &mut &b"after"[..], |_| ()).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"before");
        Staged::write(&path, &mut &b"after"[..], |_| ()).unwrap().put_in_place().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"after");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
