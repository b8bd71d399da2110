//! Collections that are written to while they are searched.
//!
//! ```text
//! DIR/CURRENT, DIR/snapshot-000003/   the base, which never changes (see [`crate::snapshot`])
//! DIR/log-000003                      every write since, in order
//! DIR/log-000004                      writes since a compaction began that has not ended, or that failed
//! ```
//!
//! A write is checked, appended to the log, synced to the disk, made visible and only then acknowledged, so what was
//! acknowledged survives `kill -9` and loss of power, whatever the [`SyncPolicy`]. A batch is one entry of the log:
//! after a crash all of it is there or nothing. A write that was not acknowledged may be there or not.
//!
//! Readers take a [`View`] and never wait for writers. Searches merge the base, less its dead rows, with a scan of
//! later records. [`Store::compact`] makes a new base of both while writes go on: they go to the next log from its
//! start, `CURRENT` switches to the new snapshot in one rename, and only then is the old one removed.
//!
//! One process at a time has a store; others may read the folder with [`Store::read`].

mod backup;
mod change;
mod compact;
mod error;
mod keywords;
mod log_format;
mod log_read;
mod log_write;
mod recover;
mod search;
mod segment;
mod select;
mod verify;
mod view;
mod writer;

#[cfg(test)]
mod crash_tests;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub use backup::restore;
pub use change::{Upsert, WriteReport, check_upserts};
pub use compact::CompactReport;
pub use error::{LogFault, StoreError};
pub use keywords::KeywordHit;
pub use search::{Nearest, ViewHit, ViewSearch};
pub use select::Selection;
pub use verify::{LogReport, StoreReport, verify, verify_logs};
pub use view::{Entry, View};

use crate::snapshot::{Generation, OpenOptions, WriteLock, lock};
use change::Change;
use compact::Compactor;
use log_format::Header;
use log_write::Log;
use recover::recover;
use writer::{LogMark, Message, Write, Writer};

/// Writes that may wait for the writing thread; more callers wait for a place.
const MAX_WAITING: usize = 64;

/// Told each step that leaves the folder in a state of its own; tests look at it there.
type Observer = Arc<dyn Fn(&str) + Send + Sync>;

/// When the log is synced. No policy acknowledges a write that the disk does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPolicy {
    /// As soon as a write comes. Writes that come during a sync share the next one.
    EachWrite,
    /// A write waits this long for others to share its sync: fewer syncs, each write that much later.
    Grouped {
        /// Longest wait.
        interval: Duration,
    },
}

/// How to open a collection for writing.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// How the snapshot is opened.
    pub open: OpenOptions,
    /// When the log is synced.
    pub sync: SyncPolicy,
    /// Changes since the snapshot at which it is rebuilt in the background, or an eighth of its records if that is
    /// more. `None` leaves that to [`Store::compact`].
    pub compact_after: Option<usize>,
}

impl Default for StoreOptions {
    /// Full verification, a sync for each write, rebuilt after 20,000 changes.
    fn default() -> Self {
        Self { open: OpenOptions::default(), sync: SyncPolicy::EachWrite, compact_after: Some(20_000) }
    }
}

/// A collection in a folder, open for searching and writing.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    compactor: Option<Compactor>,
    writer: Option<JoinHandle<()>>,
}

