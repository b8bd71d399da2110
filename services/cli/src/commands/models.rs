//! `protext models`: the registry at the terminal.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use protext_core::card::{CardData, ProjectionCard};
use protext_core::{Modality, RowKind};
use protext_onnx::{Device, projection_widths};
use protext_registry::cache::sha256_of;
use protext_registry::convert::{ConvertRequest, GraphOptions, convert, convert_language_head};
use protext_registry::{Cache, Manifest, Registry};

use crate::fault::UsageError;
use crate::progress::Downloads;
use crate::{remote, wiring};

#[derive(Subcommand)]
pub(crate) enum Args {
    /// List known encoders and which are here.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Fetch an encoder, verify it, convert it to ONNX.
    #[command(
        after_help = "Behind a mirror: HF_ENDPOINT=https://mirror.example protext models pull esm2_t6_8M\n\
                            Without a network: copy the files by hand, then --from FOLDER"
    )]
    Pull {
        /// Encoder id.
        id: String,
        /// Take the files from this folder instead of the manifest's sources.
        #[arg(long, value_name = "FOLDER")]
        from: Option<PathBuf>,
    },
    /// Convert a checkpoint of your own (ESM-2 or BERT family) to ONNX.
    Convert {
        /// model.safetensors, pytorch_model.bin, or their index; several for shards.
        #[arg(required = true)]
        checkpoint: Vec<PathBuf>,
        /// The checkpoint's config.json.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Where the ONNX file goes.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Layers (from 1) whose mean and variance become outputs.
        #[arg(long, value_name = "LAYERS", value_delimiter = ',')]
        statistics_layers: Vec<u32>,
    },
    /// Take over a published adapter (ONNX, one input, one output) as the projection of an encoder.
    #[command(after_help = "Example (ProteinCLIP's adapters, which read unit rows):\n  \
            protext models import proteinclip_esm2_6.onnx --encoder esm2_t6_8M --unit-rows -o proteinclip\n  \
            protext index build proteome.fasta --encoder esm2_t6_8M --projection proteinclip -o proteome.index")]
    Import {
        /// The adapter.
        adapter: PathBuf,
        /// Encoder whose pooled rows it reads.
        #[arg(long, value_name = "ID")]
        encoder: String,
        /// Scale rows to unit norm first.
        #[arg(long)]
        unit_rows: bool,
        /// Where it comes from, for its card.
        #[arg(long, default_value = "")]
        source: String,
        /// Folder for head.onnx and card.toml.
        #[arg(short, long, value_name = "FOLDER")]
        output: PathBuf,
    },
    /// Hash an encoder's files again and compare.
    Verify {
        /// Encoder id.
        id: String,
    },
    /// Show one manifest.
    Info {
        /// Encoder id.
        id: String,
    },
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args {
        Args::List { json } => list(&wiring::registry()?, json)?,
        Args::Pull { id, from } => pull(&wiring::registry()?, &id, from)?,
        Args::Convert { checkpoint, config, output, statistics_layers } => {
            let mut request = ConvertRequest::new(checkpoint, config, output);
            request.options = GraphOptions { statistics_layers, ..GraphOptions::default() };
            let converted = convert(&request)?;
            let (family, dim, layers) = (converted.family, converted.dim, converted.n_layers);
            println!("{}: {family}, {dim} dimensions, {layers} layers", converted.model.display());
            let head = converted.model.with_extension("lm_head.onnx");
            if let Some(head) = convert_language_head(&request, &head)? {
                println!("{}: the checkpoint's language head", head.display());
            }
        }
        Args::Import { adapter, encoder, unit_rows, source, output } => {
            let card = import(&adapter, &encoder, unit_rows, source, &output)?;
            println!("{}: {} to {} dimensions", card.id, card.input_space, card.dim);
            println!("use it with --projection {}", output.display());
        }
        Args::Verify { id } => {
            let registry = wiring::registry()?;
            match registry.remote(&id) {
                Some(manifest) => println!("{id}: nothing to verify; {}", remote::where_it_runs(manifest)),
                None => {
                    registry.verify(&id)?;
                    println!("{id}: every file has the sha256 that it had when it was fetched");
                }
            }
        }
        Args::Info { id } => info(&wiring::registry()?, &id)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(registry: &Registry, json: bool) -> anyhow::Result<()> {
    let here = |manifest: &Manifest| registry.ready(&manifest.id).is_ok();
    if json {
        let rows = registry.manifests().map(|manifest| {
            serde_json::json!({
                "id": manifest.id, "title": manifest.title, "modality": manifest.modality,
                "dim": manifest.dim, "licence": manifest.licence, "here": here(manifest),
            })
        });
        let elsewhere = registry.remotes().map(|manifest| {
            serde_json::json!({
                "id": manifest.id, "title": manifest.title, "modality": manifest.modality, "dim": manifest.dim,
                "licence": manifest.licence, "here": false, "remote": true, "has_key": remote::has_key(manifest),
            })
        });
        println!("{}", serde_json::to_string_pretty(&rows.chain(elsewhere).collect::<Vec<_>>())?);
        return Ok(());
    }
    println!("{:<28} {:<8} {:>5}  {:<5} title", "id", "reads", "dim", "here");
    for manifest in registry.manifests() {
        let (modality, here) = (manifest.modality.to_string(), if here(manifest) { "yes" } else { "-" });
        println!("{:<28} {modality:<8} {:>5}  {here:<5} {}", manifest.id, manifest.dim, manifest.title);
    }
    for manifest in registry.remotes() {
        let (modality, key) =
            (manifest.modality.to_string(), if remote::has_key(manifest) { "key" } else { "nokey" });
        println!("{:<28} {modality:<8} {:>5}  {key:<5} {}", manifest.id, manifest.dim, manifest.title);
    }
    Ok(())
}

fn pull(registry: &Registry, id: &str, from: Option<PathBuf>) -> anyhow::Result<()> {
    if let Some(manifest) = registry.remote(id) {
        println!("{id}: nothing to fetch; {}", remote::where_it_runs(manifest));
        println!("{id}: {}", remote::key_state(manifest));
        return Ok(());
    }
    let progress = Downloads::default();
    let model = match from {
        Some(folder) => registry.pull_from_folder(id, &folder, &progress)?,
        None => registry.pull(id, &progress)?,
    };
    println!("{id}: {}", model.manifest.title);
    println!("{id}: converted graph at {}", model.onnx.display());
    Ok(())
}

fn import(
    adapter: &Path,
    encoder: &str,
    unit_rows: bool,
    source: String,
    output: &Path,
) -> anyhow::Result<ProjectionCard> {
    let registry = wiring::registry()?;
    let runtime = wiring::load_runtime(registry.cache(), Device::Cpu)?;
    let input_space = wiring::pooled_space(&registry, &runtime, encoder)?;
    let (n_inputs, dim) = projection_widths(&runtime, adapter)?;
    if n_inputs != input_space.dim {
        let found = input_space.dim;
        let message =
            format!("{} reads {n_inputs} components, but {encoder} gives {found}", adapter.display());
        return Err(UsageError(message).into());
    }
    std::fs::create_dir_all(output).with_context(|| format!("cannot create {}", output.display()))?;
    let head = output.join("head.onnx");
    Cache::put(
        &head,
        &std::fs::read(adapter).with_context(|| format!("cannot read {}", adapter.display()))?,
    )?;
    let name = adapter.file_stem().unwrap_or_default().to_string_lossy();
    let card = ProjectionCard {
        id: format!("{name}-of-{encoder}"),
        encoder: encoder.to_owned(),
        row_kind: RowKind::Pooled,
        unit_rows,
        dim,
        head_sha256: sha256_of(&head)?,
        method: "imported as it was published".to_owned(),
        input_space,
        data: CardData {
            source,
            split: "unknown".to_owned(),
            split_rule: "unknown: it may have seen what our splits hold out".to_owned(),
            n_rows: 0,
            sha256: String::new(),
        },
        metrics: BTreeMap::new(),
        measured_by: String::new(),
        homology: None,
    };
    Cache::put(&output.join("card.toml"), toml::to_string(&card)?.as_bytes())?;
    Ok(card)
}

fn info(registry: &Registry, id: &str) -> anyhow::Result<()> {
    if let Some(manifest) = registry.remote(id) {
        remote::print_info(manifest, registry.cache());
        return Ok(());
    }
    let manifest = registry.manifest(id)?;
    let unit = if manifest.modality == Modality::Protein { "residues" } else { "tokens" };
    println!("{}\n{}", manifest.id, manifest.title);
    println!("licence     {}", manifest.licence);
    println!("rows        {} dimensions, pooling {:?}", manifest.dim, manifest.pooling);
    println!(
        "window      {} {unit}, overlap {}, long inputs: {:?}",
        manifest.window, manifest.overlap, manifest.long
    );
    println!("statistics  layers {:?}", manifest.statistics_layers);
    for source in &manifest.sources {
        println!("source      {}", source.describe());
        for file in source.files() {
            println!("            {} sha256 {}", file.path, file.sha256);
        }
    }
    println!("notes       {}", manifest.notes);
    match registry.ready(id) {
        Ok(model) => println!("here        {}", model.onnx.display()),
        Err(_) => println!("here        no; type `protext models pull {id}`"),
    }
    Ok(())
}
