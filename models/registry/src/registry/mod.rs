//! The registry: manifests, verified files, converted models.
//!
//! [`Registry::pull`] brings a model here: sources in order, each file verified, then the checkpoint becomes ONNX.
//! [`Registry::ready`] only looks, for callers that must not download.

mod fetch;
mod known;

use std::io;
use std::path::{Path, PathBuf};

use crate::cache::{Cache, CacheError, sha256_of};
use crate::convert::{
    ConvertError, ConvertRequest, Converted, Dialect, GraphOptions, content_key, convert,
    convert_language_head,
};
use crate::error::RegistryError;
use crate::hub::HubSettings;
use crate::manifest::{Manifest, Role, Source, SourceFile};
use crate::progress::Progress;
use crate::remote::RemoteManifest;
use crate::stamp::{Changed, Stamp};
use crate::wheel::Pip;
use fetch::Fetch;
use known::Known;
use protext_graph::WriteOptions;

/// The language head of a checkpoint, beside its encoder's graph.
const LANGUAGE_HEAD_FILE: &str = "lm_head.onnx";

/// Known encoders and the cache that holds them.
#[derive(Debug, Clone)]
pub struct Registry {
    cache: Cache,
    known: Known,
    pip: Pip,
    hub: HubSettings,
}

/// Verified files of one encoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFiles {
    /// Checkpoint files, or an index with its shards beside it.
    pub weights: Vec<PathBuf>,
    /// `config.json`.
    pub config: PathBuf,
    /// `tokenizer.json`, for texts.
    pub tokenizer: Option<PathBuf>,
    /// sha256 of `tokenizer.json`.
    pub tokenizer_sha256: Option<String>,
    /// sha256 of the weights; of several files, over their hashes in order of name.
    pub weights_sha256: String,
}

/// An encoder that can be opened.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadyModel {
    /// Its manifest.
    pub manifest: Manifest,
    /// Its files.
    pub files: ModelFiles,
    /// The converted graph.
    pub onnx: PathBuf,
}

impl Registry {
    /// The manifests that ship, and those of `user_folder` if it exists; the user's override ours. pip and the hub are
    /// the environment's until [`Registry::with_pip`] and [`Registry::with_hub`] say otherwise.
    ///
    /// # Errors
    /// [`RegistryError::Manifest`] or [`RegistryError::Read`] naming the file.
    pub fn open(cache: Cache, user_folder: Option<&Path>) -> Result<Self, RegistryError> {
        let known = known::manifests(user_folder)?;
        let (pip, hub) = (Pip::from_environment(), HubSettings::from_environment());
        Ok(Self { cache, known, pip, hub })
    }

    /// Runs pip like this.
    #[must_use]
    pub fn with_pip(self, pip: Pip) -> Self {
        Self { pip, ..self }
    }

    /// Reaches the hub like this; without a lock file of its own the cache's is used.
    #[must_use]
    pub fn with_hub(self, hub: HubSettings) -> Self {
        Self { hub, ..self }
    }

