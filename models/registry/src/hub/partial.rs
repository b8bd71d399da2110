//! The file that a download grows: `<destination>.partial`, with the hash that names its content beside it.
//!
//! Its bytes are hashed as they come; those of an earlier call are hashed again before more are added. It becomes the
//! destination by sync and rename, so a crash leaves either nothing new or the whole file in place.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use sha1::Sha1;
use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncWriteExt, BufWriter};

use super::Downloaded;
use crate::cache::{CacheError, check_space};

const BUFFER_LEN: usize = 1 << 20;

/// Where a download keeps its bytes until it is whole.
#[derive(Debug, Clone)]
pub(super) struct PartialPaths {
    destination: PathBuf,
    bytes: PathBuf,
    tag: PathBuf,
}

/// A partial file being written.
#[derive(Debug)]
pub(super) struct Partial {
    paths: PartialPaths,
    writer: BufWriter<File>,
    hasher: Sha256,
    n_bytes: u64,
}

impl PartialPaths {
    pub(super) fn of(destination: &Path) -> Self {
        let with = |suffix: &str| {
            let mut name = destination.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        Self { destination: destination.to_owned(), bytes: with(".partial"), tag: with(".partial.etag") }
    }

    /// Bytes of an earlier try and the tag they belong to; without both there is nothing to go on with.
    pub(super) async fn left_over(&self) -> Option<(u64, String)> {
        let tag = tokio::fs::read_to_string(&self.tag).await.ok()?;
        let n_bytes = tokio::fs::metadata(&self.bytes).await.ok()?.len();
        (n_bytes > 0).then_some((n_bytes, tag))
    }

    /// Bytes on disk, with or without a tag.
    pub(super) async fn len(&self) -> u64 {
        tokio::fs::metadata(&self.bytes).await.map_or(0, |metadata| metadata.len())
    }

    /// Removes bytes and tag.
    pub(super) async fn discard(&self) -> Result<(), CacheError> {
        for path in [&self.tag, &self.bytes] {
            match tokio::fs::remove_file(path).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(CacheError::from_io(path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Refuses to begin what the disk has no room for.
    pub(super) async fn check_space(&self, needed_bytes: u64) -> Result<(), CacheError> {
        let destination = self.destination.clone();
        let at = destination.clone();
        let checked = tokio::task::spawn_blocking(move || check_space(&destination, needed_bytes)).await;
        checked.map_err(|error| CacheError::from_io(&at, io::Error::other(error)))?
    }

    /// Opens the partial file to write from byte `offset` on; what stood behind it is cut off.
    pub(super) async fn open(self, offset: u64, tag: Option<String>) -> Result<Partial, CacheError> {
        let at = self.bytes.clone();
        let failed = |error| CacheError::from_io(&at, error);
        if offset == 0 {
            self.discard().await?;
            if let Some(folder) = self.bytes.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                tokio::fs::create_dir_all(folder).await.map_err(failed)?;
            }
            if let Some(tag) = tag {
                tokio::fs::write(&self.tag, tag)
                    .await
                    .map_err(|error| CacheError::from_io(&self.tag, error))?;
            }
        }
        let path = self.bytes.clone();
        let (file, hasher) = blocking(move || open_hashed(&path, offset)).await.map_err(failed)?;
        let writer = BufWriter::with_capacity(BUFFER_LEN, File::from_std(file));
        Ok(Partial { paths: self, writer, hasher, n_bytes: offset })
    }
}

impl Partial {
    /// Bytes it holds.
    pub(super) fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// Adds bytes. A block off the network is small enough to be hashed in passing.
    pub(super) async fn add(&mut self, block: &[u8]) -> Result<(), CacheError> {
        self.hasher.update(block);
        self.n_bytes += block.len() as u64;
        self.writer.write_all(block).await.map_err(|error| CacheError::from_io(&self.paths.bytes, error))
    }

    /// Brings what was added to the file, so that a later try finds it.
    pub(super) async fn flush(&mut self) -> Result<(), CacheError> {
        self.writer.flush().await.map_err(|error| CacheError::from_io(&self.paths.bytes, error))
    }

    /// sha256 of all bytes so far.
    pub(super) fn sha256(&self) -> String {
        hex::encode(self.hasher.clone().finalize())
    }

    /// git's blob hash of all bytes so far, which must have been flushed.
    pub(super) async fn git_blob(&self) -> Result<String, CacheError> {
        let path = self.paths.bytes.clone();
        let hashed = blocking(move || git_blob_of(&path)).await;
        hashed.map_err(|error| CacheError::from_io(&self.paths.bytes, error))
    }

    /// Syncs it and renames it to its destination.
    pub(super) async fn put_in_place(self) -> Result<Downloaded, CacheError> {
        let sha256 = self.sha256();
        let Self { paths, mut writer, n_bytes, .. } = self;
        let failed = |error| CacheError::from_io(&paths.destination, error);
        writer.flush().await.map_err(failed)?;
        writer.get_ref().sync_all().await.map_err(failed)?;
        drop(writer);
        tokio::fs::rename(&paths.bytes, &paths.destination).await.map_err(failed)?;
        paths.discard().await?;
        sync_folder(&paths.destination).await.map_err(failed)?;
        Ok(Downloaded { sha256, n_bytes })
    }

    /// Closes and removes it.
    pub(super) async fn throw_away(self) -> Result<(), CacheError> {
        let Self { paths, writer, .. } = self;
        drop(writer);
        paths.discard().await
    }
}

fn open_hashed(path: &Path, offset: u64) -> io::Result<(std::fs::File, Sha256)> {
    let options = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
    let mut file = options.open(path)?;
    file.set_len(offset)?;
    let mut hasher = Sha256::new();
    each_block(&mut file, |block| hasher.update(block))?;
    file.seek(SeekFrom::Start(offset))?;
    Ok((file, hasher))
}

/// sha1 over `blob <length>`, a zero byte and the content, as git names files.
fn git_blob_of(path: &Path) -> io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut hasher = Sha1::new_with_prefix(format!("blob {}\0", file.metadata()?.len()));
    each_block(&mut file, |block| hasher.update(block))?;
    Ok(hex::encode(hasher.finalize()))
}

fn each_block(file: &mut std::fs::File, mut on_block: impl FnMut(&[u8])) -> io::Result<()> {
    let mut block = vec![0; BUFFER_LEN];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(()),
            n_bytes => on_block(&block[..n_bytes]),
        }
    }
}

async fn sync_folder(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        File::open(folder).await?.sync_all().await?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reopened_file_hashes_what_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let paths = PartialPaths::of(&folder.path().join("a/file"));
        let mut partial = paths.clone().open(0, Some("tag".to_owned())).await.unwrap();
        partial.add(b"abXX").await.unwrap();
        partial.flush().await.unwrap();
        drop(partial);
        assert_eq!(paths.left_over().await, Some((4, "tag".to_owned())));
        let mut partial = paths.clone().open(2, None).await.unwrap();
        partial.add(b"c").await.unwrap();
        partial.flush().await.unwrap();
        assert_eq!(partial.git_blob().await.unwrap(), "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f");
        let downloaded = partial.put_in_place().await.unwrap();
        assert_eq!(downloaded.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(std::fs::read(folder.path().join("a/file")).unwrap(), b"abc");
        assert_eq!(std::fs::read_dir(folder.path().join("a")).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn bytes_without_a_tag_are_not_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let paths = PartialPaths::of(&folder.path().join("file"));
        std::fs::write(folder.path().join("file.partial"), "abc").unwrap();
        assert_eq!(paths.left_over().await, None);
    }
}
