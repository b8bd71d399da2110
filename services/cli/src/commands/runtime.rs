//! `protext runtime install`: fetches ONNX Runtime.

use std::process::ExitCode;

use clap::Subcommand;
use protext_registry::Cache;
use protext_registry::runtime::{RuntimeKind, VERSION, install};

use crate::progress::Downloads;

#[derive(Subcommand)]
pub(crate) enum Args {
    /// Fetch the pinned ONNX Runtime with pip (hashes required) into the cache.
    Install {
        /// Which build: cpu.
        kind: RuntimeKind,
    },
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args::Install { kind } = args;
    let library = install(&Cache::from_environment()?, kind, &Downloads::default())?;
    println!("ONNX Runtime {VERSION} ({kind}) is at {}", library.display());
    Ok(ExitCode::SUCCESS)
}
