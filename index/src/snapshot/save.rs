//! Writing a snapshot so that a crash at any point leaves the old one or the new one.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::Path;

use super::checked_file::{self, FileEntry, io_error};
use super::current::{Current, DirEntry, LOCK, folder_name, list, partial_folder_name, sync_folder};
use super::digest::sha256_hex;
use super::manifest::{Manifest, numbered};
use super::{GRAPH, MANIFEST, RECORDS, VECTORS, graph_file, records_file, vectors_file};
use crate::collection::{Collection, StoredIndex};
use crate::error::SnapshotError;

/// Points at which a crash leaves the directory in a state of its own; tests stop at each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Started,
    FileWritten(String),
    FolderNamed,
    CurrentWritten,
    Switched,
    OldRemoved,
}

/// Which place in the row of snapshots a new one takes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Successor {
    /// Its number; `None` takes the next one that neither a snapshot nor a log has.
    pub(crate) number: Option<u64>,
    /// Digest of the manifest whose logs go on beside it; `None` leaves all logs behind.
    pub(crate) continues: Option<String>,
}

/// Writes `collection` to `dir`.
pub(crate) fn save(collection: &Collection, dir: &Path) -> Result<(), SnapshotError> {
    save_locked(collection, dir, &lock(dir)?, Successor::default(), &mut |_| Ok(()))
}

/// Writes `collection` to a directory that is locked already.
pub(crate) fn save_locked(
    collection: &Collection,
    dir: &Path,
    _lock: &WriteLock,
    successor: Successor,
    after: &mut dyn FnMut(Step) -> Result<(), SnapshotError>,
) -> Result<(), SnapshotError> {
    let saved = save_stepwise(collection, dir, successor, after);
    if saved.is_err() {
        // The reason to report is the one above; what is left is removed now if that works, else by the next save.
        let _ = remove_all_but_current(dir);
    }
    saved
}

/// The right to write in a directory, until it is dropped.
#[derive(Debug)]
pub(crate) struct WriteLock(File);

impl Drop for WriteLock {
    fn drop(&mut self) {
        // Closing is not enough: a process that is being started at this moment holds a copy of the open file.
        let _ = self.0.unlock();
    }
}

/// Makes `dir` ours to write in.
pub(crate) fn lock(dir: &Path) -> Result<WriteLock, SnapshotError> {
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
    successor: Successor,
    after: &mut dyn FnMut(Step) -> Result<(), SnapshotError>,
) -> Result<(), SnapshotError> {
    remove_all_but_current(dir)?;
    let number = successor.number.map_or_else(|| next_number(dir), Ok)?;
    let partial = dir.join(partial_folder_name(number));
    fs::create_dir(&partial).map_err(io_error("create", &partial))?;
    after(Step::Started)?;

    let files = write_files(collection, &partial, after)?;
    let manifest = Manifest::new(collection, successor.continues, files).to_bytes();
    checked_file::write(&partial, MANIFEST, |to| to.write_all(&manifest))?;
    sync_folder(&partial)?;
    after(Step::FileWritten(MANIFEST.to_owned()))?;

    let folder = dir.join(folder_name(number));
    fs::rename(&partial, &folder).map_err(io_error("rename", &partial))?;
    sync_folder(dir)?;
    after(Step::FolderNamed)?;

    Current { number, manifest_sha256: sha256_hex(&manifest) }.write_partial(dir)?;
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
    let mut files = vec![records_file::write(&collection.records, folder, RECORDS)?];
    after(Step::FileWritten(RECORDS.to_owned()))?;
    let mut contents: Vec<(String, Content<'_>)> = Vec::new();
    for (number, index) in collection.indexes.iter().enumerate() {
        let vectors = Box::new(|to: &mut dyn Write| vectors_file::write(index.table(), to));
        contents.push((numbered(VECTORS, number), vectors));
        if let StoredIndex::Hnsw(index) = index {
            contents.push((numbered(GRAPH, number), Box::new(|to| graph_file::write(index, to))));
        }
    }
    for (name, content) in contents {
        files.push(checked_file::write(folder, &name, content)?);
        after(Step::FileWritten(name))?;
    }
    Ok(files)
}

fn next_number(dir: &Path) -> Result<u64, SnapshotError> {
    let numbers = list(dir)?.into_iter().filter_map(|(_, kind)| match kind {
        // A log without its snapshot must not become the log of this one.
        DirEntry::Snapshot(number) | DirEntry::Log(number) => Some(number),
        _ => None,
    });
    Ok(numbers.max().unwrap_or(0).saturating_add(1))
}

/// Removes snapshots and logs that do not count: replaced ones, and what crashes left. Foreign files stay.
fn remove_all_but_current(dir: &Path) -> Result<(), SnapshotError> {
    // Where CURRENT is damaged nothing opens any more, so a save replaces it and removes the rest.
    let current_number = Current::read(dir).ok().map(|current| current.number);
    let current = current_number.map(folder_name);
    for (name, kind) in list(dir)? {
        let path = dir.join(&name);
        match kind {
            DirEntry::Snapshot(_) if Some(&name) != current.as_ref() => {
                fs::remove_dir_all(&path).map_err(io_error("remove", &path))?;
            }
            DirEntry::Log(number) if current_number.is_some_and(|current| number < current) => {
                fs::remove_file(&path).map_err(io_error("remove", &path))?;
            }
            DirEntry::CurrentPartial | DirEntry::LogPartial(_) => {
                fs::remove_file(&path).map_err(io_error("remove", &path))?;
            }
            _ => {}
        }
    }
    Ok(())
}
