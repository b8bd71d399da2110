//! Cards: what a head that ships says of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::space::{RowKind, Space};

/// The card of a projection, `card.toml` beside its `head.onnx`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectionCard {
    /// Unique name; also the name of the joint space.
    pub id: String,
    /// Encoder whose rows it reads.
    pub encoder: String,
    /// Which row it reads.
    pub row_kind: RowKind,
    /// Width of the joint space.
    pub dim: usize,
    /// sha256 of `head.onnx`.
    pub head_sha256: String,
    /// How it was made, with its parameters.
    pub method: String,
    /// The space of the rows it was fitted on.
    pub input_space: Space,
    /// What it was fitted on.
    pub data: CardData,
    /// Figures on held-out data, by name; the command that gave them is in `measured_by`.
    pub metrics: BTreeMap<String, f64>,
    /// Command that gave the metrics.
    pub measured_by: String,
}

/// Data a head was fitted on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardData {
    /// Name and origin.
    pub source: String,
    /// Which rows: the split's name.
    pub split: String,
    /// How the split keeps relatives apart.
    pub split_rule: String,
    /// Rows used.
    pub n_rows: usize,
    /// sha256 of the file.
    pub sha256: String,
}
