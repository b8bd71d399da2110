//! Checking a collection and its logs, for a report that names everything wrong at once.

use std::path::Path;

use serde::Serialize;

use super::error::StoreError;
use super::log_read::read_log;
use super::recover::expected_logs;
use crate::snapshot::{self, Generation, VerifyReport, explain, log_name};

/// What [`verify`] found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreReport {
    /// The snapshot.
    #[serde(flatten)]
    pub snapshot: VerifyReport,
    /// The logs of writes since.
    pub logs: Vec<LogReport>,
}

/// One log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogReport {
    /// Its name.
    pub name: String,
    /// Bytes of its whole entries.
    pub n_bytes: u64,
    /// Batches of writes.
    pub n_entries: u64,
    /// Bytes of a write that a crash cut off before it was acknowledged; harmless, cut off when it is next opened.
    pub n_torn_bytes: u64,
    /// What is wrong with it.
    pub problem: Option<String>,
}

impl StoreReport {
    /// True if nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.snapshot.is_sound() && self.logs.iter().all(|log| log.problem.is_none())
    }
}

/// Verifies the snapshot as [`crate::verify`] does, and every entry of the logs.
///
/// # Errors
/// [`StoreError`] if it cannot be told which snapshot or logs there should be.
pub fn verify(dir: impl AsRef<Path>) -> Result<StoreReport, StoreError> {
    let dir = dir.as_ref();
    Ok(StoreReport { snapshot: snapshot::verify(dir)?, logs: verify_logs(dir)? })
}

/// Verifies every entry of the logs alone, which tells how many writes there were since the snapshot.
///
/// # Errors
/// As [`verify`].
pub fn verify_logs(dir: impl AsRef<Path>) -> Result<Vec<LogReport>, StoreError> {
    let dir = dir.as_ref();
    let generation = Generation::read(dir)?;
    let info = snapshot::inspect(dir)?;
    let further = info.further.iter().map(|further| further.space.clone());
    let spaces: Vec<_> = std::iter::once(info.space.clone()).chain(further).collect();
    let mut logs = Vec::new();
    for expected in expected_logs(dir, &generation, &spaces)? {
        let name = log_name(expected.number);
        logs.push(match read_log(&dir.join(&name), expected, &mut |_| Ok(())) {
            Ok(end) => LogReport {
                name,
                n_bytes: end.n_bytes,
                n_entries: end.n_entries,
                n_torn_bytes: end.n_torn_bytes,
                problem: None,
            },
            Err(error) => {
                LogReport { name, n_bytes: 0, n_entries: 0, n_torn_bytes: 0, problem: Some(explain(&error)) }
            }
        });
    }
    Ok(logs)
}
