//! The table that a subcommand writes, and what it tells at its end.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::ProgressBar;
use protext_engine::output::table::{Cell, Column, TableWriter};
use serde::Serialize;

use crate::commands::eval::write_json;
use crate::fault::UsageError;
use crate::{interrupt, progress};

/// Where a table goes; shared by all subcommands.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct OutputArgs {
    /// The table; its ending tells the format (.tsv, .tsv.gz, .jsonl, .jsonl.gz, .parquet).
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Replace an output that exists.
    #[arg(long)]
    overwrite: bool,
    /// Where the counts go as JSON; - for standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// How many of what, in the order told.
#[derive(Debug, Serialize)]
struct Count {
    what: &'static str,
    n: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    output: String,
    n_rows: u64,
    left_out: Vec<Count>,
    notes: Vec<Count>,
}

/// A table under way, with a progress bar.
pub(crate) struct TextTable {
    writer: TableWriter,
    json: Option<PathBuf>,
    left_out: Vec<Count>,
    notes: Vec<Count>,
    bar: ProgressBar,
    stop: &'static AtomicBool,
}

impl TextTable {
    /// Starts the table; refuses early what could not be written late.
    pub(crate) fn create(args: &OutputArgs, columns: &'static [Column], what: &str) -> anyhow::Result<Self> {
        Ok(Self {
            writer: TableWriter::create(&args.output, columns, args.overwrite)?,
            json: args.json.clone(),
            left_out: Vec::new(),
            notes: Vec::new(),
            bar: progress::rows(what),
            stop: interrupt::flag()?,
        })
    }

    /// Writes a row.
    pub(crate) fn push(&mut self, row: &[Cell<'_>]) -> anyhow::Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(interrupt::Interrupted.into());
        }
        self.writer.push(row)?;
        self.bar.inc(1);
        Ok(())
    }

    /// Counts what is in no row, and why.
    pub(crate) fn leave_out(&mut self, n: impl TryInto<u64>, why: &'static str) {
        add(&mut self.left_out, n, why);
    }

    /// Counts something else that is worth telling.
    pub(crate) fn note(&mut self, n: impl TryInto<u64>, what: &'static str) {
        add(&mut self.notes, n, what);
    }

    /// Completes the table and tells the counts. A table without rows is refused.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        let Self { writer, json, left_out, notes, bar, .. } = self;
        bar.finish_and_clear();
        let told =
            |counts: &[Count]| counts.iter().for_each(|count| eprintln!("{}: {}", count.what, count.n));
        if writer.n_rows() == 0 {
            told(&left_out);
            let message = "no row is left to write; the counts above say why, and nothing was written";
            return Err(UsageError(message.to_owned()).into());
        }
        let written = writer.finish()?;
        let output = written.path.display().to_string();
        eprintln!("{output}: {} rows, {} bytes", written.n_rows, written.n_bytes);
        told(&left_out);
        told(&notes);
        write_json(json.as_deref(), &Report { output, n_rows: written.n_rows, left_out, notes })
    }
}

fn add(counts: &mut Vec<Count>, n: impl TryInto<u64>, what: &'static str) {
    let n = n.try_into().unwrap_or(u64::MAX);
    match counts.iter_mut().find(|count| count.what == what) {
        Some(count) => count.n += n,
        None if n > 0 => counts.push(Count { what, n }),
        None => {}
    }
}
