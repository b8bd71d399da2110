//! The cache folder: where it is, how files enter it, and who may write.
//!
//! A file enters under a temporary name and is renamed into place after it was verified and synced, so what
//! stands under its final name is whole. Writers of the same model take turns through a lock file.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// No home to put it in.
    #[error("there is no folder for the cache: HOME is not set; set PROTEXT_CACHE")]
    NoHome,
    /// Not writable.
    #[error("cannot write {}; set PROTEXT_CACHE to a folder that can be written", path.display())]
    Unwritable {
        /// What was to be written.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// No space left.
    #[error("the disk of {} is full; free some space or set PROTEXT_CACHE to another disk", path.display())]
    DiskFull {
        /// What was to be written.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

impl CacheError {
    /// Names the path; tells a full disk from other reasons.
    #[must_use]
    pub fn from_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path, source },
            _ => Self::Unwritable { path, source },
        }
    }
}

/// The cache folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// A cache at `root`, which is created when first written.
    #[must_use]
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// `$PROTEXT_CACHE`, else `$XDG_CACHE_HOME/protext`, else `~/.cache/protext`.
    ///
    /// # Errors
    /// [`CacheError::NoHome`].
    pub fn from_environment() -> Result<Self, CacheError> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = variable("PROTEXT_CACHE")
            .or_else(|| variable("XDG_CACHE_HOME").map(|folder| folder.join("protext")))
            .or_else(|| variable("HOME").map(|folder| folder.join(".cache/protext")));
        root.map(Self::at).ok_or(CacheError::NoHome)
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A folder below the root, created if needed.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn folder(&self, below: impl AsRef<Path>) -> Result<PathBuf, CacheError> {
        let path = self.root.join(below);
        std::fs::create_dir_all(&path).map_err(|source| CacheError::from_io(&path, source))?;
        Ok(path)
    }

    /// Waits for the right to write what `name` stands for; released when dropped.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn lock(&self, name: &str) -> Result<CacheLock, CacheError> {
        let path = self.folder("locks")?.join(format!("{name}.lock"));
        let file = File::create(&path).map_err(|source| CacheError::from_io(&path, source))?;
        file.lock().map_err(|source| CacheError::from_io(&path, source))?;
        Ok(CacheLock { _file: file })
    }

    /// Writes `bytes` to `path` in one step: temporary name, sync, rename.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn put(path: &Path, bytes: &[u8]) -> Result<(), CacheError> {
        Self::put_reader(path, &mut &*bytes, |_| ()).map(drop)
    }

    /// Copies `reader` to `path` in one step and returns its sha256 and length. `on_bytes` hears of each block.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn put_reader(
        path: &Path,
        reader: &mut dyn Read,
        on_bytes: impl Fn(u64),
    ) -> Result<(String, u64), CacheError> {
        let failed = |source| CacheError::from_io(path, source);
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(failed)?;
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        let (sha256, n_bytes) = copy_hashed(reader, file.as_file_mut(), on_bytes).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        Ok((sha256, n_bytes))
    }
}

/// Held while a model is written.
#[derive(Debug)]
pub struct CacheLock {
    _file: File,
}

/// sha256 of a file, in lower-case hexadecimal.
///
/// # Errors
/// The system's.
pub fn sha256_of(path: &Path) -> io::Result<String> {
    copy_hashed(&mut File::open(path)?, &mut io::sink(), |_| ()).map(|(sha256, _)| sha256)
}

fn copy_hashed(
    reader: &mut dyn Read,
    writer: &mut dyn io::Write,
    on_bytes: impl Fn(u64),
) -> io::Result<(String, u64)> {
    let mut hasher = Sha256::new();
    let mut block = vec![0; 1 << 20];
    let mut total = 0;
    loop {
        let n_bytes = reader.read(&mut block)?;
        if n_bytes == 0 {
            return Ok((hex::encode(hasher.finalize()), total));
        }
        hasher.update(&block[..n_bytes]);
        writer.write_all(&block[..n_bytes])?;
        total += n_bytes as u64;
        on_bytes(n_bytes as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_enters_whole_and_hashed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let (sha256, n_bytes) = Cache::put_reader(&path, &mut &b"abc"[..], |_| ()).unwrap();
        assert_eq!(sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!((n_bytes, sha256_of(&path).unwrap()), (3, sha256));
    }

    #[test]
    fn an_unwritable_cache_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = Cache::at(file.join("cache")).folder("models").unwrap_err();
        assert!(matches!(&error, CacheError::Unwritable { .. }), "{error}");
        assert!(error.to_string().contains("PROTEXT_CACHE"), "{error}");
    }

    #[test]
    fn a_full_disk_is_told_from_other_reasons() {
        let full = CacheError::from_io(Path::new("x"), io::Error::from(io::ErrorKind::StorageFull));
        assert!(matches!(full, CacheError::DiskFull { .. }));
    }

    #[test]
    fn a_cut_off_reader_leaves_nothing() {
        struct Cut(bool);
        impl Read for Cut {
            fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
                if std::mem::replace(&mut self.0, true) {
                    return Err(io::Error::other("cut off"));
                }
                block[0] = b'a';
                Ok(1)
            }
        }
        let folder = tempfile::tempdir().unwrap();
        Cache::put_reader(&folder.path().join("f"), &mut Cut(false), |_| ()).unwrap_err();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn two_writers_take_turns() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().to_owned());
        let held = cache.lock("m").unwrap();
        let waiting = std::thread::spawn(move || drop(cache.lock("m").unwrap()));
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!waiting.is_finished());
        drop(held);
        waiting.join().unwrap();
    }
}