    /// The cache.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// All manifests of encoders that run here, by id.
    pub fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.known.local.values()
    }

    /// All manifests of encoders that run elsewhere, by id.
    pub fn remotes(&self) -> impl Iterator<Item = &RemoteManifest> {
        self.known.remote.values()
    }

    /// The manifest of an encoder that runs elsewhere; `None` for all others.
    #[must_use]
    pub fn remote(&self, id: &str) -> Option<&RemoteManifest> {
        self.known.remote.get(id)
    }

    /// The manifest of an encoder that runs here.
    ///
    /// # Errors
    /// [`RegistryError::UnknownModel`]; [`RegistryError::RunsElsewhere`] for those of [`Registry::remote`].
    pub fn manifest(&self, id: &str) -> Result<&Manifest, RegistryError> {
        if let Some(remote) = self.remote(id) {
            let base_url = remote.remote.base_url.clone();
            return Err(RegistryError::RunsElsewhere { id: id.to_owned(), base_url });
        }
        let known = || self.known.local.keys().chain(self.known.remote.keys()).cloned();
        self.known.local.get(id).ok_or_else(|| RegistryError::UnknownModel {
            id: id.to_owned(),
            known: known().collect::<Vec<_>>().join(", "),
        })
    }

    /// The model as it is here, without fetching anything.
    ///
    /// # Errors
    /// [`RegistryError::NotPulled`] if a file is missing or has another size.
    pub fn ready(&self, id: &str) -> Result<ReadyModel, RegistryError> {
        let manifest = self.manifest(id)?;
        let not_pulled = || RegistryError::NotPulled { id: id.to_owned() };
        let files = self.files_here(manifest).ok_or_else(not_pulled)?;
        let folder = self.onnx_folder(manifest, &files, Dialect::default())?;
        Stamp::of_whole(&folder).ok_or_else(not_pulled)?;
        Ok(ReadyModel { manifest: manifest.clone(), files, onnx: folder.join("model.onnx") })
    }

    /// As [`Registry::ready`], with the graph's bytes held against the hash that was taken when it was written: for
    /// callers that are about to run it.
    ///
    /// # Errors
    /// [`RegistryError::Corrupt`] if they changed; otherwise as [`Registry::ready`].
    pub fn ready_to_run(&self, id: &str) -> Result<ReadyModel, RegistryError> {
        let ready = self.ready(id)?;
        verify_folder(id, ready.onnx.parent().unwrap_or(Path::new(".")))?;
        Ok(ready)
    }

    /// The model's graph made of the operators of `dialect`, converted unless it is here, every file of it hashed again.
    ///
    /// # Errors
    /// As [`Registry::ready_to_run`] and [`Registry::pull`].
    pub fn graph(&self, ready: &ReadyModel, dialect: Dialect) -> Result<PathBuf, RegistryError> {
        let manifest = &ready.manifest;
        let folder = self.onnx_folder(manifest, &ready.files, dialect)?;
        let is_whole = || Stamp::of_whole(&folder).is_some() && verify_folder(&manifest.id, &folder).is_ok();
        if !is_whole() {
            let _lock = self.cache.lock(&manifest.id)?;
            if !is_whole() {
                return Ok(self.convert(manifest, dialect)?.onnx);
            }
        }
        Ok(folder.join("model.onnx"))
    }

    /// Fetches what is missing, converts what is not converted; instant when all is here. Temporary files that killed
    /// runs left more than a day ago are removed.
    ///
    /// # Errors
    /// [`RegistryError`]; nothing unverified is left under a final name.
    pub fn pull(&self, id: &str, progress: &dyn Progress) -> Result<ReadyModel, RegistryError> {
        let manifest = self.manifest(id)?;
        self.cache.remove_leftovers();
        // A cache that nobody may write serves as long as it holds the model, so the lock comes second.
        if let Ok(ready) = self.ready(id) {
            return Ok(ready);
        }
        let _lock = self.cache.lock(id)?;
        if let Ok(ready) = self.ready(id) {
            return Ok(ready);
        }
        if !self.are_files_whole(manifest) {
            self.fetch(id, &manifest.sources, progress)?;
        }
        self.convert(manifest, Dialect::default())
    }

    /// As [`Registry::pull`], with the files taken from a folder and held against the manifest's hashes.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn pull_from_folder(
        &self,
        id: &str,
        folder: &Path,
        progress: &dyn Progress,
    ) -> Result<ReadyModel, RegistryError> {
        let manifest = self.manifest(id)?;
        self.cache.remove_leftovers();
        let _lock = self.cache.lock(id)?;
        let flat = |file: &SourceFile| SourceFile { path: file.name().to_owned(), ..file.clone() };
        let path = folder.display().to_string();
        let local = manifest.sources.iter().map(|source| Source::Local {
            path: path.clone(),
            files: source.files().iter().map(flat).collect(),
        });
        self.fetch(id, &local.collect::<Vec<_>>(), progress)?;
        self.convert(manifest, Dialect::default())
    }

    /// The language head that the encoder's checkpoint brought, converted when it is first asked for; `None` if it
    /// brought none.
    ///
    /// # Errors
    /// [`RegistryError::Convert`] or [`RegistryError::Cache`].
    pub fn language_head(&self, model: &ReadyModel) -> Result<Option<PathBuf>, RegistryError> {
        let id = &model.manifest.id;
        let folder = model.onnx.parent().unwrap_or(Path::new("."));
        let path = folder.join(LANGUAGE_HEAD_FILE);
        let is_whole = || Stamp::of_whole(folder).is_some_and(|it| it.files.contains_key(LANGUAGE_HEAD_FILE));
        if is_whole() {
            return Ok(Some(path));
        }
        let _lock = self.cache.lock(id)?;
        if is_whole() {
            return Ok(Some(path));
        }
        let (weights, config) = (model.files.weights.clone(), model.files.config.clone());
        let request = ConvertRequest::new(weights, config, model.onnx.clone());
        let converted = convert_language_head(&request, &path);
        if converted.map_err(|error| conversion_failed(id, &path, error))?.is_none() {
            return Ok(None);
        }
        let mut stamp = Stamp::read(folder).ok_or_else(|| RegistryError::NotPulled { id: id.clone() })?;
        let sha256 = sha256_of(&path).map_err(|source| RegistryError::Read { path: path.clone(), source })?;
        stamp.add(folder, LANGUAGE_HEAD_FILE, sha256)?;
        stamp.write(folder)?;
        Ok(Some(path))
    }

    /// Hashes every file of the model again. A corrupt one is removed, so that the next pull brings or converts it
    /// anew.
    ///
    /// # Errors
    /// [`RegistryError::Corrupt`] naming the first that changed; [`RegistryError::NotPulled`] if one is missing.
    pub fn verify(&self, id: &str) -> Result<(), RegistryError> {
        let manifest = self.manifest(id)?;
        verify_folder(id, &self.model_folder(id))?;
        // The folder of the graph follows from the files, so it is known only once these are right.
        let files =
            self.files_here(manifest).ok_or_else(|| RegistryError::NotPulled { id: id.to_owned() })?;
        verify_folder(id, &self.onnx_folder(manifest, &files, Dialect::default())?)
    }

    fn model_folder(&self, id: &str) -> PathBuf {
        self.cache.root().join("models").join(id)
    }

    fn onnx_folder(
        &self,
        manifest: &Manifest,
        files: &ModelFiles,
        dialect: Dialect,
    ) -> Result<PathBuf, RegistryError> {
        let config = std::fs::read(&files.config)
            .map_err(|source| RegistryError::Read { path: files.config.clone(), source })?;
        let key = content_key(&[&files.weights_sha256], &config, &options(manifest, dialect));
        Ok(self.cache.root().join("onnx").join(&key[..32]))
    }

    /// Verified files, if some source's are all here and none was changed in the manifest since.
    fn files_here(&self, manifest: &Manifest) -> Option<ModelFiles> {
        let folder = self.model_folder(&manifest.id);
        let stamp = Stamp::of_whole(&folder)?;
        let matches = |source: &&Source| {
            source.files().iter().all(|file| {
                let stamped = stamp.files.get(file.name());
                stamped
                    .is_some_and(|stamped| file.pinned_sha256().is_none_or(|pinned| pinned == stamped.sha256))
            })
        };
        let source = manifest.sources.iter().find(matches)?;
        Some(collect(&folder, source, &stamp))
    }

    /// Whether the files are here with the bytes that were stamped: something is to be made of them.
    fn are_files_whole(&self, manifest: &Manifest) -> bool {
        self.files_here(manifest).is_some()
            && verify_folder(&manifest.id, &self.model_folder(&manifest.id)).is_ok()
    }

    fn fetch(&self, id: &str, sources: &[Source], progress: &dyn Progress) -> Result<(), RegistryError> {
        let folder = self.cache.folder(Path::new("models").join(id))?;
        let (cache, pip, hub) = (&self.cache, &self.pip, &self.hub);
        Fetch { cache, pip, hub, id, folder, progress }.take_first_of(sources)
    }

    fn convert(&self, manifest: &Manifest, dialect: Dialect) -> Result<ReadyModel, RegistryError> {
        let id = &manifest.id;
        let files = self.files_here(manifest).ok_or_else(|| RegistryError::NotPulled { id: id.clone() })?;
        let folder = self.onnx_folder(manifest, &files, dialect)?;
        let folder = self.cache.folder(folder.strip_prefix(self.cache.root()).unwrap_or(&folder))?;
        let onnx = folder.join("model.onnx");
        let mut request = ConvertRequest::new(files.weights.clone(), files.config.clone(), onnx.clone());
        request.options = options(manifest, dialect);
        // Beside the graph weights can be mapped, once for all sessions of all processes.
        request.layout = WriteOptions { max_inline_bytes: 0 };
        let converted = convert(&request);
        let Converted { model, data, .. } = converted.map_err(|error| conversion_failed(id, &onnx, error))?;
        let mut stamp = Stamp::default();
        for path in [Some(model), data].into_iter().flatten() {
            let sha256 =
                sha256_of(&path).map_err(|source| RegistryError::Read { path: path.clone(), source })?;
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            stamp.add(&folder, &name, sha256)?;
        }
        stamp.write(&folder)?;
        Ok(ReadyModel { manifest: manifest.clone(), files, onnx })
    }
}

