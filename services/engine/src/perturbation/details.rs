//! What a head's folder says beside its card: its outputs, and the genes it was trained on.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::PerturbationError;

/// File of a head's folder that says what is known of its outputs and training genes.
pub const DETAILS_FILE: &str = "details.json";

/// What is known of one output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputDetails {
    /// Gene or screen.
    pub name: String,
    /// Mean of the training targets: the baseline.
    pub training_mean: f32,
    /// The same in the measure of the data, where targets are learnt in another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_mean: Option<f32>,
    /// 95% of the residuals of cross-validation are no larger: half the width of the interval.
    pub half_width: f32,
}

/// What a head's folder says beside its card.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeadDetails {
    /// In the order of the head's outputs.
    pub outputs: Vec<OutputDetails>,
    /// Symbols of the genes it was trained on.
    pub training: Vec<String>,
    /// Weights of GO terms, text, protein and responses where genes are compared.
    pub weights: [f32; 4],
    /// What a prediction is a change of, in words.
    pub unit: String,
}

impl HeadDetails {
    /// Reads the file of a head's folder.
    ///
    /// # Errors
    /// [`PerturbationError::Read`], [`PerturbationError::Details`].
    pub fn read(path: &Path) -> Result<Self, PerturbationError> {
        let bytes = std::fs::read(path)
            .map_err(|source| PerturbationError::Read { path: path.to_owned(), source })?;
        serde_json::from_slice(&bytes)
            .map_err(|error| PerturbationError::Details { path: path.to_owned(), rule: error.to_string() })
    }
}
