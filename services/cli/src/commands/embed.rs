//! `protext embed`: files of records to a file of vectors.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use indicatif::ProgressBar;
use protext_core::{LongPolicy, LongReport, Modality, ResiduePolicy, RowKind, Space};
use protext_engine::cells::embed_cells;
use protext_engine::expression::Expression;
use protext_engine::input::{Duplicates, InputError, InputOptions, Source, open};
use protext_engine::output::{OutputFormat, OutputOptions, OutputRow, VectorMetadata, VectorWriter, create};
use protext_engine::{
    EmbedOptions, EmbedRecordsSettings, EmbeddedRecord, Embedder, Engine, FailedRecord, RecordsSummary,
    embed_records,
};

use super::gene_heads::GeneTableArgs;
use crate::fault::UsageError;
use crate::wiring::{self, ModelArgs};
use crate::{interrupt, progress};

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  protext embed proteome.fasta.gz -o vectors.parquet\n  \
    protext embed a.fasta b.fasta -o vectors.h5 --keep-going\n  \
    zcat big.fasta.gz | protext embed - -o vectors.npz --space joint\n  \
    protext embed proteins.tsv -o residues.h5 --per-residue\n  \
    protext embed --cells cells.h5ad -o cells.parquet\n  \
    protext embed --encoder text-embedding-3-large texts.tsv -o texts.parquet   (paid for; see docs/API.md)")]
pub(crate) struct Args {
    /// FASTA, TSV, CSV, JSON lines or Parquet, plain, gzip or zstd; - for standard input.
    #[arg(required_unless_present = "cells")]
    inputs: Vec<PathBuf>,
    /// Expression of named genes instead (TSV, CSV, Parquet, .h5ad; a cell a row): each cell becomes the mean of its genes'
    /// text vectors, weighted by expression.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["inputs", "per_residue"])]
    cells: Option<PathBuf>,
    #[command(flatten)]
    genes: GeneTableArgs,
    /// Where the vectors go; the ending tells the format (.parquet, .h5, .npz, .jsonl, .h5ad).
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    /// Rows of the encoder, or unit vectors that collections are searched with.
    #[arg(long, value_enum, default_value_t = SpaceArg::Encoder)]
    space: SpaceArg,
    /// One row a residue instead of one a record.
    #[arg(long)]
    per_residue: bool,
    /// Format, where the ending does not tell it.
    #[arg(long, value_enum)]
    format: Option<FormatArg>,
    /// Replace an output that exists.
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    records: RecordArgs,
}

