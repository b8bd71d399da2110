//! Fitting heads on encoder rows and writing them as ONNX.
//!
//! [`Whitening`] is the projection of a protein space; [`contrastive`] trains the two towers of the joint space. Nothing
//! here runs an encoder: callers bring rows. The only crate that names the autodiff library.

pub mod contrastive;
mod whitening;

pub use whitening::{Whitening, WhiteningError, WhiteningSettings};
