//! Evaluation on labelled data: the figures that the documentation quotes.
//!
//! Pure functions over vectors and labels, called by `protext eval`; every figure comes with a bootstrap interval,
//! and baselines are measured by the same code.

mod bootstrap;
mod cath;
mod error;
mod homology;
mod homology_confidence;
mod mmseqs;
mod pairs;
mod reliability;
mod retrieval;

pub use bootstrap::Interval;
pub use cath::{CathDomain, CathTable};
pub use error::EvalError;
pub use homology::{HomologyMetrics, HomologyQueries, QueryOutcome, from_ranked_lists, from_vectors};
pub use homology_confidence::{FalseHits, HomologyConfidence, check_homology, fit_homology};
pub use mmseqs::{MMSEQS_HINT, mmseqs_ranked_lists};
pub use pairs::{Labelled, PairOptions, PairTable, TextPair, read_labelled, read_sequences};
pub use reliability::{Reliability, ReliabilityBin, reliability};
pub use retrieval::{Retrieval, RetrievalMetrics, retrieval};
