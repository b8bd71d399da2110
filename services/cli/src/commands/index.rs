//! `protext index`: collections on disk.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use clap::Subcommand;
use protext_core::JointVector;
use protext_engine::input::{Payload, read_taxonomy};
use protext_engine::records::free_fields;
use protext_engine::{EmbeddedRecord, Embedder, Target};
use protext_index::store::verify_logs;
use protext_index::{
    Collection, CollectionBuilder, CollectionInfo, CollectionView as _, HnswParams, IndexKind, OpenOptions,
    Record, Store, Taxonomy, inspect, verify,
};
use protext_qdrant::{QdrantAddress, QdrantBuild};

use super::embed::{FailedFile, RecordArgs, embed_file, output_space};
use super::index_write::{self, AddArgs, DeleteArgs, ExportArgs};
use super::pair_rows::DEFAULT_TEXT_ENCODER;
use crate::fault::UsageError;
use crate::qdrant::QdrantLayout;
use crate::wiring::{self, ModelArgs};
use crate::{interrupt, progress, qdrant};

#[derive(Subcommand)]
pub(crate) enum Args {
    /// Embed a file of proteins, texts or genes and make a searchable collection of it.
    #[command(after_help = "Examples:\n  protext index build proteome.fasta.gz -o proteome.index\n  \
        protext index build go.tsv --target texts -o go.index\n  \
        protext index build genes.tsv --target genes -o genes.index\n\n\
        Texts and genes are read from tables, JSON lines or Parquet with a column `text`; `id`, `name`, `gene` and \
        `organism` are kept.")]
    Build(BuildArgs),
    /// Embed a file with the collection's own encoder and add its records, or put them in place of those with their ids.
    Add(AddArgs),
    /// Delete records by id. Ids that no record has are told, and are no error.
    Delete(DeleteArgs),
    /// Make a new snapshot of a collection and the writes since, with its index built anew.
    Compact {
        /// The collection's folder.
        folder: PathBuf,
    },
    /// Write the vectors of a collection to a file, or its sequences as FASTA.
    Export(ExportArgs),
    /// Copy a collection to a new folder or object store, or back, and verify the copy: for backups, and for other machines.
    #[command(after_help = "Examples:\n  protext index copy proteome.index backup.index\n  \
        protext index copy proteome.index s3://lab/proteome     (credentials: AWS_ACCESS_KEY_ID and so on)\n  \
        protext index copy s3://lab/proteome proteome.index")]
    Copy {
        /// The collection: its folder, or s3://BUCKET/NAME.
        #[arg(value_name = "FROM")]
        folder: String,
        /// A new or empty folder, or s3://BUCKET/NAME where no collection is.
        #[arg(value_name = "TO")]
        target: String,
    },
    /// Hash every file of a collection again and check that it opens.
    Verify {
        /// The collection's folder.
        folder: PathBuf,
    },
    /// Show what a collection is.
    Info {
        /// The collection's folder.
        folder: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
pub(crate) struct BuildArgs {
    /// FASTA, TSV, CSV, JSON lines or Parquet, plain or gzip; - for standard input.
    input: PathBuf,
    /// The collection's folder, or its address in Qdrant (qdrant://host:6333/name); one that is there is replaced in one step.
    #[arg(short, long, alias = "index", value_name = "FOLDER")]
    output: PathBuf,
    /// What the records are: proteins are embedded by sequence, texts and genes by their text.
    #[arg(long, default_value = "proteins")]
    target: Target,
    #[command(flatten)]
    model: ModelArgs,
    /// Text encoder, for texts and genes.
    #[arg(long, value_name = "ID", default_value = DEFAULT_TEXT_ENCODER)]
    text_encoder: String,
    #[command(flatten)]
    records: RecordArgs,
    /// Index: exact up to 10,000 records and a graph past it (auto), or one of the two.
    #[arg(long, value_enum, default_value_t = KindArg::Auto)]
    kind: KindArg,
    /// Links of a record in the graph.
    #[arg(long, default_value_t = 16)]
    m: usize,
    /// Candidates kept while the graph is built.
    #[arg(long, default_value_t = 200)]
    ef_construction: usize,
    /// The NCBI taxonomy, for filters such as `taxon under 7711`: nodes.dmp of the taxdump archive, plain or gzip.
    #[arg(long, value_name = "FILE")]
    taxonomy: Option<PathBuf>,
    #[command(flatten)]
    qdrant: QdrantLayout,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum KindArg {
    Auto,
    Exact,
    Hnsw,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args {
        Args::Build(args) => build(&args),
        Args::Add(args) => index_write::add(&args),
        Args::Delete(args) => index_write::delete(&args),
        Args::Compact { folder } => index_write::compact(&folder),
        Args::Export(args) => index_write::export(&args),
        Args::Copy { folder, target } => index_write::copy(&folder, &target),
        Args::Verify { folder } => verify_folder(&folder),
        Args::Info { folder, json } => info(&folder, json),
    }
}

fn build(args: &BuildArgs) -> anyhow::Result<ExitCode> {
    let taxonomy = args.taxonomy.as_deref().map(read_taxonomy).transpose()?;
    let embedder =
        wiring::start_embedder(&args.model.for_modality(args.target.modality(), &args.text_encoder), true)?;
    let (id, modality) = (embedder.encoder().id(), embedder.encoder().modality());
    if modality != args.target.modality() {
        return Err(UsageError(format!("{id} does not read {}; name another encoder", args.target)).into());
    }
    let kind = match args.kind {
        KindArg::Auto => IndexKind::Auto,
        KindArg::Exact => IndexKind::Exact,
        KindArg::Hnsw => IndexKind::Hnsw(HnswParams {
            m: args.m,
            ef_construction: args.ef_construction,
            ..HnswParams::default()
        }),
    };
    if let Some(address) = qdrant::address(&args.output)? {
        return build_in_qdrant(args, &address, &embedder, taxonomy);
    }
    let mut failed =
        FailedFile::new(args.records.failed.clone().unwrap_or(args.output.with_extension("failed.tsv")));
    let plan = CollectionPlan { target: args.target, kind, taxonomy };
    let collection =
        build_collection(&embedder, &args.input, &args.records, plan, interrupt::flag()?, &mut failed)?;
    collection.save(&args.output)?;
    failed.finish()?;
    let (n, target, space) = (collection.len(), args.target, collection.space());
    eprintln!("{}: {n} {target} in {space}", args.output.display());
    Ok(ExitCode::SUCCESS)
}

/// Embeds the input into a collection on a server, record by record, and puts it in place of what has its name.
fn build_in_qdrant(
    args: &BuildArgs,
    address: &QdrantAddress,
    embedder: &Embedder,
    taxonomy: Option<Taxonomy>,
) -> anyhow::Result<ExitCode> {
    if args.kind != KindArg::Auto {
        return Err(UsageError(
            "--kind is for collections in folders; a server has its own index".to_owned(),
        )
        .into());
    }
    output_space(embedder, true)?;
    let spaces: Vec<_> = embedder.joint_spaces().cloned().collect();
    let metadata = args.target.metadata(embedder.encoder().id());
    let settings = args.qdrant.settings()?;
    let mut build = QdrantBuild::begin(address, &settings, &spaces, metadata, taxonomy)?;
    let name = format!("{}.failed.tsv", address.name()?);
    let mut failed = FailedFile::new(args.records.failed.clone().unwrap_or(name.into()));
    let records = &RecordArgs { keep_all: true, ..args.records.clone() };
    let settings = records.settings(embedder.encoder().modality(), false, true);
    let source = args.input.file_name().map(|name| name.to_string_lossy().into_owned());
    embed_file(embedder, &args.input, records, &settings, interrupt::flag()?, |outcome| match outcome {
        Ok(embedded) => {
            let (record, vectors) = record_of(embedded, source.as_deref());
            Ok(build.push(record, vectors)?)
        }
        Err(failure) => failed.keep_or_fail(failure, records.keep_going),
    })?;
    let n = build.finish()?;
    failed.finish()?;
    let (target, space) = (args.target, &spaces[0]);
    eprintln!("{address}: {n} {target} in {space}");
    Ok(ExitCode::SUCCESS)
}

/// What a collection is to be.
#[derive(Debug, Clone)]
pub(crate) struct CollectionPlan {
    pub(crate) target: Target,
    pub(crate) kind: IndexKind,
    /// Kept with the records, for filters.
    pub(crate) taxonomy: Option<Taxonomy>,
}

/// Embeds `input` and indexes it.
pub(crate) fn build_collection(
    embedder: &Embedder,
    input: &Path,
    records: &RecordArgs,
    plan: CollectionPlan,
    stop: &AtomicBool,
    failed: &mut FailedFile,
) -> anyhow::Result<Collection> {
    let mut builder = CollectionBuilder::new(output_space(embedder, true)?, plan.kind)?;
    for space in embedder.joint_spaces().skip(1) {
        builder.add_space(space.clone())?;
    }
    builder.set_metadata("encoder", embedder.encoder().id());
    plan.target.mark(&mut builder);
    if let Some(taxonomy) = plan.taxonomy {
        builder.set_taxonomy(taxonomy);
    }
    let records = &RecordArgs { keep_all: true, ..records.clone() };
    let settings = records.settings(embedder.encoder().modality(), false, true);
    let source = input.file_name().map(|name| name.to_string_lossy().into_owned());
    embed_file(embedder, input, records, &settings, stop, |outcome| match outcome {
        Ok(embedded) => {
            let (record, vectors) = record_of(embedded, source.as_deref());
            builder.push_in_all(record, &vectors.iter().collect::<Vec<_>>())?;
            Ok(())
        }
        Err(failure) => failed.keep_or_fail(failure, records.keep_going),
    })?;
    let bar = progress::count(builder.len() as u64, "indexing");
    let collection = builder.build(&mut |n_done| bar.set_position(n_done as u64))?;
    bar.finish_and_clear();
    Ok(collection)
}

/// What a collection keeps of an embedded record, and its vectors.
pub(crate) fn record_of(embedded: EmbeddedRecord, source: Option<&str>) -> (Record, Vec<JointVector>) {
    let EmbeddedRecord { record, content, joint, .. } = embedded;
    let (length, sequence, text) = match record.payload {
        Payload::Sequence(_) => (u32::try_from(content.len()).unwrap_or(u32::MAX), Some(content), None),
        Payload::Text(_) => (0, None, Some(content)),
    };
    let (fields, own_source) = free_fields(record.metadata);
    let record = Record {
        id: record.id,
        description: record.description,
        organism: record.organism,
        taxon_id: record.taxon_id,
        gene: record.gene,
        length,
        sequence,
        text,
        source: own_source.or_else(|| source.map(str::to_owned)),
        fields,
    };
    (record, joint)
}

/// Without writes since the snapshot this takes no time; with some they must be read to be counted.
fn info_of_folder(folder: &Path) -> anyhow::Result<CollectionInfo> {
    let info = inspect(folder)?;
    if verify_logs(folder)?.iter().any(|log| log.n_entries > 0 || log.problem.is_some()) {
        return Ok(Store::read(folder, &OpenOptions::default())?.info());
    }
    Ok(info)
}

fn verify_folder(folder: &Path) -> anyhow::Result<ExitCode> {
    qdrant::ensure_folder(folder, "`verify`")?;
    let report = verify(folder)?;
    for file in &report.files {
        let state = file.problem.as_deref().unwrap_or("ok");
        println!("{:<24} {:>12} bytes  {state}", file.name, file.n_bytes);
    }
    if let Some(problem) = &report.content_problem {
        println!("contents: {problem}");
    }
    for leftover in &report.leftovers {
        println!("left over from an interrupted save, not used: {leftover}");
    }
    if index_write::tell_logs(folder)? && report.is_sound() {
        println!("{}: sound", folder.display());
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}: DAMAGED; restore a backup, or rebuild it with `protext index build`", folder.display());
    Ok(ExitCode::from(2))
}

fn info(folder: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let info = match qdrant::address(folder)? {
        Some(address) => qdrant::open(&address)?.view().info(),
        None => info_of_folder(folder)?,
    };
    if json {
        println!("{}", serde_json::to_string_pretty(&info)?);
    } else {
        println!("records     {}", info.n_records);
        println!("space       {}", info.space);
        println!("index       {:?}", info.index);
        match info.created_unix_s {
            0 => println!("built       by a job, which notes no time"),
            at => println!("built       {at} (seconds since 1970)"),
        }
        info.metadata.iter().for_each(|(key, value)| println!("{key:<11} {value}"));
    }
    Ok(ExitCode::SUCCESS)
}
