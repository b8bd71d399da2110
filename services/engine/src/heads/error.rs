//! What can be wrong with labelled data.

use std::path::PathBuf;

use protext_core::HeadError;

use crate::error::EngineError;
use crate::eval::EvalError;
use crate::input::{InputError, RecordError};

/// Labelled data that cannot be used, or vectors that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum HeadDataError {
    /// The table's format or columns are wrong.
    #[error(transparent)]
    Input(#[from] InputError),
    /// One of its records is wrong.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Sequences could not be read.
    #[error(transparent)]
    Sequences(#[from] EvalError),
    /// A value is not what its column holds.
    #[error("{}: record {record} ({id}): {column} is {value:?}, but must be {rule}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// 1-based.
        record: u64,
        /// Its id.
        id: String,
        /// The column.
        column: String,
        /// What it holds.
        value: String,
        /// What it may hold.
        rule: &'static str,
    },
    /// A pair of a record with itself.
    #[error("{}: record {record}: {id} is paired with itself; a pair has two different members", path.display())]
    Itself {
        /// The file.
        path: PathBuf,
        /// 1-based.
        record: u64,
        /// The member.
        id: String,
    },
    /// A member of a pair without a sequence.
    #[error(
        "{}: record {record}: {id} has no sequence; check the id, or give its sequence by --sequences FILE (FASTA or a table)",
        path.display()
    )]
    NoSequence {
        /// The file.
        path: PathBuf,
        /// 1-based.
        record: u64,
        /// The member.
        id: String,
    },
    /// One pair twice with different labels.
    #[error(
        "{}: record {record}: the pair of {a} and {b} is labelled {label}, but record {earlier} labels it otherwise; keep one",
        path.display()
    )]
    Contradiction {
        /// The file.
        path: PathBuf,
        /// 1-based.
        record: u64,
        /// The earlier record.
        earlier: u64,
        /// A member.
        a: String,
        /// The other.
        b: String,
        /// The label of the later record.
        label: u8,
    },
    /// A column that was asked for is missing.
    #[error("{}: no column {column:?}; add it, or name another", path.display())]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// What is needed.
        column: String,
    },
    /// Labels of one class only.
    #[error("{}: all {n} labelled rows{part} are of class {class:?}; rows of at least two classes are needed", path.display())]
    OneClass {
        /// The file.
        path: PathBuf,
        /// Such as ` of split "test"`, or nothing.
        part: String,
        /// Rows.
        n: usize,
        /// The only class.
        class: String,
    },
    /// Nothing is left.
    #[error("{}: no row is left{part}: {why}", path.display())]
    NothingLeft {
        /// The file.
        path: PathBuf,
        /// Such as ` of split "test"`, or nothing.
        part: String,
        /// What was left out, and what to do.
        why: String,
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
    /// A head cannot read these vectors.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}
