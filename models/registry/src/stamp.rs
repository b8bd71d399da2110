//! A stamp beside verified files: their names, sizes and hashes when they were put there.
//!
//! Looking at sizes is enough for every start; [`Stamp::verify`] hashes again when somebody asks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cache::{Cache, CacheError, sha256_of};

const NAME: &str = "stamp.json";

/// What stood in a folder when it was verified.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    pub(crate) files: BTreeMap<String, Stamped>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamped {
    pub(crate) sha256: String,
    pub(crate) n_bytes: u64,
}

/// A file that is not what it was.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) path: PathBuf,
    pub(crate) expected: String,
    pub(crate) found: String,
}

impl Stamp {
    /// The stamp of `folder`, if there is a readable one that names files.
    pub(crate) fn read(folder: &Path) -> Option<Self> {
        let stamp: Stamp = serde_json::from_slice(&std::fs::read(folder.join(NAME)).ok()?).ok()?;
        (!stamp.files.is_empty()).then_some(stamp)
    }

    /// The stamp of `folder`, if every file has its size.
    pub(crate) fn of_whole(folder: &Path) -> Option<Self> {
        let stamp = Self::read(folder)?;
        let has_size = |(name, stamped): (&String, &Stamped)| {
            folder.join(name).metadata().is_ok_and(|metadata| metadata.len() == stamped.n_bytes)
        };
        stamp.files.iter().all(has_size).then_some(stamp)
    }

    /// Takes a file of `folder` in, with its known hash.
    pub(crate) fn add(&mut self, folder: &Path, name: &str, sha256: String) -> Result<(), CacheError> {
        let path = folder.join(name);
        let n_bytes = path.metadata().map_err(|source| CacheError::from_io(&path, source))?.len();
        self.files.insert(name.to_owned(), Stamped { sha256, n_bytes });
        Ok(())
    }

    pub(crate) fn write(&self, folder: &Path) -> Result<(), CacheError> {
        let json = serde_json::to_vec_pretty(self).expect("a stamp is plain data");
        Cache::put(&folder.join(NAME), &json)
    }

    /// Hashes every file again; the first that changed is returned.
    pub(crate) fn verify(&self, folder: &Path) -> Result<Option<Changed>, (PathBuf, std::io::Error)> {
        for (name, stamped) in &self.files {
            let path = folder.join(name);
            let found = sha256_of(&path).map_err(|source| (path.clone(), source))?;
            if found != stamped.sha256 {
                return Ok(Some(Changed { path, expected: stamped.sha256.clone(), found }));
            }
        }
        Ok(None)
    }
}
