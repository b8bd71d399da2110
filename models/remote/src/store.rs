//! Rows that were paid for: on disk, and in memory while the disk does not take them.

use std::path::Path;

use protext_core::Space;
use protext_rows::{ContentKey, RowCache, RowCacheError};

/// The rows of one encoder.
#[derive(Debug)]
pub(crate) struct Store {
    cache: RowCache,
    /// Rows that could not be written yet.
    unsaved: Vec<(ContentKey, Vec<f32>)>,
}

impl Store {
    pub(crate) fn open(folder: &Path, space: &Space) -> Result<Self, RowCacheError> {
        Ok(Self { cache: RowCache::open(folder, space)?, unsaved: Vec::new() })
    }

    pub(crate) fn get(&self, key: &ContentKey) -> Option<Vec<f32>> {
        let unsaved = || self.unsaved.iter().find(|(unsaved, _)| unsaved == key).map(|(_, row)| row.clone());
        self.cache.get(key).or_else(unsaved)
    }

    /// Learns of the rows of other processes.
    pub(crate) fn refresh(&mut self) -> Result<(), RowCacheError> {
        self.cache.refresh()
    }

    /// Writes what could not be written before: nothing more is bought while that fails.
    pub(crate) fn save(&mut self) -> Result<(), RowCacheError> {
        if !self.unsaved.is_empty() {
            self.cache.append(&self.unsaved)?;
            self.unsaved.clear();
        }
        Ok(())
    }

    /// Keeps rows. They are paid for, so a disk that does not take them does not spoil this answer, only the next one.
    pub(crate) fn keep(&mut self, rows: impl IntoIterator<Item = (ContentKey, Vec<f32>)>) {
        self.unsaved.extend(rows);
        if let Err(error) = self.save() {
            tracing::error!(%error, cause = %error.source, "rows that were paid for are not on disk yet");
        }
    }
}
