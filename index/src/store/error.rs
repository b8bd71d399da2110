//! Errors of a collection that is written to while it is searched. Every message names the way out.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use protext_core::SpaceMismatch;

use crate::error::{IndexError, SnapshotError};
use crate::remote::RemoteError;

/// A store could not be opened, written or copied.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A record of a batch that cannot be stored; nothing of the batch was written.
    #[error("record {record} ({id:?}): {source}; nothing of this batch was written")]
    Record {
        /// 1-based record of the batch.
        record: usize,
        /// Its id.
        id: String,
        /// The rule that it breaks.
        #[source]
        source: IndexError,
    },
    /// A record without a vector in every space.
    #[error(
        "record {record} ({id:?}) has {found} vectors, but the collection has {expected} spaces; \
         give one vector for each space, in their order"
    )]
    VectorCount {
        /// 1-based record of the batch.
        record: usize,
        /// Its id.
        id: String,
        /// Spaces of the collection.
        expected: usize,
        /// Vectors given.
        found: usize,
    },
    /// One id twice in a batch.
    #[error(
        "records {first_record} and {second_record} of the batch both have the id {id:?}; \
         send each id once in a batch (nothing of this batch was written)"
    )]
    DuplicateId {
        /// The id.
        id: String,
        /// 1-based record that has it first.
        first_record: usize,
        /// 1-based record that repeats it.
        second_record: usize,
    },
    /// A batch that no log entry holds.
    #[error("the batch takes {n_bytes} bytes, more than the {max_bytes} of one log entry; send it in parts")]
    LargeBatch {
        /// Bytes of the batch.
        n_bytes: usize,
        /// The limit.
        max_bytes: usize,
    },
    /// The snapshot below the log could not be read or written.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Rebuilding the index failed.
    #[error("the index could not be rebuilt; the collection is unchanged")]
    Rebuild(#[source] IndexError),
    /// The log could not be written or read.
    #[error(
        "cannot {action} {}; check that the disk has room and that the path may be used. A write that was \
         refused like this is not in the collection; it can be sent again",
        path.display()
    )]
    Io {
        /// What was tried, a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's own error, shared by all writes that waited for the same bytes to reach the disk.
        #[source]
        source: Arc<io::Error>,
    },
    /// A log that is not as it was written.
    #[error(
        "{}, byte {offset}: {fault}; restore a backup, or give up this and all later writes by cutting the file \
         to {offset} bytes (by removing it, where that is 0)",
        path.display()
    )]
    DamagedLog {
        /// The log.
        path: PathBuf,
        /// 0-based byte at which the broken part starts.
        offset: u64,
        /// What is wrong with it.
        fault: LogFault,
    },
    /// A log of a later program.
    #[error(
        "{} was written by a newer version (log format {found}, this program reads up to {supported}); update Protext",
        path.display()
    )]
    NewerLog {
        /// The log.
        path: PathBuf,
        /// Its format version.
        found: u32,
        /// The latest one that this program reads.
        supported: u32,
    },
    /// A log with the bytes of each number the other way round.
    #[error(
        "{} was written with the other byte order, this program reads little-endian logs; compact the collection \
         where it was written, or restore a backup",
        path.display()
    )]
    LogByteOrder {
        /// The log.
        path: PathBuf,
    },
    /// A log whose vectors live elsewhere.
    #[error("{} does not belong to this collection; restore a backup, or remove the file", path.display())]
    LogSpace {
        /// The log.
        path: PathBuf,
        /// What differs.
        #[source]
        source: Box<SpaceMismatch>,
    },
    /// A log that another snapshot was the start of.
    #[error(
        "{} continues another snapshot than the one in this folder; restore a backup, or remove the file to give up \
         the writes in it",
        path.display()
    )]
    ForeignLog {
        /// The log.
        path: PathBuf,
    },
    /// A log that must be there is not.
    #[error("{} is missing, and the writes in it; restore a backup", path.display())]
    MissingLog {
        /// The log.
        path: PathBuf,
    },
    /// A copy that would overwrite something.
    #[error("{} is not empty; choose an empty or new folder", dir.display())]
    NotEmpty {
        /// The folder.
        dir: PathBuf,
    },
    /// An index on another machine could not take it.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The thread that writes is gone.
    #[error("the thread that writes {} has stopped; open the collection again", dir.display())]
    WriterLost {
        /// The collection's folder.
        dir: PathBuf,
    },
}

/// What is wrong with a log.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LogFault {
    /// The first bytes are not those of a log.
    #[error("this is not a log of writes")]
    Kind,
    /// The header does not fit its digest, or is cut off.
    #[error("the header is damaged")]
    Header,
    /// The start of an entry does not fit its digest.
    #[error("the start of an entry is damaged")]
    EntryHead,
    /// An entry does not fit its digest.
    #[error("an entry is damaged")]
    Entry,
    /// A log that others follow ends within an entry.
    #[error("the log ends within an entry, although a later log follows it")]
    Cut,
    /// An entry that cannot be read although it is as it was written.
    #[error("an entry cannot be read ({what})")]
    Content {
        /// What cannot be read.
        what: String,
    },
}

/// Turns a system error into ours.
pub(super) fn io_error(action: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_path_buf();
    move |source| StoreError::Io { action, path, source: Arc::new(source) }
}
