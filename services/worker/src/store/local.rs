//! A folder on this machine, or on a disk that several share.
//!
//! Files are written under `.staged/`, flushed to the device and renamed, and the folder is flushed after that. Claims are
//! locks on files, which the system gives back when a process ends, however it ends.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;

use super::{Claim, Listed, Store};
use crate::error::{StoreError, StoreFault};

const STAGED: &str = ".staged";
/// Half-written files are left alone for this long.
const SWEPT_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// A folder.
#[derive(Debug, Clone)]
pub(crate) struct LocalStore {
    root: PathBuf,
}

impl LocalStore {
    /// Opens the folder, or makes it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        let staged = root.join(STAGED);
        fs::create_dir_all(&staged).map_err(|error| failed("make the folder", &root, error))?;
        let root = fs::canonicalize(&root).map_err(|error| failed("open", &root, error))?;
        Ok(Self { root })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

/// The error with its kind told from the system's.
pub(crate) fn failed(action: &'static str, path: &Path, error: io::Error) -> StoreError {
    let fault = match error.kind() {
        io::ErrorKind::NotFound => StoreFault::Missing,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StoreFault::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreFault::NoSpace,
        _ => StoreFault::Other,
    };
    StoreError { action, place: path.display().to_string(), fault, source: Box::new(error) }
}

/// A rename must survive a power cut. Systems that cannot sync a folder need not.
fn sync_folder_of(path: &Path) {
    if let Some(folder) = path.parent()
        && let Ok(folder) = File::open(folder)
    {
        let _ = folder.sync_all();
    }
}

fn names_in(folder: &Path, want_folders: bool) -> Result<Vec<Listed>, StoreError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("list", folder, error)),
    };
    let mut listed = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| failed("list", folder, error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // A file that went away meanwhile is not there.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() == want_folders && !name.starts_with('.') {
            listed.push(Listed { name, n_bytes: metadata.len() });
        }
    }
    listed.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(listed)
}

impl Store for LocalStore {
    fn place(&self) -> String {
        self.root.display().to_string()
    }

    fn local(&self) -> Option<&Path> {
        Some(&self.root)
    }

    fn stage(&self) -> Result<NamedTempFile, StoreError> {
        let folder = self.root.join(STAGED);
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            // Workers of other users may share the folder: the umask decides, not the private mode of temporary files.
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        builder.tempfile_in(&folder).map_err(|error| failed("write in", &folder, error))
    }

