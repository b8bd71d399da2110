//! Splits that keep relatives on one side: which pairs belong together, into which part they go, and what must not be
//! trained on.
//!
//! [`cluster`] tells relatives by sequence, [`Groups`] joins them with what a table says of itself, [`assign_parts`] makes
//! a split by group, [`Groups::leak`] checks one that is there, and [`KeptOut`] holds further training pairs to it.
//! Nothing depends on the order of rows. Called by `protext train projection`.

mod error;
mod folds;
mod groups;
mod kept_out;
mod minhash;
mod mmseqs;
mod shares;
mod union_find;

pub use error::SplitError;
pub use folds::folds;
pub use groups::{Groups, Leak, MAX_COPIES};
pub use kept_out::{HoldOut, KeptOut, LeftOut};
pub use minhash::minhash_clusters;
pub use mmseqs::mmseqs_is_here;
pub use shares::{PARTS, Shares, assign_parts};

/// How relatives are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterMethod {
    /// By the clusters of MMseqs2.
    Mmseqs,
    /// By k-mers that sequences share.
    Minhash,
    /// By the table's own groups.
    Column,
    /// Not at all: an accession is related to nothing.
    None,
}

impl ClusterMethod {
    /// The method and its parameters, for cards.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Mmseqs => mmseqs::DESCRIPTION,
            Self::Minhash => minhash::DESCRIPTION,
            Self::Column => "the table's own groups",
            Self::None => "no clusters",
        }
    }
}

/// Clusters of sequences: equal numbers for relatives. `None` for methods that do not look at sequences.
///
/// # Errors
/// [`SplitError::Program`] or [`SplitError::Io`] if MMseqs2 fails.
pub fn cluster(method: ClusterMethod, sequences: &[&str]) -> Result<Option<Vec<u32>>, SplitError> {
    match method {
        ClusterMethod::Mmseqs => mmseqs::mmseqs_clusters(sequences).map(Some),
        ClusterMethod::Minhash => Ok(Some(minhash_clusters(sequences))),
        ClusterMethod::Column | ClusterMethod::None => Ok(None),
    }
}
