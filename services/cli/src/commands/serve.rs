//! `protext serve`: the HTTP API over collections on disk.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use protext_api::access::Access;
use protext_api::{AppInfo, Audit, EncoderInfo, JobsAccess, ServerSettings, TlsFiles, resident_bytes};
use protext_core::Modality;
use protext_engine::library::Library;
use protext_engine::recall::RecallMonitor;
use protext_engine::{Embedder, Engine, OpenCollection};
use protext_index::{
    CollectionHost, CollectionView, OpenOptions, SnapshotError, Store, StoreError, StoreOptions,
};
use protext_registry::Registry;
use protext_worker::{JobService, Jobs, LoadedModels, Way};

use super::perturb;
use crate::embedding_cache;
use crate::fault::{self, UsageError};
use crate::qdrant;
use crate::settings::ServeSettings;
use crate::wiring::{self, ModelArgs};

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  protext serve --collection demo=demo.index\n  \
    protext serve --collection demo=demo.index --data collections\n  \
    PROTEXT_LISTEN=127.0.0.1:9000 protext serve --config protext.toml\n  \
    protext serve --listen 0.0.0.0:8443 --keys keys.json --tls-certificate cert.pem --tls-key key.pem\n\n\
    Settings are read from the file, then PROTEXT_<NAME>, then flags; docs/API.md lists them.")]
pub(crate) struct Args {
    /// Settings file (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address; port 0 takes a free one and prints it.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// A collection to serve, by its folder or its address in Qdrant; may be given several times.
    #[arg(long, value_name = "NAME=FOLDER", value_parser = name_and_folder)]
    collection: Vec<(String, PathBuf)>,
    /// Protein encoder.
    #[arg(long, value_name = "ID")]
    encoder: Option<String>,
    /// Projection in a folder of its own instead of the one that ships for the encoder.
    #[arg(long, value_name = "FOLDER")]
    projection: Option<PathBuf>,
    /// Towers in a folder of their own instead of those that ship.
    #[arg(long, value_name = "FOLDER")]
    towers: Option<PathBuf>,
    /// Head that predicts interactions in a folder of its own instead of the one that ships.
    #[arg(long, value_name = "FOLDER")]
    ppi_head: Option<PathBuf>,
    /// Text encoder, for searches by text.
    #[arg(long, value_name = "ID")]
    text_encoder: Option<String>,
    /// Folder for collections that are made over HTTP, and for snapshots.
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Qdrant server (qdrant://host:6333) whose collections are served, and in which new ones are made.
    #[arg(long, value_name = "ADDRESS")]
    index: Option<String>,
    /// Folder where batch jobs are kept; `none` for no jobs. By default in the data folder, else beside the user's data.
    #[arg(long, value_name = "FOLDER")]
    jobs: Option<String>,
    /// Open the collections of the settings for reading only.
    #[arg(long)]
    read_only: bool,
    /// File of keys (`protext keys create`); with it, a key is asked for on every address.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Serve other addresses than this machine's own without keys: whoever reaches the port may do everything.
    #[arg(long)]
    without_keys: bool,
    /// PEM file with the certificate chain, to serve HTTPS.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// PEM file with its private key.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
}

fn name_and_folder(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, folder)) if !name.is_empty() && !folder.is_empty() => {
            Ok((name.to_owned(), folder.into()))
        }
        _ => Err("write NAME=FOLDER".to_owned()),
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut settings = ServeSettings::load(args.config.as_deref(), |name| std::env::var(name).ok())
        .map_err(|error| UsageError(format!("{error:#}")))?;
    settings.listen = args.listen.unwrap_or(settings.listen);
    settings.encoder = args.encoder.unwrap_or(settings.encoder);
    settings.projection = args.projection.or(settings.projection);
    settings.towers = args.towers.or(settings.towers);
    settings.ppi_head = args.ppi_head.or(settings.ppi_head);
    settings.text_encoder = args.text_encoder.or(settings.text_encoder);
    settings.collections.extend(args.collection);
    settings.data = args.data.or(settings.data);
    settings.index = args.index.or(settings.index);
    settings.jobs = args.jobs.or(settings.jobs);
    settings.read_only |= args.read_only;
    settings.keys = args.keys.or(settings.keys);
    settings.without_keys |= args.without_keys;
    settings.tls_certificate = args.tls_certificate.or(settings.tls_certificate);
    settings.tls_key = args.tls_key.or(settings.tls_key);
    let mut collections = BTreeMap::new();
    for (name, folder) in &settings.collections {
        let open = open_collection(folder, settings.read_only);
        collections.insert(name.clone(), open.with_context(|| format!("collection {name:?}"))?);
    }
    serve(&settings, collections, |_| ())
}

