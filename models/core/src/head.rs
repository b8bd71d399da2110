//! Heads: trained predictors on vectors, and the rule that a head reads the spaces it was trained on and no others.
//!
//! A [`HeadCard`] is `card.toml` beside the graphs. [`FeatureRows`] are what a head reads: rows of one or several spaces
//! side by side, each with its space, so that [`HeadCard::ensure_reads`] can refuse what it was not trained on.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::calibration::ProbabilityCalibration;
use crate::card::CardData;
use crate::error::{SpaceMismatch, VectorError};
use crate::space::{Modality, Space};

/// What a head predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeadTask {
    /// Whether two records belong together, such as proteins that interact.
    Pair,
    /// What a perturbation changes.
    Perturbation,
    /// One of several classes.
    Classify,
    /// One or several numbers.
    Regress,
    /// A class for each residue.
    Residue,
}

impl fmt::Display for HeadTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pair => "pair",
            Self::Perturbation => "perturbation",
            Self::Classify => "classify",
            Self::Regress => "regress",
            Self::Residue => "residue",
        })
    }
}

/// Which vector of a record is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureKind {
    /// The encoder's pooled row.
    Pooled,
    /// Mean and deviation of several layers.
    Statistics,
    /// The vector in the joint space of proteins and texts.
    Joint,
    /// One row a residue, last layer.
    Residue,
    /// Rows of a file that somebody made beforehand, by id.
    File,
}

impl fmt::Display for FeatureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pooled => "pooled",
            Self::Statistics => "statistics",
            Self::Joint => "joint",
            Self::Residue => "residue",
            Self::File => "file",
        })
    }
}

/// One part of what a head reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureCard {
    /// Which vector.
    pub kind: FeatureKind,
    /// Of the protein or of the text of a record.
    pub modality: Modality,
    /// Encoder that makes it, directly or before a projection.
    pub encoder: String,
    /// Where it lives.
    pub space: Space,
}

/// A figure on held-out data with its 95% interval, where one was made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadFigure {
    /// The figure.
    pub value: f64,
    /// 2.5th percentile of the resampled figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// 97.5th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
}

/// The card of a head, `card.toml` beside its files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadCard {
    /// Unique name.
    pub id: String,
    /// What it predicts.
    pub task: HeadTask,
    /// How it was made, with its parameters.
    pub method: String,
    /// Command that trained it and gave the metrics.
    pub measured_by: String,
    /// What it reads, in the order of the columns.
    pub features: Vec<FeatureCard>,
    /// Names of its outputs, in order: classes, targets or genes; `interaction` for pairs.
    pub outputs: Vec<String>,
    /// sha256 of each file beside the card, by name; `head.onnx` is always there.
    pub files: BTreeMap<String, String>,
    /// What it was trained on.
    pub data: CardData,
    /// What its settings were chosen on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<CardData>,
    /// How scores become probabilities; `None` for heads that predict numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<ProbabilityCalibration>,
    /// Figures on held-out data, by name; the name says on which part.
    pub metrics: BTreeMap<String, HeadFigure>,
    /// What a reader should know beside the figures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl HeadCard {
    /// Width of the rows that it reads.
    #[must_use]
    pub fn input_dim(&self) -> usize {
        self.features.iter().map(|feature| feature.space.dim).sum()
    }

    /// Accepts rows of `spaces`, in this order, if the head was trained on rows of the same.
    ///
    /// # Errors
    /// [`HeadError::Space`] or [`HeadError::Parts`].
    pub fn ensure_reads(&self, spaces: &[Space]) -> Result<(), HeadError> {
        if spaces.len() != self.features.len() {
            let (expected, found) = (self.features.len(), spaces.len());
            return Err(HeadError::Parts { head: self.id.clone(), expected, found });
        }
        for (feature, space) in self.features.iter().zip(spaces) {
            feature.space.ensure_same("the head", space, "what it is to read")?;
        }
        Ok(())
    }
}

/// Rows of one or several spaces, side by side: what heads read.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureRows {
    spaces: Vec<Space>,
    dim: usize,
    values: Vec<f32>,
}

impl FeatureRows {
    /// Row-major `values` `[n, sum of the spaces' widths]`.
    ///
    /// # Errors
    /// [`HeadError::Vector`] if the width does not fit or a value is not finite.
    pub fn new(spaces: Vec<Space>, values: Vec<f32>) -> Result<Self, HeadError> {
        let dim: usize = spaces.iter().map(|space| space.dim).sum();
        if dim == 0 || !values.len().is_multiple_of(dim) {
            let source = VectorError::WrongDim { expected: dim, found: values.len() };
            return Err(HeadError::Vector { row: 0, source });
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(HeadError::Vector {
                row: at / dim,
                source: VectorError::NotFinite { index: at % dim },
            });
        }
        Ok(Self { spaces, dim, values })
    }

    /// Where the parts of a row live.
    #[must_use]
    pub fn spaces(&self) -> &[Space] {
        &self.spaces
    }

