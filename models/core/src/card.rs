//! Cards: what a head that ships says of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::homology::HomologyCalibration;
use crate::space::{Fingerprint, RowKind, Space};

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
    /// Whether rows are scaled to unit norm first, as adapters trained on unit rows expect.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unit_rows: bool,
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
    /// What cosines between proteins say about relatedness, if that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub homology: Option<HomologyCalibration>,
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

/// The card of two towers, `card.toml` beside `protein.onnx` and `text.onnx`: one joint space, reached from both sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JointCard {
    /// Unique name; also the name of the joint space.
    pub id: String,
    /// Width of the joint space.
    pub dim: usize,
    /// How it was made, with its parameters.
    pub method: String,
    /// How a text is prepared before it is embedded; queries are prepared in the same way.
    pub text_recipe: String,
    /// Command that gave the metrics.
    pub measured_by: String,
    /// The tower of proteins.
    pub protein: TowerCard,
    /// The tower of texts.
    pub text: TowerCard,
    /// What they were trained on.
    pub data: CardData,
    /// How cosines become confidences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// Further data that was only ever trained on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra: Vec<CardData>,
    /// Figures on held-out data, by name.
    pub metrics: BTreeMap<String, f64>,
}

/// How the cosine of a protein and a text becomes a confidence: `exp(inverse_temperature * cosine)`, divided by the sum of
/// the same over every text that is offered. Source: temperature scaling, Guo et al. 2017.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Fitted by maximum likelihood on validation pairs, each protein against all their texts.
    pub inverse_temperature: f64,
    /// Texts that were offered.
    pub n_texts: usize,
}

impl Calibration {
    /// Confidences of texts that were offered together, in the order of their cosines; they sum to 1.
    #[must_use]
    pub fn confidences(&self, cosines: &[f32]) -> Vec<f64> {
        let greatest = cosines.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let odds = |cosine: &f32| (self.inverse_temperature * f64::from(cosine - greatest)).exp();
        let total: f64 = cosines.iter().map(odds).sum();
        cosines.iter().map(|cosine| odds(cosine) / total).collect()
    }
}

/// One side of a [`JointCard`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TowerCard {
    /// Encoder whose rows it reads.
    pub encoder: String,
    /// Which row it reads.
    pub row_kind: RowKind,
    /// sha256 of its graph.
    pub sha256: String,
    /// The file of rows that it was trained on, where no encoder was run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<CardRows>,
    /// The space of those rows.
    pub input_space: Space,
}

/// A file of rows that somebody made beforehand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardRows {
    /// Its name.
    pub file: String,
    /// sha256 of the file.
    pub sha256: String,
}

impl JointCard {
    /// The joint space: its identity depends on both towers and on what they read.
    #[must_use]
    pub fn space(&self) -> Space {
        let sides = [&self.protein, &self.text];
        let parts = sides.map(|tower| [tower.input_space.fingerprint.to_string(), tower.sha256.clone()]);
        let parts = std::iter::once("joint".to_owned()).chain(parts.into_iter().flatten());
        Space { name: self.id.clone(), dim: self.dim, fingerprint: Fingerprint::of(parts) }
    }
}

impl ProjectionCard {
    /// The space that it leads to.
    #[must_use]
    pub fn space(&self) -> Space {
        let input = self.input_space.fingerprint.to_string();
        let kind = if self.unit_rows { "projection of unit rows" } else { "projection" };
        let fingerprint = Fingerprint::of([kind, &input, &self.head_sha256]);
        Space { name: self.id.clone(), dim: self.dim, fingerprint }
    }
}
