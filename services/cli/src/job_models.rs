//! Models for jobs: what a job names is loaded when a job first needs it, and kept for the next.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use protext_core::Modality;
use protext_engine::{Engine, Limits, OpenCollection, Target};
use protext_worker::spec::ModelChoice;
use protext_worker::{JobError, JobSpec, Models, Task};

use crate::commands::pair_rows::DEFAULT_TEXT_ENCODER;
use crate::commands::ppi_model;
use crate::commands::search::open_collections;
use crate::embedding_cache::{self, EmbeddingCacheArgs};
use crate::shipped::Shipped;
use crate::wiring::{self, DEFAULT_PROTEIN_ENCODER, ModelArgs};

/// Loads models from the cache, and collections from their folders.
pub(crate) struct CachedModels {
    /// Sessions of each encoder; 0 takes one a core.
    n_workers: usize,
    cache: EmbeddingCacheArgs,
    last: Mutex<Option<(String, Arc<Engine>)>>,
}

impl CachedModels {
    pub(crate) fn new(n_workers: usize, cache: EmbeddingCacheArgs) -> Self {
        Self { n_workers, cache, last: Mutex::new(None) }
    }

    fn args(&self, model: &ModelChoice) -> anyhow::Result<ModelArgs> {
        let device = model.device.as_deref().unwrap_or("auto");
        Ok(ModelArgs {
            encoder: model.encoder.clone().unwrap_or_else(|| DEFAULT_PROTEIN_ENCODER.to_owned()),
            device: device.parse().map_err(|error| anyhow::anyhow!("{error}"))?,
            workers: self.n_workers,
            projection: model.projection.as_ref().map(PathBuf::from),
            towers: model.towers.as_ref().map(PathBuf::from),
        })
    }

    fn load(&self, spec: &JobSpec) -> anyhow::Result<Engine> {
        let registry = wiring::registry()?;
        let args = self.args(&spec.model)?;
        let text = spec.model.text_encoder.as_deref().unwrap_or(DEFAULT_TEXT_ENCODER);
        let mut collections = BTreeMap::new();
        let embedder = match &spec.task {
            Task::Index { target: Target::Texts | Target::Genes, .. } => {
                wiring::start_embedder(&args.for_modality(Modality::Text, text), true)?
            }
            _ => wiring::start_embedder(&args, spec.needs_joint() || spec.is_of_pairs())?,
        };
        match &spec.task {
            Task::SearchAll { collection, .. } | Task::Annotate { collection: Some(collection), .. } => {
                collections = open_collections(&[PathBuf::from(collection)])?;
            }
            Task::Annotate { collection: None, .. } => {
                let texts = wiring::start_embedder(&args.for_modality(Modality::Text, text), true)?;
                let functions: OpenCollection = Shipped::functions().open(registry.cache(), &texts)?;
                collections.insert("texts".to_owned(), functions);
            }
            Task::Embed { .. } | Task::Index { .. } | Task::Ppi { .. } => {}
        }
        let embedder = embedding_cache::keeping(embedder, self.cache.open(registry.cache()).as_ref());
        let mut engine = Engine::new(vec![embedder], collections, Limits::default());
        if let Task::Ppi { head, .. } = &spec.task {
            let runtime = wiring::load_runtime(registry.cache(), args.device)?;
            let head = head.as_ref().map(PathBuf::from);
            engine = engine.with_ppi(ppi_model::open_for(registry.cache(), &runtime, &args, head.as_ref())?);
        }
        wiring::calibrated(engine, registry.cache(), &args)
    }
}

impl Models for CachedModels {
    fn open(&self, spec: &JobSpec) -> Result<Arc<Engine>, JobError> {
        let key = serde_json::to_string(&(&spec.model, &spec.task)).unwrap_or_default();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, engine)) = &*last
            && *known == key
        {
            return Ok(Arc::clone(engine));
        }
        // The one before gives its sessions back before the next ones are opened.
        *last = None;
        let loaded =
            self.load(spec).map_err(|error| JobError::Models(crate::fault::message(&error).into()))?;
        let engine = Arc::new(loaded);
        *last = Some((key, Arc::clone(&engine)));
        Ok(engine)
    }
}
