//! `protext index add|delete|compact|export|copy`: changing a collection on disk, and taking it elsewhere.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use protext_engine::Target;
use protext_engine::output::{OutputOptions, OutputRow, VectorMetadata, create};
use protext_index::store::verify_logs;
use protext_index::{
    CollectionStore, CollectionView, OpenOptions, Store, StoreOptions, Upsert, View, WriteReport,
};

use super::embed::{FailedFile, RecordArgs, embed_file};
use super::index::record_of;
use crate::fault::UsageError;
use crate::wiring::{self, ModelArgs};
use crate::{interrupt, progress, qdrant};

/// Records of one write: each is there whole or not at all, and is acknowledged before the next.
const BATCH_RECORDS: usize = 256;
/// Residues on a line of FASTA.
const FASTA_WIDTH: usize = 60;

#[derive(clap::Args)]
pub(crate) struct AddArgs {
    /// The collection's folder.
    folder: PathBuf,
    /// FASTA, TSV, CSV, JSON lines or Parquet, plain or gzip; - for standard input.
    input: PathBuf,
    // The encoder is the one that the collection was built with, whatever is asked for here.
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    records: RecordArgs,
}

#[derive(clap::Args)]
pub(crate) struct DeleteArgs {
    /// The collection's folder.
    folder: PathBuf,
    /// Ids of records.
    ids: Vec<String>,
    /// A file with one id a line; - for standard input.
    #[arg(long, value_name = "FILE")]
    ids_from: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(crate) struct ExportArgs {
    /// The collection's folder.
    folder: PathBuf,
    /// Where it goes; the ending tells what: vectors (.parquet, .h5, .npz, .jsonl) or sequences (.fasta, .fa).
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Which of the collection's spaces, counted from 1, the main one first.
    #[arg(long, default_value_t = 1)]
    space: usize,
    /// Replace an output that exists.
    #[arg(long)]
    overwrite: bool,
}

/// A collection to write to, in a folder or on a server.
fn open_writer(folder: &Path) -> anyhow::Result<Arc<dyn CollectionStore>> {
    Ok(match qdrant::address(folder)? {
        Some(address) => Arc::new(qdrant::open(&address)?),
        None => Arc::new(open(folder)?),
    })
}

/// Commands end soon after their writes, so they leave the rebuilding to `compact`.
fn open(folder: &Path) -> anyhow::Result<Store> {
    Ok(Store::open_with(folder, StoreOptions { compact_after: None, ..StoreOptions::default() })?)
}

pub(crate) fn add(args: &AddArgs) -> anyhow::Result<ExitCode> {
    let store = open_writer(&args.folder)?;
    let view = store.state();
    let target = Target::said_in(&view.info().metadata);
    let mut model = args.model.clone();
    if let Some(encoder) = view.info().metadata.get("encoder") {
        model.encoder.clone_from(encoder);
    }
    let embedder = wiring::start_embedder(&model, true)?;
    if embedder.encoder().modality() != target.modality() {
        let id = embedder.encoder().id();
        return Err(
            UsageError(format!("{id} does not read {target}; name the encoder of the collection")).into()
        );
    }
    ensure_same_spaces(&*view, embedder.joint_spaces())?;
    let source = args.input.file_name().map(|name| name.to_string_lossy().into_owned());
    let records = RecordArgs { keep_all: true, ..args.records.clone() };
    let beside = match qdrant::address(&args.folder)? {
        Some(address) => format!("{}.failed.tsv", address.name()?).into(),
        None => args.folder.with_extension("failed.tsv"),
    };
    let failures = args.records.failed.clone().unwrap_or(beside);
    let mut failed = FailedFile::new(failures);
    let settings = args.records.settings(embedder.encoder().modality(), false, true);
    let (mut batch, mut total) = (Vec::with_capacity(BATCH_RECORDS), WriteReport::default());
    embed_file(&embedder, &args.input, &records, &settings, interrupt::flag()?, |outcome| match outcome {
        Ok(embedded) => {
            let (record, vectors) = record_of(embedded, source.as_deref());
            batch.push(Upsert { record, vectors });
            if batch.len() == BATCH_RECORDS { write(&*store, &mut batch, &mut total) } else { Ok(()) }
        }
        Err(failure) => failed.keep_or_fail(failure, args.records.keep_going),
    })?;
    write(&*store, &mut batch, &mut total)?;
    failed.finish()?;
    let (folder, n) = (args.folder.display(), store.state().len());
    eprintln!("{folder}: {} {target} added, {} replaced; {n} now", total.n_inserted, total.n_replaced);
    Ok(ExitCode::SUCCESS)
}

fn write(
    store: &dyn CollectionStore,
    batch: &mut Vec<Upsert>,
    total: &mut WriteReport,
) -> anyhow::Result<()> {
    let report = store.write(std::mem::take(batch))?;
    total.n_inserted += report.n_inserted;
    total.n_replaced += report.n_replaced;
    Ok(())
}

/// New records need a vector in every space of the collection, and no other.
fn ensure_same_spaces<'a>(
    view: &dyn CollectionView,
    joint: impl Iterator<Item = &'a protext_core::Space>,
) -> anyhow::Result<()> {
    let joint: Vec<_> = joint.collect();
    for (own, given) in view.spaces().iter().zip(&joint) {
        own.ensure_same("the collection", given, "the encoder with its projections")?;
    }
    if view.spaces().len() != joint.len() {
        let (own, given) = (view.spaces().len(), joint.len());
        let message = format!(
            "the collection has vectors in {own} spaces, the encoder with its projections gives {given}; use the \
             projections it was built with, or build it anew"
        );
        return Err(UsageError(message).into());
    }
    Ok(())
}

