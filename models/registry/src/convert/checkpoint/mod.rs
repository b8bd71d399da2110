//! Tensors of a checkpoint, whatever files hold them.
//!
//! Opening reads headers only. Both formats come down to one description, a [`StoredTensor`]: an open file,
//! the byte where it starts, element type, shape and strides. Elements are read when asked for, one tensor at a
//! time, as `f32`; every bound is checked against the file before memory is taken.

mod index;
mod pickle;
mod safetensors;
mod stored;
mod torch;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::ConvertError;

pub(super) use stored::StoredTensor;
use stored::{OpenFile, StoredElement};

/// All tensors of a checkpoint by name.
pub(super) struct Checkpoint {
    tensors: BTreeMap<String, StoredTensor>,
}

impl Checkpoint {
    /// Opens one file, several shards, or an index (`*.index.json`), whose shards are found beside it.
    pub(super) fn open(files: &[PathBuf]) -> Result<Self, ConvertError> {
        let files = index::expand(files)?;
        if files.is_empty() {
            return Err(ConvertError::NoFiles);
        }
        let mut tensors = BTreeMap::new();
        for path in &files {
            for tensor in read_table(path)? {
                match tensors.entry(tensor.name.clone()) {
                    Entry::Vacant(vacant) => {
                        vacant.insert(tensor);
                    }
                    Entry::Occupied(occupied) => {
                        let first: &StoredTensor = occupied.get();
                        return Err(ConvertError::DuplicateTensor {
                            name: tensor.name,
                            first: first.path().to_owned(),
                            second: path.clone(),
                        });
                    }
                }
            }
        }
        Ok(Self { tensors })
    }

    pub(super) fn find(&self, name: &str) -> Option<&StoredTensor> {
        self.tensors.get(name)
    }

    pub(super) fn n_tensors(&self) -> usize {
        self.tensors.len()
    }
}

/// The format is told by the first bytes, not by the name.
fn read_table(path: &Path) -> Result<Vec<StoredTensor>, ConvertError> {
    let failed = |source| read_error(path, source);
    let file = OpenFile::open(path)?;
    let mut start = Vec::with_capacity(9);
    File::open(path).map_err(failed)?.take(9).read_to_end(&mut start).map_err(failed)?;
    match start.as_slice() {
        [b'P', b'K', 3, 4, ..] => torch::read_table(&file),
        [0x80, 2, ..] if start.get(8) != Some(&b'{') => {
            Err(ConvertError::LegacyTorch { path: path.to_owned() })
        }
        [_, _, _, _, _, _, _, _, b'{'] => safetensors::read_table(&file),
        _ => Err(ConvertError::NotACheckpoint { path: path.to_owned() }),
    }
}

pub(super) fn read_error(path: &Path, source: std::io::Error) -> ConvertError {
    ConvertError::Read { path: path.to_owned(), source }
}
