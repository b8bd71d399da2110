//! `protext serve`: the HTTP API over collections on disk.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use protext_api::{AppInfo, EncoderInfo, ServerSettings};
use protext_engine::{Embedder, Engine, OpenCollection};
use protext_index::Collection;
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
    let collections = settings.collections.iter().map(|(name, folder)| {
        let collection = Collection::open(folder).with_context(|| format!("collection {name:?}"))?;
        Ok((name.clone(), collection))
    });
    let collections = collections.collect::<anyhow::Result<Vec<_>>>()?;
    serve(&settings, collections, |_| ())
}

/// Loads the encoders and serves until a stop signal; `on_bound` learns the real address.
pub(crate) fn serve(
    settings: &ServeSettings,
    collections: Vec<(String, Collection)>,
    on_bound: impl FnOnce(SocketAddr),
) -> anyhow::Result<ExitCode> {
    let registry = wiring::registry()?;
    let runtime = wiring::load_runtime(registry.cache())?;
    let mut embedders = Vec::new();
    let mut info = AppInfo::default();
    let protein = (&settings.encoder, settings.projection.as_ref(), settings.n_workers);
    // Sentences are short and each session holds the weights again, so one is enough unless more are asked for.
    // One that runs elsewhere holds none here.
    let n_text_workers = |id| match registry.remote(id) {
        Some(_) => settings.n_workers,
        None => settings.n_workers.max(1),
    };
    let text = settings.text_encoder.as_ref().map(|id| (id, None, n_text_workers(id)));
    for (id, projection, workers) in [Some(protein), text].into_iter().flatten() {
        let args = ModelArgs {
            encoder: id.clone(),
            device: settings.device,
            workers,
            projection: projection.cloned(),
            towers: settings.towers.clone(),
        };
        let embedder =
            wiring::start_embedder_on(&registry, &runtime, &args, Some(settings.max_queued_tokens), true)?;
        info.encoders.push(encoder_info(&registry, settings, &embedder)?);
        embedders.push(embedder);
    }
    let joint = embedders.iter().find_map(Embedder::joint_space);
    let mut open = BTreeMap::new();
    for (name, collection) in collections {
        match joint {
            Some(space) => {
                collection.space().ensure_same("the collection", space, "the encoder's joint space")?;
            }
            None => tracing::warn!(
                name,
                "no projection is loaded: this collection can be searched by id and vector only"
            ),
        }
        open.insert(name, OpenCollection::new(collection));
    }
    let engine = Arc::new(Engine::new(embedders, open, settings.limits()));
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
