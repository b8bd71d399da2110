//! `protext demo`: the demo proteins indexed, the search checked on held-out relatives, then served.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use protext_core::Modality;
use protext_engine::search::{Query, SearchRequest, search};
use protext_engine::{Embedder, Engine, OpenCollection};
use protext_registry::Cache;
use protext_registry::heads::projection_from_folder;

use super::pair_rows::DEFAULT_TEXT_ENCODER;
use super::{serve, train};
use crate::settings::ServeSettings;
use crate::shipped::Shipped;
use crate::wiring::{self, ModelArgs};

const QUERIES: &str = include_str!("../../demo/queries.fasta");
const SELF_CHECK: &str = include_str!("../../demo/selfcheck.tsv");

/// What to ask first.
const EXAMPLE: &str = r#"{"id": "Q3Z7U4", "k": 3}"#;
/// Shrinkage of a whitening that is fitted on so few proteins.
const SHRINKAGE: f64 = 0.1;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Address to serve on afterwards.
    #[arg(long, value_name = "ADDRESS:PORT", env = "PROTEXT_LISTEN", default_value = "127.0.0.1:8080")]
    listen: std::net::SocketAddr,
    /// Serve other addresses than this machine's own without keys: whoever reaches the port may do everything.
    #[arg(long)]
    without_keys: bool,
    /// Only index and check.
    #[arg(long)]
    check_only: bool,
}

pub(crate) fn run(mut args: Args) -> anyhow::Result<ExitCode> {
    let cache = Cache::from_environment()?;
    if args.model.projection.is_none() {
        args.model.projection = own_whitening(&args.model, &cache)?;
    }
    let embedder = wiring::start_embedder(&args.model, true)?;
    let proteins = Shipped::proteins().open(&cache, &embedder)?;
    let n_wrong = self_check(embedder, &proteins)?;
    if n_wrong > 0 {
        anyhow::bail!("the self-check failed on {n_wrong} queries; type `protext doctor --verify`");
    }
    let mut settings = ServeSettings::load(None, |name| std::env::var(name).ok())?;
    settings.text_encoder = text_encoder(&args.model, &cache, settings.text_encoder)?;
    let mut collections = BTreeMap::from([("demo".to_owned(), proteins)]);
    if let Some(id) = &settings.text_encoder {
        let model = args.model.for_modality(Modality::Text, id);
        let embedder = wiring::start_embedder(&model, true)?;
        for (name, shipped) in [("functions", Shipped::functions()), ("genes", Shipped::genes()?)] {
            collections.insert(name.to_owned(), shipped.open(&cache, &embedder)?);
        }
    }
    if args.check_only {
        return Ok(ExitCode::SUCCESS);
    }
    if settings.data.is_none() {
        // A second demo on this machine, or one on a read-only disk, goes without.
        (settings.data, settings.data_is_optional) = (Some(cache.folder("demo")?.join("own")), true);
    }
    settings.without_keys |= args.without_keys;
    settings.listen = args.listen;
    settings.encoder = args.model.encoder.clone();
    settings.device = args.model.device;
    settings.projection = args.model.projection;
    settings.towers = args.model.towers;
    settings.n_workers = args.model.workers;
    serve::serve(&settings, collections, |address| {
        println!(
            "try: curl -s http://{address}/v1/search -H 'content-type: application/json' -d '{EXAMPLE}'"
        );
        println!("     (or \"text\": \"copper transport across membranes\", or \"sequence\": \"MK...\")");
    })
}

/// The text encoder, where it is here and towers lead from the protein encoder to texts: with it, sentences find proteins
/// and proteins find functions and genes; without it, everything else works.
fn text_encoder(model: &ModelArgs, cache: &Cache, named: Option<String>) -> anyhow::Result<Option<String>> {
    if wiring::find_towers(cache, model)?.is_none() {
        return Ok(named);
    }
    if named.is_some() || wiring::registry()?.ready(DEFAULT_TEXT_ENCODER).is_ok() {
        return Ok(Some(named.unwrap_or_else(|| DEFAULT_TEXT_ENCODER.to_owned())));
    }
    eprintln!("for searches by sentence, type `protext models pull {DEFAULT_TEXT_ENCODER}`");
    Ok(None)
}

/// For an encoder without a projection of its own: a whitening fitted on the demo proteins, kept in the cache.
fn own_whitening(model: &ModelArgs, cache: &Cache) -> anyhow::Result<Option<PathBuf>> {
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
        train::fit_on_proteins(&embedder, &Shipped::proteins().file(cache)?, (None, SHRINKAGE), &folder)?;
    }
    Ok(Some(folder))
}

/// Searches with the held-out proteins and prints the hits; returns how many first hits are of another family.
fn self_check(embedder: Embedder, proteins: &OpenCollection) -> anyhow::Result<usize> {
    let collections = [("demo".to_owned(), proteins.clone())].into();
    let engine = Arc::new(Engine::new(vec![embedder], collections, protext_engine::Limits::default()));
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
        let request = SearchRequest {
            query: Some(query),
            keywords: None,
            filter: None,
            collection: None,
            target: None,
            k: 3,
            exact: false,
            align: true,
            rerank: 0,
        };
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
            let (cosine, id, description) =
                (hit.cosine.unwrap_or_default(), &hit.record.id, &hit.record.description);
            println!("     {cosine:.3}  {id:<11} {identity:>4} identity  {description}");
        }
    }
    Ok(n_wrong)
}
