//! What can go wrong while a graph is put together or written.

use std::path::PathBuf;

/// The cause of a failed deferred load, whatever its type.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A graph that cannot be finished or written.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// Two nodes, inputs or weights give the same value name.
    #[error("value {name:?} is defined twice; give each weight, input and named output its own name")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A node reads a value that nothing before it defines.
    #[error(
        "node {node:?} reads {name:?}, which nothing before it defines; build both with the same builder"
    )]
    UndefinedInput {
        /// The node.
        node: String,
        /// The value it reads.
        name: String,
    },
    /// The graph's output is not the output of a node.
    #[error("graph output {name:?} is not computed by any node")]
    UndefinedOutput {
        /// The output.
        name: String,
    },
    /// A weight has more or fewer elements than its dimensions say.
    #[error("weight {name:?} has dimensions {dims:?} but {found} elements")]
    WrongLength {
        /// The weight.
        name: String,
        /// Its dimensions.
        dims: Vec<usize>,
        /// Elements that were given or loaded.
        found: usize,
    },
    /// A weight's dimensions do not multiply to a size that this machine can address.
    #[error("weight {name:?} has dimensions {dims:?}, more bytes than can be addressed")]
    TooLarge {
        /// The weight.
        name: String,
        /// Its dimensions.
        dims: Vec<usize>,
    },
    /// A deferred weight could not be loaded.
    #[error("weight {name:?} could not be loaded")]
    Load {
        /// The weight.
        name: String,
        /// The loader's own error.
        #[source]
        source: BoxError,
    },
    /// The model passes the limit of one protobuf message although its large weights were moved out.
    #[error(
        "model is {n_bytes} bytes without its external weights, more than the {limit} that one file holds; use fewer, larger weights"
    )]
    MessageTooLarge {
        /// Bytes of the message.
        n_bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The output path names no file.
    #[error("{path:?} names no file; give a path that ends in a file name, such as model.onnx")]
    NoFileName {
        /// The path.
        path: PathBuf,
    },
    /// Writing failed; nothing was put in place under the final name.
    #[error("{path:?} could not be written; check that its folder exists, is writable and has room")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's own error.
        #[source]
        source: std::io::Error,
    },
    /// A model could not be read.
    #[error("{path:?} could not be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's own error.
        #[source]
        source: std::io::Error,
    },
    /// A file that should hold a model holds something else.
    #[error("{path:?} is no model that can be read: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}
