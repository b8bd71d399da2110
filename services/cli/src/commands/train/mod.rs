//! `protext train`: fits heads and writes them as ONNX with a card. One file a kind of head.

mod gene_proteins;
mod gene_responses;
mod genes;
pub(crate) mod head;
mod joint_card;
mod lm_head;
mod pair_split;
mod projection;
mod report;
mod whitening;

use std::process::ExitCode;

use clap::Subcommand;

pub(crate) use pair_split::SPLIT_FILE;
pub(crate) use whitening::fit_on_proteins;

#[derive(Subcommand)]
pub(crate) enum Args {
    /// Whiten the layer statistics of a protein encoder: on CATH training domains, or on proteins of your own.
    Whitening(Box<whitening::Args>),
    /// Train two towers, one for proteins and one for texts, into one joint space.
    Projection(Box<projection::Args>),
    /// Make a table of genes: symbols, GO terms and text vectors, which heads of genes read.
    Genes(Box<genes::Args>),
    /// Train a predictor on vectors: classes, numbers, or classes of residues.
    Head(Box<head::Args>),
    /// Fit a language head for an encoder whose checkpoint has none: amino acids at masked positions.
    LmHead(Box<lm_head::Args>),
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args {
        Args::Whitening(args) => whitening::run(*args),
        Args::Projection(args) => projection::run(*args),
        Args::Genes(args) => genes::run(*args),
        Args::Head(args) => head::run(*args),
        Args::LmHead(args) => lm_head::run(*args),
    }
}
