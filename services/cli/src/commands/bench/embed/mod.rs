//! `protext bench embed`: residues per second, beside ONNX Runtime in Python and PyTorch.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::Context as _;
use protext_core::{Modality, ProteinSequence, ResiduePolicy};
use protext_engine::embed_records;
use protext_engine::input::{InputOptions, InputRecord, Source, open};
use protext_registry::wheel::python;
use serde::{Deserialize, Serialize};

use crate::commands::embed::RecordArgs;
use crate::commands::eval::write_json;
use crate::fault::UsageError;
use crate::wiring::{self, ModelArgs};

const ONNXRUNTIME_PEER: &str = include_str!("../peers/onnxruntime_peer.py");
const PYTORCH_PEER: &str = include_str!("../peers/pytorch_peer.py");

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Proteins to embed.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Most proteins taken from the file, evenly spread.
    #[arg(long, default_value_t = 300)]
    n_proteins: usize,
    /// Rounds; ours and the peers take turns and the median of each counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[command(flatten)]
    model: ModelArgs,
    /// Where the figures go as JSON; - for standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    bench: &'static str,
    encoder: String,
    n_proteins: usize,
    n_residues: u64,
    n_threads: usize,
    rounds: usize,
    residues_per_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio_to_onnxruntime_python: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio_to_pytorch: Option<f64>,
    not_installed: Vec<String>,
}

/// What a peer prints.
#[derive(Deserialize)]
struct PeerSaid {
    seconds: f64,
    residues: u64,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.rounds == 0 || args.n_proteins == 0 {
        return Err(UsageError("--rounds and --n-proteins must be at least 1".to_owned()).into());
    }
    let records = sample(&args)?;
    let folder = tempfile::tempdir()?;
    let sequences = folder.path().join("sequences.txt");
    std::fs::write(
        &sequences,
        records.iter().map(|record| record.payload.as_str()).collect::<Vec<_>>().join("\n"),
    )?;
    let model = wiring::registry()?.ready(&args.model.encoder)?;
    let embedder = wiring::start_embedder(&args.model, false)?;
    let n_threads = embedder.batcher().settings().n_workers;
    let checkpoint = model.files.config.parent().unwrap_or(Path::new(".")).to_owned();
    let mut onnxruntime = Peer::new("onnxruntime", ONNXRUNTIME_PEER, model.onnx);
    let mut pytorch = Peer::new("torch with transformers", PYTORCH_PEER, checkpoint);
    let mut ours = Vec::new();
    for round in 0..args.rounds {
        eprintln!("round {} of {}", round + 1, args.rounds);
        ours.push(embed_once(&embedder, &records)?);
        onnxruntime.run(&sequences, n_threads);
        pytorch.run(&sequences, n_threads);
    }
    let residues_per_s = median(&mut ours).context("no round was run")?;
    let missing = [&onnxruntime, &pytorch].into_iter().filter(|peer| !peer.is_installed);
    let not_installed = missing.map(|peer| peer.name.to_owned()).collect();
    let report = Report {
        bench: "embed",
        encoder: args.model.encoder,
        n_proteins: records.len(),
        n_residues: records.iter().map(|record| record.payload.as_str().len() as u64).sum(),
        n_threads,
        rounds: args.rounds,
        residues_per_s,
        ratio_to_onnxruntime_python: onnxruntime.ratio(residues_per_s),
        ratio_to_pytorch: pytorch.ratio(residues_per_s),
        not_installed,
    };
    print(&report);
    write_json(args.json.as_deref(), &report)?;
    Ok(ExitCode::SUCCESS)
}

/// Proteins of 30 to 1,022 residues, evenly spread over the file.
fn sample(args: &Args) -> anyhow::Result<Vec<InputRecord>> {
    let mut records = Vec::new();
    for record in open(&Source::from_arg(&args.data), &InputOptions::new(Modality::Protein))? {
        let mut record = record?;
        let (sequence, _) = ProteinSequence::parse(record.payload.as_str(), ResiduePolicy::default())?;
        if (30..=1022).contains(&sequence.len()) {
            record.payload = protext_engine::input::Payload::Sequence(sequence.as_str().to_owned());
            records.push(record);
        }
    }
    let step = records.len().div_ceil(args.n_proteins).max(1);
    let chosen: Vec<InputRecord> = records.into_iter().step_by(step).collect();
    if chosen.is_empty() {
        return Err(UsageError(format!("{}: no protein of 30 to 1,022 residues", args.data.display())).into());
    }
    Ok(chosen)
}

fn embed_once(embedder: &protext_engine::Embedder, records: &[InputRecord]) -> anyhow::Result<f64> {
    let args = RecordArgs::default();
    let settings = args.settings(Modality::Protein, false, false);
    let started = Instant::now();
    let records = records.iter().cloned().map(Ok);
    let summary = embed_records(embedder, "bench", records, &settings, |outcome| -> anyhow::Result<()> {
        outcome?;
        Ok(())
    })?;
    Ok(summary.n_residues as f64 / started.elapsed().as_secs_f64())
}

/// One program measured beside us.
struct Peer {
    name: &'static str,
    script: &'static str,
    model: PathBuf,
    /// Residues per second of each round.
    rates: Vec<f64>,
    is_installed: bool,
}

impl Peer {
    fn new(name: &'static str, script: &'static str, model: PathBuf) -> Self {
        Self { name, script, model, rates: Vec::new(), is_installed: true }
    }

    /// Runs it once and keeps its rate; the first failure says that it is not installed.
    fn run(&mut self, sequences: &Path, n_threads: usize) {
        if !self.is_installed {
            return;
        }
        let mut command = Command::new(python());
        command.args(["-c", self.script]).arg(&self.model).arg(sequences).arg(n_threads.to_string());
        let said = command.output().ok().filter(|output| output.status.success());
        match said.and_then(|output| serde_json::from_slice::<PeerSaid>(&output.stdout).ok()) {
            Some(said) => self.rates.push(said.residues as f64 / said.seconds),
            None => {
                self.is_installed = false;
                let (name, python) = (self.name, python());
                eprintln!(
                    "{name} is not installed for {python}, so there is no ratio to it; `make bench` fetches it"
                );
            }
        }
    }

    fn ratio(&mut self, residues_per_s: f64) -> Option<f64> {
        median(&mut self.rates).map(|rate| residues_per_s / rate)
    }
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn print(report: &Report) {
    let (n, residues, threads) = (report.n_proteins, report.n_residues, report.n_threads);
    println!("{}: {n} proteins, {residues} residues, {threads} threads", report.encoder);
    println!("residues per second           {:>10.0}", report.residues_per_s);
    for (name, ratio) in [
        ("ONNX Runtime in Python, one at a time", report.ratio_to_onnxruntime_python),
        ("PyTorch, sorted batches", report.ratio_to_pytorch),
    ] {
        match ratio {
            Some(ratio) => println!("times {name:<38} {ratio:.2}"),
            None => println!("times {name:<38} not installed"),
        }
    }
}
