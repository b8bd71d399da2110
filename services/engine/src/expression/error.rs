//! What can be wrong with a file of expression.

use std::path::PathBuf;

/// A file of expression that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ExpressionError {
    /// It cannot be read.
    #[error("{}: cannot read the expression of genes", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing in it.
    #[error("{}: no record with the expression of a gene", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A column is missing.
    #[error("{}: no column {column:?}; it has {present}", path.display())]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// What is needed.
        column: String,
        /// Some of what is there.
        present: String,
    },
    /// A value is no finite number.
    #[error("{}: record {record} ({id}): {gene} is {value}, but must be a finite number; leave the record out or mend it", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// 1-based.
        record: usize,
        /// Its id.
        id: String,
        /// The gene.
        gene: String,
        /// What it holds.
        value: String,
    },
    /// The layout is another one.
    #[error("{}: {rule}", path.display())]
    Layout {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what is needed.
        rule: String,
    },
    /// No record of the control.
    #[error("{}: no record has the condition {control:?}, against which changes are measured; name the control by --control. Conditions are {present}", path.display())]
    NoControl {
        /// The file.
        path: PathBuf,
        /// The name that was looked for.
        control: String,
        /// Some conditions.
        present: String,
    },
    /// Too few conditions.
    #[error("{}: {n} conditions beside the control are too few; at least {least} are needed", path.display())]
    FewConditions {
        /// The file.
        path: PathBuf,
        /// There are.
        n: usize,
        /// Needed.
        least: usize,
    },
}
