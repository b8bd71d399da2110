//! From a folder to the state that its snapshot and logs add up to.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use protext_core::Space;

use super::error::StoreError;
use super::log_read::{Expected, LogEnd, read_log};
use super::view::View;
use crate::error::SnapshotError;
use crate::snapshot::{self, DirEntry, Generation, OpenOptions, list, log_name};

/// How often a reader starts over because the collection was compacted while it read.
const MAX_ATTEMPTS: usize = 16;

/// A log that was read.
#[derive(Debug)]
pub(super) struct ReadLog {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) end: LogEnd,
}

/// What a folder holds.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) generation: Generation,
    pub(super) view: View,
    /// Logs that count, oldest first.
    pub(super) logs: Vec<ReadLog>,
}

/// Reads snapshot and logs of `dir`, again if they were replaced meanwhile.
pub(super) fn recover(dir: &Path, options: &OpenOptions) -> Result<Recovered, StoreError> {
    let mut attempt = 1;
    loop {
        let before = Generation::read(dir);
        let recovered = before.as_ref().ok().map(|generation| recover_once(dir, generation, options));
        // While this process holds the lock nothing changes, and the first attempt is the answer.
        if attempt == MAX_ATTEMPTS || Generation::read(dir).ok() == before.as_ref().ok().cloned() {
            return match (before, recovered) {
                (_, Some(recovered)) => recovered,
                (Err(error), None) => Err(error.into()),
                (Ok(_), None) => Err(SnapshotError::NotACollection { dir: dir.into() }.into()),
            };
        }
        attempt += 1;
    }
}

fn recover_once(dir: &Path, generation: &Generation, options: &OpenOptions) -> Result<Recovered, StoreError> {
    let mut view = View::of(Arc::new(snapshot::open(dir, options)?));
    let spaces = Arc::clone(&view.spaces);
    let logs = read_logs(dir, generation, &spaces, &mut |changes| {
        view.apply(changes).map(|_| ()).map_err(|error| error.to_string())
    })?;
    Ok(Recovered { generation: generation.clone(), view, logs })
}

/// Reads the logs that follow a snapshot, oldest first.
pub(super) fn read_logs(
    dir: &Path,
    generation: &Generation,
    spaces: &[Space],
    each: &mut dyn FnMut(Vec<super::change::Change>) -> Result<(), String>,
) -> Result<Vec<ReadLog>, StoreError> {
    let mut read = |expected: Expected<'_>| {
        let (number, path) = (expected.number, dir.join(log_name(expected.number)));
        let end = read_log(&path, expected, each)?;
        Ok(ReadLog { number, path, end })
    };
    expected_logs(dir, generation, spaces)?.into_iter().map(&mut read).collect()
}

/// The logs that follow a snapshot, oldest first, each with what it must fit.
pub(super) fn expected_logs<'a>(
    dir: &Path,
    generation: &'a Generation,
    spaces: &'a [Space],
) -> Result<Vec<Expected<'a>>, StoreError> {
    let numbers = log_numbers(dir, generation)?;
    let last = numbers.last().copied();
    let expected = |number| Expected { number, generation, spaces, is_last: Some(number) == last };
    Ok(numbers.into_iter().map(expected).collect())
}

/// Numbers of the logs that follow a snapshot: its own and later ones, without a gap.
pub(super) fn log_numbers(dir: &Path, generation: &Generation) -> Result<Vec<u64>, StoreError> {
    let mut numbers: Vec<u64> = list(dir)?
        .into_iter()
        .filter_map(|(_, kind)| match kind {
            DirEntry::Log(number) if number >= generation.number => Some(number),
            _ => None,
        })
        .collect();
    numbers.sort_unstable();
    // A snapshot that was compacted has had its log since before it was there; a fresh one may not have one yet.
    let is_fresh = numbers.is_empty() && generation.continues.is_none();
    for expected in generation.number..generation.number + numbers.len().max(usize::from(!is_fresh)) as u64 {
        if !numbers.contains(&expected) {
            return Err(StoreError::MissingLog { path: dir.join(log_name(expected)) });
        }
    }
    Ok(numbers)
}
