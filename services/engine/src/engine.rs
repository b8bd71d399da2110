//! The engine: loaded encoders, open collections and limits, wired by a binary and shared by every caller.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use protext_core::card::Calibration;
use protext_core::{
    Fingerprint, HomologyCalibration, LanguageHead, LongPolicy, Modality, ResiduePolicy, Space,
};

use crate::collections::{Collections, OpenCollection, choose};
use crate::embedder::Embedder;
use crate::error::EngineError;
use crate::perturbation::PerturbationPredictors;
use crate::ppi::PpiPredictor;
use crate::recall::RecallMonitor;
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

/// Everything a request can use. Encoders and limits stay as they were built; collections come and go.
pub struct Engine {
    embedders: BTreeMap<String, Embedder>,
    collections: Collections,
    recall: Option<RecallMonitor>,
    calibrations: HashMap<Fingerprint, Calibration>,
    homology: HashMap<Fingerprint, HomologyCalibration>,
    ppi: Option<Arc<PpiPredictor>>,
    language_heads: HashMap<Fingerprint, Box<dyn LanguageHead>>,
    perturbation: PerturbationPredictors,
    limits: Limits,
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
        Self {
            embedders,
            collections: Collections::new(collections),
            recall: None,
            calibrations: HashMap::new(),
            homology: HashMap::new(),
            ppi: None,
            perturbation: PerturbationPredictors::default(),
            language_heads: HashMap::new(),
            limits,
        }
    }

    /// Answers a share of the searches exactly, too, to estimate the recall of the others.
    #[must_use]
    pub fn with_recall(mut self, monitor: RecallMonitor) -> Self {
        self.recall = Some(monitor);
        self
    }

    /// The live estimate of recall, if one is kept.
    #[must_use]
    pub fn recall(&self) -> Option<&RecallMonitor> {
        self.recall.as_ref()
    }

    /// Adds how cosines of a joint space become confidences.
    #[must_use]
    pub fn with_calibration(mut self, space: &Space, calibration: Calibration) -> Self {
        self.calibrations.insert(space.fingerprint, calibration);
        self
    }

    /// How cosines of `space` become confidences, if that was measured.
    #[must_use]
    pub fn calibration(&self, space: &Space) -> Option<Calibration> {
        self.calibrations.get(&space.fingerprint).copied()
    }

    /// Adds what cosines between proteins of a space say about relatedness.
    #[must_use]
    pub fn with_homology(mut self, space: &Space, calibration: HomologyCalibration) -> Self {
        self.homology.insert(space.fingerprint, calibration);
        self
    }

    /// What cosines between proteins of `space` say about relatedness, if that was measured.
    #[must_use]
    pub fn homology(&self, space: &Space) -> Option<&HomologyCalibration> {
        self.homology.get(&space.fingerprint)
    }

    /// Adds the heads that predict what perturbing genes changes.
    #[must_use]
    pub fn with_perturbation(mut self, predictors: PerturbationPredictors) -> Self {
        self.perturbation = predictors;
        self
    }

    /// The heads that predict what perturbing genes changes; perhaps none.
    #[must_use]
    pub fn perturbation(&self) -> &PerturbationPredictors {
        &self.perturbation
    }

    /// Adds the head that predicts interactions of proteins.
    #[must_use]
    pub fn with_ppi(mut self, predictor: PpiPredictor) -> Self {
        self.ppi = Some(Arc::new(predictor));
        self
    }

    /// The head that predicts interactions, if one is loaded.
    #[must_use]
    pub fn ppi(&self) -> Option<&Arc<PpiPredictor>> {
        self.ppi.as_ref()
    }

    /// Adds a language head, for the encoder whose residues it reads.
    #[must_use]
    pub fn with_language_head(mut self, head: Box<dyn LanguageHead>) -> Self {
        self.language_heads.insert(head.input_space().fingerprint, head);
        self
    }

    /// The language head that reads residues of the encoder with this pooled space, if one is loaded.
    #[must_use]
    pub fn language_head(&self, space: &Space) -> Option<&dyn LanguageHead> {
        self.language_heads.get(&space.fingerprint).map(|head| &**head)
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

    /// Open collections by name, as they are now.
    #[must_use]
    pub fn collections(&self) -> Arc<BTreeMap<String, OpenCollection>> {
        self.collections.now()
    }

    /// The collection called `name`; without a name the only one that holds `target`, and without either the only one
    /// there is, or the only one of proteins.
    ///
    /// # Errors
    /// [`EngineError::UnknownCollection`], [`EngineError::OtherTarget`], [`EngineError::NoSuchTarget`] or
    /// [`EngineError::NameACollection`].
    pub fn collection(
        &self,
        name: Option<&str>,
        target: Option<Target>,
    ) -> Result<(String, OpenCollection), EngineError> {
        choose(&self.collections.now(), name, target)
    }

    /// Lets requests find a collection.
    ///
    /// # Errors
    /// [`EngineError::NameTaken`].
    pub fn add_collection(&self, name: &str, open: OpenCollection) -> Result<(), EngineError> {
        self.collections.insert(name, open)
    }

    /// Takes a collection from requests to come; those under way keep it until they are done.
    pub(crate) fn take_collection(&self, name: &str) -> Option<OpenCollection> {
        self.collections.remove(name)
    }
}
