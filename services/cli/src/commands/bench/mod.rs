//! `protext bench`: speed, with peers measured beside us in the same run where they are installed. One file a task.

mod api;
mod embed;
mod percentile;
mod search;

use std::process::ExitCode;

use clap::Subcommand;

#[derive(Subcommand)]
pub(crate) enum Args {
    /// Residues per second of embedding, beside PyTorch, esm.cpp, ONNX Runtime and OpenVINO in Python where they are installed; what
    /// a device's numbers cost; and many callers at once.
    #[command(after_help = "Example (peers from a folder that pip filled):\n  \
        PYTHONPATH=.bench/peers protext bench embed --data services/cli/demo/proteins.fasta --device openvino --json -")]
    Embed(embed::Args),
    /// Queries per second against recall, building and memory, beside hnswlib, usearch and faiss where they are installed.
    #[command(after_help = "Example (peers from a folder that pip filled):\n  \
        PYTHONPATH=.bench/peers protext bench search --data services/cli/demo/proteins.fasta --json -")]
    Search(search::Args),
    /// What the service adds to the engine's own time, requests per second, and a mixed load.
    Api(api::Args),
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args {
        Args::Embed(args) => embed::run(args),
        Args::Search(args) => search::run(args),
        Args::Api(args) => api::run(&args),
    }
}
