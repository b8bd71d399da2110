//! Copies of a collection: one that is open and written to, and back.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::PoisonError;

use super::error::{StoreError, io_error};
use super::recover::log_numbers;
use super::verify::{StoreReport, verify};
use super::writer::{LogMark, Message};
use super::{Shared, Store};
use crate::snapshot::{Generation, list, log_name, sync_folder};

impl Store {
    /// Copies the collection as it is now to `target`, a new or empty folder, while writes go on. The copy holds
    /// every write that was acknowledged before the call, is a collection like any other, and counts only once all
    /// of it is on the disk. A compaction waits until the copy is done.
    ///
    /// # Errors
    /// [`StoreError::NotEmpty`], or [`StoreError`] naming the file that could not be copied.
    pub fn backup_to(&self, target: impl AsRef<Path>) -> Result<StoreReport, StoreError> {
        self.shared.backup_to(target.as_ref())
    }
}

impl Shared {
    fn backup_to(&self, target: &Path) -> Result<StoreReport, StoreError> {
        // The mutex guards no data: it keeps the snapshot and its logs from being replaced.
        let _one = self.snapshotting.lock().unwrap_or_else(PoisonError::into_inner);
        let logs = self.ask(Message::Logs)?;
        copy(&self.dir, &Generation::read(&self.dir)?, &logs, target)
    }
}

/// Copies the collection in `backup` to `target`, a new or empty folder, and verifies both.
///
/// # Errors
/// [`StoreError`] if the backup is damaged, or naming the file that could not be copied.
pub fn restore(backup: impl AsRef<Path>, target: impl AsRef<Path>) -> Result<StoreReport, StoreError> {
    let backup = backup.as_ref();
    let generation = Generation::read(backup)?;
    let mark = |number| {
        let path = backup.join(log_name(number));
        let n_bytes = fs::metadata(&path).map_err(io_error("read", &path))?.len();
        Ok(LogMark { number, path, n_bytes })
    };
    let logs =
        log_numbers(backup, &generation)?.into_iter().map(mark).collect::<Result<Vec<_>, StoreError>>()?;
    copy(backup, &generation, &logs, target.as_ref())
}

fn copy(
    dir: &Path,
    generation: &Generation,
    logs: &[LogMark],
    target: &Path,
) -> Result<StoreReport, StoreError> {
    fs::create_dir_all(target).map_err(io_error("create", target))?;
    if !list(target)?.is_empty() {
        return Err(StoreError::NotEmpty { dir: target.into() });
    }
    let (from, to) = (generation.folder(dir), generation.folder(target));
    fs::create_dir(&to).map_err(io_error("create", &to))?;
    for entry in fs::read_dir(&from).map_err(io_error("list", &from))? {
        let name = entry.map_err(io_error("list", &from))?.file_name();
        copy_file(&from.join(&name), &to.join(&name), u64::MAX)?;
    }
    sync_folder(&to)?;
    for log in logs.iter().filter(|log| log.number >= generation.number) {
        copy_file(&log.path, &target.join(log_name(log.number)), log.n_bytes)?;
    }
    sync_folder(target)?;
    // Until now the folder is no collection; from now on it is this one.
    generation.make_current(target)?;
    verify(target)
}

/// Copies the first bytes of a file and waits until the disk has them.
fn copy_file(from: &Path, to: &Path, n_bytes: u64) -> Result<(), StoreError> {
    let source = File::open(from).map_err(io_error("read", from))?;
    let copied = || {
        let mut file = File::create_new(to)?;
        io::copy(&mut source.take(n_bytes), &mut file)?;
        file.sync_all()
    };
    copied().map_err(io_error("write", to))
}
