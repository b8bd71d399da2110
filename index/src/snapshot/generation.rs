//! Which snapshot of a folder counts, told to the part of the crate that keeps logs beside it.

use std::path::{Path, PathBuf};

use super::current::Current;
use super::manifest::Manifest;
use crate::error::SnapshotError;

/// The snapshot that `CURRENT` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Generation {
    /// Its number; logs with this number and greater ones follow it.
    pub(crate) number: u64,
    /// Digest of its manifest, hexadecimal.
    pub(crate) manifest_sha256: String,
    /// Digest of the manifest that it was compacted from.
    pub(crate) continues: Option<String>,
}

impl Generation {
    /// Reads `CURRENT` and the manifest that it names.
    pub(crate) fn read(dir: &Path) -> Result<Self, SnapshotError> {
        let current = Current::read(dir)?;
        let continues = Manifest::read(dir, &current)?.continues;
        Ok(Self { number: current.number, manifest_sha256: current.manifest_sha256, continues })
    }

    /// The snapshot's folder.
    pub(crate) fn folder(&self, dir: &Path) -> PathBuf {
        self.current().folder(dir)
    }

    /// Makes a copy of this snapshot, already in `dir`, the one that counts there.
    pub(crate) fn make_current(&self, dir: &Path) -> Result<(), SnapshotError> {
        self.current().write_partial(dir)?;
        Current::switch(dir)
    }

    fn current(&self) -> Current {
        Current { number: self.number, manifest_sha256: self.manifest_sha256.clone() }
    }
}
