//! Errors of the use cases. One match in `services/api` turns them into status codes.

use std::sync::Arc;

use protext_core::{EncodeError, ParseError, ProjectionError, SpaceMismatch, VectorError};

use crate::target::Target;

/// A use case failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The sequence or text breaks a rule.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// Encoding failed or was refused.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// Encoding failed on a worker.
    #[error(transparent)]
    Worker(Arc<EncodeError>),
    /// A worker stopped before it answered.
    #[error("the worker stopped before it answered; see the log for the reason")]
    WorkerLost,
    /// Projecting failed.
    #[error(transparent)]
    Projection(#[from] ProjectionError),
    /// The waiting room is full.
    #[error("too many requests are waiting ({n_queued_tokens} tokens); try again in a moment")]
    Busy {
        /// Tokens waiting.
        n_queued_tokens: usize,
    },
    /// The index refused.
    #[error(transparent)]
    Index(#[from] protext_index::IndexError),
    /// A vector given by the caller is unusable.
    #[error("the query vector is unusable: {0}")]
    Vector(#[from] VectorError),
    /// Things from different spaces met.
    #[error(transparent)]
    Space(#[from] SpaceMismatch),
    /// No such encoder.
    #[error("no encoder called {id:?} is loaded; there is: {known}")]
    UnknownEncoder {
        /// The id asked for.
        id: String,
        /// Ids that are loaded, separated by commas.
        known: String,
    },
    /// No such collection.
    #[error("no collection is called {name:?}; there is: {known}")]
    UnknownCollection {
        /// The name asked for.
        name: String,
        /// Names that exist, separated by commas.
        known: String,
    },
    /// The collection holds something else.
    #[error("collection {collection:?} holds {holds}, not {wanted}; leave target or collection out")]
    OtherTarget {
        /// Collection.
        collection: String,
        /// What it holds.
        holds: Target,
        /// What was asked for.
        wanted: Target,
    },
    /// No collection holds that.
    #[error("no collection holds {target}; there is: {known}")]
    NoSuchTarget {
        /// What was asked for.
        target: Target,
        /// Names that exist and what they hold, separated by commas.
        known: String,
    },
    /// Several collections would do.
    #[error("several collections hold {target}; name one of: {known}")]
    NameACollection {
        /// What was asked for.
        target: Target,
        /// Names that would do, separated by commas.
        known: String,
    },
    /// No such record.
    #[error("no record {id:?} in {collection:?} or any other open collection")]
    UnknownRecord {
        /// Collection that was searched.
        collection: String,
        /// The id asked for.
        id: String,
    },
    /// No record of that gene.
    #[error(
        "no record of gene {symbol:?} in {collection:?} or any other open collection; describe it in words by text, or \
         give an id"
    )]
    UnknownGene {
        /// Collection.
        collection: String,
        /// The symbol asked for.
        symbol: String,
    },
    /// Re-ranking compares residues.
    #[error("rerank compares residues, so it needs a protein on both sides, but {missing}; leave it out")]
    CannotRerank {
        /// What is missing.
        missing: &'static str,
    },
    /// No encoder can do this.
    #[error("no {what} is loaded; start with one, or ask for {instead}")]
    NotLoaded {
        /// Such as "encoder for text".
        what: &'static str,
        /// What could be asked for instead.
        instead: &'static str,
    },
    /// The operating system refused.
    #[error("cannot {what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Its reason.
        #[source]
        source: std::io::Error,
    },
}
