//! Writing a snapshot so that a crash at any point leaves the old one or the new one.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::Path;

use super::checked_file::{self, FileEntry, io_error};
use super::current::{Current, DirEntry, LOCK, folder_name, list, partial_folder_name, sync_folder};
use super::manifest::{Manifest, numbered};
use super::{GRAPH, MANIFEST, RECORDS, VECTORS, graph_file, records_file, vectors_file};
use crate::collection::{Collection, StoredIndex};
use crate::error::SnapshotError;

/// Points at which a crash leaves the directory in a state of its own; tests stop at each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Started,
    FileWritten(String),
    FolderNamed,
    CurrentWritten,
    Switched,
    OldRemoved,
}

/// Writes `collection` to `dir`.
pub(crate) fn save(collection: &Collection, dir: &Path) -> Result<(), SnapshotError> {
    let _lock = lock(dir)?;
    let saved = save_stepwise(collection, dir, &mut |_| Ok(()));
    if saved.is_err() {
        // The reason to report is the one above; what is left is removed now if that works, else by the next save.
        let _ = remove_all_but_current(dir);
    }
    saved
}

/// The right to write in a directory, until it is dropped.
struct WriteLock(File);

impl Drop for WriteLock {
    fn drop(&mut self) {
        // Closing is not enough: a process that is being started at this moment holds a copy of the open file.
        let _ = self.0.unlock();
    }
}

/// Makes `dir` ours to write in.
fn lock(dir: &Path) -> Result<WriteLock, SnapshotError> {
    if !dir.is_dir() {
        fs::create_dir_all(dir).map_err(io_error("create", dir))?;
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_folder(parent)?;
        }
    }
    let entries = list(dir)?;
    if !entries.iter().any(|(_, kind)| *kind == DirEntry::Current)
        && let Some((entry, _)) = entries.into_iter().find(|(_, kind)| *kind == DirEntry::Foreign)
    {
        return Err(SnapshotError::ForeignFiles { dir: dir.into(), entry });
    }
    let path = dir.join(LOCK);
    let file = File::options().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(io_error("write", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(WriteLock(file)),
        Err(TryLockError::WouldBlock) => Err(SnapshotError::Locked { dir: dir.into() }),
        Err(TryLockError::Error(source)) => Err(SnapshotError::Io { action: "lock", path, source }),
    }
}

/// The steps of a save. `after` is told each one that is done, and stops the rest with an error.
pub(super) fn save_stepwise(
    collection: &Collection,
    dir: &Path,
    after: &mut dyn FnMut(Step) -> Result<(), SnapshotError>,
) -> Result<(), SnapshotError> {
    remove_all_but_current(dir)?;
    let number = next_number(dir)?;
    let partial = dir.join(partial_folder_name(number));
    fs::create_dir(&partial).map_err(io_error("create", &partial))?;
    after(Step::Started)?;

    let files = write_files(collection, &partial, after)?;
    let manifest = Manifest::new(collection, files);
    let manifest = checked_file::write(&partial, MANIFEST, |to| {
        serde_json::to_writer_pretty(&mut *to, &manifest)?;
        to.write_all(b"\n")
    })?;
    sync_folder(&partial)?;
    after(Step::FileWritten(MANIFEST.to_owned()))?;

    let folder = dir.join(folder_name(number));
    fs::rename(&partial, &folder).map_err(io_error("rename", &partial))?;
    sync_folder(dir)?;
    after(Step::FolderNamed)?;

    Current { number, manifest_sha256: manifest.sha256 }.write_partial(dir)?;
    after(Step::CurrentWritten)?;
    Current::switch(dir)?;
    after(Step::Switched)?;

    if let Err(error) = remove_all_but_current(dir) {
        tracing::warn!(%error, dir = %dir.display(), "the replaced snapshot could not be removed");
    }
    after(Step::OldRemoved)
}

fn write_files(
    collection: &Collection,
    folder: &Path,
    after: &mut dyn FnMut(Step) -> Result<(), SnapshotError>,
) -> Result<Vec<FileEntry>, SnapshotError> {
    type Content<'a> = Box<dyn Fn(&mut dyn Write) -> std::io::Result<()> + 'a>;
    let mut contents: Vec<(String, Content<'_>)> =
        vec![(RECORDS.to_owned(), Box::new(|to| records_file::write(collection.records(), to)))];
    for (number, index) in collection.indexes.iter().enumerate() {
        let vectors = Box::new(|to: &mut dyn Write| vectors_file::write(index.table(), to));
        contents.push((numbered(VECTORS, number), vectors));
        if let StoredIndex::Hnsw(index) = index {
            contents.push((numbered(GRAPH, number), Box::new(|to| graph_file::write(index, to))));
        }
    }
    let mut files = Vec::with_capacity(contents.len());
    for (name, content) in contents {
        files.push(checked_file::write(folder, &name, content)?);
        after(Step::FileWritten(name))?;
    }
    Ok(files)
}

fn next_number(dir: &Path) -> Result<u64, SnapshotError> {
    let numbers = list(dir)?.into_iter().filter_map(|(_, kind)| match kind {
        DirEntry::Snapshot(number) => Some(number),
        _ => None,
    });
    Ok(numbers.max().unwrap_or(0).saturating_add(1))
}

/// Removes snapshots that do not count: replaced ones, and what crashes left. Foreign files stay.
fn remove_all_but_current(dir: &Path) -> Result<(), SnapshotError> {
    // Where CURRENT is damaged nothing opens any more, so a save replaces it and removes the rest.
    let current = Current::read(dir).ok().map(|current| folder_name(current.number));
    for (name, kind) in list(dir)? {
        let path = dir.join(&name);
        match kind {
            DirEntry::Snapshot(_) if Some(&name) != current.as_ref() => {
                fs::remove_dir_all(&path).map_err(io_error("remove", &path))?;
            }
            DirEntry::CurrentPartial => fs::remove_file(&path).map_err(io_error("remove", &path))?,
            _ => {}
        }
    }
    Ok(())
}
