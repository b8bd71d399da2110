//! stub
use std::process::ExitCode;
#[derive(clap::Subcommand)]
pub(crate) enum Args { A }
pub(crate) fn run(_: Args) -> anyhow::Result<ExitCode> { Ok(ExitCode::SUCCESS) }
