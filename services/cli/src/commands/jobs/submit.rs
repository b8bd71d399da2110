//! `protext jobs submit`: from arguments to a job.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Subcommand, ValueEnum};
use protext_engine::Target;
use protext_engine::output::OutputFormat;
use protext_worker::spec::{
    Cutting, DEFAULT_KEEP_HOURS, HitFormat, IndexChoice, ModelChoice, RecordRules, SpaceChoice,
};
use protext_worker::{JobSpec, upload_input};

use super::{PlaceArgs, RunningArgs, run_here};
use crate::commands::pair_rows::DEFAULT_TEXT_ENCODER;
use crate::wiring::DEFAULT_PROTEIN_ENCODER;

#[derive(Subcommand)]
pub(crate) enum Task {
    /// Vectors to a file: Parquet, HDF5, NPZ or JSON lines.
    Embed {
        #[command(flatten)]
        job: JobArgs,
        /// Rows of the encoder, or unit vectors that collections are searched with.
        #[arg(long, value_enum, default_value_t = SpaceArg::Encoder)]
        space: SpaceArg,
        /// One row a residue instead of one a record.
        #[arg(long)]
        per_residue: bool,
        /// Format, where the ending does not tell it.
        #[arg(long, value_enum)]
        format: Option<VectorArg>,
    },
    /// A collection to search in.
    Index {
        #[command(flatten)]
        job: JobArgs,
        /// What the records are.
        #[arg(long, default_value = "proteins")]
        target: Target,
        /// Index: exact up to 10,000 records and a graph past it (auto), or one of the two.
        #[arg(long, value_enum, default_value_t = KindArg::Auto)]
        kind: KindArg,
    },
    /// The nearest records of a collection for each protein.
    SearchAll {
        #[command(flatten)]
        job: JobArgs,
        /// The collection: a folder, or its name at a service.
        #[arg(long, visible_alias = "index", value_name = "FOLDER")]
        collection: PathBuf,
        /// Hits of each protein.
        #[arg(short, default_value_t = 10)]
        k: usize,
        /// Compare with every record.
        #[arg(long)]
        exact: bool,
        /// Lines of the output.
        #[arg(long, value_enum, default_value_t = HitArg::Tsv)]
        format: HitArg,
    },
    /// Ranked texts for each protein.
    Annotate {
        #[command(flatten)]
        job: JobArgs,
        /// A collection of texts: a folder, or its name at a service; the functions that ship if unsaid.
        #[arg(long, visible_alias = "index", value_name = "FOLDER")]
        collection: Option<PathBuf>,
        /// Texts of each protein.
        #[arg(short, default_value_t = 5)]
        k: usize,
        /// Lines of the output.
        #[arg(long, value_enum, default_value_t = HitArg::Tsv)]
        format: HitArg,
    },
    /// The most probable partners of each protein: all against all.
    Ppi {
        #[command(flatten)]
        job: JobArgs,
        /// Partners of each protein.
        #[arg(short, default_value_t = 10)]
        k: usize,
        /// Only pairs of at least this probability.
        #[arg(long, value_name = "P")]
        min_probability: Option<f64>,
        /// Head in a folder of its own instead of the one that ships for the encoder.
        #[arg(long, value_name = "FOLDER")]
        head: Option<PathBuf>,
        /// Lines of the output.
        #[arg(long, value_enum, default_value_t = HitArg::Tsv)]
        format: HitArg,
    },
}

