//! `protext variants`: scores of mutants of proteins in a file, and scans of every substitution.
//!
//! All mutants are read and held against their sequences before anything is computed, so that every bad row is told at once
//! and nothing is half-written.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use clap::ValueEnum;
use indicatif::ProgressBar;
use protext_core::{LanguageHead, LongReport, Modality, ProteinSequence, ResiduePolicy};
use protext_engine::input::{InputOptions, Source, open};
use protext_engine::variants::{
    BadMutant, Masking, Mutant, Scan, ScanColors, VariantError, VariantModel, VariantScore, VariantScores,
    read_mutants, scan_html, scan_svg,
};
use protext_engine::{BatcherSettings, Embedder};
use serde::Serialize;

use super::embed::LongArg;
use super::eval::{write_json, write_text};
use crate::fault::UsageError;
use crate::wiring::{self, ModelArgs};
use crate::{interrupt, progress};

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  protext variants protein.fasta --mutants mutants.txt\n  \
    protext variants proteins.fasta --mutants mutants.tsv --scores masked,wild-type,shift -o scores.tsv\n  \
    protext variants protein.fasta --scan --plot scan.svg -o scan.tsv\n\n\
    MUTANTS is one a line (A12V, or A12V:G45D for several at once), or a table with the column mutant and, for several \
    proteins, id. Marginals are log p(mutant) - log p(wild type), higher is fitter; of several substitutions, their sum. \
    The embedding shift is the distance between the embeddings of mutant and wild type.\n\n\
    Costs: wild-type marginals take one pass of the encoder a protein, masked ones one a position (--masking spread: \
    sixteen a protein), embedding shifts one a mutant.")]
pub(crate) struct Args {
    /// Proteins: FASTA, TSV, CSV, JSON lines or Parquet, plain or gzip; - for standard input.
    input: PathBuf,
    /// Mutants: one a line, or a table with mutant and id; plain or gzip.
    #[arg(long, value_name = "FILE", required_unless_present = "scan")]
    mutants: Option<PathBuf>,
    /// Score every substitution at every position.
    #[arg(long, conflicts_with = "mutants")]
    scan: bool,
    /// Scores wanted: masked, wild-type, shift. A scan has no shift.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [ScoreArg::Masked, ScoreArg::WildType])]
    scores: Vec<ScoreArg>,
    /// Mask positions one by one (each), or every sixteenth at once (spread: faster, nearly the same).
    #[arg(long, value_enum, default_value_t = MaskingArg::Each)]
    masking: MaskingArg,
    /// Proteins over the encoder's window: window (masked positions are seen in the window around them, the rest as the
    /// mean over overlapping windows), truncate (positions cut off are refused) or reject.
    #[arg(long, value_enum, value_name = "POLICY", default_value_t = LongArg::Window)]
    long: LongArg,
    /// Where the scores go as TSV; standard output by default.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where the scores go as JSON; - for standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Heat map of a scan, as .svg or .html; of several proteins, one file each, named after it.
    #[arg(long, value_name = "FILE", requires = "scan")]
    plot: Option<PathBuf>,
    /// Language head in a folder of its own (card.toml and head.onnx) instead of the encoder's.
    #[arg(long, value_name = "FOLDER")]
    lm_head: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ScoreArg {
    Masked,
    WildType,
    Shift,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MaskingArg {
    Each,
    Spread,
}

impl From<MaskingArg> for Masking {
    fn from(masking: MaskingArg) -> Self {
        match masking {
            MaskingArg::Each => Self::Each,
            MaskingArg::Spread => Self::Spread,
        }
    }
}

/// A protein with the mutants asked for.
struct Protein {
    id: String,
    sequence: ProteinSequence,
    mutants: Vec<Mutant>,
}

/// One scored mutant, on the wire.
#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    mutant: String,
    #[serde(flatten)]
    score: VariantScore,
}

#[derive(Serialize)]
struct Report<'a> {
    encoder: &'a str,
    lm_head: Option<&'a str>,
    masking: Option<Masking>,
    variants: Vec<Line<'a>>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let wanted = wanted(&args)?;
    if let Some(plot) = &args.plot {
        plot_kind(plot)?;
    }
    let mut proteins = read_proteins(&args.input)?;
    if let Some(path) = &args.mutants {
        assign(path, &mut proteins)?;
    }
    let (embedder, head) = open_models(&args.model, args.lm_head.as_deref())?;
    let model = VariantModel::new(&embedder, head.as_deref(), args.long.into())?;
    let bar = progress::residues(Some(n_residues(&model, &proteins, wanted, args.scan)), "scoring");
    let scored = score_all(&args, &model, &mut proteins, wanted, &bar);
    bar.finish_and_clear();
    let scores = scored.map_err(|error| match error.downcast_ref::<VariantError>() {
        Some(VariantError::Stopped) => interrupt::Interrupted.into(),
        _ => error,
    })?;
    write(&args, &model, &proteins, &scores, wanted)?;
    Ok(ExitCode::SUCCESS)
}

