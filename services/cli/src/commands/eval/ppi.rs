//! `protext eval ppi`: does the head tell pairs of proteins that interact from pairs that do not?
//!
//! Pairs with a protein without a sequence are counted and left out. Intervals resample proteins, since pairs of one protein
//! are not independent.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ndarray::{Array2, Axis};
use protext_engine::eval::{BinaryMetrics, Interval, Reliability, Resampling, binary, reliability};
use protext_engine::heads::{Interaction, InteractionOptions, InteractionTable};
use protext_engine::ppi::Partner;
use protext_train::heads::{Examples, Spec, Targets, Validation, fit};
use serde::Serialize;

use super::{reliability_plot, reliability_table, write_json, write_text};
use crate::commands::feature_rows::{Content, FeatureSources};
use crate::commands::pair_rows::find_sequences;
use crate::commands::ppi_model;
use crate::wiring::{self, ModelArgs};

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    protext eval ppi --data bernett_test.tsv.gz --split test --json ppi.json\n  \
    protext eval ppi --data bernett_test.tsv.gz --train bernett_train.tsv.gz --markdown ppi.md --plot ppi.svg\n  \
    protext eval ppi --data pairs.csv --sequences proteins.fasta --head my-head")]
pub(crate) struct Args {
    /// Table of pairs with protein_a, protein_b, label (1 or 0) and perhaps split: TSV, CSV, JSON lines or Parquet.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Part to measure on; a table without a column split counts as a whole.
    #[arg(long, default_value = "test")]
    split: String,
    /// FASTA or tables with id and sequence; by default the tables in ../proteins beside --data, or in
    /// $PROTEXT_SHARED/data/proteins.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    sequences: Vec<PathBuf>,
    /// Pairs that the baseline, a logistic regression, is fitted on; without them it is left out.
    #[arg(long, value_name = "FILE")]
    train: Option<PathBuf>,
    /// Head in a folder of its own instead of the one that ships for the encoder.
    #[arg(long, value_name = "FOLDER")]
    head: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    /// Where the figures go as JSON; - for standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the figures go as tables in Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Where the reliability diagram goes, as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report<'a> {
    task: &'static str,
    data: String,
    split: &'a str,
    head: &'a str,
    encoder: &'a str,
    #[serde(flatten)]
    ours: BinaryMetrics,
    /// Pairs left out since a protein has no sequence.
    n_without_sequence: usize,
    /// Pairs left out since they repeat an earlier one.
    n_repeated: usize,
    n_proteins: usize,
    /// Proteins whose very sequence was trained on.
    n_proteins_in_training: usize,
    confidence: Reliability,
    baselines: BTreeMap<String, Ranking>,
}

