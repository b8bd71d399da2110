//! Models that run: the only crate that names ONNX Runtime's binding.
//!
//! [`OnnxRuntime`] loads the shared library by path. [`OnnxEncoder`] and [`OnnxProjection`] implement the
//! traits of `protext-core`: tokens, then a session on its owner's thread, then pooling over residues only.
//! Nothing here fetches a file or reads the environment; binaries pass paths and settings in.

mod batch;
mod blocks;
mod calibrate;
mod device;
mod encoder;
mod error;
mod golden;
mod head;
mod language;
mod placement;
mod projection;
mod runtime;
mod session;
mod shared_weights;
mod tokenize;

pub use device::{Device, DeviceChoice, Precision, SessionPlan};
pub use encoder::{EncoderSpec, OnnxEncoder, TokenPooling, Tokenization};
pub use error::ModelError;
pub use head::{OnnxHead, OnnxPairHead, ensure_task};
pub use language::OnnxLanguageHead;
pub use projection::{OnnxProjection, ProjectionSpec, projection_widths};
pub use runtime::OnnxRuntime;
pub use tokenize::{EsmAlphabet, TextTokenizer};
