//! Why a head could not be trained.

use std::path::PathBuf;

use protext_graph::GraphError;

/// A head that cannot be fitted or written.
#[derive(Debug, thiserror::Error)]
pub enum HeadTrainError {
    /// Rows, targets or weights of different lengths.
    #[error("{n_rows} rows, but {n_targets} {what}: as many of each are needed")]
    Uneven {
        /// "targets" or "weights".
        what: &'static str,
        /// Rows given.
        n_rows: usize,
        /// Of the other.
        n_targets: usize,
    },
    /// Not enough to learn from.
    #[error("{n_rows} rows of {part} are too few; at least {least} are needed")]
    TooFewRows {
        /// "training" or "validation".
        part: &'static str,
        /// Rows given.
        n_rows: usize,
        /// Rows needed.
        least: usize,
    },
    /// Labels of one class only.
    #[error("all {n_rows} rows of {part} are of one class ({class}); a head needs rows of at least two")]
    OneClass {
        /// "training" or "validation".
        part: &'static str,
        /// Rows given.
        n_rows: usize,
        /// Its number or name.
        class: String,
    },
    /// A target that never varies.
    #[error("target {target} is the same in all training rows; there is nothing to learn")]
    ConstantTarget {
        /// 0-based.
        target: usize,
    },
    /// NaN or infinity in the rows.
    #[error("row {row} of {part} holds a value that is not finite; embed that record again")]
    NotFinite {
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
    /// The equations have no solution.
    #[error("the equations of {what} cannot be solved with penalty {penalty}; take a greater one")]
    Singular {
        /// "ridge regression" or "logistic regression".
        what: &'static str,
        /// Penalty given.
        penalty: f64,
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
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The ONNX file could not be written.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The tensor library refused.
    #[error("the tensor library failed")]
    Tensor(#[from] candle_core::Error),
}
