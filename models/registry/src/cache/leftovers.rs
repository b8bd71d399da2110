//! Temporary files of runs that were killed: removed by a later pull, once they are surely nobody's.
//!
//! Only names that Protext gives are touched, and only in folders of the cache: the cache may have been put into a
//! folder with other people's files. A partial download of the hub is no leftover, since the next pull goes on with it.

use std::fs::{DirEntry, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How temporary names begin; `.onnx-` is the graph writer's.
pub(crate) const PREFIX: &str = ".protext-";
const GRAPH_PREFIX: &str = ".onnx-";
const SUFFIX: &str = ".unverified";

/// Older ones belong to no run: pip is stopped after minutes, and a file being written is young.
const OLD: Duration = Duration::from_secs(24 * 3600);

/// Folders of files, and folders of such folders.
const FLAT: [&str; 2] = ["tmp", "heads"];
const NESTED: [&str; 3] = ["models", "onnx", "runtime"];

/// Removes old temporary files below `root`. What cannot be removed is left; nothing depends on it.
pub(super) fn remove(root: &Path, now: SystemTime) {
    let nested = NESTED.iter().flat_map(|folder| subfolders(&root.join(folder)));
    for folder in FLAT.iter().map(|folder| root.join(folder)).chain(nested) {
        for entry in entries(&folder).filter(is_temporary) {
            let path = entry.path();
            match remove_if_old(&path, now) {
                Ok(true) => {
                    tracing::info!(path = %path.display(), "a leftover of an earlier run was removed");
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "a leftover of an earlier run stays");
                }
            }
        }
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    std::fs::read_dir(folder).into_iter().flatten().flatten()
}

fn subfolders(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let is_folder = |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries(folder).filter(is_folder).map(|entry| entry.path())
}

fn is_temporary(entry: &DirEntry) -> bool {
    let name = entry.file_name();
    let name = name.to_string_lossy();
    name.starts_with(PREFIX) || name.starts_with(GRAPH_PREFIX) || name.ends_with(SUFFIX)
}

fn remove_if_old(path: &Path, now: SystemTime) -> io::Result<bool> {
    let metadata: Metadata = path.symlink_metadata()?;
    // A time in the future is a clock that was set; such a file is left alone.
    let age = now.duration_since(metadata.modified()?).unwrap_or_default();
    if age <= OLD {
        return Ok(false);
    }
    let removed = if metadata.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    removed.map(|()| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_temporary_names_go() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let old = [
            "tmp/.protext-a",
            "tmp/f.unverified",
            "models/m/.protext-b",
            "onnx/k/.onnx-c",
            "runtime/r/l.unverified",
        ];
        let kept =
            ["tmp/notes", "models/m/f.partial", "models/m/model.bin", "locks/.protext-d", ".protext-e"];
        for name in old.iter().chain(&kept) {
            std::fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            std::fs::write(root.join(name), "x").unwrap();
        }
        std::fs::create_dir(root.join("tmp/.protext-wheel")).unwrap();
        std::fs::write(root.join("tmp/.protext-wheel/a.whl"), "x").unwrap();
        let now = SystemTime::now();
        remove(root, now);
        assert!(old.iter().chain(&kept).all(|name| root.join(name).exists()));
        remove(root, now - 2 * OLD);
        assert!(old.iter().all(|name| root.join(name).exists()));
        remove(root, now + OLD + Duration::from_secs(60));
        assert!(old.iter().all(|name| !root.join(name).exists()));
        assert!(!root.join("tmp/.protext-wheel").exists());
        assert!(kept.iter().all(|name| root.join(name).exists()));
    }
}