/// Of a score that is no probability.
#[derive(Serialize)]
struct Ranking {
    auprc: Interval,
    auroc: Interval,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let table = read(&args, &args.data)?;
    let places = table.in_split(&args.data, &args.split)?;
    let labels = table.labels(&args.data, &places, &format!(" of split {:?}", args.split))?;
    let pairs: Vec<&Interaction> = places.iter().map(|&place| &table.pairs[place]).collect();
    let members: Vec<(usize, usize)> = pairs.iter().map(|pair| (pair.a, pair.b)).collect();
    let registry = wiring::registry()?;
    let runtime = wiring::load_runtime(registry.cache(), args.model.device)?;
    let predictor = ppi_model::open_for(registry.cache(), &runtime, &args.model, args.head.as_ref())?;
    let sources = FeatureSources::for_head(predictor.head().card(), &args.model, &runtime)?;
    let proteins = ppi_model::parsed(&table.proteins)?;
    let partners = ppi_model::partners(&predictor, &sources, &proteins)?;
    let scored = predictor.pairs(&partners, &members)?;
    let probabilities: Vec<f64> = scored.iter().map(|scored| scored.probability).collect();
    let answers: Vec<(f64, bool)> = probabilities.iter().copied().zip(labels.iter().copied()).collect();
    let resampling = Resampling::Members(&members);
    let measured = |scores: &[f64]| ranking(scores, &labels, resampling);
    let rows = Rows::new(&sources, &proteins)?;
    let mut baselines = BTreeMap::new();
    for (name, scores) in rows.cosines(&members) {
        baselines.insert(name, measured(&scores));
    }
    let lengths = |place: usize| (proteins[place].1.len() as f64).ln();
    let by_length: Vec<f64> = members.iter().map(|&(a, b)| -(lengths(a) + lengths(b))).collect();
    baselines.insert("short proteins".to_owned(), measured(&by_length));
    if let Some(train) = &args.train {
        let scores = logistic(&args, train, &sources, (&rows, &members))?;
        baselines.insert("logistic regression on the product".to_owned(), measured(&scores));
    }
    let measured_places: BTreeSet<usize> = members.iter().flat_map(|&(a, b)| [a, b]).collect();
    let used: Vec<&Partner> = measured_places.into_iter().map(|place| &partners[place]).collect();
    let card = predictor.head().card();
    let report = Report {
        task: "ppi",
        data: args.data.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        split: &args.split,
        head: &card.id,
        encoder: &args.model.encoder,
        ours: binary(&probabilities, &labels, resampling),
        n_without_sequence: table.n_without_sequence,
        n_repeated: table.n_repeated,
        n_proteins: used.len(),
        n_proteins_in_training: used.iter().filter(|partner| partner.in_training).count(),
        confidence: reliability(&answers),
        baselines,
    };
    if args.json.as_deref() != Some(Path::new("-")) {
        print(&report);
    }
    write_json(args.json.as_deref(), &report)?;
    write_text(args.markdown.as_deref(), &markdown(&report))?;
    if let Some(path) = &args.plot {
        let plot = reliability_plot::draw("probability that two proteins interact", &report.confidence)?;
        write_text(Some(path), &plot)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read(args: &Args, path: &Path) -> anyhow::Result<InteractionTable> {
    let sequences = if args.sequences.is_empty() { find_sequences(path) } else { args.sequences.clone() };
    let options = InteractionOptions { columns: None, sequences, labelled: true, strict: false };
    let table = InteractionTable::read(path, &options)?;
    ppi_model::tell_left_out(path, &table);
    Ok(table)
}

fn ranking(scores: &[f64], labels: &[bool], resampling: Resampling<'_>) -> Ranking {
    // Ranks alone matter, but bins of probabilities want 0 to 1.
    let (low, high) = scores.iter().fold((f64::MAX, f64::MIN), |(low, high), &s| (low.min(s), high.max(s)));
    let width = (high - low).max(f64::MIN_POSITIVE);
    let scaled: Vec<f64> = scores.iter().map(|score| (score - low) / width).collect();
    let found = binary(&scaled, labels, resampling);
    Ranking { auprc: found.intervals["auprc"], auroc: found.intervals["auroc"] }
}

/// What the head reads, centred and scaled by the proteins themselves, without labels.
struct Rows {
    values: Array2<f32>,
    /// Name and width of each part.
    parts: Vec<(String, usize)>,
}

impl Rows {
    fn new(sources: &FeatureSources, proteins: &[(String, String)]) -> anyhow::Result<Self> {
        let contents: Vec<Content<'_>> =
            proteins.iter().map(|(id, sequence)| Content { id, sequence, text: "" }).collect();
        let cards = sources.cards();
        let parts = cards.into_iter().map(|card| (format!("{} rows", card.kind), card.space.dim)).collect();
        Ok(Self { values: sources.rows(&contents)?, parts })
    }

    /// Cosine of the two proteins of each pair, in each part.
    fn cosines(&self, pairs: &[(usize, usize)]) -> Vec<(String, Vec<f64>)> {
        let mut start = 0;
        let mut found = Vec::with_capacity(self.parts.len());
        for (name, width) in &self.parts {
            let part = self.values.slice(ndarray::s![.., start..start + width]);
            start += width;
            let mut rows = protext_train::heads::Standardizer::fit(&part).apply(&part);
            for mut row in rows.rows_mut() {
                let norm = row.dot(&row).sqrt().max(f32::MIN_POSITIVE);
                row /= norm;
            }
            let cosine = |&(a, b): &(usize, usize)| f64::from(rows.row(a).dot(&rows.row(b)));
            found.push((format!("cosine of {name}"), pairs.iter().map(cosine).collect()));
        }
        found
    }
}

/// Scores of a logistic regression on the product of the two proteins' standardised rows, fitted on other pairs.
fn logistic(
    args: &Args,
    train: &Path,
    sources: &FeatureSources,
    (rows, pairs): (&Rows, &[(usize, usize)]),
) -> anyhow::Result<Vec<f64>> {
    /// Training pairs at most: more change little for so few parameters.
    const MAX_PAIRS: usize = 40_000;
    /// In units of rows.
    const PENALTY: f64 = 1_000.0;
    let table = read(args, train)?;
    let proteins = ppi_model::parsed(&table.proteins)?;
    let known = Rows::new(sources, &proteins)?;
    let standardizer = protext_train::heads::Standardizer::fit(&known.values.view());
    let step = table.pairs.len().div_ceil(MAX_PAIRS).max(1);
    let chosen: Vec<&Interaction> = table.pairs.iter().step_by(step).collect();
    let product = |rows: &Array2<f32>, pairs: &[(usize, usize)]| {
        let side = |at: fn(&(usize, usize)) -> usize| {
            rows.select(Axis(0), &pairs.iter().map(at).collect::<Vec<_>>())
        };
        side(|pair| pair.0) * side(|pair| pair.1)
    };
    let members: Vec<(usize, usize)> = chosen.iter().map(|pair| (pair.a, pair.b)).collect();
    let of_row = chosen.iter().map(|pair| u32::from(pair.label == Some(true))).collect();
    let targets = Targets::Classes { of_row, n_classes: 2 };
    let fitted_on = product(&standardizer.apply(&known.values.view()), &members);
    let examples = Examples { rows: fitted_on.view(), targets: &targets, weights: None };
    let none = Array2::zeros((0, fitted_on.ncols()));
    let validation = Validation { rows: none.view(), score: &|_| 0.0 };
    let model = fit(examples, validation, &Spec::Logistic { penalty: PENALTY }, &mut |_| true)?;
    let outputs = model.apply(&product(&standardizer.apply(&rows.values.view()), pairs).view())?;
    Ok(outputs.rows().into_iter().map(|row| f64::from(row[1] - row[0])).collect())
}

fn print(report: &Report<'_>) {
    println!(
        "{} pairs of {} proteins ({} trained on) of split {} in {}; {} left out without a sequence; 95% intervals by protein",
        report.ours.n,
        report.n_proteins,
        report.n_proteins_in_training,
        report.split,
        report.data,
        report.n_without_sequence
    );
    for (name, interval) in &report.ours.intervals {
        println!("{name:<10} {interval}");
    }
    for (name, found) in &report.baselines {
        println!("{name:<36} AUPRC {} AUROC {}", found.auprc, found.auroc);
    }
}

fn markdown(report: &Report<'_>) -> String {
    let ours = |name: &str| report.ours.intervals[name].to_string();
    let mut page = format!(
        "# Interactions of proteins\n\n{} pairs of {} proteins, split {} of `{}` ({} pairs left out without a sequence; {} of \
         the proteins were trained on). Head `{}`, encoder `{}`. 95% intervals resample proteins. What was tried: \
         [ppi_method.md](ppi_method.md).\n\n\
         | | AUPRC | AUROC | accuracy | F1 | ECE |\n|---|---|---|---|---|---|\n\
         | Protext | {} | {} | {} | {} | {} |\n",
        report.ours.n,
        report.n_proteins,
        report.split,
        report.data,
        report.n_without_sequence,
        report.n_proteins_in_training,
        report.head,
        report.encoder,
        ours("auprc"),
        ours("auroc"),
        ours("accuracy"),
        ours("f1"),
        ours("ece"),
    );
    for (name, found) in &report.baselines {
        let _ = writeln!(page, "| {name} | {} | {} | | | |", found.auprc, found.auroc);
    }
    let rate = report.ours.positive_rate;
    let _ = writeln!(page, "| guessing | {rate:.3} | 0.500 | | | |");
    let _ = write!(
        page,
        "\nProbabilities against what is true:\n\n{}",
        reliability_table("probability", "pairs", &report.confidence)
    );
    page
}
