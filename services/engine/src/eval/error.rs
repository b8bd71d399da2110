//! What can be wrong with labelled data or a baseline's program.

use std::path::PathBuf;

/// An evaluation that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The table cannot be read.
    #[error("{}: cannot read the table; check the path, and that a .gz file is whole", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: csv::Error,
    },
    /// A column is missing.
    #[error("{}: no column {column:?}; its columns are: {present}", path.display())]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// What is needed.
        column: &'static str,
        /// What is there.
        present: String,
    },
    /// No rows.
    #[error("{}: the table has no rows", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// No row has that split.
    #[error("{}: no row has split {split:?}; there is: {present}", path.display())]
    UnknownSplit {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        split: String,
        /// What is there.
        present: String,
    },
    /// Nothing to ask.
    #[error("no domain of the split has a partner in its superfamily, so there is nothing to measure")]
    NoQueries,
    /// A baseline's program failed.
    #[error("the baseline {program} failed: {reason}")]
    Program {
        /// Its name.
        program: &'static str,
        /// Its last words.
        reason: String,
    },
    /// A baseline's files could not be written or read.
    #[error("the baseline {program} could not be given its files")]
    Io {
        /// Its name.
        program: &'static str,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}
