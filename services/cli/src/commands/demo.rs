//! `protext demo`: the demo proteins indexed, the search checked on held-out relatives, then served.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use protext_engine::search::{Query, SearchRequest, search};
use protext_engine::{Engine, OpenCollection};
use protext_index::{Collection, IndexKind};
use protext_registry::Cache;
use protext_registry::heads::projection_from_folder;
use sha2::{Digest as _, Sha256};

use super::embed::{FailedFile, RecordArgs, output_space};
use super::pair_rows::DEFAULT_TEXT_ENCODER;
use super::{index, serve, train};
use crate::settings::ServeSettings;
use crate::wiring::{self, ModelArgs};

const PROTEINS: &str = include_str!("../../demo/proteins.fasta");
const QUERIES: &str = include_str!("../../demo/queries.fasta");
const SELF_CHECK: &str = include_str!("../../demo/selfcheck.tsv");

/// Shrinkage of a whitening that is fitted on so few proteins.
const SHRINKAGE: f64 = 0.1;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Address to serve on afterwards.
    #[arg(long, value_name = "ADDRESS:PORT", env = "PROTEXT_LISTEN", default_value = "127.0.0.1:8080")]
    listen: std::net::SocketAddr,
    /// Only index and check.
    #[arg(long)]
    check_only: bool,
}

pub(crate) fn run(mut args: Args) -> anyhow::Result<ExitCode> {
    let cache = Cache::from_environment()?;
    let fasta = cache.folder("demo")?.join("proteins.fasta");
    // What is there is left alone: the cache of a container may be read-only.
    if std::fs::read(&fasta).is_ok_and(|there| there == PROTEINS.as_bytes()) {
        tracing::debug!("the demo proteins are in the cache");
    } else {
        Cache::put(&fasta, PROTEINS.as_bytes())?;
    }
    if args.model.projection.is_none() {
        args.model.projection = own_whitening(&args.model, &cache, &fasta)?;
    }
    let folder = prepare(&args.model, &cache, &fasta)?;
    let n_wrong = self_check(&args.model, &folder)?;
    if n_wrong > 0 {
        anyhow::bail!("the self-check failed on {n_wrong} queries; type `protext doctor --verify`");
    }
    if args.check_only {
        return Ok(ExitCode::SUCCESS);
    }
    let mut settings = ServeSettings::load(None, |name| std::env::var(name).ok())?;
    settings.listen = args.listen;
    settings.encoder = args.model.encoder.clone();
    settings.device = args.model.device;
    settings.projection = args.model.projection;
    settings.towers = args.model.towers;
    settings.text_encoder = settings.text_encoder.or_else(text_encoder_that_is_here);
    settings.n_workers = args.model.workers;
    let body = r#"{"id": "Q3Z7U4", "k": 3}"#;
    serve::serve(&settings, vec![("demo".to_owned(), Collection::open(&folder)?)], |address| {
        println!("try: curl -s http://{address}/v1/search -H 'content-type: application/json' -d '{body}'");
        println!("     (or \"text\": \"copper transport across membranes\", or \"sequence\": \"MK...\")");
    })
}

/// With the text encoder, the demo is searched by sentence, too; without it, by everything else.
fn text_encoder_that_is_here() -> Option<String> {
    let is_here = wiring::registry().is_ok_and(|registry| registry.ready(DEFAULT_TEXT_ENCODER).is_ok());
    if !is_here {
        eprintln!("for searches by sentence, type `protext models pull {DEFAULT_TEXT_ENCODER}`");
    }
    is_here.then(|| DEFAULT_TEXT_ENCODER.to_owned())
}

