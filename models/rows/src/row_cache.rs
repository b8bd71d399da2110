//! Encoder rows kept on disk, so that a second look at the same records costs no encoding.
//!
//! One file a space, named by its fingerprint; rows are found by the sha256 of what was encoded (and how long inputs were
//! treated). Records are appended under a lock and carry a checksum: a torn or flipped one is passed over, and encoded
//! again. Other processes may append at the same time; [`RowCache::refresh`] looks what they brought.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use protext_core::{LongPolicy, Space};
use sha2::{Digest as _, Sha256};

const MAGIC: &[u8; 8] = b"PTXROWS1";
const HEADER_BYTES: u64 = 8 + 32 + 8;
const KEY_BYTES: usize = 32;

/// sha256 over a record's content and the long policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentKey([u8; KEY_BYTES]);

impl ContentKey {
    /// The key of a validated sequence or a tidied text.
    #[must_use]
    pub fn of(content: &str, long: LongPolicy) -> Self {
        let mut hasher = Sha256::new();
        hasher.update([match long {
            LongPolicy::Window => b'w',
            LongPolicy::Truncate => b't',
            LongPolicy::Reject => b'r',
        }]);
        hasher.update(content.as_bytes());
        Self(hasher.finalize().into())
    }

    /// The key of a text that was encoded exactly as it stands.
    #[must_use]
    pub fn of_exact(text: &str) -> Self {
        Self(Sha256::new().chain_update(b"x").chain_update(text.as_bytes()).finalize().into())
    }

    pub(crate) fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

/// The cache cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the row cache {}; remove it, or set PROTEXT_CACHE to another folder", path.display())]
pub struct RowCacheError {
    /// What was tried.
    pub action: &'static str,
    /// The file.
    pub path: PathBuf,
    /// The system's reason.
    #[source]
    pub source: io::Error,
}

/// Rows of one space on disk.
#[derive(Debug)]
pub struct RowCache {
    path: PathBuf,
    file: File,
    dim: usize,
    /// Where the records end that `offsets` knows.
    n_bytes_read: u64,
    /// Where each row's record starts.
    offsets: HashMap<ContentKey, u64>,
}

impl RowCache {
    /// Opens the cache of `space` in `folder`, or makes one. A file of another layout is replaced.
    ///
    /// # Errors
    /// [`RowCacheError`].
    pub fn open(folder: &Path, space: &Space) -> Result<Self, RowCacheError> {
        let path = folder.join(format!("{}.rows", space.fingerprint));
        let failed = |action| {
            let path = path.clone();
            move |source| RowCacheError { action, path, source }
        };
        fs::create_dir_all(folder).map_err(failed("create"))?;
        let mut options = File::options();
        let mut file = options.read(true).append(true).create(true).open(&path).map_err(failed("open"))?;
        file.lock().map_err(failed("lock"))?;
        let prepared = prepare(&mut file, space);
        let unlocked = file.unlock();
        prepared.and(unlocked).map_err(failed("write"))?;
        let mut cache = Self {
            path: path.clone(),
            file,
            dim: space.dim,
            n_bytes_read: HEADER_BYTES,
            offsets: HashMap::new(),
        };
        cache.refresh()?;
        Ok(cache)
    }

    /// Rows kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// True without rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// The row of this content, if it is here and whole.
    #[must_use]
    pub fn get(&self, key: &ContentKey) -> Option<Vec<f32>> {
        let mut record = vec![0; self.record_bytes()];
        self.file.read_exact_at(&mut record, *self.offsets.get(key)?).ok()?;
        let (body, checksum) = record.split_at(record.len() - 4);
        let is_whole = body[..KEY_BYTES] == key.0 && crc32fast::hash(body).to_le_bytes() == checksum;
        let value = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        is_whole.then(|| body[KEY_BYTES..].chunks_exact(4).map(value).collect())
    }

    /// Keeps rows; those of another width are a mistake of the caller. A row that is here already, whole, stays as it is, whoever
    /// brought it: so that whoever asks gets the same one each time.
    ///
    /// # Errors
    /// [`RowCacheError`].
    ///
    /// # Panics
    /// If a row has another width than the space.
    pub fn append(&mut self, rows: &[(ContentKey, Vec<f32>)]) -> Result<(), RowCacheError> {
        assert!(rows.iter().all(|(_, row)| row.len() == self.dim), "a row is as wide as its space");
        let locked = self.file.lock();
        let written = locked.and_then(|()| {
            let written = self.write_locked(rows);
            written.and(self.file.unlock())
        });
        written.map_err(|source| self.failed("write", source))
    }

    /// Learns of the rows that others appended since.
    ///
    /// # Errors
    /// [`RowCacheError`].
    pub fn refresh(&mut self) -> Result<(), RowCacheError> {
        self.read_keys().map_err(|source| self.failed("read", source))
    }

    fn failed(&self, action: &'static str, source: io::Error) -> RowCacheError {
        RowCacheError { action, path: self.path.clone(), source }
    }

    fn record_bytes(&self) -> usize {
        KEY_BYTES + 4 * self.dim + 4
    }