/// For writing, unless that is not wanted or the disk takes no writes.
fn open_collection(folder: &Path, read_only: bool) -> anyhow::Result<OpenCollection> {
    if let Some(address) = qdrant::address(folder)? {
        return Ok(OpenCollection::elsewhere(Arc::new(qdrant::open(&address)?), read_only));
    }
    if !read_only {
        match Store::open_with(folder, StoreOptions::default()) {
            Ok(store) => return Ok(OpenCollection::live(store)),
            Err(StoreError::Snapshot(SnapshotError::Io { source, .. })) if takes_no_writes(&source) => {
                tracing::warn!(folder = %folder.display(), "this folder cannot be written to: open for reading only");
            }
            Err(error @ StoreError::Snapshot(SnapshotError::Locked { .. })) => {
                return Err(anyhow::Error::from(error)
                    .context("open in another process that writes; stop it, or serve with --read-only"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(OpenCollection::new(Store::read(folder, &OpenOptions::default())?))
}

fn takes_no_writes(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

/// Loads the encoders and serves until a stop signal; `on_bound` learns the real address.
pub(crate) fn serve(
    settings: &ServeSettings,
    mut collections: BTreeMap<String, OpenCollection>,
    on_bound: impl FnOnce(SocketAddr),
) -> anyhow::Result<ExitCode> {
    let mut info = AppInfo { access: access(settings)?, ..AppInfo::default() };
    info.library = open_library(settings, &mut collections)?;
    info.host = open_server(settings, &mut collections)?;
    info.audit = audit(settings, info.library.as_ref())?;
    let registry = wiring::registry()?;
    let runtime = wiring::load_runtime(registry.cache(), settings.device)?;
    let mut embedders = Vec::new();
    let protein = settings.protein_model();
    let text = settings.text_encoder.as_ref().map(|id| ModelArgs {
        // Sentences are short and each session holds the weights again, so one is enough unless more are asked for.
        // One that runs elsewhere holds none here.
        workers: if registry.remote(id).is_some() { settings.n_workers } else { settings.n_workers.max(1) },
        ..protein.for_modality(Modality::Text, id)
    });
    let kept = settings.embedding_cache().open(registry.cache());
    let queue = settings.batcher();
    for args in [Some(protein), text].into_iter().flatten() {
        let before = resident_bytes();
        let embedder = wiring::start_embedder_on(&registry, &runtime, &args, queue, true)?;
        let taken = before.zip(resident_bytes()).map(|(before, after)| after.saturating_sub(before));
        let embedder = embedding_cache::keeping(embedder, kept.as_ref());
        info.encoders.push(encoder_info(&registry, settings, &embedder, taken)?);
        embedders.push(embedder);
    }
    collections.iter().try_for_each(|(name, open)| ensure_reachable(&embedders, name, &*open.view()))?;
    let mut engine =
        Engine::new(embedders, collections, settings.limits()).with_perturbation(perturb::shipped()?);
    if settings.recall_sample > 0.0 {
        engine = engine.with_recall(RecallMonitor::start(settings.recall_sample)?);
    }
    let protein = settings.protein_model();
    let encoder = engine.embedder(Some(&protein.encoder), Modality::Protein)?.encoder();
    match wiring::open_language_head(&registry, &runtime, encoder, None) {
        Ok(Some(head)) => engine = engine.with_language_head(Box::new(head)),
        Ok(None) => {}
        // Everything else works without it.
        Err(error) => tracing::warn!(
            error = crate::fault::message(&error),
            "no language head: variants have no marginals"
        ),
    }
    let engine = wiring::calibrated(engine, registry.cache(), &settings.protein_model())?;
    let engine = wiring::with_ppi(engine, registry.cache(), &runtime, settings)?;
    let engine = Arc::new(engine);
    info.jobs = jobs(settings, &engine, info.library.is_some())?;
    let server = ServerSettings {
        listen: settings.listen,
        max_body_bytes: settings.max_body_bytes,
        request_timeout_s: settings.request_timeout_s,
        body_timeout_s: settings.body_timeout_s,
        deadline_s: settings.deadline_s,
        shutdown_timeout_s: settings.shutdown_timeout_s,
        n_http_workers: settings.n_http_workers,
        watch_interval: Duration::from_secs(settings.watch_interval_s),
        tls: tls_files(settings)?,
        cors_origins: settings.cors_origins.clone(),
        ..ServerSettings::default()
    };
    let (listen, is_https) = (settings.listen, server.tls.is_some());
    let served = protext_api::serve(engine, info, server, |address| {
        let scheme = if is_https { "https" } else { "http" };
        println!("listening on {scheme}://{address}");
        on_bound(address);
    });
    actix_web::rt::System::new()
        .block_on(served)
        .with_context(|| format!("cannot serve on {listen}; choose another address with --listen"))?;
    Ok(ExitCode::SUCCESS)
}

/// Who may do what. An address that others reach needs keys, or the word that none are wanted.
fn access(settings: &ServeSettings) -> anyhow::Result<Access> {
    if let Some(path) = &settings.keys {
        let access = Access::with_keys(path).map_err(|error| UsageError(fault::message(&error.into())))?;
        return Ok(access);
    }
    if settings.listen.ip().is_loopback() || settings.without_keys {
        return Ok(Access::open());
    }
    let listen = settings.listen;
    let message = format!(
        "{listen} can be reached from other machines, and no keys are set; make one with `protext keys create` and name \
         the file with --keys, or say --without-keys if whoever reaches the port may do everything"
    );
    Err(UsageError(message).into())
}

fn audit(settings: &ServeSettings, library: Option<&Library>) -> anyhow::Result<Audit> {
    let in_data =
        settings.data.as_ref().filter(|_| library.is_some()).map(|folder| folder.join("audit.jsonl"));
    let Some(path) = settings.audit_log.clone().or(in_data) else { return Ok(Audit::default()) };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    Audit::to_file(&path).with_context(|| format!("cannot write {}", path.display()))
}

/// The collections of the setting `index`, beside those of the settings and the data folder, and the server for new ones.
fn open_server(
    settings: &ServeSettings,
    collections: &mut BTreeMap<String, OpenCollection>,
) -> anyhow::Result<Option<Arc<dyn CollectionHost>>> {
    let Some(address) = &settings.index else { return Ok(None) };
    let (server, own) = qdrant::open_server(address, settings.qdrant, settings.read_only)?;
    for (name, open) in own {
        if collections.insert(name.clone(), open).is_some() {
            let message = format!(
                "collection {name:?} is both here and on the server of the setting index; rename one"
            );
            return Err(UsageError(message).into());
        }
    }
    Ok((!settings.read_only).then(|| Arc::new(server) as Arc<dyn CollectionHost>))
}

/// The service's own collections, beside those of the settings.
fn open_library(
    settings: &ServeSettings,
    collections: &mut BTreeMap<String, OpenCollection>,
) -> anyhow::Result<Option<Library>> {
    let Some(folder) = &settings.data else { return Ok(None) };
    let opened = Library::open(folder, StoreOptions::default());
    if let Err(error) = &opened
        && settings.data_is_optional
    {
        tracing::warn!(%error, folder = %folder.display(), "collections cannot be made over HTTP");
        return Ok(None);
    }
    let (library, own) = opened.with_context(|| format!("data folder {}", folder.display()))?;
    for (name, open) in own {
        if collections.insert(name.clone(), open).is_some() {
            let message = format!(
                "collection {name:?} is in the settings and in the data folder {}; rename one",
                folder.display()
            );
            return Err(UsageError(message).into());
        }
    }
    Ok(Some(library))
}

fn tls_files(settings: &ServeSettings) -> anyhow::Result<Option<TlsFiles>> {
    match (settings.tls_certificate.clone(), settings.tls_key.clone()) {
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key })),
        (None, None) => Ok(None),
        _ => Err(UsageError("HTTPS needs both tls_certificate and tls_key".to_owned()).into()),
    }
}

/// Batch jobs beside the service. Where the default folder cannot be written there are none; one that is named must do.
fn jobs(
    settings: &ServeSettings,
    engine: &Arc<Engine>,
    has_data: bool,
) -> anyhow::Result<Option<JobsAccess>> {
    let place = match settings.jobs.as_deref() {
        Some("none") => return Ok(None),
        Some(place) => Ok(place.to_owned()),
        None => default_jobs(settings, has_data),
    };
    let opened = place.and_then(|place| Ok(Jobs::open(&place)?));
    let jobs = match opened {
        Ok(jobs) => jobs,
        Err(error) if settings.jobs.is_none() => {
            tracing::warn!(error = fault::message(&error), "no batch jobs: say where with --jobs FOLDER");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let way = settings.queue.clone().map_or(Way::Here, Way::Queue);
    let service = JobService::start(jobs, Arc::new(LoadedModels(Arc::clone(engine))), way)?;
    Ok(Some(JobsAccess {
        service: Arc::new(service),
        inputs: settings.job_inputs.clone(),
        max_upload_bytes: settings.max_upload_bytes,
    }))
}

/// In the data folder if there is one; otherwise each address has a folder of its own, so that services of one user do not
/// run each other's jobs.
fn default_jobs(settings: &ServeSettings, has_data: bool) -> anyhow::Result<String> {
    if let Some(data) = settings.data.as_ref().filter(|_| has_data) {
        return Ok(data.join("jobs").to_string_lossy().into_owned());
    }
    let address = settings.listen.to_string().replace(':', "-");
    Ok(format!("{}-of-{address}", super::jobs::default_place()?))
}

/// A collection that no loaded encoder has a way to is a mistake, unless none has a projection at all.
fn ensure_reachable(embedders: &[Embedder], name: &str, view: &dyn CollectionView) -> anyhow::Result<()> {
    let mut spaces = embedders.iter().flat_map(Embedder::joint_spaces).peekable();
    let Some(&main) = spaces.peek() else {
        tracing::warn!(
            name,
            "no projection is loaded: this collection can be searched by id and vector only"
        );
        return Ok(());
    };
    if !spaces.any(|space| view.position_of(space).is_ok()) {
        let refused = view.space().ensure_same("the collection", main, "the encoder's joint space");
        return refused.with_context(|| format!("collection {name:?}"));
    }
    Ok(())
}

fn encoder_info(
    registry: &Registry,
    settings: &ServeSettings,
    embedder: &Embedder,
    memory_bytes: Option<u64>,
) -> anyhow::Result<EncoderInfo> {
    let id = embedder.encoder().id();
    if let Some(manifest) = registry.remote(id) {
        return Ok(EncoderInfo {
            id: id.to_owned(),
            title: manifest.title.clone(),
            licence: manifest.licence.clone(),
            device_asked: "none".to_owned(),
            provider: "runs elsewhere".to_owned(),
            precision: None,
            nodes: BTreeMap::new(),
            proof: None,
            n_workers: embedder.batcher().settings().n_workers,
            memory_bytes,
        });
    }
    let manifest = registry.manifest(id)?;
    let running = embedder.encoder().running().context("a model that runs here says on what")?.clone();
    Ok(EncoderInfo {
        id: id.to_owned(),
        title: manifest.title.clone(),
        licence: manifest.licence.clone(),
        device_asked: settings.device.to_string(),
        provider: running.provider,
        precision: Some(running.precision),
        nodes: running.nodes,
        proof: running.proof,
        n_workers: embedder.batcher().settings().n_workers,
        memory_bytes,
    })
}
