//! `protext runtime install`: fetches ONNX Runtime.

use std::process::ExitCode;

use clap::Subcommand;
use protext_registry::Cache;
use protext_registry::runtime::{RuntimeKind, cuda, install};

use crate::progress::Downloads;

#[derive(Subcommand)]
pub(crate) enum Args {
    /// Fetch a pinned ONNX Runtime with pip (hashes required) into the cache.
    #[command(after_help = "Examples:\n  protext runtime install cpu\n  \
        protext runtime install openvino    for Intel's and AMD's processors with bfloat16 (250 MB)\n  \
        protext runtime install cuda        for NVIDIA GPUs; CUDA 13 and cuDNN 9 are to be there (320 MB)\n\n\
        --device auto takes what is installed and proves itself; --device cpu, openvino and cuda take nothing else.")]
    Install {
        /// Which build: cpu, openvino or cuda.
        kind: RuntimeKind,
    },
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args::Install { kind } = args;
    let library = install(&Cache::from_environment()?, kind, &Downloads::default())?;
    println!("ONNX Runtime ({kind}) is at {}", library.display());
    if kind == RuntimeKind::Cuda
        && let Err(missing) = cuda::load_libraries()
    {
        println!(
            "to be used it needs what cannot be loaded here (name folders in {}):",
            cuda::FOLDERS_VARIABLE
        );
        missing.iter().for_each(|line| println!("  {line}"));
    }
    Ok(ExitCode::SUCCESS)
}
