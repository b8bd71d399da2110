//! `protext eval`: quality on labelled data, baselines beside it. One file a task.

pub(crate) mod homology;
mod reliability_plot;
mod retrieval;

use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use protext_engine::eval::Reliability;
use serde::Serialize;

#[derive(Subcommand)]
pub(crate) enum Args {
    /// Remote homology: do domains find their CATH superfamily?
    Homology(homology::Args),
    /// Retrieval both ways: does a protein find its text, and a text its protein?
    Retrieval(retrieval::Args),
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args {
        Args::Homology(args) => homology::run(args),
        Args::Retrieval(args) => retrieval::run(args),
    }
}

/// Writes a page to a file, if one is named.
fn write_text(path: Option<&Path>, page: impl FnOnce() -> String) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    Ok(std::fs::write(path, page()).map_err(|source| protext_registry::CacheError::from_io(path, source))?)
}

/// Bins of confidences as a table in Markdown.
fn reliability_table(confidence: &str, answers: &str, found: &Reliability) -> String {
    let mut table = format!("| {confidence} | share right | {answers} |\n|---|---|---|\n");
    for bin in &found.bins {
        table += &format!("| {:.3} | {:.3} | {} |\n", bin.confidence, bin.share_right, bin.n);
    }
    table
}

/// Writes a report to a file, or to standard output for `-`.
pub(crate) fn write_json(path: Option<&Path>, report: &impl Serialize) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    let json = serde_json::to_string_pretty(report)? + "\n";
    if path == Path::new("-") {
        print!("{json}");
    } else {
        std::fs::write(path, json).map_err(|source| protext_registry::CacheError::from_io(path, source))?;
    }
    Ok(())
}
