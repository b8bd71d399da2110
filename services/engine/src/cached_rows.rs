//! Rows of a list of records, from the row cache where it has them, else encoded and kept: for training and evaluation.

use std::collections::HashSet;

use ndarray::{Array2, ArrayView1};
use protext_core::RowKind;
use protext_rows::{ContentKey, RowCache, RowCacheError};

use crate::embed_records::{EmbedRecordsSettings, FailedRecord, embed_records};
use crate::embedder::Embedder;
use crate::error::EngineError;
use crate::input::{InputRecord, Payload};

/// Rows that are kept together; what a kill can lose.
const KEEP_TOGETHER: usize = 64;

/// Rows could not be had.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The encoder has no such rows.
    #[error("{encoder} has no rows of the kind {kind:?}")]
    NoSuchRows {
        /// Encoder id.
        encoder: String,
        /// The kind asked for.
        kind: RowKind,
    },
    /// A record was refused.
    #[error(transparent)]
    Record(Box<FailedRecord>),
    /// The cache failed.
    #[error(transparent)]
    Cache(#[from] RowCacheError),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The caller asked to stop.
    #[error("stopped")]
    Stopped,
}

/// A record by name and content, for [`rows_of`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedContent {
    /// Its id, for errors.
    pub id: String,
    /// Sequence or text.
    pub payload: Payload,
}

/// The rows of `records` in their order, `[n, dim]`. `on_row` hears the length of each content that was encoded now,
/// and ends the run by answering false; what was encoded until then is kept.
///
/// # Errors
/// [`RowsError`].
pub fn rows_of(
    embedder: &Embedder,
    cache: &mut RowCache,
    kind: RowKind,
    records: &[NamedContent],
    settings: &EmbedRecordsSettings,
    mut on_row: impl FnMut(usize) -> bool,
) -> Result<Array2<f32>, RowsError> {
    let encoder = embedder.encoder();
    let no_such_rows = || RowsError::NoSuchRows { encoder: encoder.id().to_owned(), kind };
    let dim = encoder.space(kind).ok_or_else(no_such_rows)?.dim;
    let key = |record: &NamedContent| ContentKey::of(record.payload.as_str(), settings.options.long);
    let mut rows = Array2::zeros((records.len(), dim));
    let mut seen = HashSet::new();
    let (mut absent, mut missing) = (Vec::new(), Vec::new());
    for (index, record) in records.iter().enumerate() {
        let key = key(record);
        if let Some(row) = cache.get(&key) {
            rows.row_mut(index).assign(&ArrayView1::from(&row));
            continue;
        }
        absent.push(index);
        if seen.insert(key) {
            missing.push(InputRecord::new(index as u64 + 1, record.id.clone(), record.payload.clone()));
        }
    }
    let mut fresh = Vec::new();
    embed_records(embedder, "records", missing.into_iter().map(Ok), settings, |outcome| {
        let done = outcome.map_err(|failed| RowsError::Record(Box::new(failed)))?;
        let row = done.encoded.row(kind).ok_or_else(no_such_rows)?;
        fresh.push((
            ContentKey::of(done.record.payload.as_str(), settings.options.long),
            row.as_slice().to_vec(),
        ));
        let go_on = on_row(done.content.len());
        if fresh.len() >= KEEP_TOGETHER || !go_on {
            cache.append(&fresh)?;
            fresh.clear();
        }
        if go_on { Ok(()) } else { Err(RowsError::Stopped) }
    })?;
    cache.append(&fresh)?;
    for index in absent {
        let row = cache.get(&key(&records[index])).ok_or(EngineError::WorkerLost)?;
        rows.row_mut(index).assign(&ArrayView1::from(&row));
    }
    Ok(rows)
}
