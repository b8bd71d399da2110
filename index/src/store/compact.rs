//! Compaction: base and later records become a new base, while reads and writes go on.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};

use super::error::{StoreError, io_error};
use super::view::{Entry, View};
use super::writer::{Message, Rotation};
use super::{Shared, Store};
use crate::collection::{AUTO_EXACT_MAX_ROWS, Collection, CollectionBuilder, IndexDescription, IndexKind};
use crate::error::IndexError;
use crate::hnsw::HnswParams;
use crate::snapshot::{self, Generation, Successor};

/// Records that are read at once.
const READ_TOGETHER: usize = 1_024;

/// What a compaction did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CompactReport {
    /// Records of the new snapshot.
    pub n_records: usize,
    /// Changes since the old one that went into it; 0 if there were none, and nothing was done.
    pub n_changes: usize,
}

impl Store {
    /// Makes a new snapshot of the state now and puts it in place of the old one. Reads and writes go on meanwhile;
    /// a second compaction waits for the first. The index is of the kind it was; an exact one of up to
    /// [`AUTO_EXACT_MAX_ROWS`] records becomes a graph where it has grown past that. `progress` is told how many rows
    /// are indexed.
    ///
    /// # Errors
    /// [`StoreError`]; every record is still there then, the store goes on serving, and it can be tried again.
    pub fn compact(&self, progress: &mut dyn FnMut(usize)) -> Result<CompactReport, StoreError> {
        self.shared.compact(progress)
    }
}

impl Shared {
    fn compact(&self, progress: &mut dyn FnMut(usize)) -> Result<CompactReport, StoreError> {
        // The mutex guards no data, only the order.
        let _one = self.snapshotting.lock().unwrap_or_else(PoisonError::into_inner);
        let n_changes = self.view().n_changes();
        if n_changes == 0 {
            return Ok(CompactReport { n_records: self.view().len(), n_changes });
        }
        let rotation = self.ask(Message::Rotate)??;
        let n_changes = rotation.view.n_changes();
        match self.make_snapshot(&rotation, progress) {
            Ok(base) => {
                let n_records = base.len();
                self.ask(|reply| Message::Rebase(Arc::new(base), reply))?;
                Ok(CompactReport { n_records, n_changes })
            }
            Err(error) => {
                // Where the writing thread is gone there is nothing to be told.
                let _ = self.to_writer.send(Message::GiveUp);
                Err(error)
            }
        }
    }

    fn make_snapshot(
        &self,
        rotation: &Rotation,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Collection, StoreError> {
        let built = build(&rotation.view, progress).map_err(StoreError::Rebuild)?;
        let successor = Successor { number: Some(rotation.number), continues: Some(rotation.base.clone()) };
        let saved = snapshot::save_locked(&built, &self.dir, &self.lock, successor, &mut |step| {
            (self.observer)(&format!("{step:?}"));
            Ok(())
        });
        if let Err(error) = saved {
            // The last step may have failed after the switch: the folder tells.
            if Generation::read(&self.dir).ok().is_none_or(|now| now.number != rotation.number) {
                return Err(error.into());
            }
            tracing::warn!(%error, dir = %self.dir.display(), "the new snapshot counts, but its save ended early");
        }
        // Read back as it will be after the next start.
        match snapshot::open(&self.dir, &self.options.open) {
            Ok(opened) => Ok(opened),
            Err(error) => {
                tracing::error!(%error, dir = %self.dir.display(), "the new snapshot cannot be read back");
                Ok(built)
            }
        }
    }
}

/// A collection of everything that `view` shows.
fn build(view: &View, progress: &mut dyn FnMut(usize)) -> Result<Collection, IndexError> {
    let info = view.base.info();
    let kind = match info.index {
        IndexDescription::Hnsw { m, ef_construction } => {
            IndexKind::Hnsw(HnswParams { m, ef_construction, ..HnswParams::default() })
        }
        // Who has more rows than that in an exact index wants it exact.
        IndexDescription::Exact if view.base.len() > AUTO_EXACT_MAX_ROWS => IndexKind::Exact,
        IndexDescription::Exact | IndexDescription::Qdrant { .. } => IndexKind::Auto,
    };
    let mut builder = CollectionBuilder::new(info.space, kind)?;
    for space in &view.spaces[1..] {
        builder.add_space(space.clone())?;
    }
    for (key, value) in info.metadata {
        builder.set_metadata(key, value);
    }
    if let Some(taxonomy) = view.base.records.taxonomy()? {
        builder.set_taxonomy(taxonomy);
    }
    let entries: Vec<_> = view.entries().collect();
    for together in entries.chunks(READ_TOGETHER) {
        let places: Vec<_> = together.iter().map(Entry::place).collect();
        for (entry, record) in together.iter().zip(view.records_at(&places)?) {
            let rows: Vec<_> = (0..view.spaces.len()).map(|space| entry.values(space)).collect();
            builder.push_rows(Arc::unwrap_or_clone(record), &rows)?;
        }
    }
    builder.build(progress)
}

/// The thread that compacts by itself.
#[derive(Debug)]
pub(super) struct Compactor {
    /// Closed to end the thread.
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    min_changes: usize,
}

impl Compactor {
    pub(super) fn start(shared: &Arc<Shared>, min_changes: usize) -> Result<Self, StoreError> {
        let (wake, woken) = sync_channel(1);
        let mine = Arc::clone(shared);
        let work = move || {
            let mut retry_at = 0;
            while woken.recv().is_ok() {
                let n_changes = mine.view().n_changes();
                if n_changes < retry_at || !is_due(&mine.view(), min_changes) {
                    continue;
                }
                retry_at = match mine.compact(&mut |_| ()) {
                    Ok(report) => {
                        tracing::info!(dir = %mine.dir.display(), n_records = report.n_records, "compacted");
                        0
                    }
                    Err(error) => {
                        tracing::error!(%error, dir = %mine.dir.display(), "compaction failed");
                        n_changes.saturating_add(min_changes.max(1))
                    }
                };
            }
        };
        let thread = thread::Builder::new().name("protext-compact".into()).spawn(work);
        let thread = thread.map_err(io_error("start a thread for", &shared.dir))?;
        Ok(Self { wake: Some(wake), thread: Some(thread), min_changes })
    }

    /// Wakes the thread if there is work.
    pub(super) fn tell(&self, view: &View) {
        if let Some(wake) = self.wake.as_ref().filter(|_| is_due(view, self.min_changes)) {
            // Full means that it will wake anyway.
            let _ = wake.try_send(());
        }
    }
}

fn is_due(view: &View, min_changes: usize) -> bool {
    let n_changes = view.n_changes();
    n_changes > 0 && n_changes >= min_changes.max(view.base.len() / 8)
}

impl Drop for Compactor {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
