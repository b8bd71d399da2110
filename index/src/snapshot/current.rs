//! `CURRENT`: the one file that says which snapshot counts. Replacing it is the moment of the switch.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::checked_file::io_error;
use crate::error::SnapshotError;

const CURRENT: &str = "CURRENT";
const CURRENT_PARTIAL: &str = "CURRENT.partial";
const PREFIX: &str = "snapshot-";
const PARTIAL: &str = ".partial";
const LOG_PREFIX: &str = "log-";
pub(super) const LOCK: &str = "LOCK";

/// What `CURRENT` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Current {
    /// Number of the snapshot.
    pub(super) number: u64,
    /// Digest of its manifest, hexadecimal.
    pub(super) manifest_sha256: String,
}

impl Current {
    /// Reads `dir/CURRENT`.
    pub(super) fn read(dir: &Path) -> Result<Self, SnapshotError> {
        let path = dir.join(CURRENT);
        let text = fs::read(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => SnapshotError::NotACollection { dir: dir.into() },
            _ => SnapshotError::Io { action: "read", path: path.clone(), source },
        })?;
        Self::parse(&text).ok_or(SnapshotError::Current { path })
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(text).ok()?.strip_suffix('\n')?;
        let (name, digest) = line.split_once(' ')?;
        let current = Self { number: number_of(name)?, manifest_sha256: digest.into() };
        // Only the form that is written counts: one flipped bit must not give another valid reading.
        (digest.len() == 64 && current.to_string().as_bytes() == text).then_some(current)
    }

    /// The snapshot's folder.
    pub(super) fn folder(&self, dir: &Path) -> PathBuf {
        dir.join(folder_name(self.number))
    }

    /// Writes and syncs the successor of `CURRENT`, which does not count yet.
    pub(super) fn write_partial(&self, dir: &Path) -> Result<(), SnapshotError> {
        let path = dir.join(CURRENT_PARTIAL);
        let write_synced = || {
            let mut file = File::create(&path)?;
            file.write_all(self.to_string().as_bytes())?;
            file.sync_all()
        };
        write_synced().map_err(io_error("write", &path))
    }

    /// Makes the written successor count.
    pub(super) fn switch(dir: &Path) -> Result<(), SnapshotError> {
        let path = dir.join(CURRENT);
        fs::rename(dir.join(CURRENT_PARTIAL), &path).map_err(io_error("replace", &path))?;
        sync_folder(dir)
    }
}

impl std::fmt::Display for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} {}", folder_name(self.number), self.manifest_sha256)
    }
}

/// Name of a finished snapshot's folder.
pub(super) fn folder_name(number: u64) -> String {
    numbered(PREFIX, number)
}

/// Name of its folder while it is written.
pub(super) fn partial_folder_name(number: u64) -> String {
    folder_name(number) + PARTIAL
}

fn number_of(name: &str) -> Option<u64> {
    number_after(PREFIX, name)
}

/// Name of the log of writes that follow the snapshot with this number.
pub(crate) fn log_name(number: u64) -> String {
    numbered(LOG_PREFIX, number)
}

/// Name of that log while its first bytes are written.
pub(crate) fn partial_log_name(number: u64) -> String {
    log_name(number) + PARTIAL
}

fn log_number_of(name: &str) -> Option<u64> {
    number_after(LOG_PREFIX, name)
}

fn numbered(prefix: &str, number: u64) -> String {
    format!("{prefix}{number:06}")
}

/// The number in a name of the form that [`numbered`] gives, and no other.
fn number_after(prefix: &str, name: &str) -> Option<u64> {
    let number = name.strip_prefix(prefix)?.parse().ok()?;
    (numbered(prefix, number) == name).then_some(number)
}

/// What an entry of a collection's directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DirEntry {
    Current,
    CurrentPartial,
    Lock,
    /// A snapshot, finished or not.
    Snapshot(u64),
    /// A log of writes.
    Log(u64),
    /// A log that was not finished being started.
    LogPartial(u64),
    /// Not ours: never touched.
    Foreign,
}

fn classify(name: &str) -> DirEntry {
    let whole = name.strip_suffix(PARTIAL);
    match (log_number_of(whole.unwrap_or(name)), number_of(whole.unwrap_or(name))) {
        (Some(number), _) if whole.is_some() => DirEntry::LogPartial(number),
        (Some(number), _) => DirEntry::Log(number),
        (None, Some(number)) => DirEntry::Snapshot(number),
        (None, None) => DirEntry::Foreign,
    }
}

/// The entries of `dir` with their names.
pub(crate) fn list(dir: &Path) -> Result<Vec<(String, DirEntry)>, SnapshotError> {
    let read = || -> io::Result<Vec<_>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let kind = match name.as_str() {
                CURRENT => DirEntry::Current,
                CURRENT_PARTIAL => DirEntry::CurrentPartial,
                LOCK => DirEntry::Lock,
                other => classify(other),
            };
            entries.push((name, kind));
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(entries)
    };
    read().map_err(io_error("list", dir))
}

/// Makes renames in `folder` survive a loss of power.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), SnapshotError> {
    // Elsewhere a directory cannot be opened as a file, and its entries are journalled.
    if cfg!(unix) {
        File::open(folder).and_then(|file| file.sync_all()).map_err(io_error("sync", folder))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn current_has_one_form_only() {
        let current = Current { number: 3, manifest_sha256: "0f".repeat(32) };
        let text = current.to_string();
        assert_eq!(Current::parse(text.as_bytes()), Some(current));
        for bad in [
            text.trim_end(),
            &text.replace("000003", "3"),
            &text.replace("snapshot-", "../"),
            &format!("{text} "),
            &text.replace("0f0f", ""),
            "",
        ] {
            assert_eq!(Current::parse(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(number_of("snapshot-1234567"), Some(1_234_567));
        assert_eq!(number_of("snapshot-+00001"), None);
        assert_eq!(classify("log-000012"), DirEntry::Log(12));
        assert_eq!(classify("log-000012.partial"), DirEntry::LogPartial(12));
        assert_eq!(classify("log-12"), DirEntry::Foreign);
    }
}