    fn put_file(&self, name: &str, file: NamedTempFile) -> Result<(), StoreError> {
        let path = self.path(name);
        let written = |error| failed("write", &path, error);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(written)?;
        }
        file.as_file().sync_all().map_err(written)?;
        file.persist(&path).map_err(|error| written(error.error))?;
        sync_folder_of(&path);
        Ok(())
    }

    fn put_copy(&self, name: &str, file: &Path) -> Result<(), StoreError> {
        let mut copy = self.stage()?;
        let copied = File::open(file).and_then(|mut file| io::copy(&mut file, &mut copy));
        copied.map_err(|error| failed("copy", file, error))?;
        self.put_file(name, copy)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let mut file = self.stage()?;
        file.write_all(bytes).map_err(|error| failed("write", &self.path(name), error))?;
        self.put_file(name, file)
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<bool, StoreError> {
        let path = self.path(name);
        let written = |error| failed("write", &path, error);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(written)?;
        }
        let mut file = self.stage()?;
        file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(written)?;
        match file.persist_noclobber(&path) {
            Ok(_) => {
                sync_folder_of(&path);
                Ok(true)
            }
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(written(error.error)),
        }
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path, error)),
        }
    }

    fn has(&self, name: &str) -> Result<bool, StoreError> {
        let path = self.path(name);
        path.try_exists().map_err(|error| failed("look for", &path, error))
    }

    fn fetch(&self, name: &str, _: &Path) -> Result<PathBuf, StoreError> {
        let path = self.path(name);
        fs::metadata(&path).map_err(|error| failed("read", &path, error))?;
        Ok(path)
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        names_in(&self.path(folder), false)
    }

    fn list_folders(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        Ok(names_in(&self.path(folder), true)?.into_iter().map(|listed| listed.name).collect())
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path, error)),
            _ => Ok(()),
        }
    }

    fn remove_folder(&self, folder: &str) -> Result<(), StoreError> {
        let path = self.path(folder);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path, error)),
            _ => Ok(()),
        }
    }

    fn claim(&self, name: &str) -> Result<Option<Claim>, StoreError> {
        let path = self.path(name);
        let locked = |error| failed("lock", &path, error);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(locked(error)),
        };
        match file.try_lock() {
            Ok(()) => Ok(Some(Claim { _file: Some(file) })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(locked(error)),
        }
    }

    fn hold(&self, name: &str) -> Result<Claim, StoreError> {
        let path = self.path(name);
        let locked = |error| failed("lock", &path, error);
        let file = File::open(&path).map_err(locked)?;
        file.lock_shared().map_err(locked)?;
        Ok(Claim { _file: Some(file) })
    }

    fn sweep(&self) -> Result<(), StoreError> {
        let staged = self.path(STAGED);
        let entries = fs::read_dir(&staged).map_err(|error| failed("list", &staged, error))?;
        for entry in entries.flatten() {
            let age = entry.metadata().ok().and_then(|about| about.modified().ok()?.elapsed().ok());
            if age.is_none_or(|age| age < SWEPT_AFTER) {
                continue;
            }
            let path = entry.path();
            // Another process may sweep, too.
            let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        }
        Ok(())
    }

    fn is_held(&self, name: &str) -> Result<bool, StoreError> {
        Ok(self.has(name)? && self.claim(name)?.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_appear_whole_and_names_are_given_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::open(folder.path()).unwrap();
        assert_eq!(store.get("a/b").unwrap(), None);
        store.put("a/b", b"one").unwrap();
        assert!(!store.create("a/b", b"two").unwrap());
        assert!(store.create("a/c", b"three").unwrap());
        assert_eq!(store.get("a/b").unwrap().as_deref(), Some(&b"one"[..]));
        let names: Vec<String> = store.list("a").unwrap().into_iter().map(|listed| listed.name).collect();
        assert_eq!(names, ["b", "c"]);
        assert_eq!(store.list_folders("").unwrap(), ["a"]);
        store.remove_folder("a").unwrap();
        assert!(!store.has("a/b").unwrap());
        assert_eq!(store.fetch("a/b", folder.path()).unwrap_err().fault, StoreFault::Missing);
    }

    #[test]
    fn what_was_left_half_written_is_swept_once_it_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::open(folder.path()).unwrap();
        let staged = folder.path().join(STAGED);
        std::fs::write(staged.join("new"), "").unwrap();
        std::fs::create_dir(staged.join("old")).unwrap();
        std::fs::write(staged.join("old/part"), "").unwrap();
        let long_ago = std::time::SystemTime::now() - SWEPT_AFTER * 2;
        File::open(staged.join("old")).unwrap().set_modified(long_ago).unwrap();
        store.sweep().unwrap();
        assert!(staged.join("new").exists() && !staged.join("old").exists());
    }

    #[test]
    fn a_claim_is_held_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::open(folder.path()).unwrap();
        assert!(store.claim("lock").unwrap().is_none());
        store.put("lock", b"").unwrap();
        let claim = store.claim("lock").unwrap();
        assert!(claim.is_some() && store.claim("lock").unwrap().is_none() && store.is_held("lock").unwrap());
        drop(claim);
        assert!(!store.is_held("lock").unwrap());
        let _held = (store.hold("lock").unwrap(), store.hold("lock").unwrap());
        assert!(store.claim("lock").unwrap().is_none() && store.is_held("lock").unwrap());
    }
}
