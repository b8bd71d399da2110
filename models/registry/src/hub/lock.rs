//! The lock file: sha256 of files whose hash only the hub stated, as they were at the first download.
//!
//! A later download of the same file must give the same bytes. Writers in one or several processes take turns, and
//! the file is replaced in one step, so it is whole at any time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::HubFile;
use super::error::HubError;
use crate::cache::{Cache, CacheError};

/// The lock file's usual name.
pub const LOCK_NAME: &str = "models.lock.toml";

/// The lock file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubLock {
    path: PathBuf,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entries {
    /// `repo@revision/path` to sha256.
    #[serde(default)]
    sha256: BTreeMap<String, String>,
}

impl HubLock {
    /// The lock file at `path`, which is created when first written.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The sha256 remembered for `file`.
    ///
    /// # Errors
    /// [`HubError::LockFile`] if the file is damaged, [`HubError::Cache`] if it cannot be read.
    pub fn sha256(&self, file: &HubFile<'_>) -> Result<Option<String>, HubError> {
        Ok(self.read()?.sha256.remove(&file.to_string()))
    }

    /// Remembers `sha256` for `file`.
    ///
    /// # Errors
    /// [`HubError::Locked`] if another one is remembered, and as [`HubLock::sha256`].
    pub fn remember(&self, file: &HubFile<'_>, sha256: &str) -> Result<(), HubError> {
        let _turn = self.take_turn()?;
        let mut entries = self.read()?;
        let name = file.to_string();
        match entries.sha256.get(&name) {
            Some(locked) if locked == sha256 => return Ok(()),
            Some(locked) => return Err(self.changed(file, locked, sha256)),
            None => entries.sha256.insert(name, sha256.to_owned()),
        };
        let text = toml::to_string(&entries).expect("a table of strings is TOML");
        Ok(Cache::put(&self.path, format!("{HEADER}{text}").as_bytes())?)
    }

    pub(super) fn changed(&self, file: &HubFile<'_>, locked: &str, found: &str) -> HubError {
        HubError::Locked {
            file: file.to_string(),
            lock: self.path.clone(),
            locked: locked.to_owned(),
            found: found.to_owned(),
        }
    }

    fn read(&self) -> Result<Entries, HubError> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Entries::default()),
            Err(error) => return Err(self.failed(error)),
        };
        toml::from_str(&text)
            .map_err(|source| HubError::LockFile { path: self.path.clone(), source: Box::new(source) })
    }

    /// Held while the file is read and replaced; the lock sits beside it because the file itself is replaced.
    fn take_turn(&self) -> Result<File, HubError> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| self.failed(error))?;
        }
        let mut guard = self.path.clone().into_os_string();
        guard.push(".guard");
        let file = File::create(guard).map_err(|error| self.failed(error))?;
        file.lock().map_err(|error| self.failed(error))?;
        Ok(file)
    }

    fn failed(&self, error: io::Error) -> HubError {
        CacheError::from_io(&self.path, error).into()
    }
}

const HEADER: &str = "# sha256 of files whose hash only the hub stated, from their first download.\n";

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: HubFile<'static> = HubFile {
        repo: "owner/name",
        revision: "0123456789abcdef0123456789abcdef01234567",
        path: "config.json",
        sha256: None,
    };

    #[test]
    fn the_first_hash_stays() {
        let folder = tempfile::tempdir().unwrap();
        let lock = HubLock::at(folder.path().join("cache").join(LOCK_NAME));
        assert_eq!(lock.sha256(&FILE).unwrap(), None);
        lock.remember(&FILE, "aa").unwrap();
        lock.remember(&FILE, "aa").unwrap();
        lock.remember(&HubFile { path: "b.json", ..FILE }, "bb").unwrap();
        assert!(matches!(lock.remember(&FILE, "cc"), Err(HubError::Locked { .. })));
        assert_eq!(HubLock::at(lock.path().to_owned()).sha256(&FILE).unwrap().as_deref(), Some("aa"));
    }

    #[test]
    fn a_damaged_lock_is_no_empty_lock() {
        let folder = tempfile::tempdir().unwrap();
        let lock = HubLock::at(folder.path().join(LOCK_NAME));
        std::fs::write(lock.path(), "sha256 = 3").unwrap();
        assert!(matches!(lock.sha256(&FILE), Err(HubError::LockFile { .. })));
        assert!(matches!(lock.remember(&FILE, "aa"), Err(HubError::LockFile { .. })));
    }

    #[test]
    fn writers_take_turns() {
        let folder = tempfile::tempdir().unwrap();
        let lock = HubLock::at(folder.path().join(LOCK_NAME));
        std::thread::scope(|scope| {
            for i in 0..8 {
                let lock = &lock;
                scope.spawn(move || {
                    lock.remember(&HubFile { path: &format!("{i}.json"), ..FILE }, "aa").unwrap();
                });
            }
        });
        assert_eq!(lock.read().unwrap().sha256.len(), 8);
    }
}
