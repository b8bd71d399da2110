//! Why nothing can be predicted.

use std::path::PathBuf;

use protext_core::HeadError;

use crate::genes::GeneError;

/// A head that cannot be used for perturbations.
#[derive(Debug, thiserror::Error)]
pub enum PerturbationError {
    /// A symbol means no gene, or several.
    #[error("gene {position}: {source}")]
    Gene {
        /// 1-based place among the genes of the request.
        position: usize,
        /// Why.
        #[source]
        source: GeneError,
    },
    /// No genes, or too many.
    #[error("{n} genes were given, but one prediction takes 1 to {most}")]
    Count {
        /// Given.
        n: usize,
        /// Allowed.
        most: usize,
    },
    /// The head failed or reads something else.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The folder's details cannot be read.
    #[error("{}: cannot read what is known of the head's outputs", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// The folder's details do not fit the head.
    #[error("{}: {rule}; train the head again", path.display())]
    Details {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        rule: String,
    },
    /// A head cannot be opened.
    #[error("head {id} cannot be opened")]
    Open {
        /// Its name.
        id: String,
        /// The reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No such head.
    #[error("no head for perturbations is called {id:?}; there is: {known}")]
    UnknownHead {
        /// Asked for.
        id: String,
        /// There is.
        known: String,
    },
}
