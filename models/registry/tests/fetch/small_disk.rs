//! A real disk of one megabyte, in memory, that fills up and can be made larger.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// Unmounted when dropped.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// `None`, told loudly, where this user may not mount.
    pub(crate) fn mount(test: &str) -> Option<Self> {
        let disk = Self { folder: tempfile::tempdir().unwrap() };
        let arguments = ["-t", "tmpfs", "-o", "size=1m,mode=755", "tmpfs"];
        let mounted = Command::new("mount").args(arguments).arg(disk.path()).output();
        match mounted {
            Ok(output) if output.status.success() => Some(disk),
            _ => {
                // Not by the macro, whose output is shown for failed tests only.
                let note = format!("NOT RUN: {test}: a disk of its own could not be mounted (needs root)\n");
                std::io::stderr().write_all(note.as_bytes()).unwrap();
                None
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn free_bytes(&self) -> u64 {
        let disk = rustix::fs::statvfs(self.path()).unwrap();
        disk.f_bavail * disk.f_frsize
    }

    /// Fills it until about `n_bytes` are free.
    pub(crate) fn leave(&self, n_bytes: u64) {
        let filler = self.path().join("filler");
        // An earlier one makes room first.
        std::fs::write(&filler, "").unwrap();
        let surplus = self.free_bytes().saturating_sub(n_bytes);
        std::fs::write(&filler, vec![1; surplus as usize]).unwrap();
    }

    /// Undoes [`SmallDisk::leave`].
    pub(crate) fn clear(&self) {
        // Emptied first: a process that another test is just starting may hold a copy of the open file.
        let filler = self.path().join("filler");
        std::fs::write(&filler, "").unwrap();
        std::fs::remove_file(&filler).unwrap();
    }

    /// Makes it 16 times as large.
    pub(crate) fn grow(&self) {
        self.remount("size=16m");
    }

    /// Nothing can be written any more, not even by root.
    pub(crate) fn make_read_only(&self) {
        self.remount("ro");
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let status = Command::new("mount").args(["-o", &options]).arg(self.path()).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}
