//! One file a command; [`Command`] is the table of them all.

mod annotate;
mod bench;
mod demo;
mod doctor;
pub(crate) mod embed;
mod eval;
mod feature_rows;
mod gene_heads;
mod health;
pub(crate) mod index;
mod index_write;
pub(crate) mod jobs;
mod keys;
mod models;
pub(crate) mod pair_rows;
mod perturb;
mod ppi;
pub(crate) mod ppi_model;
mod row_source;
mod runtime;
pub(crate) mod search;
mod serve;
mod texts;
mod train;
mod variants;
mod worker;

use std::process::ExitCode;

use clap::Subcommand;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serve the HTTP API.
    Serve(serve::Args),
    /// Turn files of proteins into vectors.
    Embed(embed::Args),
    /// Find the nearest proteins, texts or genes of each query.
    Search(search::Args),
    /// Say what proteins do, as ranked texts.
    Annotate(annotate::Args),
    /// Say what perturbing a gene changes.
    Perturb(perturb::Args),
    /// Say whether proteins interact: pairs, one against all, or all against all.
    Ppi(ppi::Args),
    /// Score mutants of proteins: masked and wild-type marginals, embedding shift; scans as heat maps.
    Variants(variants::Args),
    /// Build and check collections on disk.
    #[command(subcommand)]
    Index(index::Args),
    /// Batch jobs that survive whatever happens: submit, follow, cancel, resume, fetch.
    #[command(subcommand)]
    Jobs(jobs::Args),
    /// Run jobs that others submit.
    Worker(worker::Args),
    /// Encoders: what is known, what is here, fetch, convert, check.
    #[command(subcommand)]
    Models(models::Args),
    /// ONNX Runtime: fetch the pinned library.
    #[command(subcommand)]
    Runtime(runtime::Args),
    /// Say what is here, what runs, on which device, and what is missing.
    Doctor(doctor::Args),
    /// Ask a running service whether it is ready; exit code 0 if so.
    Health(health::Args),
    /// Keys of the service: make, list, revoke.
    #[command(subcommand)]
    Keys(keys::Args),
    /// Measure quality on labelled data.
    #[command(subcommand)]
    Eval(eval::Args),
    /// Measure speed, with peers beside it where they are installed.
    #[command(subcommand)]
    Bench(bench::Args),
    /// Fit heads: the whitening of a protein space.
    #[command(subcommand)]
    Train(train::Args),
    /// Texts about proteins, genes and functions: from files, UniProt, NCBI and the GO project.
    #[command(subcommand)]
    Texts(texts::Args),
    /// Index the demo proteins, check the search on them, then serve.
    Demo(demo::Args),
}

impl Command {
    /// True if it answers requests of others.
    pub(crate) fn is_service(&self) -> bool {
        matches!(self, Command::Serve(_) | Command::Demo(_))
    }

    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Command::Serve(args) => serve::run(args),
            Command::Embed(args) => embed::run(args),
            Command::Search(args) => search::run(args),
            Command::Annotate(args) => annotate::run(args),
            Command::Perturb(args) => perturb::run(args),
            Command::Ppi(args) => ppi::run(args),
            Command::Variants(args) => variants::run(args),
            Command::Index(args) => index::run(args),
            Command::Jobs(args) => jobs::run(args),
            Command::Worker(args) => worker::run(args),
            Command::Models(args) => models::run(args),
            Command::Runtime(args) => runtime::run(args),
            Command::Doctor(args) => doctor::run(args),
            Command::Health(args) => health::run(args),
            Command::Keys(args) => keys::run(args),
            Command::Eval(args) => eval::run(args),
            Command::Bench(args) => bench::run(args),
            Command::Train(args) => train::run(args),
            Command::Texts(args) => texts::run(args),
            Command::Demo(args) => demo::run(args),
        }
    }
}
