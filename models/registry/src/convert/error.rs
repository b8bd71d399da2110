//! What can be wrong with a checkpoint, its configuration, or a request to convert it.

use std::path::PathBuf;

use protext_graph::GraphError;

/// A checkpoint that was not converted; nothing was put at the output path.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// A file could not be read.
    #[error("{path:?} could not be read; check that it exists and is whole")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's own error.
        #[source]
        source: std::io::Error,
    },
    /// The configuration is not one that this converter knows.
    #[error("{path:?} is not a configuration that can be converted")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ConfigError,
    },
    /// Whole blocks know one activation.
    #[error(
        "blocks in bfloat16 know GELU by the error function alone; this model has another activation, so it runs in fp32"
    )]
    NoBlocks,
    /// No checkpoint file was given.
    #[error(
        "no checkpoint file was given; pass model.safetensors, pytorch_model.bin, or the shards with their index"
    )]
    NoFiles,
    /// A file that is neither safetensors nor a PyTorch archive.
    #[error("{path:?} is neither a safetensors file nor a PyTorch zip archive")]
    NotACheckpoint {
        /// The file.
        path: PathBuf,
    },
    /// A `.bin` in the format from before PyTorch 1.6.
    #[error(
        "{path:?} is in PyTorch's format from before version 1.6, which is not read; save it again with a newer PyTorch, or as safetensors"
    )]
    LegacyTorch {
        /// The file.
        path: PathBuf,
    },
    /// A safetensors header that cannot be right.
    #[error("{path:?} has a broken safetensors header: {rule}")]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// The rule it breaks.
        rule: String,
    },
    /// A PyTorch archive that cannot be opened.
    #[error("{path:?} is a broken zip archive")]
    Archive {
        /// The file.
        path: PathBuf,
        /// The archive reader's own error.
        #[source]
        source: zip::result::ZipError,
    },
    /// A PyTorch archive without what every one has.
    #[error("{path:?} is not a PyTorch checkpoint: {rule}")]
    NotTorch {
        /// The file.
        path: PathBuf,
        /// What it lacks.
        rule: &'static str,
    },
    /// The table of tensors in a PyTorch archive was refused. It is never executed.
    #[error("the tensor table of {path:?} was refused")]
    Pickle {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: PickleError,
    },
    /// The shard index cannot be used.
    #[error("shard index {path:?}: {rule}")]
    Index {
        /// The index.
        path: PathBuf,
        /// The rule it breaks.
        rule: String,
    },
    /// Two files hold a tensor of one name.
    #[error("tensor {name:?} is in {first:?} and in {second:?}; pass the files of one checkpoint only")]
    DuplicateTensor {
        /// The tensor.
        name: String,
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// The checkpoint lacks a tensor that the architecture needs.
    #[error(
        "tensor {name:?} is not among the checkpoint's {n_tensors}; check that config.json belongs to it and that no shard is missing"
    )]
    MissingTensor {
        /// The tensor.
        name: String,
        /// Tensors that the checkpoint has.
        n_tensors: usize,
    },
    /// A tensor is not of the shape that the configuration gives.
    #[error(
        "tensor {name:?} has shape {found:?}, config.json makes it {expected:?}; the two belong to different models"
    )]
    WrongShape {
        /// The tensor.
        name: String,
        /// By the configuration.
        expected: Vec<usize>,
        /// In the checkpoint.
        found: Vec<usize>,
    },
    /// A tensor of another element type than 16- or 32-bit floats.
    #[error("tensor {name:?} holds {found}; float32, float16 and bfloat16 can be converted")]
    ElementType {
        /// The tensor.
        name: String,
        /// Its element type.
        found: &'static str,
    },
    /// A tensor reaches outside the bytes that hold it.
    #[error("tensor {name:?} of {path:?} reaches outside its storage")]
    OutOfStorage {
        /// The tensor.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// Layers rotate by different angles, which one graph cannot follow.
    #[error(
        "tensor {name:?} differs from the first layer's; rotary frequencies must be the same in all layers"
    )]
    RotaryDiffers {
        /// The tensor that differs.
        name: String,
    },
    /// A statistics layer that the model does not have, or that was named twice.
    #[error("statistics layer {layer} is not one of 1 to {n_layers}, each at most once")]
    StatisticsLayer {
        /// The layer, from 1.
        layer: u32,
        /// Layers of the model.
        n_layers: usize,
    },
    /// The graph could not be written.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// A `config.json` that this converter does not know.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON, or a field is missing or of the wrong kind.
    #[error("config.json cannot be understood")]
    Json(#[from] serde_json::Error),
    /// A model of another family.
    #[error("model_type is {model_type:?}; \"esm\" (ESM-2) and \"bert\" can be converted")]
    Family {
        /// As in the file.
        model_type: String,
    },
    /// A choice that the graph does not make.
    #[error("{field} is {found}; only {supported} can be converted")]
    Unsupported {
        /// The field.
        field: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        supported: &'static str,
    },
    /// Numbers that cannot go together.
    #[error("{field} is {found}, but {rule}")]
    Inconsistent {
        /// The field.
        field: &'static str,
        /// Its value.
        found: usize,
        /// The rule it breaks.
        rule: &'static str,
    },
}

/// A pickle that holds more than a table of tensors. Nothing of it was executed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PickleError {
    /// It names a function or class that tensors do not need.
    #[error("it names {name:?}, which a table of tensors does not need; do not trust this file")]
    Global {
        /// Module and name.
        name: String,
    },
    /// It uses an instruction that tensors do not need.
    #[error("it uses instruction 0x{opcode:02x} at byte {position}, which a table of tensors does not need")]
    Opcode {
        /// The instruction.
        opcode: u8,
        /// 0-based byte.
        position: usize,
    },
    /// It ends too early.
    #[error("it ends at byte {position} in the middle of an instruction")]
    Truncated {
        /// 0-based byte.
        position: usize,
    },
    /// An instruction finds something else than it needs.
    #[error("at byte {position}, {rule}")]
    Malformed {
        /// 0-based byte.
        position: usize,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// It is larger than any real table.
    #[error("it has more than {limit} {what}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}
