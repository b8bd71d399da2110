//! The file of keys: who may use the service. It holds digests, never keys.
//!
//! A key is 256 random bits, so there is nothing to guess at and one SHA-256 is as good as a slow hash: slow hashes make up
//! for passwords that people choose. The file is replaced in one rename and can be read by its owner alone.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Begins every key, so that one that leaks is recognized.
const PREFIX: &str = "ptx_";

/// What a key allows; each scope holds those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Searching, embedding, predicting, reading records.
    Read,
    /// Writing and deleting records.
    Write,
    /// Making, deleting and copying collections.
    Admin,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scope::Read => "read",
            Scope::Write => "write",
            Scope::Admin => "admin",
        })
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let is_it = |scope: &Scope| scope.to_string() == word;
        let scopes = [Scope::Read, Scope::Write, Scope::Admin];
        scopes
            .into_iter()
            .find(is_it)
            .ok_or_else(|| format!("{word:?} is no scope; write read, write or admin"))
    }
}

/// How much a key may ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyLimits {
    /// Requests a minute; so many may come at once after a quiet minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Requests a day, from midnight UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_day: Option<u64>,
}

/// What is kept of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Names the key in logs; tells nothing of it.
    pub id: String,
    /// Whose it is.
    pub name: String,
    /// SHA-256 of the key, in hexadecimal digits.
    pub sha256: String,
    /// What it allows.
    pub scope: Scope,
    /// How much it may ask.
    #[serde(flatten)]
    pub limits: KeyLimits,
    /// When it was made, in seconds since 1970.
    pub created_unix_s: u64,
    /// When it was revoked, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_unix_s: Option<u64>,
}

/// The file of keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyFile {
    /// Oldest first; those that were revoked stay, so that logs can be read.
    pub keys: Vec<KeyRecord>,
}

/// The file of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// It is no file of keys.
    #[error("{} is not a file of keys; make one with `protext keys create`", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// No key has that id.
    #[error("no key has the id {id:?}; `protext keys list` shows them")]
    UnknownKey {
        /// The id.
        id: String,
    },
    /// No randomness.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
}

impl KeyFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`KeyFileError::Io`] or [`KeyFileError::Content`].
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        let text = fs::read(path).map_err(cannot("read", path))?;
        serde_json::from_slice(&text).map_err(|source| KeyFileError::Content { path: path.into(), source })
    }

    /// Makes a key and adds its digest to the file, which is made if it is not there. The key is told this once.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn create(
        path: &Path,
        name: &str,
        scope: Scope,
        limits: KeyLimits,
    ) -> Result<(KeyRecord, String), KeyFileError> {
        let mut random = [0; 36];
        OsRng.try_fill_bytes(&mut random).map_err(|error| KeyFileError::Random(error.to_string()))?;
        let (id, secret) = random.split_at(4);
        let secret = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(secret));
        let record = KeyRecord {
            id: hex::encode(id),
            name: name.to_owned(),
            sha256: hex::encode(Sha256::digest(secret.as_bytes())),
            scope,
            limits,
            created_unix_s: now_s(),
            revoked_unix_s: None,
        };
        Self::change(path, |file| {
            file.keys.push(record.clone());
            Ok(())
        })?;
        Ok((record, secret))
    }

    /// Makes a key useless, from now on.
    ///
    /// # Errors
    /// [`KeyFileError::UnknownKey`], or as [`KeyFile::create`].
    pub fn revoke(path: &Path, id: &str) -> Result<(), KeyFileError> {
        Self::change(path, |file| {
            let key = file.keys.iter_mut().find(|key| key.id == id);
            let key = key.ok_or_else(|| KeyFileError::UnknownKey { id: id.to_owned() })?;
            key.revoked_unix_s.get_or_insert(now_s());
            Ok(())
        })
    }

    /// One change at a time, also of several processes.
    fn change(
        path: &Path,
        change: impl FnOnce(&mut Self) -> Result<(), KeyFileError>,
    ) -> Result<(), KeyFileError> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(cannot("create", folder))?;
        }
        let lock_path = path.with_extension("lock");
        let lock = File::create(&lock_path).map_err(cannot("write", &lock_path))?;
        lock.lock().map_err(cannot("lock", &lock_path))?;
        let mut file = match Self::load(path) {
            Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Self::default()
            }
            other => other?,
        };
        change(&mut file)?;
        file.save(path)
    }

    fn save(&self, path: &Path) -> Result<(), KeyFileError> {
        let partial = path.with_extension("partial");
        let written = || -> io::Result<()> {
            let mut options = File::options();
            options.write(true).create(true).truncate(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(&partial)?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&partial, path)
        };
        written().map_err(cannot("write", path))
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

fn cannot(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyFileError {
    let path = path.to_path_buf();
    move |source| KeyFileError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_no_key_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys/keys.json");
        let (one, secret) = KeyFile::create(&path, "lab", Scope::Read, KeyLimits::default()).unwrap();
        let (other, second) = KeyFile::create(&path, "robot", Scope::Admin, KeyLimits::default()).unwrap();
        assert!(secret.starts_with(PREFIX) && secret.len() == 47 && secret != second && one.id != other.id);
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&secret) && text.contains("robot"), "{text}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        KeyFile::revoke(&path, &one.id).unwrap();
        let file = KeyFile::load(&path).unwrap();
        assert!(file.keys[0].revoked_unix_s.is_some() && file.keys[1].revoked_unix_s.is_none());
        assert!(matches!(KeyFile::revoke(&path, "nobody"), Err(KeyFileError::UnknownKey { .. })));
    }
}
