//! The one thread that writes: it owns the log, and publishes a new view once the disk has the writes in it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::change::{Change, WriteReport};
use super::error::StoreError;
use super::log_format::Header;
use super::log_write::Log;
use super::view::View;
use super::{Observer, SyncPolicy};
use crate::collection::Collection;
use crate::snapshot::Generation;

/// Bytes after which no further write joins a group.
const MAX_GROUP_BYTES: usize = 16 << 20;

/// What the writing thread is asked to do. Each question carries the way back for its answer.
pub(super) enum Message {
    Write(Write),
    /// Start the next log, so that the state so far can become a snapshot.
    Rotate(SyncSender<Result<Rotation, StoreError>>),
    /// The snapshot of the last rotation is there.
    Rebase(Arc<Collection>, SyncSender<()>),
    /// The snapshot of the last rotation did not come about.
    GiveUp,
    /// Which logs there are, and how far the disk has them.
    Logs(SyncSender<Vec<LogMark>>),
    Stop,
}

/// A batch to write.
pub(super) struct Write {
    pub(super) changes: Vec<Change>,
    pub(super) batch: Vec<u8>,
    pub(super) reply: SyncSender<Result<WriteReport, StoreError>>,
}

/// A state that stands still, and the log that goes on after it.
pub(super) struct Rotation {
    pub(super) view: Arc<View>,
    /// Number of the log, and of the snapshot to make.
    pub(super) number: u64,
    /// Digest of the manifest that the log names as its base.
    pub(super) base: String,
}

/// A log and its bytes that the disk has for certain.
#[derive(Debug, Clone)]
pub(super) struct LogMark {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) n_bytes: u64,
}

impl LogMark {
    fn of(log: &Log) -> Self {
        Self { number: log.number(), path: log.path().into(), n_bytes: log.n_bytes() }
    }
}

/// A compaction under way.
struct Compaction {
    number: u64,
    /// Segments of the view that it began with.
    n_segments: usize,
    /// Ids changed or deleted since.
    touched: HashSet<String>,
}

pub(super) struct Writer {
    pub(super) dir: PathBuf,
    pub(super) log: Log,
    /// Logs before that one, which still count.
    pub(super) closed: Vec<LogMark>,
    pub(super) published: Arc<RwLock<Arc<View>>>,
    pub(super) sync: SyncPolicy,
    pub(super) observer: Observer,
    compaction: Option<Compaction>,
}

impl Writer {
    pub(super) fn new(
        dir: &Path,
        log: Log,
        closed: Vec<LogMark>,
        published: Arc<RwLock<Arc<View>>>,
        sync: SyncPolicy,
        observer: Observer,
    ) -> Self {
        Self { dir: dir.into(), log, closed, published, sync, observer, compaction: None }
    }

