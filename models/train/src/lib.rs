//! Fitting heads on encoder rows and writing them as ONNX.
//!
//! [`Whitening`] is the projection of a protein space. Nothing here runs an encoder: callers bring rows.

mod whitening;

pub use whitening::{Whitening, WhiteningError, WhiteningSettings};