/// An encoder and its language head, if it has one.
pub(crate) fn open_models(
    args: &ModelArgs,
    folder: Option<&Path>,
) -> anyhow::Result<(Embedder, Option<Box<dyn LanguageHead>>)> {
    let registry = wiring::registry()?;
    let runtime = wiring::load_runtime(registry.cache(), args.device)?;
    let embedder = wiring::start_embedder_on(&registry, &runtime, args, BatcherSettings::default(), false)?;
    if embedder.encoder().modality() != Modality::Protein {
        let said = format!("{} reads texts; name an encoder of proteins", args.encoder);
        return Err(UsageError(said).into());
    }
    let head = wiring::open_language_head(&registry, &runtime, embedder.encoder(), folder)?;
    Ok((embedder, head.map(|head| Box::new(head) as Box<dyn LanguageHead>)))
}

fn wanted(args: &Args) -> anyhow::Result<VariantScores> {
    let has = |score| args.scores.contains(&score);
    if args.scan && has(ScoreArg::Shift) {
        let said =
            "a scan has no embedding shift, which takes one pass a mutant; name the mutants by --mutants";
        return Err(UsageError(said.to_owned()).into());
    }
    Ok(VariantScores {
        masked: has(ScoreArg::Masked).then(|| args.masking.into()),
        wild_type: has(ScoreArg::WildType),
        shift: has(ScoreArg::Shift),
    })
}

fn read_proteins(path: &Path) -> anyhow::Result<Vec<Protein>> {
    let records = open(&Source::from_arg(path), &InputOptions::new(Modality::Protein))?;
    let file = records.file().to_owned();
    let proteins = records.map(|record| {
        let record = record?;
        let parsed = ProteinSequence::parse(record.payload.as_str(), ResiduePolicy::default());
        let (sequence, _) = parsed.map_err(|error| {
            anyhow::Error::from(error)
                .context(format!("{file}: record {} (id {:?})", record.number, record.id))
        })?;
        Ok(Protein { id: record.id, sequence, mutants: Vec::new() })
    });
    proteins.collect()
}

/// Gives each protein its mutants; every row that cannot be placed is told.
fn assign(path: &Path, proteins: &mut [Protein]) -> anyhow::Result<()> {
    let file = read_mutants(path)?;
    let places: BTreeMap<String, usize> =
        proteins.iter().enumerate().map(|(place, protein)| (protein.id.clone(), place)).collect();
    let n_given = file.rows.len() + file.bad.len();
    let mut bad = file.bad;
    for row in file.rows {
        let place = match (&row.protein, proteins.len()) {
            (Some(id), _) => places.get(id).copied(),
            (None, 1) => Some(0),
            (None, n) => {
                let said = format!(
                    "{}: says no protein of its mutants, but {n} proteins were given; add a column id",
                    path.display()
                );
                return Err(UsageError(said).into());
            }
        };
        let Some(place) = place else {
            let id = row.protein.unwrap_or_default();
            let known = near(&id, &places);
            let rule = format!("no protein of the input has the id {id:?}; there is {known}");
            bad.push(BadMutant { number: row.line, written: row.mutant, protein: None, rule });
            continue;
        };
        let protein = &mut proteins[place];
        match Mutant::parse(&row.mutant, &protein.sequence) {
            Ok(mutant) => protein.mutants.push(mutant),
            Err(rule) => bad.push(BadMutant::new(row.line, &row.mutant, &rule).of_protein(&protein.id)),
        }
    }
    if bad.is_empty() {
        return Ok(());
    }
    bad.sort_by_key(|mutant| mutant.number);
    let refused = VariantError::Mutants { place: "line", bad, n_given };
    Err(anyhow::Error::from(refused).context(path.display().to_string()))
}

/// A few ids, those that are spelt alike first.
fn near(id: &str, known: &BTreeMap<String, usize>) -> String {
    let is_alike =
        |other: &&String| other.eq_ignore_ascii_case(id) || other.contains(id) || id.contains(other.as_str());
    let alike = known.keys().filter(is_alike);
    let shown: Vec<&str> = alike.chain(known.keys()).take(3).map(String::as_str).collect();
    shown.join(", ")
}

fn n_residues(model: &VariantModel<'_>, proteins: &[Protein], wanted: VariantScores, is_scan: bool) -> u64 {
    let of_protein = |protein: &Protein| {
        let length = protein.sequence.len();
        let positions: Vec<usize> = match is_scan {
            true => (0..length).collect(),
            false => Mutant::positions(&protein.mutants),
        };
        model.n_residues(length, &positions, protein.mutants.len(), wanted)
    };
    proteins.iter().filter(|protein| is_scan || !protein.mutants.is_empty()).map(of_protein).sum()
}