pub(crate) fn delete(args: &DeleteArgs) -> anyhow::Result<ExitCode> {
    let mut ids = args.ids.clone();
    if let Some(path) = &args.ids_from {
        ids.extend(read_ids(path)?);
    }
    if ids.is_empty() {
        return Err(
            UsageError("name the records to delete, or a file of ids with --ids-from".to_owned()).into()
        );
    }
    let store = open_writer(&args.folder)?;
    let report = store.remove(&ids.iter().map(String::as_str).collect::<Vec<_>>())?;
    for id in &report.unknown {
        eprintln!("no record has the id {id:?}");
    }
    let (folder, n_unknown) = (args.folder.display(), report.unknown.len());
    eprintln!("{folder}: {} deleted, {n_unknown} not there; {} now", report.n_deleted, store.state().len());
    Ok(ExitCode::SUCCESS)
}

fn read_ids(path: &Path) -> anyhow::Result<Vec<String>> {
    let cannot = |source| UsageError(format!("cannot read {}: {source}", path.display()));
    let reader: Box<dyn BufRead> = if path.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(path).map_err(cannot)?))
    };
    let mut ids = Vec::new();
    for line in reader.lines() {
        let line = line.map_err(cannot)?;
        if !line.trim().is_empty() {
            ids.push(line.trim().to_owned());
        }
    }
    Ok(ids)
}

pub(crate) fn compact(folder: &Path) -> anyhow::Result<ExitCode> {
    qdrant::ensure_folder(folder, "`compact`")?;
    let store = open(folder)?;
    let bar = progress::count(store.view().len() as u64, "indexing");
    let report = store.compact(&mut |n_done| bar.set_position(n_done as u64))?;
    bar.finish_and_clear();
    let (folder, n_changes) = (folder.display(), report.n_changes);
    eprintln!("{folder}: {} records in a new snapshot, {n_changes} changes in it", report.n_records);
    Ok(ExitCode::SUCCESS)
}

