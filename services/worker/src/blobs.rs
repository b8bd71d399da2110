//! The file of a shard, before and after: byte strings by number, each with whether it is an answer or a reason.
//!
//! Layout, little-endian: magic, number of strings (u32), the strings, then for each its start (u64), length (u32) and
//! kind (u8), then the table's start (u64) and the sha256 of all before it. The table stands at the end so that strings
//! are written as they come; a string is found without reading the others. Written by planning and by workers, read by
//! workers and by the commit.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

const MAGIC: &[u8; 8] = b"PTXSHRD1";
const ENTRY_BYTES: u64 = 13;
const HASH_BYTES: u64 = 32;

/// One string of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Blob {
    /// A content, or what came of it.
    Done(Vec<u8>),
    /// Why nothing came of it.
    Failed(String),
}

/// Writes the file of a shard.
pub(crate) struct BlobWriter {
    file: Hashing<BufWriter<NamedTempFile>>,
    at: u64,
    table: Vec<u8>,
    n: u32,
}

/// Hashes what goes through.
struct Hashing<W> {
    inner: W,
    hasher: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl BlobWriter {
    pub(crate) fn new(file: NamedTempFile) -> io::Result<Self> {
        let inner = BufWriter::with_capacity(1 << 16, file);
        let mut file = Hashing { inner, hasher: Sha256::new() };
        file.write_all(MAGIC)?;
        Ok(Self { file, at: MAGIC.len() as u64, table: Vec::new(), n: 0 })
    }

    pub(crate) fn push(&mut self, blob: &Blob) -> io::Result<()> {
        match blob {
            Blob::Done(bytes) => self.push_bytes(bytes, 0),
            Blob::Failed(reason) => self.push_bytes(reason.as_bytes(), 1),
        }
    }

    pub(crate) fn push_bytes(&mut self, bytes: &[u8], kind: u8) -> io::Result<()> {
        self.file.write_all(bytes)?;
        let n_bytes = u32::try_from(bytes.len()).map_err(|_| io::Error::other("an answer of over 4 GB"))?;
        self.table.extend_from_slice(&self.at.to_le_bytes());
        self.table.extend_from_slice(&n_bytes.to_le_bytes());
        self.table.push(kind);
        self.at += u64::from(n_bytes);
        self.n += 1;
        Ok(())
    }

    /// The file, whole but not yet named, and its sha256.
    pub(crate) fn finish(self) -> io::Result<(NamedTempFile, [u8; 32])> {
        let Self { mut file, at, table, n } = self;
        file.write_all(&table)?;
        file.write_all(&n.to_le_bytes())?;
        file.write_all(&at.to_le_bytes())?;
        let Hashing { mut inner, hasher } = file;
        let hash: [u8; 32] = hasher.finalize().into();
        inner.write_all(&hash)?;
        Ok((inner.into_inner().map_err(io::IntoInnerError::into_error)?, hash))
    }
}

/// Reads the file of a shard.
#[derive(Debug)]
pub(crate) struct BlobFile {
    file: File,
    n: u32,
    table: u64,
}

/// Hashes all that `from` gives. Returns how many bytes that is.
pub(crate) fn hash_into(hasher: &mut Sha256, from: &mut impl Read) -> io::Result<u64> {
    let mut block = vec![0; 1 << 18];
    let mut n_bytes = 0;
    loop {
        match from.read(&mut block) {
            Ok(0) => return Ok(n_bytes),
            Ok(n) => {
                hasher.update(&block[..n]);
                n_bytes += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn damaged(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

impl BlobFile {
    /// Opens it and looks at its ends.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let n_bytes = file.metadata()?.len();
        let (mut magic, mut end) = ([0; 8], [0; 12]);
        if n_bytes < 8 + 12 + HASH_BYTES {
            return Err(damaged("it is cut short"));
        }
        file.read_exact_at(&mut magic, 0)?;
        file.read_exact_at(&mut end, n_bytes - HASH_BYTES - 12)?;
        let n = u32::from_le_bytes([end[0], end[1], end[2], end[3]]);
        let table = u64::from_le_bytes([end[4], end[5], end[6], end[7], end[8], end[9], end[10], end[11]]);
        if &magic != MAGIC || table.checked_add(u64::from(n) * ENTRY_BYTES + 12 + HASH_BYTES) != Some(n_bytes)
        {
            return Err(damaged("it is no file of a shard, or cut short"));
        }
        Ok(Self { file, n, table })
    }

    /// Number of strings.
    pub(crate) fn len(&self) -> u32 {
        self.n
    }

    /// Reads all of it and compares with the sha256 at its end, which is given back.
    pub(crate) fn verify(path: &Path) -> io::Result<[u8; 32]> {
        let mut file = File::open(path)?;
        let n_bytes = file.metadata()?.len().checked_sub(HASH_BYTES).ok_or(damaged("it is cut short"))?;
        let mut hasher = Sha256::new();
        hash_into(&mut hasher, &mut Read::by_ref(&mut file).take(n_bytes))?;
        let mut stored = [0; HASH_BYTES as usize];
        file.read_exact(&mut stored)?;
        let found: [u8; 32] = hasher.finalize().into();
        if found == stored { Ok(found) } else { Err(damaged("its checksum does not fit")) }
    }

    /// The string at `index`.
    pub(crate) fn get(&self, index: u32) -> io::Result<Blob> {
        if index >= self.n {
            return Err(damaged("it has fewer strings than it should"));
        }
        let mut entry = [0; ENTRY_BYTES as usize];
        self.file.read_exact_at(&mut entry, self.table + u64::from(index) * ENTRY_BYTES)?;
        let [a, b, c, d, e, f, g, h, i, j, k, l, kind] = entry;
        let start = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let n_bytes = u64::from(u32::from_le_bytes([i, j, k, l]));
        if start.checked_add(n_bytes).is_none_or(|end| end > self.table) {
            return Err(damaged("its table points outside"));
        }
        let mut bytes = vec![0; n_bytes as usize];
        self.file.read_exact_at(&mut bytes, start)?;
        match kind {
            0 => Ok(Blob::Done(bytes)),
            _ => Ok(Blob::Failed(String::from_utf8_lossy(&bytes).into_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_come_back_and_damage_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shard");
        let blobs = [Blob::Done(b"abc".to_vec()), Blob::Failed("too long".into()), Blob::Done(Vec::new())];
        let mut writer = BlobWriter::new(NamedTempFile::new_in(folder.path()).unwrap()).unwrap();
        blobs.iter().for_each(|blob| writer.push(blob).unwrap());
        let (file, hash) = writer.finish().unwrap();
        file.persist(&path).unwrap();
        let file = BlobFile::open(&path).unwrap();
        let back: Vec<Blob> = (0..file.len()).map(|index| file.get(index).unwrap()).collect();
        assert_eq!(back, blobs);
        assert!(file.get(3).is_err());
        assert_eq!(BlobFile::verify(&path).unwrap(), hash);
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(BlobFile::open(&path).is_err(), "{cut}");
        }
        let mut flipped = whole;
        flipped[9] ^= 1;
        std::fs::write(&path, &flipped).unwrap();
        assert!(BlobFile::verify(&path).is_err());
    }
}
