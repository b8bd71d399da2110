//! `protext texts`: texts about proteins, genes and functions, from files or fetched. One file a subcommand.
//!
//! Each reads through `protext-texts` and writes a table that `protext index build` and `protext train projection` take.

mod annotations;
mod fetching;
mod genes;
mod go;
mod proteins;
mod writing;

use std::process::ExitCode;

use clap::Subcommand;

#[derive(Subcommand)]
pub(crate) enum Args {
    /// Proteins with their function comments, from UniProt files or its REST service.
    Proteins(proteins::Args),
    /// One text a gene, as GenePT writes it: symbol, name, summary, GO terms.
    Genes(genes::Args),
    /// One text a term of the Gene Ontology, to be searched as a collection.
    Go(go::Args),
    /// Pairs of protein and function text from GO annotations and ENZYME, for pretraining the joint space.
    Annotations(annotations::Args),
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args {
        Args::Proteins(args) => proteins::run(args)?,
        Args::Genes(args) => genes::run(args)?,
        Args::Go(args) => go::run(args)?,
        Args::Annotations(args) => annotations::run(args)?,
    }
    Ok(ExitCode::SUCCESS)
}
