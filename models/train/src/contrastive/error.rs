//! Why towers could not be trained.

use std::path::PathBuf;

use protext_graph::GraphError;

use crate::whitening::WhiteningError;

/// A run that could not start, or did not end.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// Matrices and keys of different lengths.
    #[error("{n_proteins} protein rows, {n_texts} text rows and {n_keys} keys: pairs need as many of each")]
    Uneven {
        /// Protein rows.
        n_proteins: usize,
        /// Text rows.
        n_texts: usize,
        /// Keys, of the shorter list.
        n_keys: usize,
    },
    /// Threads to train on could not be started.
    #[error("cannot start the threads that train: {0}")]
    Threads(#[source] rayon::ThreadPoolBuildError),
    /// No GPU to train on.
    #[error(
        "cannot train on a GPU: {0}; it needs an NVIDIA GPU and a build with the feature `cuda` \
         (cargo build --release --features cuda), or train without --train-on cuda"
    )]
    NoCuda(#[source] candle_core::Error),
    /// A text of no sentence, or of one that is not there.
    #[error("text {text} has no sentence, or one beyond the rows given")]
    NoSentence {
        /// 0-based pair.
        text: usize,
    },
    /// Rows of the parts have different widths.
    #[error("{what} rows have {found} components in {part}, but {expected} in training")]
    Width {
        /// "protein" or "sentence".
        what: &'static str,
        /// "extra" or "validation".
        part: &'static str,
        /// In training.
        expected: usize,
        /// In that part.
        found: usize,
    },
    /// Not one batch.
    #[error(
        "{n_pairs} training pairs are fewer than one batch of {batch_size}; give more pairs, or a smaller --batch-size"
    )]
    FewerThanABatch {
        /// Pairs given.
        n_pairs: usize,
        /// Pairs in a batch.
        batch_size: usize,
    },
    /// Nothing to stop by.
    #[error("{n_pairs} validation pairs are too few to choose an epoch by; give at least 2")]
    NoValidation {
        /// Pairs given.
        n_pairs: usize,
    },
    /// NaN or infinity in the rows.
    #[error("{what} row {row} of {part} holds a value that is not finite; embed that record again")]
    NotFinite {
        /// "protein" or "text".
        what: &'static str,
        /// "training" or "validation".
        part: &'static str,
        /// 0-based row.
        row: usize,
    },
    /// A setting out of range.
    #[error("{name} is {value}, but must be {rule}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        rule: &'static str,
    },
    /// The loss is not a number any more.
    #[error("the loss is not finite in epoch {epoch}; lower the learning rate")]
    Diverged {
        /// 1-based.
        epoch: usize,
    },
    /// The caller asked to stop.
    #[error("stopped after epoch {epoch}")]
    Stopped {
        /// Epochs that were finished.
        epoch: usize,
    },
    /// A checkpoint that cannot go on.
    #[error("{} cannot be resumed: {rule}; remove it to start anew", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        rule: String,
    },
    /// The checkpoint could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// Whitening failed.
    #[error(transparent)]
    Whitening(#[from] WhiteningError),
    /// The ONNX file could not be written.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The tensor library refused.
    #[error("the tensor library failed")]
    Tensor(#[from] candle_core::Error),
}
