//! Writes ONNX models: the wire format, a graph builder and an atomic, streaming file writer.
//!
//! Two callers build graphs here: the registry turns checkpoints into encoders, and training writes small heads.
//! [`GraphBuilder`] puts nodes and weights together, [`GraphBuilder::finish`] checks that names are defined once and
//! before use, and [`Model::write`] puts the file in place whole or not at all. Weights can be deferred, so a model
//! of any size is written with one tensor in memory at a time; past the protobuf limit they go to
//! `<name>.onnx.data`. The same graph always gives the same bytes.

mod builder;
mod error;
mod external;
mod initializer;
mod ops;
pub mod proto;
mod value;
mod writer;

pub use builder::{Branch, GraphBuilder, NodeBuilder, OPSET};
pub use error::{BoxError, GraphError};
pub use external::{ExternalWeight, external_weights};
pub use ops::{LayerNorm, Linear};
pub use value::{Attribute, Dim, ElementType, Value};
pub use writer::{Model, WriteOptions, Written};

/// Operator domain of ONNX Runtime's own operators.
pub const MICROSOFT: &str = "com.microsoft";
