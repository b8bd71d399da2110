//! Errors of the use cases. One match in `services/api` turns them into status codes.

use std::sync::Arc;

use protext_core::{EncodeError, ParseError, ProjectionError, SpaceMismatch, VectorError};

use crate::target::Target;

/// A record of a request that cannot be taken.
#[derive(Debug)]
pub struct BadRecord {
    /// 1-based record of the request.
    pub record: usize,
    /// Its id, where it has one.
    pub id: String,
    /// The field at fault.
    pub field: &'static str,
    /// The rule that it breaks.
    pub error: EngineError,
}

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
    /// Neither a query nor keywords.
    #[error("nothing is asked for; give a sequence, text, gene, id or vector, or keywords")]
    NothingAsked,
    /// No record of that id.
    #[error("no record {id:?} in any open collection; give the protein's sequence")]
    UnknownProtein {
        /// The id asked for.
        id: String,
    },
    /// A record whose sequence is not kept.
    #[error("record {id:?} has no sequence in its collection; give the protein's sequence")]
    NoSequence {
        /// The id asked for.
        id: String,
    },
    /// A pair of one protein.
    #[error("pair {pair} is of a protein with itself; a pair has two different proteins")]
    PairWithItself {
        /// 1-based place among the pairs.
        pair: usize,
    },
    /// A head refused or failed.
    #[error(transparent)]
    Head(#[from] protext_core::HeadError),
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
    /// Records that cannot be taken; nothing of the request was done.
    #[error("{n_bad} of {n_records} records are refused, and nothing was written")]
    BadRecords {
        /// The first of them.
        bad: Vec<BadRecord>,
        /// All of them.
        n_bad: usize,
        /// Records of the request.
        n_records: usize,
    },
    /// A record that says neither what to embed nor where its vectors are.
    #[error("the record has no {missing} to embed and no vector in the space {space}; give one of them")]
    NothingToEmbed {
        /// What could be embedded.
        missing: &'static str,
        /// The space without a vector.
        space: String,
    },
    /// A vector whose space is not one of the collection's.
    #[error("{given:?} names no space of this collection; it has: {known}")]
    ForeignSpace {
        /// What was given.
        given: String,
        /// Names and fingerprints of its spaces.
        known: String,
    },
    /// An encoder that reads something else.
    #[error("{encoder} reads {reads}, but the collection is to hold {wanted}; name another encoder, or none")]
    WrongEncoder {
        /// Encoder.
        encoder: String,
        /// What it reads.
        reads: &'static str,
        /// What the collection is to hold.
        wanted: Target,
    },
    /// A name that cannot be a collection's.
    #[error(
        "{name:?} cannot be the name of a collection: write 1 to 64 letters, digits, '-', '_' or '.', the first one a \
         letter or digit"
    )]
    BadName {
        /// The name.
        name: String,
    },
    /// A collection of that name is there.
    #[error("there is a collection called {name:?}; choose another name, or delete it first")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// A collection that was opened for reading.
    #[error("collection {name:?} is open for reading only; serve it without read_only")]
    ReadOnly {
        /// The name.
        name: String,
    },
    /// A service without a folder to keep collections and backups in.
    #[error("this service keeps no collections of its own; start it with --data FOLDER")]
    NoLibrary,
    /// A collection that the service was told to serve.
    #[error(
        "collection {name:?} is part of the service's settings; take it out of them, and remove its folder by hand"
    )]
    NotOurs {
        /// The name.
        name: String,
    },
    /// A collection that requests are still using.
    #[error("collection {name:?} is in use by requests that take long; try again in a moment")]
    InUse {
        /// The name.
        name: String,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] protext_index::StoreError),
    /// A snapshot could not be made.
    #[error(transparent)]
    Snapshot(#[from] protext_index::SnapshotError),
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
