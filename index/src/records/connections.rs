//! Connections to a snapshot's records, over the file as it is mapped.
//!
//! SQLite reads the map as a database in memory that cannot be written. So a connection needs no file name and works
//! for as long as somebody holds the snapshot, also after that was replaced and removed; no file is locked, and no
//! journal is looked for. A connection serves one thread at a time; those that are done wait for the next.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use memmap2::Mmap;
use rusqlite::{Connection, MAIN_DB, OpenFlags};

use crate::error::IndexError;

/// Connections that are kept for the next caller; each holds up to 2 MB of pages.
const MAX_IDLE: usize = 8;

/// Opens, lends and keeps connections.
pub(super) struct Connections {
    /// Before the map, so that the connections go first.
    idle: Mutex<Vec<Connection>>,
    map: Arc<Mmap>,
    path: PathBuf,
}

impl Connections {
    pub(super) fn new(map: Arc<Mmap>, path: PathBuf) -> Self {
        Self { idle: Mutex::new(Vec::new()), map, path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` with a connection.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, IndexError> {
        let failed = |source| IndexError::Records { path: self.path.clone(), source: Arc::new(source) };
        let waiting = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = waiting.map_or_else(|| self.open(), Ok).map_err(failed)?;
        let done = work(&connection).map_err(failed);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
        done
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_in_memory_with_flags(flags)?;
        // SAFETY: the bytes live as long as the map. No connection outlives it: they are lent by `with` for the length
        // of a call on `self`, and dropped before the map, which is the later field. SQLite only reads them.
        let bytes: &'static [u8] = unsafe { std::slice::from_raw_parts(self.map.as_ptr(), self.map.len()) };
        connection.deserialize_bytes(MAIN_DB, bytes)?;
        connection.execute_batch(
            "PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;
             PRAGMA temp_store = MEMORY;",
        )?;
        Ok(connection)
    }
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connections").field("path", &self.path).finish_non_exhaustive()
    }
}
