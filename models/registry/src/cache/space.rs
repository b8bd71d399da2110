//! Room on the disk, asked for before a download whose size is known.
//!
//! A disk that says nothing useful (some network file systems) counts as one with room: writing tells then.

use std::path::Path;

use super::CacheError;

/// Refuses what cannot fit on the disk of `destination`, which need not exist yet.
pub(crate) fn check_space(destination: &Path, needed_bytes: u64) -> Result<(), CacheError> {
    match free_bytes(destination) {
        Some(free_bytes) if free_bytes < needed_bytes => {
            Err(CacheError::TooLittleSpace { path: destination.to_owned(), needed_bytes, free_bytes })
        }
        _ => Ok(()),
    }
}

/// Bytes that this user may still write on the disk that `path` is or will be on.
fn free_bytes(path: &Path) -> Option<u64> {
    let existing = path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."));
    let disk = rustix::fs::statvfs(existing).ok()?;
    (disk.f_blocks > 0).then(|| disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_disk_holds_is_refused_with_both_sizes() {
        let folder = tempfile::tempdir().unwrap();
        for destination in [folder.path().join("a/b/c"), "not-there".into()] {
            check_space(&destination, 1).unwrap();
            let error = check_space(&destination, u64::MAX).unwrap_err();
            assert!(matches!(&error, CacheError::TooLittleSpace { free_bytes, .. } if *free_bytes > 0));
            for part in ["18446744073709551615 bytes are needed", "are free", "PROTEXT_CACHE"] {
                assert!(error.to_string().contains(part), "{error}");
            }
        }
    }
}
