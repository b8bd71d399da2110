//! `protext eval retrieval`: does a protein find its text, and a text its protein?
//!
//! Candidates are the pairs of the split whose text no other row carries. The baseline is chance: nothing but a trained
//! pair of towers compares proteins with texts.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use ndarray::ArrayView2;
use protext_core::Modality;
use protext_core::card::Calibration;
use protext_engine::eval::{
    PairTable, Reliability, Retrieval, RetrievalMetrics, TextPair, reliability, retrieval,
};
use protext_registry::heads::{towers_for, towers_from_folder};
use protext_train::contrastive::ranks;
use serde::Serialize;

use super::{reliability_plot, reliability_table, table_row, write_json, write_text};
use crate::commands::feature_rows::project;
use crate::commands::pair_rows::PairArgs;
use crate::commands::train::SPLIT_FILE;
use crate::fault::UsageError;
use crate::wiring;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    protext eval retrieval --data protein_text.tsv.gz --split test --json retrieval.json\n  \
    protext eval retrieval --data protein_text.tsv.gz --towers my-towers --markdown retrieval.md --plot confidence.svg")]
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
    /// Where the figures go as tables in Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Where the reliability diagram of the confidences goes, as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
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
    /// Of the confidence of each protein's first text, where the towers' card has a calibration.
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<Reliability>,
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
    let files = args.pairs.row_files()?;
    let mut table = args.pairs.read(&files)?;
    if let Some(folder) = args.towers.as_deref().filter(|_| !table.has_split()) {
        take_split(&folder.join(SPLIT_FILE), &mut table)?;
    }
    let rows = table.in_split(&args.pairs.data, &args.split)?;
    let pairs = rows.into_iter().map(|row| &table.pairs[row]).filter(|pair| pair.n_same_text == 1);
    let pairs: Vec<&TextPair> = pairs.collect();
    if pairs.is_empty() {
        let said =
            format!("no pair of split {} has a text of its own, so there is nothing to measure", args.split);
        return Err(UsageError(said).into());
    }
    let registry = wiring::registry()?;
    let towers = match &args.towers {
        Some(folder) => Some(towers_from_folder(folder)?),
        None => towers_for(registry.cache(), &args.pairs.encoder)?,
    };
    let id = &args.pairs.encoder;
    let towers =
        towers.ok_or_else(|| UsageError(format!("no towers ship for {id}; give some by --towers")))?;
    let runtime = wiring::load_runtime(registry.cache(), args.pairs.device)?;
    let sources = args.pairs.row_sources(files)?;
    let [protein, text] = &sources;
    let (protein_tower, text_tower) = (&towers.card.protein, &towers.card.text);
    protein.ensure_read_by(&protein_tower.input_space, protein_tower.row_kind)?;
    text.ensure_read_by(&text_tower.input_space, text_tower.row_kind)?;
    let open = |modality| wiring::open_tower(&runtime, &towers, modality);
    let rows = protein.protein_rows(&pairs, protein_tower.row_kind)?;
    let proteins = project(&open(Modality::Protein)?, &rows)?;
    let texts =
        project(&open(Modality::Text)?, &text.sentence_rows(&pairs, text_tower.row_kind)?.text_rows())?;
    let found = ranks(&proteins.view(), &texts.view());
    let groups: Vec<&str> = pairs.iter().map(|pair| pair.group.as_str()).collect();
    let n = pairs.len();
    let chance = |k: usize| (k as f64 / n as f64).min(1.0);
    let report = Report {
        task: "retrieval",
        data: args.pairs.data.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        split: &args.split,
        encoder: protein.encoder(),
        text_encoder: text.encoder(),
        space: towers.card.space().to_string(),
        n,
        ours: retrieval(&found.by_protein, &found.by_text, &groups),
        confidence: towers
            .card
            .calibration
            .map(|calibration| confidence(calibration, &proteins.view(), &texts.view())),
        baselines: Baselines {
            chance_recall_at_1: chance(1),
            chance_recall_at_10: chance(10),
            chance_recall_at_50: chance(50),
        },
    };
    print(&report);
    write_json(args.json.as_deref(), &report)?;
    write_text(args.markdown.as_deref(), &markdown(&report))?;
    if let Some(path) = &args.plot {
        let found = report.confidence.as_ref().ok_or_else(|| {
            UsageError("the towers' card has no calibration, so there are no confidences to plot".to_owned())
        })?;
        write_text(Some(path), &reliability_plot::draw("first text of a protein", found)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Is the first text of a protein right as often as its confidence says? Row `i` of both belong together.
fn confidence(
    calibration: Calibration,
    proteins: &ArrayView2<'_, f32>,
    texts: &ArrayView2<'_, f32>,
) -> Reliability {
    let answers = proteins.rows().into_iter().enumerate().map(|(own, protein)| {
        let cosines = texts.dot(&protein).to_vec();
        let confidences = calibration.confidences(&cosines);
        let first = confidences.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        first.map_or((0.0, false), |(text, confidence)| (*confidence, text == own))
    });
    reliability(&answers.collect::<Vec<_>>())
}

/// Takes the split that was made in training over to a table without one; without it, pairs that were trained on would
/// count. Pairs that the split does not name are left out, unless it names none: then the table is another one.
fn take_split(path: &Path, table: &mut PairTable) -> anyhow::Result<()> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let fields = text.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>());
    let known: HashMap<&str, (&str, &str)> = fields
        .filter_map(|fields| match fields[..] {
            [accession, split, group] => Some((accession, (split, group))),
            _ => None,
        })
        .collect();
    let n_before = table.pairs.len();
    if !table.pairs.iter().any(|pair| known.contains_key(pair.accession.as_str())) {
        return Ok(());
    }
    table.pairs.retain_mut(|pair| {
        let Some((split, group)) = known.get(pair.accession.as_str()) else { return false };
        (pair.split, pair.group) = (Some((*split).to_owned()), (*group).to_owned());
        true
    });
    eprintln!("the split is that of {}", path.display());
    if n_before > table.pairs.len() {
        eprintln!("{} pairs are not in it and are left out", n_before - table.pairs.len());
    }
    Ok(())
}

