//! Evaluation on labelled data: the figures that the documentation quotes.
//!
//! Pure functions over vectors and labels, called by `protext eval`; every figure comes with a bootstrap interval,
//! and baselines are measured by the same code.

mod binary;
mod bootstrap;
mod cath;
mod correlation;
mod dms;
mod error;
mod gene_labels;
mod homology;
mod homology_confidence;
mod mmseqs;
mod pairs;
pub mod perturbation;
mod reliability;
mod retrieval;
mod variant_features;
mod variants;

pub use binary::{BinaryMetrics, Resampling, auprc, auroc, binary};
pub use bootstrap::{Interval, resampled};
pub use cath::{CathDomain, CathTable};
pub use correlation::{pearson, r_squared, spearman};
pub use dms::{DmsAssay, read_dms};
pub use error::EvalError;
pub use gene_labels::{GeneLabels, GeneTask, LabelledPairs, read_gene_labels};
pub use homology::{HomologyMetrics, HomologyQueries, QueryOutcome, from_ranked_lists, from_vectors};
pub use homology_confidence::{FalseHits, HomologyConfidence, check_homology, fit_homology};
pub use mmseqs::{MMSEQS_HINT, mmseqs_ranked_lists};
pub use pairs::{Labelled, PairOptions, PairTable, TextPair, read_labelled, read_sequences};
pub use reliability::{Reliability, ReliabilityBin, reliability};
pub use retrieval::{Retrieval, RetrievalMetrics, retrieval};
pub use variant_features::{FeatureBlock, Sites, VariantFeatures, variant_features};
pub use variants::{VariantBaseline, mean_correlation, rank_correlation, ranks};