/// Copies a collection that no process writes to; a running store is copied by the process that has it.
pub(crate) fn copy(from: &str, to: &str) -> anyhow::Result<ExitCode> {
    qdrant::ensure_folder(Path::new(from), "`copy`")?;
    qdrant::ensure_folder(Path::new(to), "`copy`")?;
    let report = protext_worker::copy_collection(from, to)?;
    if !report.is_sound() {
        let message = format!("the copy of {from} is damaged; run `protext index verify` on both");
        return Err(UsageError(message).into());
    }
    eprintln!("{to}: a verified copy of {from}");
    Ok(ExitCode::SUCCESS)
}

/// The logs' part of `protext index verify`; true if they are sound.
pub(crate) fn tell_logs(folder: &Path) -> anyhow::Result<bool> {
    let logs = verify_logs(folder)?;
    for log in &logs {
        let state = log.problem.as_deref().unwrap_or("ok");
        println!("{:<24} {:>12} bytes  {state} ({} writes)", log.name, log.n_bytes, log.n_entries);
    }
    Ok(logs.iter().all(|log| log.problem.is_none()))
}

pub(crate) fn export(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    qdrant::ensure_folder(&args.folder, "`export`")?;
    let view = Store::read(&args.folder, &OpenOptions::default())?;
    let is_fasta = args.output.extension().is_some_and(|ending| ending == "fasta" || ending == "fa");
    let n_written = if is_fasta { export_fasta(&view, args)? } else { export_vectors(&view, args)? };
    eprintln!("{}: {n_written} records", args.output.display());
    Ok(ExitCode::SUCCESS)
}

fn export_vectors(view: &View, args: &ExportArgs) -> anyhow::Result<u64> {
    let position = args.space.checked_sub(1).filter(|&position| position < view.spaces().len());
    let Some(position) = position else {
        let message = format!("--space {} is none of the collection's {}", args.space, view.spaces().len());
        return Err(UsageError(message).into());
    };
    let space = &view.spaces()[position];
    let options = OutputOptions {
        dim: space.dim,
        overwrite: args.overwrite,
        metadata: VectorMetadata {
            encoder: view.info().metadata.get("encoder").cloned(),
            space: Some(space.name.clone()),
            fingerprint: Some(space.fingerprint.to_string()),
            pooling: None,
            protext_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        },
        ..OutputOptions::default()
    };
    let mut writer = create(&args.output, &options)?;
    for entry in view.entries() {
        let vector = entry.vector(position)?;
        writer.push(&OutputRow { id: &entry.record()?.id, vector: vector.as_slice(), residues: None })?;
    }
    Ok(writer.finish()?.n_records)
}

fn export_fasta(view: &View, args: &ExportArgs) -> anyhow::Result<u64> {
    for entry in view.entries() {
        let record = entry.record()?;
        if record.sequence.is_none() {
            let id = &record.id;
            let message = format!(
                "record {id:?} keeps no sequence; export vectors instead (.parquet, .h5, .npz, .jsonl)"
            );
            return Err(UsageError(message).into());
        }
    }
    if args.output.exists() && !args.overwrite {
        let message = format!("{} exists; name another file, or add --overwrite", args.output.display());
        return Err(UsageError(message).into());
    }
    // The file appears under its name once it is whole.
    let partial = args.output.with_extension("fasta.partial");
    let written = write_fasta(view, &partial).and_then(|n| fs::rename(&partial, &args.output).map(|()| n));
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written.with_context(|| format!("cannot write {}", args.output.display()))
}

fn write_fasta(view: &View, path: &Path) -> std::io::Result<u64> {
    let mut to = BufWriter::new(File::create(path)?);
    let mut n_written = 0;
    for entry in view.entries() {
        let record = entry.record().map_err(std::io::Error::other)?;
        let description = record.description.replace(['\n', '\r'], " ");
        writeln!(to, "{}", format!(">{} {description}", record.id).trim_end())?;
        for line in record.sequence.as_deref().unwrap_or_default().as_bytes().chunks(FASTA_WIDTH) {
            to.write_all(line)?;
            to.write_all(b"\n")?;
        }
        n_written += 1;
    }
    to.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
    Ok(n_written)
}