    /// Answers messages until it is told to stop or nobody can ask any more.
    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        let mut next = messages.recv().ok();
        while let Some(message) = next.take() {
            match message {
                Message::Write(first) => {
                    let (group, other) = self.gather(first, messages);
                    self.commit(group);
                    next = other;
                }
                // A receiver that is gone has given up waiting, which is its own business.
                Message::Rotate(reply) => drop(reply.send(self.rotate())),
                Message::Rebase(base, reply) => {
                    self.rebase(base);
                    let _ = reply.send(());
                }
                Message::GiveUp => self.compaction = None,
                Message::Logs(reply) => {
                    let all = self.closed.iter().cloned().chain([LogMark::of(&self.log)]).collect();
                    let _ = reply.send(all);
                }
                Message::Stop => return,
            }
            next = next.or_else(|| messages.recv().ok());
        }
    }

    /// The writes that share one sync with `first`, and the message after them if one came.
    fn gather(&self, first: Write, messages: &Receiver<Message>) -> (Vec<Write>, Option<Message>) {
        let wait = match self.sync {
            SyncPolicy::EachWrite => Duration::ZERO,
            SyncPolicy::Grouped { interval } => interval,
        };
        let deadline = Instant::now() + wait;
        let mut n_bytes = first.batch.len();
        let mut group = vec![first];
        while n_bytes < MAX_GROUP_BYTES {
            let left = deadline.saturating_duration_since(Instant::now());
            let message = match messages.try_recv() {
                Err(TryRecvError::Empty) if !left.is_zero() => messages.recv_timeout(left).ok(),
                other => other.ok(),
            };
            match message {
                Some(Message::Write(write)) => {
                    n_bytes += write.batch.len();
                    group.push(write);
                }
                other => return (group, other),
            }
        }
        (group, None)
    }

    /// Writes a group, makes it visible and acknowledges it, in this order.
    fn commit(&mut self, mut group: Vec<Write>) {
        let changes: Vec<_> = group.iter_mut().map(|write| std::mem::take(&mut write.changes)).collect();
        match self.write(changes, &group) {
            Ok(reports) => {
                for (write, report) in group.iter().zip(reports) {
                    let _ = write.reply.send(Ok(report));
                }
            }
            Err(error) => {
                for write in &group {
                    let _ = write.reply.send(Err(self.refusal(&error)));
                }
            }
        }
    }

    fn write(&mut self, changes: Vec<Vec<Change>>, group: &[Write]) -> Result<Vec<WriteReport>, StoreError> {
        let mut touched = Vec::new();
        if self.compaction.is_some() {
            touched.extend(changes.iter().flatten().map(|change| change.id().to_owned()));
        }
        // The next view is made first, so that nothing gets into the log that cannot be applied.
        let mut next = View::clone(&self.view());
        let apply = |changes| next.apply(changes).map_err(StoreError::Rebuild);
        let reports = changes.into_iter().map(apply).collect::<Result<Vec<_>, _>>()?;
        let batches: Vec<&[u8]> = group.iter().map(|write| &*write.batch).collect();
        self.log.append(&batches, &|| (self.observer)("written"))?;
        (self.observer)("synced");
        if let Some(compaction) = &mut self.compaction {
            compaction.touched.extend(touched);
        }
        self.publish(next);
        Ok(reports)
    }

    /// The error for one of several writes that failed together.
    fn refusal(&self, error: &StoreError) -> StoreError {
        match error {
            StoreError::Io { action, path, source } => {
                StoreError::Io { action, path: path.clone(), source: Arc::clone(source) }
            }
            StoreError::Rebuild(source) => StoreError::Rebuild(source.clone()),
            _ => StoreError::WriterLost { dir: self.dir.clone() },
        }
    }

    fn rotate(&mut self) -> Result<Rotation, StoreError> {
        self.log.cut()?;
        (self.observer)("before rotation");
        let base = Generation::read(&self.dir)?.manifest_sha256;
        let view = self.view();
        let header =
            Header { number: self.log.number() + 1, base: base.clone(), spaces: view.spaces.to_vec() };
        let log = Log::create(&self.dir, &header)?;
        self.closed.push(LogMark::of(&self.log));
        self.log = log;
        let number = header.number;
        let n_segments = view.segments.len();
        self.compaction = Some(Compaction { number, n_segments, touched: HashSet::new() });
        let mut next = View::clone(&view);
        next.begin_segment().map_err(StoreError::Rebuild)?;
        self.publish(next);
        (self.observer)("rotated");
        Ok(Rotation { view, number, base })
    }

    fn rebase(&mut self, base: Arc<Collection>) {
        let Some(compaction) = self.compaction.take() else { return };
        let touched = compaction.touched.iter().map(String::as_str);
        match self.view().rebased(base, compaction.n_segments, touched) {
            Ok(next) => self.publish(next),
            // The old snapshot with all later records is the same state; only its files are gone at the next start.
            Err(error) => {
                tracing::error!(%error, dir = %self.dir.display(), "the new snapshot cannot be read; the old one serves on");
            }
        }
        self.closed.retain(|log| log.number >= compaction.number);
        (self.observer)("rebased");
    }

    fn view(&self) -> Arc<View> {
        // A view is replaced whole, so one that a panicking thread left behind is whole, too.
        Arc::clone(&self.published.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn publish(&self, view: View) {
        let view = Arc::new(view);
        let replaced = {
            let mut published = self.published.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *published, view)
        };
        // Freed after the gate is open again: it may be the last holder of a large state.
        drop(replaced);
    }
}
