//! `protext eval retrieval`: does a protein find its text, and a text its protein?
//!
//! Candidates are the pairs of the split whose text no other row carries. The baseline is chance: nothing but a trained
//! pair of towers compares proteins with texts.

use std::path::PathBuf;
use std::process::ExitCode;

use ndarray::Array2;
use protext_core::{EncoderRow, Modality, Projection as _};
use protext_engine::eval::{Retrieval, RetrievalMetrics, TextPair, retrieval};
use protext_onnx::OnnxProjection;
use protext_registry::heads::{towers_for, towers_from_folder};
use protext_train::contrastive::ranks;
use serde::Serialize;

use super::write_json;
use crate::commands::pair_rows::{PairArgs, protein_rows, sentence_rows};
use crate::fault::UsageError;
use crate::wiring;

#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  protext eval retrieval --data protein_text.tsv.gz --split test --json retrieval.json"
)]
pub(crate) struct Args {
    #[command(flatten)]
    pairs: PairArgs,
    /// Part to measure on.
    #[arg(long, default_value = "test")]
    split: String,
    /// Towers in a folder of their own instead of those that ship for the protein encoder.
    #[arg(long, value_name = "FOLDER")]
    towers: Option<PathBuf>,
    /// Where the figures go as JSON; - for standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report<'a> {
    task: &'static str,
    data: String,
    split: &'a str,
    encoder: &'a str,
    text_encoder: &'a str,
    space: String,
    n: usize,
    #[serde(flatten)]
    ours: Retrieval,
    baselines: Baselines,
}

/// What guessing would give.
#[derive(Serialize)]
struct Baselines {
    chance_recall_at_1: f64,
    chance_recall_at_10: f64,
    chance_recall_at_50: f64,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let table = args.pairs.read()?;
    let rows = table.in_split(&args.pairs.data, &args.split)?;
    let pairs = rows.into_iter().map(|row| &table.pairs[row]).filter(|pair| pair.n_same_text == 1);
    let pairs: Vec<&TextPair> = pairs.collect();
    let registry = wiring::registry()?;
    let towers = match &args.towers {
        Some(folder) => Some(towers_from_folder(folder)?),
        None => towers_for(registry.cache(), &args.pairs.encoder)?,
    };
    let id = &args.pairs.encoder;
    let towers =
        towers.ok_or_else(|| UsageError(format!("no towers ship for {id}; give some by --towers")))?;
    let runtime = wiring::load_runtime(registry.cache())?;
    let (protein, text) = (args.pairs.protein_embedder()?, args.pairs.text_embedder()?);
    let open = |modality| wiring::open_tower(&runtime, &towers, modality);
    let proteins = project(&open(Modality::Protein)?, &protein_rows(&protein, &pairs)?)?;
    let texts = project(&open(Modality::Text)?, &sentence_rows(&text, &pairs)?.text_rows())?;
    let found = ranks(&proteins.view(), &texts.view());
    let groups: Vec<&str> = pairs.iter().map(|pair| pair.group.as_str()).collect();
    let n = pairs.len();
    let chance = |k: usize| (k as f64 / n as f64).min(1.0);
    let report = Report {
        task: "retrieval",
        data: args.pairs.data.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        split: &args.split,
        encoder: &args.pairs.encoder,
        text_encoder: &args.pairs.text_encoder,
        space: towers.card.space().to_string(),
        n,
        ours: retrieval(&found.by_protein, &found.by_text, &groups),
        baselines: Baselines {
            chance_recall_at_1: chance(1),
            chance_recall_at_10: chance(10),
            chance_recall_at_50: chance(50),
        },
    };
    print(&report);
    write_json(args.json.as_deref(), &report)?;
    Ok(ExitCode::SUCCESS)
}

fn project(tower: &OnnxProjection, rows: &Array2<f32>) -> anyhow::Result<Array2<f32>> {
    let rows = rows.rows().into_iter().map(|row| EncoderRow::new(row.to_vec()));
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    let vectors = tower.project(&rows.iter().collect::<Vec<_>>())?;
    let values: Vec<f32> = vectors.iter().flat_map(|vector| vector.as_slice()).copied().collect();
    Ok(Array2::from_shape_vec((vectors.len(), tower.space().dim), values)?)
}

fn print(report: &Report<'_>) {
    println!("{} pairs of split {} in {}; 95% intervals by group", report.n, report.split, report.data);
    println!(
        "{:<18} {:>22} {:>22} {:>22} {:>22} {:>12}",
        "", "recall@1", "recall@10", "recall@50", "MRR", "median rank"
    );
    line("protein to text", &report.ours.protein_to_text);
    line("text to protein", &report.ours.text_to_protein);
    let chance = &report.baselines;
    println!(
        "{:<18} {:>22.3} {:>22.3} {:>22.3}",
        "chance", chance.chance_recall_at_1, chance.chance_recall_at_10, chance.chance_recall_at_50
    );
}

fn line(name: &str, metrics: &RetrievalMetrics) {
    let cell = |key: &str| {
        let interval = metrics.intervals[key];
        format!("{:.3} [{:.3}, {:.3}]", interval.mean, interval.low, interval.high)
    };
    let cells = ["recall_at_1", "recall_at_10", "recall_at_50", "mrr"].map(cell);
    println!(
        "{name:<18} {:>22} {:>22} {:>22} {:>22} {:>12.1}",
        cells[0], cells[1], cells[2], cells[3], metrics.median_rank
    );
}
