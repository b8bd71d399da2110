//! Errors of vector files: [`OutputError`] when writing, [`VectorFileError`] when reading.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use super::OutputFormat;

type BoxedError = Box<dyn Error + Send + Sync>;

/// Writing vectors or a table failed, or a row was refused.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The name's ending tells no format.
    #[error(
        "{}: its ending tells no format; end it in .parquet, .h5, .npz, .jsonl or .h5ad, or name the format", path.display()
    )]
    UnknownFormat {
        /// The output.
        path: PathBuf,
    },
    /// The name's ending tells no format of tables.
    #[error(
        "{}: its ending tells no format of tables; end it in .tsv, .tsv.gz, .jsonl, .jsonl.gz or .parquet", path.display()
    )]
    UnknownTable {
        /// The output.
        path: PathBuf,
    },
    /// The format has one matrix for all records.
    #[error("{}: {format} holds one vector a record, no residues; write residues to .h5, .npz, .parquet or .jsonl", path.display())]
    NoResiduesIn {
        /// The output.
        path: PathBuf,
        /// Its format.
        format: OutputFormat,
    },
    /// The output is there already.
    #[error("{}: exists already; choose another name, or ask to overwrite it", path.display())]
    Exists {
        /// The output.
        path: PathBuf,
    },
    /// The path has no file name, or is a folder.
    #[error("{}: is a folder; give the name of a file", path.display())]
    Folder {
        /// The output.
        path: PathBuf,
    },
    /// The temporary file beside the output cannot be made.
    #[error("{}: cannot create a file beside it: {source}; check that the folder is there and writable", path.display())]
    Create {
        /// The output.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// No room on the device, or in the quota.
    #[error(
        "{}: no space is left to write it; nothing half-written remains. Free some space, or write to another disk", path.display()
    )]
    NoSpace {
        /// The output.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: BoxedError,
    },
    /// Writing failed for another reason.
    #[error("{}: cannot write it: {source}; nothing half-written remains", path.display())]
    Write {
        /// The output.
        path: PathBuf,
        /// The system's or the format library's reason.
        #[source]
        source: BoxedError,
    },
    /// An earlier write failed; the file would be incomplete.
    #[error("{}: an earlier write failed, so it cannot be completed; write it anew", path.display())]
    Abandoned {
        /// The output.
        path: PathBuf,
    },
    /// A width of zero, or beyond what the formats can hold.
    #[error("vectors of {dim} components cannot be written; the width must be 1 to {max_dim}")]
    Dim {
        /// The width given.
        dim: usize,
        /// The largest width.
        max_dim: usize,
    },
    /// A row of another width.
    #[error("id {id:?}: the vector has {found} components, the file's have {expected}")]
    WrongDim {
        /// The row's id.
        id: String,
        /// The file's width.
        expected: usize,
        /// The row's width.
        found: usize,
    },
    /// A matrix that is not whole rows, or has none.
    #[error("id {id:?}: a matrix of {n_values} values is not one or more rows of {dim}")]
    ResidueShape {
        /// The row's id.
        id: String,
        /// The file's width.
        dim: usize,
        /// Values given.
        n_values: usize,
    },
    /// A per-residue file was asked for, but a row brings no matrix.
    #[error("id {id:?}: a per-residue file needs the residues' vectors; have the encoder return them")]
    NoResidues {
        /// The row's id.
        id: String,
    },
    /// A NaN or an infinity.
    #[error("id {id:?}: value {index} is not a finite number")]
    NotFinite {
        /// The row's id.
        id: String,
        /// 0-based, row-major where there are several rows.
        index: usize,
    },
    /// An id that the format cannot hold.
    #[error(
        "id {id:?} cannot be a name in {format}: {rule}; rename the record, or write Parquet or JSON lines"
    )]
    UnusableId {
        /// The row's id.
        id: String,
        /// The format.
        format: OutputFormat,
        /// The rule.
        rule: &'static str,
    },
    /// An id that was written already, in a format that files each row under its id.
    #[error("id {id:?} was already written; {format} files each vector under its id, so ids must be unique")]
    DuplicateId {
        /// The row's id.
        id: String,
        /// The format.
        format: OutputFormat,
    },
}

impl OutputError {
    /// True if only this row was refused: nothing was written, and the writer can go on with the next.
    #[must_use]
    pub fn is_row_error(&self) -> bool {
        matches!(
            self,
            Self::WrongDim { .. }
                | Self::ResidueShape { .. }
                | Self::NoResidues { .. }
                | Self::NotFinite { .. }
                | Self::UnusableId { .. }
                | Self::DuplicateId { .. }
        )
    }

    /// A failed write; a full disk is told apart wherever it is in the chain of causes.
    pub(super) fn write(path: &Path, source: impl Into<BoxedError>) -> Self {
        let (path, source) = (path.to_owned(), source.into());
        match is_no_space(source.as_ref()) {
            true => Self::NoSpace { path, source },
            false => Self::Write { path, source },
        }
    }
}

fn is_no_space(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            let full =
                [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge];
            if full.contains(&io.kind()) || io.get_ref().is_some_and(|inner| is_no_space(inner)) {
                return true;
            }
        }
        cause = error.source();
    }
    false
}

/// A file of vectors cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum VectorFileError {
    /// The file cannot be opened or read.
    #[error("{}: cannot read it: {source}; check the path, and that the file is whole", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// None of the formats.
    #[error("{}: is not Parquet, HDF5, NPZ or JSON lines; vectors are read from these", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// The format's own library refused.
    #[error("{}: cannot be read as {format}: {source}; check that the file is whole", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: OutputFormat,
        /// The library's reason.
        #[source]
        source: BoxedError,
    },
    /// Not what the layout asks for.
    #[error("{}: {place}: {found}; {expected} is needed", path.display())]
    Layout {
        /// The file.
        path: PathBuf,
        /// Column, member, dataset or line.
        place: String,
        /// What is there.
        found: String,
        /// What is needed.
        expected: &'static str,
    },
    /// Per-residue matrices where one vector per id is needed.
    #[error("{}: {place} holds a vector per residue; one vector per id is needed, so embed without --per-residue", path.display())]
    PerResidue {
        /// The file.
        path: PathBuf,
        /// Column, member or dataset.
        place: String,
    },
    /// Vectors of different widths.
    #[error("{}: id {id:?}: the vector has {found} components, those before it have {expected}", path.display())]
    WrongDim {
        /// The file.
        path: PathBuf,
        /// The vector's id.
        id: String,
        /// The first vector's width.
        expected: usize,
        /// This vector's width.
        found: usize,
    },
    /// A NaN or an infinity.
    #[error("{}: id {id:?}: component {component} is not a finite number; leave the record out or embed it anew", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The vector's id.
        id: String,
        /// 0-based.
        component: usize,
    },
    /// An id twice.
    #[error("{}: id {id:?} is there twice; ids must be unique", path.display())]
    DuplicateId {
        /// The file.
        path: PathBuf,
        /// The id.
        id: String,
    },
    /// No vectors at all.
    #[error("{}: holds no vectors; at least one is needed", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart_behind_any_wrapping() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let path = Path::new("x.h5");
        let causes: [BoxedError; 4] = [
            Box::new(full()),
            Box::new(io::Error::other(full())),
            Box::new(parquet::errors::ParquetError::from(full())),
            Box::new(zip::result::ZipError::from(full())),
        ];
        for cause in causes {
            assert!(matches!(OutputError::write(path, cause), OutputError::NoSpace { .. }));
        }
        let other = OutputError::write(path, io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(matches!(other, OutputError::Write { .. }));
    }
}