    /// Width of a row.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Rows.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.values.len() / self.dim
    }

    /// All values, row-major.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

/// A loaded head.
pub trait Head: Send + Sync {
    /// What it says of itself.
    fn card(&self) -> &HeadCard;

    /// Row-major outputs `[n, outputs]`: scores (logits) of classes, or numbers.
    ///
    /// # Errors
    /// [`HeadError`].
    fn predict(&self, rows: &FeatureRows) -> Result<Vec<f32>, HeadError>;
}

/// A loaded head of the task [`HeadTask::Pair`]: a record becomes a code once, and codes are compared as often as needed.
pub trait PairHead: Send + Sync {
    /// What it says of itself.
    fn card(&self) -> &HeadCard;

    /// Width of a code.
    fn code_dim(&self) -> usize;

    /// Row-major codes `[n, code_dim]`.
    ///
    /// # Errors
    /// [`HeadError`].
    fn encode(&self, rows: &FeatureRows) -> Result<Vec<f32>, HeadError>;

    /// Scores (logits) of one code with each of `others` `[n, code_dim]`; those of `(a, b)` and `(b, a)` are equal.
    ///
    /// # Errors
    /// [`HeadError`].
    fn score(&self, one: &[f32], others: &[f32]) -> Result<Vec<f32>, HeadError>;
}

/// A head cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// Rows of another space.
    #[error(transparent)]
    Space(#[from] SpaceMismatch),
    /// Rows of more or fewer spaces.
    #[error("head {head} reads vectors of {expected} spaces side by side, but was given {found}")]
    Parts {
        /// Head.
        head: String,
        /// Spaces that it reads.
        expected: usize,
        /// Spaces given.
        found: usize,
    },
    /// A row that is not a usable vector.
    #[error("row {row}: {source}")]
    Vector {
        /// 0-based row of the batch.
        row: usize,
        /// What is wrong with it.
        #[source]
        source: VectorError,
    },
    /// A head of another task.
    #[error("head {head} is one of the task {found}, but one of the task {expected} is needed")]
    Task {
        /// Head.
        head: String,
        /// What is needed.
        expected: HeadTask,
        /// What it is.
        found: HeadTask,
    },
    /// The model runtime failed.
    #[error("head {head} failed while running")]
    Runtime {
        /// Head.
        head: String,
        /// The runtime's own error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Fingerprint;

    fn space(name: &str, dim: usize) -> Space {
        Space { name: name.to_owned(), dim, fingerprint: Fingerprint::of([name]) }
    }

    fn card() -> HeadCard {
        let feature = |name: &str, dim| FeatureCard {
            kind: FeatureKind::Pooled,
            modality: Modality::Protein,
            encoder: name.to_owned(),
            space: space(name, dim),
        };
        HeadCard {
            id: "h".to_owned(),
            task: HeadTask::Classify,
            method: String::new(),
            measured_by: String::new(),
            features: vec![feature("a", 2), feature("b", 3)],
            outputs: vec!["yes".to_owned(), "no".to_owned()],
            files: BTreeMap::new(),
            data: CardData {
                source: "x.tsv".to_owned(),
                split: "train".to_owned(),
                split_rule: String::new(),
                n_rows: 1,
                sha256: String::new(),
            },
            validation: None,
            calibration: Some(ProbabilityCalibration::Temperature { inverse_temperature: 1.5 }),
            metrics: BTreeMap::from([(
                "valid_auroc".to_owned(),
                HeadFigure { value: 0.5, low: None, high: None },
            )]),
            notes: Vec::new(),
        }
    }

    #[test]
    fn a_head_reads_its_own_spaces_in_their_order() {
        let card = card();
        assert_eq!(card.input_dim(), 5);
        card.ensure_reads(&[space("a", 2), space("b", 3)]).unwrap();
        let swapped = card.ensure_reads(&[space("b", 3), space("a", 2)]).unwrap_err();
        assert!(matches!(&swapped, HeadError::Space(_)), "{swapped}");
        assert!(swapped.to_string().contains("the head lives in a"), "{swapped}");
        assert!(matches!(card.ensure_reads(&[space("a", 2)]), Err(HeadError::Parts { .. })));
    }

    #[test]
    fn rows_are_as_wide_as_their_spaces_and_finite() {
        let rows = FeatureRows::new(vec![space("a", 2)], vec![1.0; 6]).unwrap();
        assert_eq!((rows.n_rows(), rows.dim()), (3, 2));
        assert!(FeatureRows::new(vec![space("a", 2)], vec![1.0; 5]).is_err());
        let broken = FeatureRows::new(vec![space("a", 2)], vec![1.0, 1.0, f32::NAN, 1.0]).unwrap_err();
        assert!(matches!(broken, HeadError::Vector { row: 1, .. }));
    }

    #[test]
    fn cards_round_trip() {
        let card = card();
        let json = serde_json::to_string(&card).unwrap();
        assert_eq!(serde_json::from_str::<HeadCard>(&json).unwrap(), card);
    }
}
