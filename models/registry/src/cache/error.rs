//! Errors of the cache: which path, why, and how to have the cache elsewhere.

use std::io;
use std::path::{Path, PathBuf};

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
    /// No space left, met while writing.
    #[error("the disk of {} is full; free some space or set PROTEXT_CACHE to another disk", path.display())]
    DiskFull {
        /// What was to be written.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Too little space, seen before anything was written.
    #[error(
        "the disk of {} has too little space: {needed_bytes} bytes are needed, {free_bytes} are free; free some \
         space or set PROTEXT_CACHE to another disk",
        path.display()
    )]
    TooLittleSpace {
        /// What was to be written.
        path: PathBuf,
        /// Its size.
        needed_bytes: u64,
        /// What the disk has for this user.
        free_bytes: u64,
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
