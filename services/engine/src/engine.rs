//! The engine: loaded encoders, open collections and limits, wired by a binary and shared by every caller.

use std::collections::BTreeMap;
use std::sync::Arc;

use protext_core::{LongPolicy, Modality, ResiduePolicy};
use protext_index::Collection;

use crate::embedder::Embedder;
use crate::error::EngineError;

/// What one caller may ask for at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Limits {
    /// Records (queries, inputs) in one request.
    pub max_records: usize,
    /// Residues of one sequence.
    pub max_residues: usize,
    /// Hits of one query.
    pub max_k: usize,
}

impl Default for Limits {
    /// 256 records, 100,000 residues, 1,000 hits.
    fn default() -> Self {
        Self { max_records: 256, max_residues: 100_000, max_k: 1_000 }
    }
}

/// Everything a request can use. Immutable once built.
pub struct Engine {
    embedders: BTreeMap<String, Embedder>,
    collections: BTreeMap<String, OpenCollection>,
    limits: Limits,
}

/// A collection that can be searched.
#[derive(Debug, Clone)]
pub struct OpenCollection {
    /// Records and vectors.
    pub collection: Arc<Collection>,
    /// Residues of all records: what an E-value counts as the database's size.
    pub n_residues: u64,
}

impl OpenCollection {
    /// Counts the residues of an opened collection.
    #[must_use]
    pub fn new(collection: Collection) -> Self {
        let n_residues = collection.records().iter().map(|record| u64::from(record.length)).sum();
        Self { collection: Arc::new(collection), n_residues }
    }
}

impl Engine {
    /// An engine over loaded encoders and open collections.
    #[must_use]
    pub fn new(
        embedders: Vec<Embedder>,
        collections: BTreeMap<String, OpenCollection>,
        limits: Limits,
    ) -> Self {
        let named = |embedder: Embedder| (embedder.encoder().id().to_owned(), embedder);
        Self { embedders: embedders.into_iter().map(named).collect(), collections, limits }
    }

    /// Limits in force.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// How residues are treated for interactive callers.
    #[must_use]
    pub fn residue_policy(&self) -> ResiduePolicy {
        ResiduePolicy { strict: false, max_residues: self.limits.max_residues }
    }

    /// The long policy where a caller names none: windows for proteins, the model's own cut for texts.
    #[must_use]
    pub fn default_long(modality: Modality) -> LongPolicy {
        match modality {
            Modality::Protein => LongPolicy::Window,
            Modality::Text => LongPolicy::Truncate,
        }
    }

    /// Loaded encoders by id.
    pub fn embedders(&self) -> impl Iterator<Item = &Embedder> {
        self.embedders.values()
    }

    /// The encoder called `id`, or the first of `modality` when none is named.
    ///
    /// # Errors
    /// [`EngineError::UnknownEncoder`] or [`EngineError::NotLoaded`].
    pub fn embedder(&self, id: Option<&str>, modality: Modality) -> Result<&Embedder, EngineError> {
        match id {
            Some(id) => self.embedders.get(id).ok_or_else(|| EngineError::UnknownEncoder {
                id: id.to_owned(),
                known: self.embedders.keys().cloned().collect::<Vec<_>>().join(", "),
            }),
            None => self.embedders.values().find(|embedder| embedder.encoder().modality() == modality).ok_or(
                EngineError::NotLoaded {
                    what: "encoder of this modality",
                    instead: "a loaded one (GET /v1/models)",
                },
            ),
        }
    }

    /// Open collections by name.
    #[must_use]
    pub fn collections(&self) -> &BTreeMap<String, OpenCollection> {
        &self.collections
    }

    /// The collection called `name`, or the only one when none is named.
    ///
    /// # Errors
    /// [`EngineError::UnknownCollection`].
    pub fn collection(&self, name: Option<&str>) -> Result<(&str, &OpenCollection), EngineError> {
        let found = match name {
            Some(name) => self.collections.get_key_value(name),
            None if self.collections.len() == 1 => self.collections.first_key_value(),
            None => None,
        };
        let found = found.ok_or_else(|| EngineError::UnknownCollection {
            name: name.unwrap_or("(none named)").to_owned(),
            known: self.collections.keys().cloned().collect::<Vec<_>>().join(", "),
        })?;
        Ok((found.0, found.1))
    }
}
