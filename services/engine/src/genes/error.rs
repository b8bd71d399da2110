//! Why a symbol means no gene, and why a table of genes cannot be used.

use std::fmt;
use std::path::PathBuf;

/// A gene that may have been meant.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Candidate {
    /// Official symbol.
    pub symbol: String,
    /// The other name under which it came up, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Full name.
    pub name: String,
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.alias {
            Some(alias) => write!(f, "{} (once called {alias}; {})", self.symbol, self.name),
            None => write!(f, "{} ({})", self.symbol, self.name),
        }
    }
}

/// A symbol that means no gene, or several.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GeneError {
    /// No gene has it.
    #[error("no gene is called {symbol:?}{}", hint(candidates))]
    Unknown {
        /// As it was given.
        symbol: String,
        /// Genes whose symbols or aliases are spelt nearly so.
        candidates: Vec<Candidate>,
    },
    /// Several genes have it.
    #[error("{symbol:?} is an alias of several genes; name one of: {}", list(candidates))]
    Ambiguous {
        /// As it was given.
        symbol: String,
        /// Those genes.
        candidates: Vec<Candidate>,
    },
    /// Nothing was given.
    #[error("a gene symbol is empty; give one such as TP53")]
    Empty,
}

impl GeneError {
    /// Genes that may have been meant.
    #[must_use]
    pub fn candidates(&self) -> &[Candidate] {
        match self {
            Self::Unknown { candidates, .. } | Self::Ambiguous { candidates, .. } => candidates,
            Self::Empty => &[],
        }
    }
}

fn list(candidates: &[Candidate]) -> String {
    candidates.iter().map(Candidate::to_string).collect::<Vec<_>>().join(", ")
}

fn hint(candidates: &[Candidate]) -> String {
    match candidates {
        [] => "; give an official human symbol, such as TP53".to_owned(),
        some => format!("; close spellings: {}", list(some)),
    }
}

/// A table of genes that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum GeneTableError {
    /// The file cannot be opened.
    #[error("{}: cannot read the table of genes", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("{}: cannot write the table of genes", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// It is damaged, or another kind of Parquet file.
    #[error("{}: not a table of genes ({rule}); make one by `protext train genes`", path.display())]
    Layout {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        rule: String,
    },
    /// The Parquet library refused.
    #[error("{}: the table of genes is damaged; make it anew by `protext train genes`", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Its reason.
        #[source]
        source: parquet::errors::ParquetError,
    },
}
