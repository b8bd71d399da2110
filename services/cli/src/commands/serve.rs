//! `protext serve`: the HTTP API over collections on disk.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use protext_api::{AppInfo, EncoderInfo, ServerSettings};
use protext_core::Modality;
use protext_engine::{Embedder, Engine, OpenCollection};
use protext_index::{OpenOptions, Store, View};
use protext_registry::Registry;

use crate::fault::UsageError;
use crate::settings::ServeSettings;
use crate::wiring::{self, ModelArgs};

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  protext serve --collection demo=demo.index\n  \
    PROTEXT_LISTEN=127.0.0.1:9000 protext serve --config protext.toml\n\n\
    Settings are read from the file, then PROTEXT_<NAME>, then flags; docs/API.md lists them.")]
pub(crate) struct Args {
    /// Settings file (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address; port 0 takes a free one and prints it.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// A collection to serve; may be given several times.
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
    /// Text encoder, for searches by text.
    #[arg(long, value_name = "ID")]
    text_encoder: Option<String>,
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
    settings.text_encoder = args.text_encoder.or(settings.text_encoder);
    settings.collections.extend(args.collection);
    let mut collections = BTreeMap::new();
    for (name, folder) in &settings.collections {
        let view = Store::read(folder, &OpenOptions::default());
        let view = view.with_context(|| format!("collection {name:?}"))?;
        collections.insert(name.clone(), OpenCollection::new(view));
    }
    serve(&settings, collections, |_| ())
}

/// Loads the encoders and serves until a stop signal; `on_bound` learns the real address.
pub(crate) fn serve(
    settings: &ServeSettings,
    collections: BTreeMap<String, OpenCollection>,
    on_bound: impl FnOnce(SocketAddr),
) -> anyhow::Result<ExitCode> {
    let registry = wiring::registry()?;
    let runtime = wiring::load_runtime(registry.cache())?;
    let mut embedders = Vec::new();
    let mut info = AppInfo::default();
    let protein = settings.protein_model();
    let text = settings.text_encoder.as_ref().map(|id| ModelArgs {
        // Sentences are short and each session holds the weights again, so one is enough unless more are asked for.
        // One that runs elsewhere holds none here.
        workers: if registry.remote(id).is_some() { settings.n_workers } else { settings.n_workers.max(1) },
        ..protein.for_modality(Modality::Text, id)
    });
    for args in [Some(protein), text].into_iter().flatten() {
        let embedder =
            wiring::start_embedder_on(&registry, &runtime, &args, Some(settings.max_queued_tokens), true)?;
        info.encoders.push(encoder_info(&registry, settings, &embedder)?);
        embedders.push(embedder);
    }
    collections.iter().try_for_each(|(name, open)| ensure_reachable(&embedders, name, &open.view()))?;
    let engine = Engine::new(embedders, collections, settings.limits());
    let engine = Arc::new(wiring::calibrated(engine, registry.cache(), &settings.protein_model())?);
    let server = ServerSettings {
        listen: settings.listen,
        max_body_bytes: settings.max_body_bytes,
        shutdown_timeout_s: settings.shutdown_timeout_s,
        ..ServerSettings::default()
    };
    let listen = settings.listen;
    let served = protext_api::serve(engine, info, server, |address| {
        println!("listening on http://{address}");
        on_bound(address);
    });
    actix_web::rt::System::new()
        .block_on(served)
        .with_context(|| format!("cannot serve on {listen}; choose another address with --listen"))?;
    Ok(ExitCode::SUCCESS)
}

/// A collection that no loaded encoder has a way to is a mistake, unless none has a projection at all.
fn ensure_reachable(embedders: &[Embedder], name: &str, view: &View) -> anyhow::Result<()> {
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
) -> anyhow::Result<EncoderInfo> {
    let id = embedder.encoder().id();
    if let Some(manifest) = registry.remote(id) {
        return Ok(EncoderInfo {
            id: id.to_owned(),
            title: manifest.title.clone(),
            licence: manifest.licence.clone(),
            device_asked: "none".to_owned(),
            provider: "runs elsewhere",
            n_workers: embedder.batcher().settings().n_workers,
        });
    }
    let manifest = registry.manifest(id)?;
    Ok(EncoderInfo {
        id: id.to_owned(),
        title: manifest.title.clone(),
        licence: manifest.licence.clone(),
        device_asked: settings.device.to_string(),
        provider: settings.device.resolve()?.provider(),
        n_workers: embedder.batcher().settings().n_workers,
    })
}
