//! What can go wrong while a runtime or a model is loaded. Running errors are `EncodeError` of the core.

use std::path::PathBuf;

use crate::device::Device;

/// Loading failed.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The shared library could not be loaded or is of another version.
    #[error("cannot load ONNX Runtime from {}; type `protext runtime install cpu` to fetch the right one", path.display())]
    RuntimeLoad {
        /// The library.
        path: PathBuf,
        /// The loader's own message.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A process can hold one runtime only.
    #[error("ONNX Runtime is already loaded from {}, so {} cannot be loaded into the same process", loaded.display(), asked.display())]
    RuntimeAlreadyLoaded {
        /// What runs.
        loaded: PathBuf,
        /// What was asked for.
        asked: PathBuf,
    },
    /// The device that was asked for cannot be used.
    #[error(
        "device {device} was asked for, but {reason}; use --device cpu, or --device auto to take what is there"
    )]
    Device {
        /// What was asked for.
        device: Device,
        /// Why not.
        reason: String,
    },
    /// The runtime refused the model file.
    #[error("cannot open model {}; delete it and type `protext models pull` to make it again", path.display())]
    Open {
        /// The `.onnx` file.
        path: PathBuf,
        /// The runtime's own message.
        #[source]
        source: ort::Error,
    },
    /// The weights beside a model are not what it says.
    #[error("cannot read the weights of model {}; delete its folder and type `protext models pull` to make it again", path.display())]
    Weights {
        /// The `.onnx` file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The model has not the inputs and outputs that Protext's converter writes.
    #[error("model {} has no {direction} named {name:?}; it was not made by `protext models convert`", path.display())]
    Interface {
        /// The `.onnx` file.
        path: PathBuf,
        /// "input" or "output".
        direction: &'static str,
        /// What is missing.
        name: &'static str,
    },
    /// The file's width is not what the manifest or card says.
    #[error("model {} gives {found} dimensions, its description says {expected}", path.display())]
    Dim {
        /// The `.onnx` file.
        path: PathBuf,
        /// From the manifest or card.
        expected: usize,
        /// From the file.
        found: i64,
    },
    /// The tokenizer file is unreadable.
    #[error("cannot read tokenizer {}", path.display())]
    Tokenizer {
        /// `tokenizer.json`.
        path: PathBuf,
        /// The tokenizer's own message.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
