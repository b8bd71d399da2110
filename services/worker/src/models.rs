//! What a worker needs of the binary that runs it: an engine that can do the job.

use std::sync::Arc;

use protext_core::{Modality, Space};
use protext_engine::ppi::PpiPredictor;
use protext_engine::{Embedder, Engine, EngineError, Target};
use sha2::{Digest as _, Sha256};

use crate::error::JobError;
use crate::plan::Plan;
use crate::spec::{JobSpec, Task};

/// Opens what a job needs. The command line loads models; a service hands out what it has loaded.
pub trait Models: Send + Sync {
    /// An engine with the job's encoder and collections.
    ///
    /// # Errors
    /// [`JobError::Models`], or what a collection refuses.
    fn open(&self, spec: &JobSpec) -> Result<Arc<Engine>, JobError>;
}

/// The models and collections of a running service: jobs that name others are refused.
pub struct LoadedModels(pub Arc<Engine>);

impl Models for LoadedModels {
    fn open(&self, spec: &JobSpec) -> Result<Arc<Engine>, JobError> {
        let model = &spec.model;
        for (field, named) in [
            ("model.device", &model.device),
            ("model.projection", &model.projection),
            ("model.towers", &model.towers),
        ] {
            if named.is_some() {
                let rule = "a service runs jobs on what it has loaded; leave it out".to_owned();
                return Err(JobError::Field { field, rule });
            }
        }
        embedder(&self.0, spec)?;
        match &spec.task {
            Task::SearchAll { collection, .. } => {
                self.0.collection(Some(collection), None)?;
            }
            Task::Annotate { collection, .. } => {
                self.0.collection(collection.as_deref(), Some(Target::Texts))?;
            }
            Task::Ppi { head: Some(_), .. } => {
                let rule =
                    "a service pairs proteins with the head that it has loaded; leave it out".to_owned();
                return Err(JobError::Field { field: "task.head", rule });
            }
            Task::Ppi { .. } => {
                ppi_head(&self.0)?;
            }
            Task::Embed { .. } | Task::Index { .. } => {}
        }
        Ok(Arc::clone(&self.0))
    }
}

/// The encoder of a job.
pub(crate) fn embedder<'a>(engine: &'a Engine, spec: &JobSpec) -> Result<&'a Embedder, JobError> {
    let (id, modality) = match &spec.task {
        Task::Index { target: Target::Texts | Target::Genes, .. } => {
            (&spec.model.text_encoder, Modality::Text)
        }
        _ => (&spec.model.encoder, Modality::Protein),
    };
    let embedder = engine.embedder(id.as_deref(), modality)?;
    let wanted = spec.modality(embedder.encoder().modality());
    if embedder.encoder().modality() != wanted {
        let rule = format!("{} does not read {wanted} records; name another", embedder.encoder().id());
        return Err(JobError::Field { field: "model", rule });
    }
    if spec.needs_joint() && embedder.joint_space().is_none() {
        let rule = format!("no projection is here for {}; name one", embedder.encoder().id());
        return Err(JobError::Field { field: "model", rule });
    }
    Ok(embedder)
}

/// The head for pairs of proteins.
pub(crate) fn ppi_head(engine: &Engine) -> Result<&Arc<PpiPredictor>, JobError> {
    let (what, instead) = (
        "head for pairs of proteins",
        "another encoder for which one ships, or train one (protext train head --task pair)",
    );
    engine.ppi().ok_or_else(|| JobError::Engine(EngineError::NotLoaded { what, instead }))
}

/// Its name, with the beginning of the hash over its files.
pub(crate) fn head_name(engine: &Engine) -> Result<String, JobError> {
    let card = ppi_head(engine)?.head().card();
    let mut hasher = Sha256::new();
    for (name, sha256) in &card.files {
        hasher.update(format!("{name}={sha256};"));
    }
    let hash = hex::encode(hasher.finalize());
    Ok(format!("{} ({})", card.id, &hash[..16]))
}

/// Refuses a worker of another version, or whose model makes other vectors than the job's plan says.
pub(crate) fn ensure_fits(plan: &Plan, engine: &Engine, spec: &JobSpec) -> Result<(), JobError> {
    let embedder = embedder(engine, spec)?;
    let of_worker = env!("CARGO_PKG_VERSION");
    if plan.protext_version != of_worker {
        let (of_job, of_worker) = (plan.protext_version.clone(), of_worker.to_owned());
        return Err(JobError::OtherVersion { of_job, of_worker });
    }
    if let Some(of_job) = &plan.head {
        let of_worker = head_name(engine)?;
        if *of_job != of_worker {
            return Err(JobError::OtherHead { of_job: of_job.clone(), of_worker });
        }
    }
    let own: Vec<&Space> =
        if spec.needs_joint() { embedder.joint_spaces().collect() } else { vec![embedder.encoder_space()] };
    for (number, space) in plan.spaces.iter().enumerate() {
        let own = own.get(number).copied().unwrap_or_else(|| embedder.encoder_space());
        space.ensure_same("the job", own, "this worker").map_err(|source| JobError::OtherSpace { source })?;
    }
    Ok(())
}
