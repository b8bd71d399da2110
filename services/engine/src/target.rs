//! What a collection holds, and so what a search can be aimed at: proteins, texts or genes.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use protext_core::Modality;
use protext_index::{Collection, CollectionBuilder};
use serde::{Deserialize, Serialize};

/// Key of a collection's metadata.
const METADATA_KEY: &str = "holds";

/// What a collection holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// Proteins, embedded by their sequences.
    Proteins,
    /// Texts, such as functions and GO terms.
    Texts,
    /// Genes, embedded by their descriptions.
    Genes,
}

impl Target {
    /// All of them.
    pub const ALL: [Target; 3] = [Target::Proteins, Target::Texts, Target::Genes];

    /// What `collection` holds; proteins unless it says otherwise.
    #[must_use]
    pub fn of(collection: &Collection) -> Self {
        Self::said_in(collection.metadata())
    }

    /// What a collection with this metadata holds; proteins unless it says otherwise.
    #[must_use]
    pub fn said_in(metadata: &BTreeMap<String, String>) -> Self {
        metadata.get(METADATA_KEY).and_then(|name| name.parse().ok()).unwrap_or(Target::Proteins)
    }

    /// Metadata that says so, with the encoder that records are embedded by.
    #[must_use]
    pub fn metadata(self, encoder: &str) -> BTreeMap<String, String> {
        [(METADATA_KEY, self.to_string()), ("encoder", encoder.to_owned())]
            .map(|(key, value)| (key.to_owned(), value))
            .into()
    }

    /// Writes it into a collection to be.
    pub fn mark(self, builder: &mut CollectionBuilder) {
        builder.set_metadata(METADATA_KEY, self.to_string());
    }

    /// What its records are embedded from.
    #[must_use]
    pub fn modality(self) -> Modality {
        match self {
            Target::Proteins => Modality::Protein,
            Target::Texts | Target::Genes => Modality::Text,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Target::Proteins => "proteins",
            Target::Texts => "texts",
            Target::Genes => "genes",
        })
    }
}

/// A word that names no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a target; write proteins, texts or genes")]
pub struct UnknownTarget(String);

impl FromStr for Target {
    type Err = UnknownTarget;

    fn from_str(word: &str) -> Result<Self, UnknownTarget> {
        let is_it = |target: &Target| target.to_string() == word;
        Target::ALL.into_iter().find(is_it).ok_or_else(|| UnknownTarget(word.to_owned()))
    }
}
