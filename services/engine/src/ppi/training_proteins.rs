//! The proteins that a head for pairs was trained on: who they are, and the head's codes of them.
//!
//! Codes are kept at unit length, one signed byte a component, so that a few thousand proteins take some hundred kilobytes;
//! cosines lose less than 0.01 by it. Sequences are told by the first 8 bytes of their sha256.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

const MAGIC: &[u8; 8] = b"PTXPAIR1";
/// Bytes of a sequence's sha256 that are kept.
const KEY_BYTES: usize = 8;

/// Proteins that a head was trained on.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingProteins {
    dim: usize,
    ids: Vec<String>,
    keys: HashMap<[u8; KEY_BYTES], usize>,
    /// `[proteins, dim]`, unit length times 127.
    codes: Vec<i8>,
}

/// A training protein and how near it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Nearest {
    /// Its id.
    pub id: String,
    /// Cosine of the two codes, -1 to 1: how alike the head sees them.
    pub similarity: f32,
}

/// The file of training proteins cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum TrainingProteinsError {
    /// The system refused.
    #[error("cannot read or write {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Its reason.
        #[source]
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("{}: {rule}; train the head again", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        rule: &'static str,
    },
    /// An id that does not fit.
    #[error("id {id:?} has more than 255 bytes")]
    Id {
        /// The id.
        id: String,
    },
    /// A code of another width.
    #[error("the code of {id} has {found} components, but must have {expected}")]
    Width {
        /// The id.
        id: String,
        /// Components that codes have.
        expected: usize,
        /// Components given.
        found: usize,
    },
}

impl TrainingProteins {
    /// From ids, sequences and codes of width `dim`.
    ///
    /// # Errors
    /// [`TrainingProteinsError::Id`] or [`TrainingProteinsError::Width`].
    pub fn new<'a>(
        dim: usize,
        proteins: impl IntoIterator<Item = (&'a str, &'a str, &'a [f32])>,
    ) -> Result<Self, TrainingProteinsError> {
        let mut made = Self { dim, ids: Vec::new(), keys: HashMap::new(), codes: Vec::new() };
        for (id, sequence, code) in proteins {
            if id.len() > usize::from(u8::MAX) {
                return Err(TrainingProteinsError::Id { id: id.to_owned() });
            }
            if code.len() != dim {
                let (id, expected, found) = (id.to_owned(), dim, code.len());
                return Err(TrainingProteinsError::Width { id, expected, found });
            }
            made.keys.entry(key(sequence)).or_insert(made.ids.len());
            made.ids.push(id.to_owned());
            let scale = 127.0 / norm(code).max(f32::MIN_POSITIVE);
            made.codes.extend(code.iter().map(|value| (value * scale).round() as i8));
        }
        Ok(made)
    }

    /// Proteins.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// True without proteins.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Width of a code.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// True if this very sequence was trained on.
    #[must_use]
    pub fn contains(&self, sequence: &str) -> bool {
        self.keys.contains_key(&key(sequence))
    }

    /// The protein whose code has the greatest cosine with this one.
    #[must_use]
    pub fn nearest(&self, code: &[f32]) -> Option<Nearest> {
        let scale = 1.0 / (norm(code).max(f32::MIN_POSITIVE) * 127.0);
        let dot = |known: &[i8]| known.iter().zip(code).map(|(a, b)| f32::from(*a) * b).sum::<f32>();
        let found = self.codes.chunks_exact(self.dim.max(1)).map(dot).enumerate();
        let (at, dot) = found.max_by(|a, b| a.1.total_cmp(&b.1))?;
        Some(Nearest { id: self.ids[at].clone(), similarity: (dot * scale).clamp(-1.0, 1.0) })
    }