/// Scores of each protein's mutants; a scan makes the mutants first.
fn score_all(
    args: &Args,
    model: &VariantModel<'_>,
    proteins: &mut [Protein],
    wanted: VariantScores,
    bar: &ProgressBar,
) -> anyhow::Result<Vec<Vec<VariantScore>>> {
    let stop = interrupt::flag()?;
    let mut on_pass = |n_residues: usize| {
        bar.inc(n_residues as u64);
        !stop.load(Ordering::Relaxed)
    };
    let n_proteins = proteins.len();
    let mut all = Vec::with_capacity(n_proteins);
    for protein in proteins {
        if !args.scan && protein.mutants.is_empty() {
            all.push(Vec::new());
            continue;
        }
        let (scores, long) = if args.scan {
            let scan = Scan::of(model, &protein.sequence, wanted, &mut on_pass)?;
            protein.mutants = scan.mutants().collect();
            if let Some(plot) = &args.plot {
                draw(&plot_path(plot, &protein.id, n_proteins), &scan, &protein.id)?;
            }
            (protein.mutants.iter().map(|mutant| scan.score(mutant)).collect(), scan.long)
        } else {
            model.score(&protein.sequence, &protein.mutants, wanted, &mut on_pass)?
        };
        match long {
            LongReport::Whole => {}
            LongReport::Windowed { .. } => bar.suspend(|| {
                eprintln!("{}: longer than the window; masked positions were seen in windows", protein.id);
            }),
            LongReport::Truncated { kept, length } => bar.suspend(|| {
                eprintln!("{}: truncated from {length} to {kept} residues", protein.id);
            }),
        }
        all.push(scores);
    }
    Ok(all)
}

fn write(
    args: &Args,
    model: &VariantModel<'_>,
    proteins: &[Protein],
    scores: &[Vec<VariantScore>],
    wanted: VariantScores,
) -> anyhow::Result<()> {
    if args.json.is_some() {
        let lines = proteins.iter().zip(scores).flat_map(|(protein, scores)| {
            let each = protein.mutants.iter().zip(scores);
            each.map(|(mutant, &score)| Line { id: &protein.id, mutant: mutant.to_string(), score })
        });
        let report = Report {
            encoder: model.encoder(),
            lm_head: model.head(),
            masking: wanted.masked,
            variants: lines.collect(),
        };
        write_json(args.json.as_deref(), &report)?;
    }
    if args.output.is_none() && args.json.as_deref() == Some(Path::new("-")) {
        return Ok(());
    }
    let mut table = Vec::new();
    write_table(&mut table, proteins, scores, wanted)?;
    match &args.output {
        Some(path) => write_text(Some(path), &String::from_utf8(table)?),
        None => Ok(std::io::stdout().lock().write_all(&table)?),
    }
}

fn write_table(
    out: &mut impl Write,
    proteins: &[Protein],
    scores: &[Vec<VariantScore>],
    wanted: VariantScores,
) -> std::io::Result<()> {
    let columns = [
        (wanted.masked.is_some(), "masked_marginal"),
        (wanted.wild_type, "wild_type_marginal"),
        (wanted.shift, "embedding_shift"),
    ];
    let names = columns.iter().filter(|(is_wanted, _)| *is_wanted).map(|(_, name)| format!("\t{name}"));
    writeln!(out, "id\tmutant{}", names.collect::<String>())?;
    for (protein, scores) in proteins.iter().zip(scores) {
        for (mutant, score) in protein.mutants.iter().zip(scores) {
            let values = [score.masked_marginal, score.wild_type_marginal, score.embedding_shift];
            let values: String = values.into_iter().flatten().map(|value| format!("\t{value:.5}")).collect();
            writeln!(out, "{}\t{mutant}{values}", protein.id)?;
        }
    }
    Ok(())
}

/// Whether a plot is a page, by its ending.
fn plot_kind(path: &Path) -> anyhow::Result<bool> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("html") => Ok(true),
        Some("svg") => Ok(false),
        _ => Err(UsageError(format!("{}: a heat map ends in .svg or .html", path.display())).into()),
    }
}

fn draw(path: &Path, scan: &Scan, id: &str) -> anyhow::Result<()> {
    let colors = ScanColors::fitted(scan);
    let title = format!("{id}, {} residues", scan.sequence.len());
    let page = match plot_kind(path)? {
        true => scan_html(scan, &title, colors),
        false => scan_svg(scan, &title, colors),
    };
    write_text(Some(path), &page)
}

/// The file itself for a single protein, else one beside it with the id in its name.
fn plot_path(plot: &Path, id: &str, n_proteins: usize) -> PathBuf {
    if n_proteins == 1 {
        return plot.to_owned();
    }
    let safe: String = id.chars().map(|it| if it.is_ascii_alphanumeric() { it } else { '_' }).collect();
    let stem = plot.file_stem().unwrap_or_default().to_string_lossy();
    let ending = plot.extension().unwrap_or_default().to_string_lossy();
    plot.with_file_name(format!("{stem}.{safe}.{ending}"))
}
