//! Vectors to files and back: Parquet, HDF5, NPZ and JSON lines; and to AnnData.
//!
//! [`create`] gives a [`VectorWriter`]; rows are pushed one by one and [`VectorWriter::finish`] makes the file
//! appear under its name, whole. The same rows give the same bytes. Memory stays within one row group or one
//! matrix, plus the ids where a format files rows under them. [`read_vectors`] reads such files, and those that
//! other programs write in the same layouts. Callers are `protext embed`, `protext index build` and batch jobs.
//!
//! | format | one vector per id | per residue |
//! |---|---|---|
//! | Parquet | `id`, `vector: FixedSizeList<float32, dim>` | one row a residue: `id`, `position` (from 1), `vector` |
//! | HDF5 | a `[dim]` float32 dataset named by the id | a `[residues, dim]` dataset named by the id |
//! | NPZ | `ids` (unicode) and `vectors` `[n, dim]` | a `[residues, dim]` array named by the id |
//! | JSON lines | `{"id": ..., "vector": [...]}` | `{"id": ..., "residues": [[...], ...]}` |
//! | AnnData | `X` `[n, dim]`, ids in `obs_names` | |
//!
//! Where ids are names they must be unique, and may not hold `/`, which HDF5 and archives read as a folder: such a
//! row is refused ([`OutputError::UnusableId`]) rather than renamed, because an id must be found again as it was.
//!
//! What made the vectors ([`VectorMetadata`]) goes into Parquet's key-value metadata with `protext.` before each
//! key, into attributes of the HDF5 root, and into the NPZ archive's comment as JSON. JSON lines have no place for it.

mod error;
mod hdf5;
mod jsonl;
mod npy;
mod npz;
mod parquet;
mod partial;
mod read;
pub mod table;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::input::IdSet;

pub use error::{OutputError, VectorFileError};
pub use read::{VectorFile, read_vectors};

use partial::PartialFile;

/// Widest vector that can be written.
pub const MAX_DIM: usize = 1 << 20;

/// A format of vector files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputFormat {
    /// Apache Parquet, zstd.
    #[default]
    Parquet,
    /// HDF5 in the layout of UniProt's `per-protein.h5` and `per-residue.h5`.
    Hdf5,
    /// NumPy's archive of arrays.
    Npz,
    /// One JSON object a line.
    #[serde(rename = "jsonl")]
    JsonLines,
    /// AnnData's HDF5, `.h5ad`: one matrix, no per-residue rows.
    AnnData,
}

impl OutputFormat {
    /// The format that a name's ending tells.
    #[must_use]
    pub fn from_path(path: &Path) -> Option<Self> {
        match path.extension()?.to_string_lossy().to_ascii_lowercase().as_str() {
            "parquet" => Some(Self::Parquet),
            "h5" | "hdf5" => Some(Self::Hdf5),
            "npz" => Some(Self::Npz),
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            "h5ad" => Some(Self::AnnData),
            _ => None,
        }
    }
}

impl fmt::Display for OutputFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Parquet => "Parquet",
            Self::Hdf5 => "HDF5",
            Self::Npz => "NPZ",
            Self::JsonLines => "JSON lines",
            Self::AnnData => "AnnData",
        })
    }
}

/// What made the vectors of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct VectorMetadata {
    /// Encoder id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoder: Option<String>,
    /// Readable name of the space.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub space: Option<String>,
    /// The space's fingerprint, 64 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// How residues became one vector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pooling: Option<String>,
    /// The version of Protext that wrote the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protext_version: Option<String>,
}

impl VectorMetadata {
    const KEYS: [&'static str; 5] = ["encoder", "space", "fingerprint", "pooling", "protext_version"];

    /// Keys and values that are known, in a fixed order.
    fn entries(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let values = [&self.encoder, &self.space, &self.fingerprint, &self.pooling, &self.protext_version];
        Self::KEYS.into_iter().zip(values).filter_map(|(key, value)| Some((key, value.as_deref()?)))
    }

    /// The metadata that `get` knows, asked key by key.
    fn from_entries(get: impl FnMut(&str) -> Option<String>) -> Self {
        let [encoder, space, fingerprint, pooling, protext_version] = Self::KEYS.map(get);
        Self { encoder, space, fingerprint, pooling, protext_version }
    }
}

/// How a file of vectors is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutputOptions {
    /// The format; by default the name's ending tells it.
    pub format: Option<OutputFormat>,
    /// Components of every vector.
    pub dim: usize,
    /// Write the residues' vectors instead of the pooled one.
    pub per_residue: bool,
    /// Replace a file of that name.
    pub overwrite: bool,
    /// What made the vectors.
    pub metadata: VectorMetadata,
}

/// One row to write.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutputRow<'a> {
    /// The record's id.
    pub id: &'a str,
    /// The pooled vector, `[dim]`. Not looked at in a per-residue file.
    pub vector: &'a [f32],
    /// The residues' vectors, row-major `[residues, dim]`. Not looked at in a file of pooled vectors.
    pub residues: Option<&'a [f32]>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputSummary {
    /// The file.
    pub path: PathBuf,
    /// Its format.
    pub format: OutputFormat,
    /// Records, whether each is one vector or a matrix.
    pub n_records: u64,
    /// Size of the file.
    pub n_bytes: u64,
}

/// A row whose values fit the file: `[dim]`, or `[residues, dim]` in a per-residue file.
struct CheckedRow<'a> {
    id: &'a str,
    values: &'a [f32],
}

