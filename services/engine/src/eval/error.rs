//! What can be wrong with labelled data or a baseline's program.

use std::path::PathBuf;

use crate::input::{InputError, RecordError};

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
    /// A row of a table breaks a rule.
    #[error("{}: line {line}: {rule}", path.display())]
    BadRow {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: u64,
        /// What is wrong.
        rule: String,
    },
    /// Mutants that cannot be used.
    #[error("{}", path.display())]
    Variants {
        /// The file.
        path: PathBuf,
        /// All of them.
        #[source]
        source: Box<crate::variants::VariantError>,
    },
    /// No rows.
    #[error("{}: the table has no rows", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The table's format or columns are wrong.
    #[error(transparent)]
    Input(#[from] InputError),
    /// One of its records is wrong.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Rows, but no pair among them.
    #[error("{}: no pair is left: {n_without_text} rows without a text, {n_without_sequence} without a sequence; give both columns, or --sequences", path.display())]
    NoPairs {
        /// The file.
        path: PathBuf,
        /// Rows without a text.
        n_without_text: usize,
        /// Rows without a sequence.
        n_without_sequence: usize,
    },
    /// A table without groups where they are what is needed.
    #[error("{}: no column group or cluster30, by which relatives are told; add one of them", path.display())]
    NoGroups {
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
    /// A value is not what its column holds.
    #[error("{}: line {line}: {column} is {value:?}, but must be {rule}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// 1-based.
        line: u64,
        /// The column.
        column: &'static str,
        /// What it holds.
        value: String,
        /// What it may hold.
        rule: &'static str,
    },
    /// Labels of one class, or of many.
    #[error("{}: the labels of its {n} rows are {classes}, but two classes are needed", path.display())]
    Classes {
        /// The file.
        path: PathBuf,
        /// Rows.
        n: usize,
        /// Some of the labels.
        classes: String,
    },
    /// One gene twice.
    #[error("{}: line {line}: {gene} stands on line {earlier} already; keep one of the two", path.display())]
    Repeated {
        /// The file.
        path: PathBuf,
        /// 1-based.
        line: u64,
        /// The gene.
        gene: String,
        /// The earlier line.
        earlier: u64,
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