    /// Appends on a record boundary: what a killed writer left behind is cut off first.
    fn write_locked(&mut self, rows: &[(ContentKey, Vec<f32>)]) -> io::Result<()> {
        self.read_keys()?;
        let mut records = Vec::with_capacity(rows.len() * self.record_bytes());
        let mut written = Vec::with_capacity(rows.len());
        for (key, row) in rows.iter().filter(|(key, _)| self.get(key).is_none()) {
            let start = records.len();
            records.extend_from_slice(&key.0);
            row.iter().for_each(|value| records.extend_from_slice(&value.to_le_bytes()));
            let checksum = crc32fast::hash(&records[start..]);
            records.extend_from_slice(&checksum.to_le_bytes());
            written.push((*key, start as u64));
        }
        let n_bytes = self.file.metadata()?.len();
        let end = n_bytes - (n_bytes - HEADER_BYTES) % self.record_bytes() as u64;
        self.file.set_len(end)?;
        let done = self.file.write_all(&records).and_then(|()| self.file.sync_data());
        if done.is_err() {
            // A full disk: no half record stays.
            self.file.set_len(end)?;
        }
        done?;
        self.offsets.extend(written.into_iter().map(|(key, start)| (key, end + start)));
        self.n_bytes_read = end + records.len() as u64;
        Ok(())
    }

    fn read_keys(&mut self) -> io::Result<()> {
        let size = self.record_bytes() as u64;
        let n_records = self.file.metadata()?.len().saturating_sub(self.n_bytes_read) / size;
        let mut key = [0; KEY_BYTES];
        for _ in 0..n_records {
            self.file.read_exact_at(&mut key, self.n_bytes_read)?;
            self.offsets.insert(ContentKey(key), self.n_bytes_read);
            self.n_bytes_read += size;
        }
        Ok(())
    }
}

/// Writes the header of an empty file; empties one with another header.
fn prepare(file: &mut File, space: &Space) -> io::Result<()> {
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&Sha256::digest(space.fingerprint.to_string()));
    header.extend_from_slice(&(space.dim as u64).to_le_bytes());
    let mut found = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(HEADER_BYTES).read_to_end(&mut found)?;
    if found != header {
        file.set_len(0)?;
        file.write_all(&header)?;
        file.sync_data()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use protext_core::Fingerprint;

    use super::*;

    fn space() -> Space {
        Space { name: "s".into(), dim: 3, fingerprint: Fingerprint::of(["s"]) }
    }

    fn key(content: &str) -> ContentKey {
        ContentKey::of(content, LongPolicy::Window)
    }

    #[test]
    fn rows_come_back_after_reopening_and_keys_tell_policies_apart() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = RowCache::open(folder.path(), &space()).unwrap();
        cache.append(&[(key("MKV"), vec![1.0, 2.0, 3.0]), (key("MK"), vec![4.0, 5.0, 6.0])]).unwrap();
        cache.append(&[(key("M"), vec![7.0, 8.0, 9.0])]).unwrap();
        for cache in [&cache, &RowCache::open(folder.path(), &space()).unwrap()] {
            assert_eq!(cache.len(), 3);
            assert_eq!(cache.get(&key("MK")), Some(vec![4.0, 5.0, 6.0]));
            assert_eq!(cache.get(&key("M")), Some(vec![7.0, 8.0, 9.0]));
            assert_eq!(cache.get(&ContentKey::of("MK", LongPolicy::Truncate)), None);
        }
    }

    #[test]
    fn torn_and_flipped_records_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = RowCache::open(folder.path(), &space()).unwrap();
        cache.append(&[(key("a"), vec![1.0; 3]), (key("b"), vec![2.0; 3])]).unwrap();
        let path = cache.path.clone();
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 7;
        bytes[last] ^= 1;
        bytes.extend_from_slice(b"half a record");
        fs::write(&path, &bytes).unwrap();
        let mut cache = RowCache::open(folder.path(), &space()).unwrap();
        assert_eq!((cache.get(&key("a")), cache.get(&key("b"))), (Some(vec![1.0; 3]), None));
        cache.append(&[(key("c"), vec![3.0; 3])]).unwrap();
        let cache = RowCache::open(folder.path(), &space()).unwrap();
        assert_eq!((cache.len(), cache.get(&key("c"))), (3, Some(vec![3.0; 3])));
    }

    #[test]
    fn rows_of_others_are_seen_after_a_look() {
        let folder = tempfile::tempdir().unwrap();
        let mut mine = RowCache::open(folder.path(), &space()).unwrap();
        let mut theirs = RowCache::open(folder.path(), &space()).unwrap();
        theirs.append(&[(key("a"), vec![1.0; 3])]).unwrap();
        mine.append(&[(key("b"), vec![2.0; 3])]).unwrap();
        assert_eq!(theirs.get(&key("b")), None);
        theirs.refresh().unwrap();
        for cache in [&mine, &theirs] {
            assert_eq!(
                (cache.get(&key("a")), cache.get(&key("b"))),
                (Some(vec![1.0; 3]), Some(vec![2.0; 3]))
            );
            assert_eq!(cache.len(), 2);
        }
    }

    #[test]
    fn of_two_rows_for_one_content_the_first_stays_for_everybody() {
        let folder = tempfile::tempdir().unwrap();
        let mut mine = RowCache::open(folder.path(), &space()).unwrap();
        let mut theirs = RowCache::open(folder.path(), &space()).unwrap();
        theirs.append(&[(key("a"), vec![1.0; 3])]).unwrap();
        mine.append(&[(key("b"), vec![2.0; 3]), (key("a"), vec![1.000_001; 3])]).unwrap();
        theirs.append(&[(key("b"), vec![2.000_001; 3])]).unwrap();
        for cache in [&mine, &theirs, &RowCache::open(folder.path(), &space()).unwrap()] {
            assert_eq!(cache.get(&key("a")), Some(vec![1.0; 3]));
            assert_eq!(cache.get(&key("b")), Some(vec![2.0; 3]));
        }
    }

    #[test]
    fn a_file_of_another_layout_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = RowCache::open(folder.path(), &space()).unwrap();
        cache.append(&[(key("a"), vec![1.0; 3])]).unwrap();
        fs::write(&cache.path, b"something else").unwrap();
        assert!(RowCache::open(folder.path(), &space()).unwrap().is_empty());
    }
}
