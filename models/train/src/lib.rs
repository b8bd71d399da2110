//! Fitting heads on encoder rows and writing them as ONNX.
//!
//! [`Whitening`] is the projection of a protein space; [`contrastive`] trains the two towers of the joint space; [`heads`]
//! fits predictors. Nothing here runs an encoder: callers bring rows. The only crate that names the autodiff library.

pub mod contrastive;
pub mod genes;
pub mod heads;
mod language;
mod principal;
mod ridge;
mod whitening;

pub use language::{LabelledRows, LanguageError, LanguageFit, LanguageMetrics, LanguageSettings};
pub use principal::{PrincipalComponents, principal_components};
pub use ridge::{CrossValidated, RidgeError, cross_validate};
pub use whitening::{Whitening, WhiteningError, WhiteningSettings};