    /// The bytes of its file: magic, counts, then of each protein its id, the key of its sequence and its code.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut key_of = vec![[0; KEY_BYTES]; self.ids.len()];
        self.keys.iter().for_each(|(key, &at)| key_of[at] = *key);
        let mut bytes = MAGIC.to_vec();
        bytes.extend((self.ids.len() as u32).to_le_bytes());
        bytes.extend((self.dim as u32).to_le_bytes());
        for (at, id) in self.ids.iter().enumerate() {
            bytes.push(id.len() as u8);
            bytes.extend(id.as_bytes());
            bytes.extend(key_of[at]);
            bytes.extend(self.codes[at * self.dim..(at + 1) * self.dim].iter().map(|&value| value as u8));
        }
        bytes
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`TrainingProteinsError::Io`] or [`TrainingProteinsError::Format`].
    pub fn read(path: &Path) -> Result<Self, TrainingProteinsError> {
        let bytes = std::fs::read(path)
            .map_err(|source| TrainingProteinsError::Io { path: path.to_owned(), source })?;
        let format = |rule| TrainingProteinsError::Format { path: path.to_owned(), rule };
        let mut rest = bytes.as_slice();
        let mut take = |n: usize| {
            let (taken, left) = rest.split_at_checked(n).ok_or_else(|| format("it is cut short"))?;
            rest = left;
            Ok::<_, TrainingProteinsError>(taken)
        };
        if take(MAGIC.len())? != MAGIC {
            return Err(format("it holds no training proteins"));
        }
        let mut number = || {
            let bytes = take(4)?.try_into().expect("four bytes were taken");
            Ok::<_, TrainingProteinsError>(u32::from_le_bytes(bytes) as usize)
        };
        let (n, dim) = (number()?, number()?);
        let mut read = Self { dim, ids: Vec::new(), keys: HashMap::new(), codes: Vec::new() };
        for at in 0..n {
            let id_len = usize::from(take(1)?[0]);
            let id = std::str::from_utf8(take(id_len)?).map_err(|_| format("an id is not UTF-8"))?;
            read.ids.push(id.to_owned());
            let key = take(KEY_BYTES)?.try_into().expect("as many bytes were taken");
            read.keys.entry(key).or_insert(at);
            read.codes.extend(take(dim)?.iter().map(|&byte| byte as i8));
        }
        if rest.is_empty() { Ok(read) } else { Err(format("it is longer than it says")) }
    }
}

fn key(sequence: &str) -> [u8; KEY_BYTES] {
    let digest = Sha256::digest(sequence.as_bytes());
    std::array::from_fn(|at| digest[at])
}

fn norm(code: &[f32]) -> f32 {
    code.iter().map(|value| value * value).sum::<f32>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_damage_is_told() {
        let codes: Vec<[f32; 3]> = (0..5).map(|i| [(i as f32).sin(), (i as f32).cos(), 0.3]).collect();
        let ids: Vec<String> = (0..5).map(|i| format!("P{i}")).collect();
        let sequences: Vec<String> = (0..5).map(|i| "MK".repeat(i + 1)).collect();
        let each = (0..5).map(|i| (ids[i].as_str(), sequences[i].as_str(), codes[i].as_slice()));
        let made = TrainingProteins::new(3, each).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("training.bin");
        let write = |bytes: &[u8]| std::fs::write(&path, bytes).unwrap();
        write(&made.to_bytes());
        let read = TrainingProteins::read(&path).unwrap();
        assert_eq!(read, made);
        assert!(read.contains("MKMK") && !read.contains("MKM"));
        for (at, code) in codes.iter().enumerate() {
            let nearest = read.nearest(code).unwrap();
            assert!(nearest.id == ids[at] && nearest.similarity > 0.99, "{nearest:?}");
        }
        for n in [0, 7, 20, made.to_bytes().len() - 1] {
            write(&made.to_bytes()[..n]);
            assert!(
                matches!(TrainingProteins::read(&path), Err(TrainingProteinsError::Format { .. })),
                "{n}"
            );
        }
        assert!(TrainingProteins::new(2, [("A", "MK", [1.0_f32].as_slice())]).is_err());
    }
}
