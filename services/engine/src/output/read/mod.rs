//! Vectors from files: those written here, and the same layouts from other programs.
//!
//! The whole matrix is brought into memory, because that is what building an index needs. Each format has its
//! own file and hands its rows to [`Rows`], which holds them to one width, to finite numbers and to unique ids.

mod hdf5;
mod jsonl;
mod npz;
mod parquet;

use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::error::VectorFileError;
use super::{OutputFormat, VectorMetadata};
use crate::input::IdSet;

/// The vectors of one file.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorFile {
    /// In the file's order; HDF5 gives them sorted.
    pub ids: Vec<String>,
    /// Row-major `[ids, dim]`, all finite.
    pub vectors: Vec<f32>,
    /// Components of a vector.
    pub dim: usize,
    /// What made them, as far as the file says.
    pub metadata: VectorMetadata,
}

impl VectorFile {
    /// Number of vectors, at least 1.
    #[must_use]
    pub fn n_vectors(&self) -> usize {
        self.ids.len()
    }

    /// The vector at `index`, `[dim]`.
    #[must_use]
    pub fn vector(&self, index: usize) -> Option<&[f32]> {
        self.vectors.chunks_exact(self.dim).nth(index)
    }
}

/// Column, member or key of the ids and of the vectors, in the order they are looked for.
const ID_NAMES: &[&str] = &["id", "ids", "accession", "accessions", "entry", "protein_id", "name", "names"];
const VECTOR_NAMES: &[&str] = &["vector", "vectors", "embedding", "embeddings"];

/// Reads all vectors of a Parquet, HDF5, NPZ or JSON lines file; its first bytes tell which it is.
///
/// # Errors
/// A [`VectorFileError`] naming the file and, where one is to blame, the id.
pub fn read_vectors(path: &Path) -> Result<VectorFile, VectorFileError> {
    let format = detect(path)?;
    // The format libraries are not proof against every damaged file, and no file may end the process.
    let read = catch_unwind(AssertUnwindSafe(|| match format {
        OutputFormat::Parquet => parquet::read(path),
        OutputFormat::Hdf5 | OutputFormat::AnnData => hdf5::read(path),
        OutputFormat::Npz => npz::read(path),
        OutputFormat::JsonLines => jsonl::read(path),
    }));
    read.unwrap_or_else(|_| Err(damaged(path, format, "its inner structure is broken")))
}

fn detect(path: &Path) -> Result<OutputFormat, VectorFileError> {
    let failed = |source| VectorFileError::Read { path: path.to_owned(), source };
    let mut head = Vec::new();
    File::open(path).and_then(|file| file.take(512).read_to_end(&mut head)).map_err(failed)?;
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&head).trim_ascii_start();
    match &head {
        head if head.starts_with(b"PAR1") => Ok(OutputFormat::Parquet),
        head if head.starts_with(b"\x89HDF\r\n\x1a\n") => Ok(OutputFormat::Hdf5),
        head if head.starts_with(b"PK") => Ok(OutputFormat::Npz),
        _ if text.starts_with(b"{") => Ok(OutputFormat::JsonLines),
        head if head.is_empty() => Err(VectorFileError::Empty { path: path.to_owned() }),
        _ => Err(VectorFileError::UnknownFormat { path: path.to_owned() }),
    }
}

fn damaged(
    path: &Path,
    format: OutputFormat,
    source: impl Into<Box<dyn Error + Send + Sync>>,
) -> VectorFileError {
    VectorFileError::Damaged { path: path.to_owned(), format, source: source.into() }
}

fn layout(path: &Path, place: &str, found: impl Into<String>, expected: &'static str) -> VectorFileError {
    VectorFileError::Layout { path: path.to_owned(), place: place.to_owned(), found: found.into(), expected }
}

/// Position of the first name that is there, whatever its case.
fn position_of(names: &[&str], wanted: &[&str]) -> Option<usize> {
    wanted.iter().find_map(|wanted| names.iter().position(|name| name.eq_ignore_ascii_case(wanted)))
}

/// Gathers rows and holds them to the rules.
struct Rows {
    path: PathBuf,
    seen: IdSet,
    file: VectorFile,
}

impl Rows {
    fn new(path: &Path) -> Self {
        let (ids, vectors) = (Vec::new(), Vec::new());
        let file = VectorFile { ids, vectors, dim: 0, metadata: VectorMetadata::default() };
        Self { path: path.to_owned(), seen: IdSet::default(), file }
    }

    fn push(&mut self, id: &str, vector: &[f32]) -> Result<(), VectorFileError> {
        let path = || self.path.clone();
        if id.is_empty() {
            let place = format!("row {}", self.file.ids.len() + 1);
            return Err(layout(&self.path, &place, "an empty id", "an id"));
        }
        if self.file.ids.is_empty() {
            self.file.dim = vector.len();
        }
        if vector.is_empty() || vector.len() != self.file.dim {
            let (expected, found) = (self.file.dim.max(1), vector.len());
            return Err(VectorFileError::WrongDim { path: path(), id: id.to_owned(), expected, found });
        }
        if let Some(component) = vector.iter().position(|value| !value.is_finite()) {
            return Err(VectorFileError::NotFinite { path: path(), id: id.to_owned(), component });
        }
        if !self.seen.insert(id) {
            return Err(VectorFileError::DuplicateId { path: path(), id: id.to_owned() });
        }
        self.file.ids.push(id.to_owned());
        self.file.vectors.extend_from_slice(vector);
        Ok(())
    }

    fn finish(self, metadata: VectorMetadata) -> Result<VectorFile, VectorFileError> {
        if self.file.ids.is_empty() {
            return Err(VectorFileError::Empty { path: self.path });
        }
        Ok(VectorFile { metadata, ..self.file })
    }
}
