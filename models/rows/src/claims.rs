//! Who is making which row right now: byte-range locks on an empty file, one byte a key.
//!
//! A lock belongs to the open file, so threads and processes exclude each other alike, and the system lets go of it
//! when its owner is killed. Keys are claimed in the order of their bytes: two owners never wait for each other.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use protext_core::Space;

use crate::row_cache::ContentKey;

/// The claims cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot lock {}; check that the disk allows it, or set PROTEXT_CACHE to another folder", path.display())]
pub struct ClaimsError {
    /// The file.
    pub path: PathBuf,
    /// The system's reason.
    #[source]
    pub source: io::Error,
}

/// Claims of one owner on rows of one space.
#[derive(Debug)]
pub struct Claims {
    path: PathBuf,
    file: File,
}

/// Held until it is dropped.
#[derive(Debug)]
pub struct Claimed<'a>(&'a Claims);

impl Claims {
    /// Opens the claims of `space` in `folder` for one more owner.
    ///
    /// # Errors
    /// [`ClaimsError`].
    pub fn open(folder: &Path, space: &Space) -> Result<Self, ClaimsError> {
        let path = folder.join(format!("{}.claims", space.fingerprint));
        let open = || {
            std::fs::create_dir_all(folder)?;
            File::options().read(true).append(true).create(true).open(&path)
        };
        let opened = open();
        opened.map_err(|source| ClaimsError { path: path.clone(), source }).map(|file| Self { path, file })
    }

    /// Waits until nobody else makes any of these rows.
    ///
    /// # Errors
    /// [`ClaimsError`].
    pub fn claim(&mut self, keys: &[ContentKey]) -> Result<Claimed<'_>, ClaimsError> {
        let mut offsets: Vec<i64> = keys.iter().map(offset).collect();
        offsets.sort_unstable();
        offsets.dedup();
        let claimed = Claimed(self);
        for offset in offsets {
            let locked = set_lock(&claimed.0.file, libc::F_WRLCK, offset, 1);
            locked.map_err(|source| ClaimsError { path: claimed.0.path.clone(), source })?;
        }
        Ok(claimed)
    }
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        // A range of length 0 reaches to the end: everything is let go. It cannot fail on an open file.
        let _ = set_lock(&self.0.file, libc::F_UNLCK, 0, 0);
    }
}

/// A byte of a file that is never written; 62 bits of a hash, so chance collisions only cost a wait.
fn offset(key: &ContentKey) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = *key.as_bytes();
    i64::from_le_bytes([a, b, c, d, e, f, g, h]) & (i64::MAX >> 1)
}

fn set_lock(file: &File, kind: i32, start: i64, len: i64) -> io::Result<()> {
    let lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: len,
        l_pid: 0,
    };
    loop {
        // SAFETY: the descriptor is open as long as `file` lives, and `lock` outlives the call.
        let answer = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLKW, &lock) };
        if answer == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use protext_core::Fingerprint;

    use super::*;

    #[test]
    fn one_row_is_made_by_one_owner_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let space = Space { name: "s".into(), dim: 1, fingerprint: Fingerprint::of(["s"]) };
        let keys = ["a", "b", "c"].map(ContentKey::of_exact);
        let inside = [const { AtomicUsize::new(0) }; 3];
        std::thread::scope(|scope| {
            for thread in 0..6 {
                let (folder, space, keys, inside) = (folder.path(), &space, &keys, &inside);
                scope.spawn(move || {
                    let mut claims = Claims::open(folder, space).unwrap();
                    for round in 0..200 {
                        // Pairs in either order: no deadlock.
                        let (i, j) = ((thread + round) % 3, (thread + round + 1 + round % 2) % 3);
                        let claimed = claims.claim(&[keys[i], keys[j]]).unwrap();
                        for at in [i, j] {
                            assert_eq!(inside[at].fetch_add(1, Ordering::SeqCst), 0);
                        }
                        for at in [i, j] {
                            inside[at].fetch_sub(1, Ordering::SeqCst);
                        }
                        drop(claimed);
                    }
                });
            }
        });
    }
}