/// Hashes the stamped files of `folder` again and removes the first that changed.
fn verify_folder(id: &str, folder: &Path) -> Result<(), RegistryError> {
    let not_pulled = || RegistryError::NotPulled { id: id.to_owned() };
    let stamp = Stamp::read(folder).ok_or_else(not_pulled)?;
    match stamp.verify(folder) {
        Ok(None) => Ok(()),
        Ok(Some(Changed { path, expected, found })) => {
            // It is never used again, removed or not: the next pull replaces it.
            let _ = std::fs::remove_file(&path);
            Err(RegistryError::Corrupt { id: id.to_owned(), path, expected, found })
        }
        Err((_, source)) if source.kind() == io::ErrorKind::NotFound => Err(not_pulled()),
        Err((path, source)) => Err(RegistryError::Read { path, source }),
    }
}

/// Tells a full disk, which the cache's error explains, from what is wrong with the checkpoint.
fn conversion_failed(id: &str, onnx: &Path, error: ConvertError) -> RegistryError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>()
            && let full @ CacheError::DiskFull { .. } = CacheError::from_io(onnx, io::Error::from(io.kind()))
        {
            return RegistryError::Cache(full);
        }
        cause = error.source();
    }
    RegistryError::Convert { id: id.to_owned(), source: Box::new(error) }
}

fn options(manifest: &Manifest, dialect: Dialect) -> GraphOptions {
    GraphOptions { statistics_layers: manifest.statistics_layers.clone(), dialect }
}

fn collect(folder: &Path, source: &Source, stamp: &Stamp) -> ModelFiles {
    let of = |role: Role| source.files().iter().filter(move |file| file.role == role);
    let path = |file: &SourceFile| folder.join(file.name());
    let hash = |file: &SourceFile| stamp.files[file.name()].sha256.clone();
    let hashes: Vec<String> = of(Role::Weights).map(hash).collect();
    let weights_sha256 = match hashes.as_slice() {
        [only] => only.clone(),
        several => protext_core::Fingerprint::of(several).to_string(),
    };
    let index: Vec<PathBuf> = of(Role::WeightsIndex).map(path).collect();
    let weights = of(Role::Weights).map(path).collect();
    let tokenizer = of(Role::Tokenizer).next();
    ModelFiles {
        weights: if index.is_empty() { weights } else { index },
        config: of(Role::Config).map(path).next().unwrap_or_default(),
        tokenizer: tokenizer.map(path),
        tokenizer_sha256: tokenizer.map(hash),
        weights_sha256,
    }
}