/// One format's way of writing. Rows are checked before they come here.
trait FormatWriter: Send {
    fn push(&mut self, row: &CheckedRow<'_>) -> Result<(), OutputError>;

    /// Writes what is left; the caller gives the file its name.
    fn finish(self: Box<Self>) -> Result<PartialFile, OutputError>;
}

/// What the format writers need to know.
struct Layout<'a> {
    dim: usize,
    per_residue: bool,
    metadata: &'a VectorMetadata,
}

/// Writes one file of vectors. Dropped without [`VectorWriter::finish`], it leaves nothing behind.
pub struct VectorWriter {
    path: PathBuf,
    format: OutputFormat,
    dim: usize,
    per_residue: bool,
    inner: Box<dyn FormatWriter>,
    ids: IdSet,
    n_records: u64,
    failed: bool,
}

/// Starts a file of vectors at `path`; it appears there when it is finished.
///
/// # Errors
/// An [`OutputError`] if the file exists and may not be replaced, its folder is not writable, or the format or
/// width is unknown.
pub fn create(path: &Path, options: &OutputOptions) -> Result<VectorWriter, OutputError> {
    let OutputOptions { dim, per_residue, overwrite, .. } = *options;
    let Some(format) = options.format.or_else(|| OutputFormat::from_path(path)) else {
        return Err(OutputError::UnknownFormat { path: path.to_owned() });
    };
    if dim == 0 || dim > MAX_DIM {
        return Err(OutputError::Dim { dim, max_dim: MAX_DIM });
    }
    if per_residue && format == OutputFormat::AnnData {
        return Err(OutputError::NoResiduesIn { path: path.to_owned(), format });
    }
    let file = PartialFile::create(path, overwrite)?;
    let layout = Layout { dim, per_residue, metadata: &options.metadata };
    let inner: Box<dyn FormatWriter> = match format {
        OutputFormat::Parquet => Box::new(parquet::ParquetWriter::new(file, &layout)?),
        OutputFormat::Hdf5 => Box::new(hdf5::Hdf5Writer::new(file, &layout)?),
        OutputFormat::Npz => npz::writer(file, &layout)?,
        OutputFormat::JsonLines => Box::new(jsonl::JsonLinesWriter::new(file, &layout)),
        OutputFormat::AnnData => Box::new(hdf5::anndata::AnnDataWriter::new(file, &layout)?),
    };
    let ids = IdSet::default();
    Ok(VectorWriter {
        path: path.to_owned(),
        format,
        dim,
        per_residue,
        inner,
        ids,
        n_records: 0,
        failed: false,
    })
}

impl VectorWriter {
    /// Writes one row.
    ///
    /// # Errors
    /// An [`OutputError`]; after one for which [`OutputError::is_row_error`] holds, further rows can be pushed.
    pub fn push(&mut self, row: &OutputRow<'_>) -> Result<(), OutputError> {
        if self.failed {
            return Err(OutputError::Abandoned { path: self.path.clone() });
        }
        let row = self.check(row)?;
        let outcome = self.inner.push(&row);
        self.failed = outcome.is_err();
        self.n_records += u64::from(outcome.is_ok());
        outcome
    }

    /// Completes the file and gives it its name.
    ///
    /// # Errors
    /// An [`OutputError`]; nothing half-written remains.
    pub fn finish(self) -> Result<OutputSummary, OutputError> {
        let Self { path, format, inner, n_records, failed, .. } = self;
        if failed {
            return Err(OutputError::Abandoned { path });
        }
        let n_bytes = inner.finish()?.finish()?;
        Ok(OutputSummary { path, format, n_records, n_bytes })
    }

    fn check<'a>(&mut self, row: &OutputRow<'a>) -> Result<CheckedRow<'a>, OutputError> {
        let id = || row.id.to_owned();
        let values = match (self.per_residue, row.residues) {
            (false, _) if row.vector.len() != self.dim => {
                let (expected, found) = (self.dim, row.vector.len());
                return Err(OutputError::WrongDim { id: id(), expected, found });
            }
            (false, _) => row.vector,
            (true, None) => return Err(OutputError::NoResidues { id: id() }),
            (true, Some(matrix)) if matrix.is_empty() || !matrix.len().is_multiple_of(self.dim) => {
                return Err(OutputError::ResidueShape { id: id(), dim: self.dim, n_values: matrix.len() });
            }
            (true, Some(matrix)) => matrix,
        };
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return Err(OutputError::NotFinite { id: id(), index });
        }
        let format = self.format;
        if let Some(rule) = self.broken_id_rule(row.id) {
            return Err(OutputError::UnusableId { id: id(), format, rule });
        }
        let ids_are_unique = self.ids_are_names() || self.format == OutputFormat::AnnData;
        if ids_are_unique && !self.ids.insert(row.id) {
            return Err(OutputError::DuplicateId { id: id(), format });
        }
        Ok(CheckedRow { id: row.id, values })
    }

    /// True where each row is filed under its id.
    fn ids_are_names(&self) -> bool {
        self.format == OutputFormat::Hdf5 || self.format == OutputFormat::Npz && self.per_residue
    }

    fn broken_id_rule(&self, id: &str) -> Option<&'static str> {
        if id.is_empty() {
            return Some("it is empty");
        }
        if id.contains('\0') {
            return Some("it holds a NUL byte");
        }
        match self.ids_are_names() {
            true if id == "." || id == ".." => Some("it means a folder"),
            true if id.contains('/') => Some("'/' separates groups"),
            true if id.contains('\\') && self.format == OutputFormat::Npz => Some("'\\' separates folders"),
            _ => None,
        }
    }
}

impl fmt::Debug for VectorWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VectorWriter")
            .field("path", &self.path)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}