/// For an encoder without a projection of its own: a whitening fitted on the demo proteins, kept in the cache.
fn own_whitening(model: &ModelArgs, cache: &Cache, fasta: &Path) -> anyhow::Result<Option<PathBuf>> {
    if protext_registry::heads::projection_for(cache, &model.encoder)?.is_some() {
        return Ok(None);
    }
    let folder = cache.folder("demo")?.join(format!("{}-whitened", model.encoder));
    let embedder = wiring::start_embedder(model, false)?;
    let is_current = projection_from_folder(&folder).is_ok_and(|head| {
        embedder.encoder().space(head.card.row_kind).is_some_and(|space| *space == head.card.input_space)
    });
    if !is_current {
        eprintln!("no projection ships for {}: whitening it on the demo proteins", model.encoder);
        train::fit_on_proteins(&embedder, fasta, (None, SHRINKAGE), &folder)?;
    }
    Ok(Some(folder))
}

/// The demo collection, built unless it is there in the right space.
fn prepare(model: &ModelArgs, cache: &Cache, fasta: &Path) -> anyhow::Result<PathBuf> {
    let content = hex::encode(Sha256::digest(PROTEINS));
    let folder = cache.folder("demo")?.join(format!("{}-{}", model.encoder, &content[..12]));
    let embedder = wiring::start_embedder(model, true)?;
    output_space(&embedder, true)?;
    let is_current = |collection: Collection| embedder.joint_spaces().eq(collection.spaces());
    if Collection::open(&folder).is_ok_and(is_current) {
        return Ok(folder);
    }
    let records = RecordArgs::default();
    let mut failed = FailedFile::new(folder.with_extension("failed.tsv"));
    let stop = crate::interrupt::flag()?;
    let collection = index::build_collection(&embedder, fasta, &records, IndexKind::Auto, stop, &mut failed)?;
    collection.save(&folder)?;
    println!("indexed {} proteins in {}", collection.len(), collection.space());
    Ok(folder)
}

/// Searches with the held-out proteins and prints the hits; returns how many first hits are of another family.
fn self_check(model: &ModelArgs, folder: &std::path::Path) -> anyhow::Result<usize> {
    let embedder = wiring::start_embedder(model, true)?;
    let open = OpenCollection::new(Collection::open(folder)?);
    let engine = Arc::new(Engine::new(
        vec![embedder],
        [("demo".to_owned(), open)].into(),
        protext_engine::Limits::default(),
    ));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let options = protext_engine::input::InputOptions::new(protext_core::Modality::Protein);
    let records = protext_engine::input::open_stream(
        "demo queries".to_owned(),
        Box::new(QUERIES.as_bytes()),
        &options,
    )?;
    let mut n_wrong = 0;
    println!("self-check: proteins held out of the collection look for their relatives");
    for record in records {
        let record = record?;
        let row = SELF_CHECK.lines().map(|line| line.split('\t').collect::<Vec<_>>());
        let row = row.into_iter().find(|row| row.first() == Some(&record.id.as_str()));
        let (family, expected) = row
            .and_then(|row| Some((row.get(1).copied()?, row.get(2).copied()?)))
            .context("a query without a row in selfcheck.tsv")?;
        let query = Query::Sequence(record.payload.as_str().to_owned());
        let request = SearchRequest { query, collection: None, k: 3, exact: false, align: true };
        let answer = runtime.block_on(search(&engine, request))?;
        let first = answer.hits.first().map_or("", |hit| hit.record.description.as_str());
        let is_right = first.to_lowercase().contains(expected);
        n_wrong += usize::from(!is_right);
        println!(
            "\n{} {}: {family} ({})",
            if is_right { "ok  " } else { "FAIL" },
            record.id,
            record.organism.unwrap_or_default()
        );
        for hit in &answer.hits {
            let identity = hit
                .alignment
                .as_ref()
                .map_or("-".to_owned(), |found| format!("{:.0}%", found.identity_percent));
            let (cosine, id, description) = (hit.cosine, &hit.record.id, &hit.record.description);
            println!("     {cosine:.3}  {id:<11} {identity:>4} identity  {description}");
        }
    }
    Ok(n_wrong)
}
