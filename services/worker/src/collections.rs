//! Collections in an object store: copies for backups, and for machines that share no disk.
//!
//! A copy has the files of the folder under the same names. `CURRENT` goes up last, and only where there is none: a copy
//! that was cut off is no collection, and no copy replaces another. What comes down is verified before it is called one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use protext_index::StoreError as CollectionError;
use protext_index::store::{StoreReport, restore, verify};

use crate::error::StoreError;
use crate::store::local::failed;
use crate::store::{Store, is_local, open_place};

/// Names the snapshot that counts.
const CURRENT: &str = "CURRENT";

/// A collection could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The place for objects, or a file on the way to or from it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The collection, or its copy.
    #[error(transparent)]
    Collection(#[from] CollectionError),
    /// Copies replace nothing.
    #[error(
        "{place} holds a collection already; copies replace nothing, so choose another name or remove it"
    )]
    Taken {
        /// Where it was to go.
        place: String,
    },
    /// No collection there, or a copy that was cut off.
    #[error(
        "{place} holds no collection (it has no file {CURRENT}): check the name, or copy it there once more"
    )]
    Missing {
        /// What was to be copied.
        place: String,
    },
    /// Both are in object stores.
    #[error("{from} and {to} are both objects; copy to a folder first")]
    TwoPlaces {
        /// What was to be copied.
        from: String,
        /// Where it was to go.
        to: String,
    },
}

/// Copies a collection, from a folder or an object store's prefix (`s3://bucket/name`) to a new folder or prefix. The report
/// is of the copy that a folder now holds; one that went up was verified before.
///
/// # Errors
/// [`CopyError`].
pub fn copy_collection(from: &str, to: &str) -> Result<StoreReport, CopyError> {
    match (is_local(from), is_local(to)) {
        (true, true) => Ok(restore(from, to)?),
        (true, false) => upload(Path::new(from), to),
        (false, true) => download(from, Path::new(to)),
        (false, false) => Err(CopyError::TwoPlaces { from: from.to_owned(), to: to.to_owned() }),
    }
}

fn upload(folder: &Path, to: &str) -> Result<StoreReport, CopyError> {
    let place = open_place(to)?;
    let taken = || CopyError::Taken { place: to.to_owned() };
    if place.has(CURRENT)? {
        return Err(taken());
    }
    // A copy of one moment that nothing writes to, verified.
    let whole = tempfile::tempdir().map_err(|error| failed("write in", &std::env::temp_dir(), error))?;
    let report = restore(folder, whole.path())?;
    for (name, path) in files_below(whole.path())? {
        if name != CURRENT {
            place.put_copy(&name, &path)?;
        }
    }
    let current = whole.path().join(CURRENT);
    let current = fs::read(&current).map_err(|error| failed("read", &current, error))?;
    if place.create(CURRENT, &current)? { Ok(report) } else { Err(taken()) }
}

fn download(from: &str, folder: &Path) -> Result<StoreReport, CopyError> {
    let place = open_place(from)?;
    let current = place.get(CURRENT)?.ok_or_else(|| CopyError::Missing { place: from.to_owned() })?;
    fs::create_dir_all(folder).map_err(|error| failed("make the folder", folder, error))?;
    let mut found = fs::read_dir(folder).map_err(|error| failed("list", folder, error))?;
    if found.next().is_some() {
        return Err(CollectionError::NotEmpty { dir: folder.into() }.into());
    }
    for snapshot in place.list_folders("")? {
        let below = folder.join(&snapshot);
        fs::create_dir(&below).map_err(|error| failed("make the folder", &below, error))?;
        for file in place.list(&snapshot)? {
            fetch(&*place, &format!("{snapshot}/{}", file.name), folder)?;
        }
    }
    for file in place.list("")? {
        if file.name != CURRENT {
            fetch(&*place, &file.name, folder)?;
        }
    }
    // Until now the folder is no collection.
    let path = folder.join(CURRENT);
    fs::write(&path, current).map_err(|error| failed("write", &path, error))?;
    Ok(verify(folder)?)
}

/// Puts an object below `folder` under its own name, and waits until the disk has it.
fn fetch(place: &dyn Store, name: &str, folder: &Path) -> Result<(), StoreError> {
    let (fetched, path) = (place.fetch(name, folder)?, folder.join(name));
    let kept = fs::rename(&fetched, &path).and_then(|()| File::open(&path)?.sync_all());
    kept.map_err(|error| failed("write", &path, error))
}

/// Files by their names relative to `folder`: its own, and those of its folders.
fn files_below(folder: &Path) -> Result<Vec<(String, PathBuf)>, StoreError> {
    let mut files = Vec::new();
    let listed = |folder: &Path| {
        let entries = fs::read_dir(folder).map_err(|error| failed("list", folder, error))?;
        entries
            .map(|entry| entry.map_err(|error| failed("list", folder, error)))
            .collect::<Result<Vec<_>, _>>()
    };
    for entry in listed(folder)? {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_file() {
            files.push((name, entry.path()));
            continue;
        }
        for below in listed(&entry.path())? {
            files.push((format!("{name}/{}", below.file_name().to_string_lossy()), below.path()));
        }
    }
    files.sort_unstable();
    Ok(files)
}