/// What the store's threads share.
struct Shared {
    dir: PathBuf,
    to_writer: SyncSender<Message>,
    published: Arc<RwLock<Arc<View>>>,
    /// Held while a snapshot is made or copied.
    snapshotting: Mutex<()>,
    lock: WriteLock,
    options: StoreOptions,
    observer: Observer,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("dir", &self.dir)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the collection in `dir` for writing, with defaults.
    ///
    /// # Errors
    /// As [`Store::open_with`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(dir, StoreOptions::default())
    }

    /// Opens the collection in `dir` for writing. A write that a crash cut off in the middle is cut away.
    ///
    /// # Errors
    /// [`StoreError`]: no collection there, open in another process, or a snapshot or log that is damaged, of a later
    /// version or of something else. Each names the file and what to do; nothing was changed then.
    pub fn open_with(dir: impl AsRef<Path>, options: StoreOptions) -> Result<Self, StoreError> {
        Self::open_observed(dir.as_ref(), options, Arc::new(|_| ()))
    }

    fn open_observed(dir: &Path, options: StoreOptions, observer: Observer) -> Result<Self, StoreError> {
        // A folder that holds no collection is left as it is.
        Generation::read(dir)?;
        let lock = lock(dir)?;
        let mut recovered = recover(dir, &options.open)?;
        let log = match recovered.logs.pop() {
            Some(last) => Log::resume(last.path, last.number, &last.end)?,
            None => {
                let generation = &recovered.generation;
                let (number, base) = (generation.number, generation.manifest_sha256.clone());
                Log::create(dir, &Header { number, base, spaces: recovered.view.spaces.to_vec() })?
            }
        };
        let mark =
            |log: recover::ReadLog| LogMark { number: log.number, path: log.path, n_bytes: log.end.n_bytes };
        let closed = recovered.logs.into_iter().map(mark).collect();
        let published = Arc::new(RwLock::new(Arc::new(recovered.view)));
        let (to_writer, messages) = sync_channel(MAX_WAITING);
        let writer =
            Writer::new(dir, log, closed, Arc::clone(&published), options.sync, Arc::clone(&observer));
        let spawned = thread::Builder::new().name("protext-log".into()).spawn(move || writer.run(&messages));
        let writer = Some(spawned.map_err(error::io_error("start a thread for", dir))?);
        let compact_after = options.compact_after;
        let snapshotting = Mutex::new(());
        let shared = Shared { dir: dir.into(), to_writer, published, snapshotting, lock, options, observer };
        let mut store = Self { shared: Arc::new(shared), compactor: None, writer };
        if let Some(n_changes) = compact_after {
            store.compactor = Some(Compactor::start(&store.shared, n_changes)?);
        }
        Ok(store)
    }

    /// Reads the state of the collection in `dir` without the right to write, also while another process writes. A
    /// write that is on its way there may be in it although it is not acknowledged yet.
    ///
    /// # Errors
    /// As [`Store::open_with`], save that the collection may be open elsewhere.
    pub fn read(dir: impl AsRef<Path>, options: &OpenOptions) -> Result<View, StoreError> {
        recover(dir.as_ref(), options).map(|recovered| recovered.view)
    }

    /// The collection's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// The state now: every write that was acknowledged.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.shared.view()
    }

    /// Inserts records, and replaces those whose id is there. All of them or none: one bad record refuses the batch,
    /// and so does an id that comes twice. Returns when the disk has them and searches find them.
    ///
    /// # Errors
    /// [`StoreError::Record`], [`StoreError::VectorCount`], [`StoreError::DuplicateId`] and
    /// [`StoreError::LargeBatch`] for bad input, [`StoreError::Io`] where the log cannot be written, as on a full
    /// disk: the store goes on serving, and writes work again once there is room.
    pub fn upsert(&self, batch: Vec<Upsert>) -> Result<WriteReport, StoreError> {
        self.write(change::checked(batch, &self.view().spaces)?)
    }

    /// Deletes the records with these ids. An id that no record has is reported, not an error. Returns when the disk
    /// knows and searches find them no more.
    ///
    /// # Errors
    /// [`StoreError::LargeBatch`], or [`StoreError::Io`] where the log cannot be written.
    pub fn delete<'a>(&self, ids: impl IntoIterator<Item = &'a str>) -> Result<WriteReport, StoreError> {
        let mut seen = std::collections::HashSet::new();
        let ids = ids.into_iter().filter(|id| seen.insert(*id));
        self.write(ids.map(|id| Change::Delete { id: id.to_owned() }).collect())
    }

    fn write(&self, changes: Vec<Change>) -> Result<WriteReport, StoreError> {
        if changes.is_empty() {
            return Ok(WriteReport::default());
        }
        let batch = change::encode(&changes)?;
        let report = self.shared.ask(|reply| Message::Write(Write { changes, batch, reply }))??;
        if let Some(compactor) = &self.compactor {
            compactor.tell(&self.view());
        }
        Ok(report)
    }
}

impl Shared {
    fn view(&self) -> Arc<View> {
        // A view is replaced whole, so one that a panicking thread left behind is whole, too.
        Arc::clone(&self.published.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends the writing thread a question and waits for the answer.
    fn ask<T>(&self, question: impl FnOnce(SyncSender<T>) -> Message) -> Result<T, StoreError> {
        let (reply, answer) = sync_channel(1);
        let lost = || StoreError::WriterLost { dir: self.dir.clone() };
        self.to_writer.send(question(reply)).map_err(|_| lost())?;
        answer.recv().map_err(|_| lost())
    }
}

impl Drop for Store {
    /// Waits for the writes that were accepted, and for a rebuild that is under way.
    fn drop(&mut self) {
        drop(self.compactor.take());
        let _ = self.shared.to_writer.send(Message::Stop);
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}
