//! The cache folder: where it is, how files enter it, and who may write.
//!
//! A file enters under a temporary name and is renamed into place after it was verified and synced, so what
//! stands under its final name is whole. Writers of the same model take turns through a lock file.

mod error;
mod leftovers;
mod space;
mod staged;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use error::CacheError;
pub(crate) use space::check_space;
pub use staged::sha256_of;
pub(crate) use staged::{StageError, Staged};
use tempfile::TempDir;

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
        let staged = Staged::write(path, reader, on_bytes).map_err(|error| match error {
            StageError::Read(source) => CacheError::from_io(path, source),
            StageError::Write(error) => error,
        })?;
        let written = (staged.sha256.clone(), staged.n_bytes);
        staged.put_in_place()?;
        Ok(written)
    }

    /// A folder for one download, removed when dropped.
    pub(crate) fn temporary_folder(&self) -> Result<TempDir, CacheError> {
        let folder = self.folder("tmp")?;
        let made = tempfile::Builder::new().prefix(leftovers::PREFIX).tempdir_in(&folder);
        made.map_err(|source| CacheError::from_io(&folder, source))
    }

    /// Removes temporary files that killed runs left more than a day ago.
    pub(crate) fn remove_leftovers(&self) {
        leftovers::remove(&self.root, SystemTime::now());
    }
}

/// Held while a model is written.
#[derive(Debug)]
pub struct CacheLock {
    _file: File,
}

#[cfg(test)]
mod tests {
    use std::io;

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
