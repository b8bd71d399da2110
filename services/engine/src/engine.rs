//! The engine: loaded encoders, open collections and limits, wired by a binary and shared by every caller.

use std::collections::BTreeMap;
use std::sync::Arc;

use protext_core::card::Calibration;
use protext_core::{Fingerprint, HomologyCalibration, LongPolicy, Modality, ResiduePolicy, Space};
use protext_index::View;

use crate::embedder::Embedder;
use crate::error::EngineError;
use crate::target::Target;

/// What one caller may ask for at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Limits {
    /// Records (queries, inputs) in one request.
    pub max_records: usize,
    /// Residues of one sequence.
    pub max_residues: usize,
    /// Hits of one query.
    pub max_k: usize,
    /// Hits of one query that are ordered anew by their residues.
    pub max_rerank: usize,
}

impl Default for Limits {
    /// 256 records, 100,000 residues, 1,000 hits, 200 of them ordered anew.
    fn default() -> Self {
        Self { max_records: 256, max_residues: 100_000, max_k: 1_000, max_rerank: 200 }
    }
}

/// Everything a request can use. Immutable once built.
pub struct Engine {
    embedders: BTreeMap<String, Embedder>,
    collections: BTreeMap<String, OpenCollection>,
    calibrations: Vec<(Fingerprint, Calibration)>,
    homology: Vec<(Fingerprint, HomologyCalibration)>,
    limits: Limits,
}

/// A collection that can be searched.
#[derive(Debug, Clone)]
pub struct OpenCollection {
    view: Arc<View>,
    /// What it holds.
    pub target: Target,
}

impl OpenCollection {
    /// A state of a collection: what [`protext_index::Store::read`] gives, or a collection in memory.
    #[must_use]
    pub fn new(view: impl Into<View>) -> Self {
        let view = view.into();
        let target = Target::of(view.base());
        Self { view: Arc::new(view), target }
    }

    /// Records and vectors. One request takes it once, so that all of its answer is of one state.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.view)
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
        let embedders = embedders.into_iter().map(named).collect();
        Self { embedders, collections, calibrations: Vec::new(), homology: Vec::new(), limits }
    }

    /// Adds how cosines of a joint space become confidences.
    #[must_use]
    pub fn with_calibration(mut self, space: &Space, calibration: Calibration) -> Self {
        self.calibrations.push((space.fingerprint, calibration));
        self
    }

    /// How cosines of `space` become confidences, if that was measured.
    #[must_use]
    pub fn calibration(&self, space: &Space) -> Option<Calibration> {
        let found = self.calibrations.iter().find(|(fingerprint, _)| *fingerprint == space.fingerprint);
        found.map(|(_, calibration)| *calibration)
    }

    /// Adds what cosines between proteins of a space say about relatedness.
    #[must_use]
    pub fn with_homology(mut self, space: &Space, calibration: HomologyCalibration) -> Self {
        self.homology.push((space.fingerprint, calibration));
        self
    }

    /// What cosines between proteins of `space` say about relatedness, if that was measured.
    #[must_use]
    pub fn homology(&self, space: &Space) -> Option<&HomologyCalibration> {
        let found = self.homology.iter().find(|(fingerprint, _)| *fingerprint == space.fingerprint);
        found.map(|(_, calibration)| calibration)
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

    /// The collection called `name`; without a name the only one that holds `target`, and without either the only one
    /// there is, or the only one of proteins.
    ///
    /// # Errors
    /// [`EngineError::UnknownCollection`], [`EngineError::OtherTarget`] or [`EngineError::NameACollection`].
    pub fn collection(
        &self,
        name: Option<&str>,
        target: Option<Target>,
    ) -> Result<(&str, &OpenCollection), EngineError> {
        if let Some(name) = name {
            let found = self.collections.get_key_value(name);
            let (name, open) = found.ok_or_else(|| EngineError::UnknownCollection {
                name: name.to_owned(),
                known: self.names(|_| true),
            })?;
            return match target {
                Some(wanted) if wanted != open.target => {
                    Err(EngineError::OtherTarget { collection: name.clone(), holds: open.target, wanted })
                }
                _ => Ok((name, open)),
            };
        }
        let only = if self.collections.len() == 1 { self.collections.values().next() } else { None };
        let target = target.or(only.map(|open| open.target)).unwrap_or(Target::Proteins);
        let holds_it = |open: &OpenCollection| open.target == target;
        let mut fitting = self.collections.iter().filter(|(_, open)| holds_it(open));
        match (fitting.next(), fitting.next()) {
            (Some((name, open)), None) => Ok((name, open)),
            (None, _) => Err(EngineError::NoSuchTarget { target, known: self.names(|_| true) }),
            (Some(_), Some(_)) => Err(EngineError::NameACollection { target, known: self.names(holds_it) }),
        }
    }

    fn names(&self, is_wanted: impl Fn(&OpenCollection) -> bool) -> String {
        let wanted = self.collections.iter().filter(|(_, open)| is_wanted(open));
        wanted.map(|(name, open)| format!("{name} ({})", open.target)).collect::<Vec<_>>().join(", ")
    }
}
