//! The variant use case: how likely a protein language model finds a substitution, and how far it moves the embedding.
//!
//! [`Mutant`] reads what the caller wrote and holds it against the sequence; [`VariantModel`] runs the encoder and its
//! language head over masked and whole sequences; scores of several substitutions are sums. Callers are `protext variants`,
//! `protext eval variants` and, through [`predict_variants`], `POST /v1/predict/variants`.

mod error;
mod model;
mod mutant;
mod mutant_file;
mod passes;
mod request;
mod scan;

pub use error::{BadMutant, VariantError};
pub use model::{MASK_STRIDE, Masking, Profile, ResidueRows, VariantModel, VariantScore, VariantScores};
pub use mutant::{Mutant, MutantError, Substitution, parse_all};
pub use mutant_file::{MutantFile, MutantRow, read_mutants};
pub use passes::{OnPass, rows_at};
pub use request::{MutantSource, VariantAnswer, VariantLimits, VariantRequest, predict_variants};
pub use scan::{Scan, ScanColors, scan_html, scan_svg};
