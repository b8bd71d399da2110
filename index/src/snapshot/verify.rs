//! Checking a collection on disk file by file, for a report that names everything wrong at once.

use std::error::Error;
use std::io;
use std::path::Path;

use serde::Serialize;

use super::checked_file::{self, FileEntry, io_error};
use super::current::{Current, DirEntry, folder_name, list};
use super::digest::Digest;
use super::manifest::Manifest;
use super::open::{open, with_current};
use super::{OpenOptions, Verify};
use crate::collection::CollectionInfo;
use crate::error::SnapshotError;
use crate::records::Records;

/// What [`verify`] found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// What the collection is.
    pub info: CollectionInfo,
    /// Name of the snapshot that counts.
    pub snapshot: String,
    /// Every file of it.
    pub files: Vec<FileReport>,
    /// What is wrong with the content although every file is as it was written.
    pub content_problem: Option<String>,
    /// Left by crashes or replaced snapshots; harmless, removed by the next save.
    pub leftovers: Vec<String>,
}

/// One file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileReport {
    /// Its name.
    pub name: String,
    /// Bytes when it was written.
    pub n_bytes: u64,
    /// Digest when it was written.
    #[serde(flatten)]
    pub digest: Digest,
    /// What is wrong with it.
    pub problem: Option<String>,
}

impl VerifyReport {
    /// True if nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.content_problem.is_none() && self.files.iter().all(|file| file.problem.is_none())
    }
}

/// Verifies lengths and digests of all files, then the content.
///
/// # Errors
/// [`SnapshotError`] if `CURRENT` or the manifest cannot be read, so that it is unknown what there should be.
pub fn verify(dir: impl AsRef<Path>) -> Result<VerifyReport, SnapshotError> {
    let dir = dir.as_ref();
    with_current(dir, |current| {
        let report = examine(dir, current)?;
        if !report.is_sound() && Current::read(dir)? != *current {
            // Replaced while it was read: what looks wrong was being removed. Missing means start over.
            return Err(SnapshotError::MissingFile { path: current.folder(dir) });
        }
        Ok(report)
    })
}

fn examine(dir: &Path, current: &Current) -> Result<VerifyReport, SnapshotError> {
    let manifest = Manifest::read(dir, current)?;
    let folder = current.folder(dir);
    let names = manifest.file_names();
    let belongs = |entry: &&FileEntry| names.contains(&entry.name);
    let files: Vec<_> = manifest.files.iter().filter(belongs).map(|entry| check(&folder, entry)).collect();
    let mut content_problem = None;
    if files.iter().all(|file| file.problem.is_none()) {
        let options = OpenOptions { verify: Verify::Full, expected_space: None };
        content_problem = match open(dir, &options) {
            Ok(collection) => match &collection.records {
                Records::Stored(file) => file.examine().unwrap_or_else(|error| Some(explain(&error))),
                Records::Held(_) => None,
            },
            Err(error) => Some(explain(&error)),
        };
    }
    let snapshot = folder_name(current.number);
    let is_leftover = |name: &str, kind| match kind {
        DirEntry::Snapshot(_) => name != snapshot,
        DirEntry::Log(number) => number < current.number,
        kind => matches!(kind, DirEntry::CurrentPartial | DirEntry::LogPartial(_)),
    };
    let leftovers = list(dir)?.into_iter().filter(|(name, kind)| is_leftover(name, *kind));
    let leftovers = leftovers.map(|(name, _)| name).collect();
    Ok(VerifyReport { info: manifest.info(), snapshot, files, content_problem, leftovers })
}

fn check(folder: &Path, entry: &FileEntry) -> FileReport {
    let read = checked_file::read(folder, entry, Verify::Full, |from, path| {
        io::copy(from, &mut io::sink()).map_err(io_error("read", path))
    });
    FileReport {
        name: entry.name.clone(),
        n_bytes: entry.n_bytes,
        digest: entry.digest.clone(),
        problem: read.err().map(|error| explain(&error)),
    }
}

/// An error with its causes, in one line.
pub(crate) fn explain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