#[derive(clap::Args)]
pub(crate) struct JobArgs {
    /// FASTA, TSV, CSV, JSON lines or Parquet, plain, gzip or zstd; objects (s3://bucket/name, gs://, az://); - for standard input.
    #[arg(required = true)]
    inputs: Vec<PathBuf>,
    /// Where the results go: a file, a folder for a collection, or an object. In the job's own folder if unsaid.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A name for the job; one is made if there is none.
    #[arg(long)]
    name: Option<String>,
    /// Replace an output that exists.
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    running: RunningArgs,
    /// Encoder (see `protext models list`).
    #[arg(long, value_name = "ID", env = "PROTEXT_ENCODER")]
    encoder: Option<String>,
    /// Text encoder, for texts and genes, and for the functions that ship.
    #[arg(long, value_name = "ID")]
    text_encoder: Option<String>,
    /// Device: auto, cpu, openvino or cuda, with its numbers if they matter: cpu:bf16x3, cpu:int16, cpu:bf16, cpu:int8, cuda:fp16.
    #[arg(long, value_name = "DEVICE")]
    device: Option<protext_onnx::DeviceChoice>,
    /// Projection in a folder of its own instead of the one that ships.
    #[arg(long, value_name = "FOLDER")]
    projection: Option<PathBuf>,
    /// Towers in a folder of their own instead of those that ship.
    #[arg(long, value_name = "FOLDER")]
    towers: Option<PathBuf>,
    /// What to do with inputs over the encoder's window.
    #[arg(long, value_enum, value_name = "POLICY")]
    long: Option<crate::commands::embed::LongArg>,
    /// Refuse every residue but the 20 standard ones in upper case.
    #[arg(long)]
    strict: bool,
    /// Pass over further records of an id instead of counting them as failures.
    #[arg(long)]
    keep_first: bool,
    /// Residues of a shard at most: what a killed worker can lose.
    #[arg(long, value_name = "N")]
    shard_residues: Option<u64>,
    /// Hours that the finished job is kept; its output outside of its folder stays.
    #[arg(long, value_name = "HOURS", default_value_t = DEFAULT_KEEP_HOURS)]
    keep_hours: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SpaceArg {
    Encoder,
    Joint,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum VectorArg {
    Parquet,
    Hdf5,
    Npz,
    Jsonl,
    Anndata,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KindArg {
    Auto,
    Exact,
    Hnsw,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HitArg {
    Tsv,
    M8,
    Json,
}

impl From<HitArg> for HitFormat {
    fn from(arg: HitArg) -> Self {
        match arg {
            HitArg::Tsv => HitFormat::Tsv,
            HitArg::M8 => HitFormat::M8,
            HitArg::Json => HitFormat::Json,
        }
    }
}

pub(super) fn run(task: Task) -> anyhow::Result<ExitCode> {
    let is_there = |job: &JobArgs| job.place.url().is_some();
    let (task, job) = match task {
        Task::Embed { job, space, per_residue, format } => {
            let space = if space == SpaceArg::Joint { SpaceChoice::Joint } else { SpaceChoice::Encoder };
            let format = format.map(|format| match format {
                VectorArg::Parquet => OutputFormat::Parquet,
                VectorArg::Hdf5 => OutputFormat::Hdf5,
                VectorArg::Npz => OutputFormat::Npz,
                VectorArg::Jsonl => OutputFormat::JsonLines,
                VectorArg::Anndata => OutputFormat::AnnData,
            });
            (protext_worker::Task::Embed { space, per_residue, format }, job)
        }
        Task::Index { job, target, kind } => {
            let index = match kind {
                KindArg::Auto => IndexChoice::Auto,
                KindArg::Exact => IndexChoice::Exact,
                KindArg::Hnsw => IndexChoice::Hnsw,
            };
            (protext_worker::Task::Index { target, index }, job)
        }
        Task::SearchAll { job, collection, k, exact, format } => {
            let collection = collection_of(&collection, is_there(&job))?;
            (protext_worker::Task::SearchAll { collection, k, exact, format: format.into() }, job)
        }
        Task::Annotate { job, collection, k, format } => {
            let collection = collection.map(|folder| collection_of(&folder, is_there(&job))).transpose()?;
            (protext_worker::Task::Annotate { collection, k, format: format.into() }, job)
        }
        Task::Ppi { job, k, min_probability, head, format } => {
            let head = head.map(|folder| collection_of(&folder, is_there(&job))).transpose()?;
            (protext_worker::Task::Ppi { k, min_probability, head, format: format.into() }, job)
        }
    };
    submit(task, &job)
}

/// Other processes may run the job, so paths are written down from the root.
fn collection_of(folder: &Path, is_there: bool) -> anyhow::Result<String> {
    if is_there {
        return Ok(folder.to_string_lossy().into_owned());
    }
    let absolute =
        std::fs::canonicalize(folder).with_context(|| format!("cannot open {}", folder.display()))?;
    Ok(absolute.to_string_lossy().into_owned())
}

fn submit(task: protext_worker::Task, args: &JobArgs) -> anyhow::Result<ExitCode> {
    if let Some(api) = args.place.api()? {
        return api.submit(&spec(task, args, false)?, &args.inputs, args.output.as_deref(), &args.running);
    }
    let mut spec = spec(task, args, true)?;
    let jobs = args.place.open()?;
    let mut stdin = std::io::stdin().lock();
    let mut uploads: Vec<(String, &mut dyn Read)> = Vec::new();
    if let Some(at) = args.inputs.iter().position(|input| input == Path::new("-")) {
        spec.inputs[at] = upload_input("stdin");
        uploads.push(("stdin".to_owned(), &mut stdin));
    }
    let id = jobs.submit_with(&spec, uploads, args.running.queue.as_deref())?;
    eprintln!("submitted: {id} (in {})", jobs.place());
    run_here(&jobs, &id, &args.running)
}

fn spec(task: protext_worker::Task, args: &JobArgs, is_here: bool) -> anyhow::Result<JobSpec> {
    let absolute = |path: &PathBuf| -> anyhow::Result<String> {
        let text = path.to_string_lossy().into_owned();
        if !is_here || text == "-" || text.contains("://") {
            return Ok(text);
        }
        Ok(std::path::absolute(path)?.to_string_lossy().into_owned())
    };
    let folder = |folder: &Option<PathBuf>| folder.as_ref().map(&absolute).transpose();
    let default = |encoder: &str| is_here.then(|| encoder.to_owned());
    Ok(JobSpec {
        name: args.name.clone(),
        inputs: args.inputs.iter().map(&absolute).collect::<Result<_, _>>()?,
        output: folder(&args.output)?,
        overwrite: args.overwrite,
        model: ModelChoice {
            encoder: args.encoder.clone().or_else(|| default(DEFAULT_PROTEIN_ENCODER)),
            text_encoder: args.text_encoder.clone().or_else(|| default(DEFAULT_TEXT_ENCODER)),
            device: args.device.map(|device| device.to_string()),
            projection: folder(&args.projection)?,
            towers: folder(&args.towers)?,
        },
        records: RecordRules {
            long: args.long.map(Into::into),
            strict: args.strict,
            keep_first: args.keep_first,
        },
        cutting: Cutting {
            shard_residues: args.shard_residues.unwrap_or(Cutting::default().shard_residues),
            ..Cutting::default()
        },
        keep_hours: args.keep_hours,
        ..JobSpec::new(task, Vec::new())
    })
}
