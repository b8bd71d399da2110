//! `protext eval`: quality on labelled data, baselines beside it. One file a task.

mod bar_plot;
mod gene_pairs;
mod genes;
pub(crate) mod homology;
mod perturbation;
mod ppi;
mod reliability_plot;
mod retrieval;
mod variants;

use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use protext_engine::eval::Reliability;
use serde::Serialize;

#[derive(Subcommand)]
pub(crate) enum Args {
    /// Remote homology: do domains find their CATH superfamily?
    Homology(homology::Args),
    /// Perturbation: what does perturbing a gene do, for genes that were not trained on?
    Perturbation(perturbation::Args),
    /// Gene tasks: dosage sensitivity, gene-gene interaction, essentiality.
    Genes(genes::Args),
    /// Retrieval both ways: does a protein find its text, and a text its protein?
    Retrieval(retrieval::Args),
    /// Interactions of proteins: are pairs that interact told from pairs that do not?
    Ppi(ppi::Args),
    /// Variants: do scores of mutants order what deep mutational scans measured?
    Variants(Box<variants::Args>),
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args {
        Args::Homology(args) => homology::run(args),
        Args::Perturbation(args) => perturbation::run(args),
        Args::Genes(args) => genes::run(args),
        Args::Retrieval(args) => retrieval::run(args),
        Args::Ppi(args) => ppi::run(args),
        Args::Variants(args) => variants::run(*args),
    }
}

/// One row of a table in Markdown.
pub(crate) fn table_row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// Bins of confidences as a table in Markdown.
fn reliability_table(confidence: &str, answers: &str, found: &Reliability) -> String {
    let mut table = format!("| {confidence} | share right | {answers} |\n|---|---|---|\n");
    for bin in &found.bins {
        let shares = [bin.confidence, bin.share_right].map(|share| format!("{share:.3}"));
        table += &table_row(&[&shares[..], &[bin.n.to_string()]].concat());
    }
    table
}

/// Writes a report to a file, or to standard output for `-`.
pub(crate) fn write_json(path: Option<&Path>, report: &impl Serialize) -> anyhow::Result<()> {
    if path.is_none() {
        return Ok(());
    }
    let json = serde_json::to_string_pretty(report)? + "\n";
    if path == Some(Path::new("-")) {
        print!("{json}");
        return Ok(());
    }
    write_text(path, &json)
}

/// Writes a page to a file, if one is named.
pub(crate) fn write_text(path: Option<&Path>, page: &str) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    Ok(std::fs::write(path, page).map_err(|source| protext_registry::CacheError::from_io(path, source))?)
}