fn print(report: &Report<'_>) {
    println!("{} pairs of split {} in {}; 95% intervals by group", report.n, report.split, report.data);
    println!(
        "{:<18} {:>22} {:>22} {:>22} {:>22} {:>12}",
        "", "recall@1", "recall@10", "recall@50", "MRR", "median rank"
    );
    for [name, at_1, at_10, at_50, mrr, median] in table(report) {
        println!("{name:<18} {at_1:>22} {at_10:>22} {at_50:>22} {mrr:>22} {median:>12}");
    }
    if let Some(Reliability { ece, .. }) = report.confidence {
        println!("expected calibration error of the first text's confidence: {ece:.3}");
    }
}

/// Name, recall at 1, 10 and 50, MRR and median rank: of both directions and of chance.
fn table(report: &Report<'_>) -> [[String; 6]; 3] {
    let line = |name: &str, metrics: &RetrievalMetrics| {
        let cell = |key: &str| metrics.intervals[key].to_string();
        let [at_1, at_10, at_50, mrr] = ["recall_at_1", "recall_at_10", "recall_at_50", "mrr"].map(cell);
        [name.to_owned(), at_1, at_10, at_50, mrr, format!("{:.1}", metrics.median_rank)]
    };
    let chance = &report.baselines;
    let [at_1, at_10, at_50] =
        [chance.chance_recall_at_1, chance.chance_recall_at_10, chance.chance_recall_at_50]
            .map(|share| format!("{share:.3}"));
    [
        line("protein to text", &report.ours.protein_to_text),
        line("text to protein", &report.ours.text_to_protein),
        ["chance".to_owned(), at_1, at_10, at_50, String::new(), String::new()],
    ]
}

fn markdown(report: &Report<'_>) -> String {
    let mut page = format!(
        "{} pairs of split {} in `{}` whose text no other row carries; candidates are these pairs. Encoders `{}` and `{}`, \
         space `{}`. 95% intervals by group of relatives.\n\n\
         | | recall@1 | recall@10 | recall@50 | MRR | median rank |\n|---|---|---|---|---|---|\n",
        report.n, report.split, report.data, report.encoder, report.text_encoder, report.space
    );
    page.extend(table(report).iter().map(|cells| table_row(cells)));
    if let Some(found) = &report.confidence {
        let _ = write!(
            page,
            "\nConfidence of each protein's first text: expected calibration error {:.3}.\n\n{}",
            found.ece,
            reliability_table("confidence", "proteins", found)
        );
    }
    page
}