/// How records are treated; shared by every command that reads records.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct RecordArgs {
    /// What to do with inputs over the encoder's window; by default windows for proteins, a cut for texts.
    #[arg(long, value_enum, value_name = "POLICY")]
    pub(crate) long: Option<LongArg>,
    /// Refuse every residue but the 20 standard ones in upper case.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Leave bad records out, list them in a file, and go on.
    #[arg(long)]
    pub(crate) keep_going: bool,
    /// Where --keep-going lists the records it left out; by default OUTPUT.failed.tsv.
    #[arg(long, value_name = "FILE")]
    pub(crate) failed: Option<PathBuf>,
    /// Keep the first record of each id instead of refusing further ones.
    #[arg(long)]
    pub(crate) keep_first: bool,
    /// Read every column: collections keep them all. Set by commands, not on the command line.
    #[arg(skip)]
    pub(crate) keep_all: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SpaceArg {
    Encoder,
    Joint,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatArg {
    Parquet,
    Hdf5,
    Npz,
    Jsonl,
    Anndata,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LongArg {
    Window,
    Truncate,
    Reject,
}

impl From<FormatArg> for OutputFormat {
    fn from(arg: FormatArg) -> Self {
        match arg {
            FormatArg::Parquet => OutputFormat::Parquet,
            FormatArg::Hdf5 => OutputFormat::Hdf5,
            FormatArg::Npz => OutputFormat::Npz,
            FormatArg::Jsonl => OutputFormat::JsonLines,
            FormatArg::Anndata => OutputFormat::AnnData,
        }
    }
}

impl From<LongArg> for LongPolicy {
    fn from(arg: LongArg) -> Self {
        match arg {
            LongArg::Window => LongPolicy::Window,
            LongArg::Truncate => LongPolicy::Truncate,
            LongArg::Reject => LongPolicy::Reject,
        }
    }
}

impl RecordArgs {
    pub(crate) fn settings(
        &self,
        modality: Modality,
        per_residue: bool,
        joint: bool,
    ) -> EmbedRecordsSettings {
        let long = self.long.map_or_else(|| Engine::default_long(modality), LongPolicy::from);
        EmbedRecordsSettings {
            options: EmbedOptions { long, per_residue, by_sentence: joint },
            residues: ResiduePolicy { strict: self.strict, ..ResiduePolicy::default() },
            joint,
        }
    }

    pub(crate) fn input_options(&self, modality: Modality) -> InputOptions {
        let duplicates = if self.keep_first { Duplicates::KeepFirst } else { Duplicates::Refuse };
        InputOptions { duplicates, keep_all: self.keep_all, ..InputOptions::new(modality) }
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(cells) = &args.cells {
        return embed_cells_of(cells, &args);
    }
    if args.per_residue && args.space == SpaceArg::Joint {
        let message = "--per-residue gives rows of the encoder; leave --space joint out";
        return Err(UsageError(message.to_owned()).into());
    }
    let joint = args.space == SpaceArg::Joint;
    let embedder = wiring::start_embedder(&args.model, joint)?;
    let space = output_space(&embedder, joint)?;
    let mut writer = create(&args.output, &output_options(&args, &embedder, &space))?;
    let failures = args.output.with_extension("failed.tsv");
    let mut failed = FailedFile::new(args.records.failed.clone().unwrap_or(failures));
    let settings = args.records.settings(embedder.encoder().modality(), args.per_residue, joint);
    let mut notes = Notes::default();
    let mut total = RecordsSummary::default();
    let stop = interrupt::flag()?;
    let started = std::time::Instant::now();
    for input in &args.inputs {
        let summary =
            embed_file(&embedder, input, &args.records, &settings, stop, |outcome| match outcome {
                Ok(record) => {
                    notes.add(&record);
                    push(&mut writer, &record)
                }
                Err(failure) => failed.keep_or_fail(failure, args.records.keep_going),
            })?;
        total.n_embedded += summary.n_embedded;
        total.n_failed += summary.n_failed;
        total.n_residues += summary.n_residues;
    }
    let written = writer.finish()?;
    let seconds = started.elapsed().as_secs_f64();
    let rate = total.n_residues as f64 / seconds.max(1e-9);
    let (n, path) = (written.n_records, written.path.display());
    eprintln!("{path}: {n} records, {} dimensions, {} ({rate:.0} residues/s)", space.dim, written.format);
    notes.tell();
    failed.finish()?;
    Ok(ExitCode::SUCCESS)
}

/// Cells by their genes; genes that could not be used are counted, the first few with the reason.
fn embed_cells_of(path: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    let table = args.genes.open()?;
    let expression = Expression::read(path, None)?;
    let found = embed_cells(&table, &expression)
        .map_err(|error| UsageError(format!("{}: {error}", path.display())))?;
    let options = OutputOptions {
        format: args.format.map(OutputFormat::from),
        dim: found.space.dim,
        overwrite: args.overwrite,
        metadata: VectorMetadata {
            encoder: Some(table.origin().text_encoder.clone()),
            space: Some(found.space.name.clone()),
            fingerprint: Some(found.space.fingerprint.to_string()),
            pooling: Some("mean of gene text vectors weighted by expression".to_owned()),
            protext_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        },
        ..OutputOptions::default()
    };
    let mut writer = create(&args.output, &options)?;
    for (id, vector) in expression.ids.iter().zip(&found.vectors) {
        writer.push(&OutputRow { id, vector: vector.as_slice(), residues: None })?;
    }
    let written = writer.finish()?;
    let (n, n_genes, file) = (written.n_records, found.n_genes, written.path.display());
    eprintln!("{file}: {n} cells by {n_genes} genes, {} dimensions, {}", found.space.dim, written.format);
    if !found.left_out.is_empty() {
        eprintln!(
            "{} genes of {} could not be used and are left out:",
            found.left_out.len(),
            expression.genes.len()
        );
        found.left_out.iter().take(5).for_each(|(_, error)| eprintln!("  {error}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Embeds one input with a progress bar; `handle` gets each outcome. Ends early when `stop` is raised.
pub(crate) fn embed_file(
    embedder: &Embedder,
    input: &Path,
    args: &RecordArgs,
    settings: &EmbedRecordsSettings,
    stop: &AtomicBool,
    mut handle: impl FnMut(Result<EmbeddedRecord, FailedRecord>) -> anyhow::Result<()>,
) -> anyhow::Result<RecordsSummary> {
    let source = Source::from_arg(input);
    let reader = open(&source, &args.input_options(embedder.encoder().modality()))
        .map_err(|error: InputError| anyhow::Error::from(error))?;
    let name = source.to_string();
    let bar = progress::residues(wiring::count_residues(input), &name);
    let summary = embed_records(embedder, &name, reader, settings, |outcome| {
        if stop.load(Ordering::Relaxed) {
            return Err(interrupt::Interrupted.into());
        }
        if let Ok(record) = &outcome {
            bar.inc(record.content.len() as u64);
            warn_of_nucleotides(&bar, &name, record);
        }
        handle(outcome)
    });
    bar.finish_and_clear();
    summary
}

fn warn_of_nucleotides(bar: &ProgressBar, file: &str, record: &EmbeddedRecord) {
    if record.notes.is_some_and(|notes| notes.looks_like_nucleotides) {
        let (number, id) = (record.record.number, &record.record.id);
        bar.suspend(|| {
            eprintln!(
                "warning: {file}: record {number} (id {id:?}): looks like nucleotides, was read as protein; translate it first"
            );
        });
    }
}

pub(crate) fn output_space(embedder: &Embedder, joint: bool) -> anyhow::Result<Space> {
    if !joint {
        return Ok(embedder.encoder_space().clone());
    }
    embedder.joint_space().cloned().ok_or_else(|| {
        let id = embedder.encoder().id();
        UsageError(format!(
            "no projection ships for {id}; fit one on any proteins (`protext train whitening --encoder {id} \
             --proteins proteins.fasta -o {id}-whitened`) and give it by --projection"
        ))
        .into()
    })
}

fn output_options(args: &Args, embedder: &Embedder, space: &Space) -> OutputOptions {
    let pooling = if args.per_residue {
        "one row a residue, last layer"
    } else {
        wiring::describe_pooling(RowKind::Pooled, embedder.encoder().modality())
    };
    let pooling =
        if args.space == SpaceArg::Joint { "projection of layer statistics, unit norm" } else { pooling };
    OutputOptions {
        format: args.format.map(OutputFormat::from),
        dim: space.dim,
        per_residue: args.per_residue,
        overwrite: args.overwrite,
        metadata: VectorMetadata {
            encoder: Some(embedder.encoder().id().to_owned()),
            space: Some(space.name.clone()),
            fingerprint: Some(space.fingerprint.to_string()),
            pooling: Some(pooling.to_owned()),
            protext_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        },
    }
}

fn push(writer: &mut VectorWriter, record: &EmbeddedRecord) -> anyhow::Result<()> {
    let vector = record.joint.first().map_or(record.encoded.pooled.as_slice(), |joint| joint.as_slice());
    let residues = record.encoded.residues.as_deref();
    Ok(writer.push(&OutputRow { id: &record.record.id, vector, residues })?)
}

/// Records that were left out, one line each; the file appears with the first.
pub(crate) struct FailedFile {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    n_failed: u64,
}

impl FailedFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, file: None, n_failed: 0 }
    }

    /// With `keep_going` the failure is written down, otherwise it ends the run.
    pub(crate) fn keep_or_fail(&mut self, failure: FailedRecord, keep_going: bool) -> anyhow::Result<()> {
        if failure.concerns_all() {
            // The encoder failed, not the record: further ones would fail alike.
            return Err(failure.into());
        }
        if !keep_going {
            return Err(anyhow::Error::from(failure)
                .context("stopped at the first bad record; --keep-going leaves bad records out"));
        }
        eprintln!("left out: {failure}");
        self.n_failed += 1;
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let file = File::create(&self.path)
                    .map_err(|source| protext_registry::CacheError::from_io(&self.path, source))?;
                let mut file = BufWriter::new(file);
                writeln!(file, "file\trecord\tid\treason")?;
                self.file.insert(file)
            }
        };
        let (id, reason) =
            (failure.id.as_deref().unwrap_or(""), failure.to_string().replace(['\t', '\n'], " "));
        writeln!(file, "{}\t{}\t{id}\t{reason}", failure.file, failure.record)?;
        Ok(())
    }

    pub(crate) fn finish(self) -> anyhow::Result<()> {
        if let Some(mut file) = self.file {
            file.flush()?;
            eprintln!("{} records were left out; {} says why", self.n_failed, self.path.display());
        }
        Ok(())
    }
}

/// What the rules did over all records.
#[derive(Default)]
struct Notes {
    n_windowed: u64,
    n_truncated: u64,
    n_odd: u64,
}

impl Notes {
    fn add(&mut self, record: &EmbeddedRecord) {
        self.n_windowed += u64::from(matches!(record.encoded.report, LongReport::Windowed { .. }));
        self.n_truncated += u64::from(matches!(record.encoded.report, LongReport::Truncated { .. }));
        self.n_odd += u64::from(record.notes.is_some_and(|notes| !notes.is_clean()));
    }

    fn tell(&self) {
        let lines = [
            (self.n_windowed, "longer than the window were averaged over overlapping windows"),
            (self.n_truncated, "longer than the window were truncated"),
            (
                self.n_odd,
                "held residues outside the 20 standard ones, gaps, stops or lower case (see docs/API.md)",
            ),
        ];
        for (n, what) in lines.into_iter().filter(|(n, _)| *n > 0) {
            eprintln!("{n} records {what}");
        }
    }
}
