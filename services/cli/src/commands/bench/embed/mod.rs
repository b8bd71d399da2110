//! `protext bench embed`: residues per second beside the programs that people use now, what a device's numbers cost, and many
//! callers at once.

mod clients;
mod cost;
mod peer;
mod price;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use protext_core::{Encoded, EncoderInput, Modality, ProteinSequence, ResiduePolicy};
use protext_engine::input::{InputOptions, InputRecord, Payload, Source, open};
use protext_engine::{Embedder, embed_records};
use protext_onnx::{Device, Precision};
use protext_registry::convert::Dialect;
use serde::Serialize;

use self::clients::Clients;
use self::peer::Peer;
use self::price::{Price, price};
use super::percentile::percentile_of;
use crate::commands::embed::RecordArgs;
use crate::commands::eval::write_json;
use crate::fault::UsageError;
use crate::wiring::{self, ModelArgs};

const ONNXRUNTIME_PEER: &str = include_str!("../../peers/onnxruntime_peer.py");
const OPENVINO_PEER: &str = include_str!("../../peers/openvino_peer.py");
const ESM_CPP_PEER: &str = include_str!("../../peers/esm_cpp_peer.py");
const PYTORCH_PEER: &str = include_str!("../../peers/pytorch_peer.py");

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Proteins to embed; those of 30 to 1,022 residues count.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Most proteins taken from the file, evenly spread.
    #[arg(long, default_value_t = 300)]
    n_proteins: usize,
    /// Rounds; ours and the peers take turns and the median of each counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Callers at once that each send single proteins; 0 for none.
    #[arg(long, default_value_t = 32)]
    clients: usize,
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
    device: String,
    precision: String,
    n_proteins: usize,
    n_residues: u64,
    n_threads: usize,
    rounds: usize,
    residues_per_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio_to_onnxruntime_python: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio_to_openvino_python: Option<f64>,
    /// How OpenVINO ran: its numbers, and one at a time or several at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    openvino_python_ran: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio_to_esm_cpp: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio_to_pytorch: Option<f64>,
    /// On a GPU, in bfloat16 with fused attention.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio_to_pytorch_cuda: Option<f64>,
    /// Of what the GPU reaches with products of large matrices in 16 bits, the share that is spent on tokens; padding is not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    mfu: Option<f64>,
    stages: Stages,
    not_installed: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<Price>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clients: Option<Clients>,
}

/// Where the time goes, as shares of the whole.
#[derive(Serialize)]
struct Stages {
    /// In sessions, of the time that all workers have.
    in_sessions: f64,
    /// Cutting sequences into tokens, on the one core that does it beside the sessions.
    preparing: f64,
    /// Of the tokens in batches, those that only fill up.
    padding: f64,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.rounds == 0 || args.n_proteins == 0 {
        return Err(UsageError("--rounds and --n-proteins must be at least 1".to_owned()).into());
    }
    let (records, inputs): (Vec<InputRecord>, Vec<EncoderInput>) = sample(&args)?.into_iter().unzip();
    let folder = tempfile::tempdir()?;
    let sequences = folder.path().join("sequences.txt");
    std::fs::write(
        &sequences,
        records.iter().map(|record| record.payload.as_str()).collect::<Vec<_>>().join("\n"),
    )?;
    let registry = wiring::registry()?;
    let model = registry.ready(&args.model.encoder)?;
    let embedder = wiring::start_embedder(&args.model, false)?;
    let n_threads = embedder.batcher().settings().n_workers;
    let standard = registry.graph(&model, Dialect::Standard)?;
    let checkpoint = model.files.config.parent().unwrap_or(Path::new(".")).to_owned();
    let running =
        embedder.encoder().running().context("an encoder that runs elsewhere is not measured here")?;
    let (device, precision) = (running.device.clone(), running.precision.clone());
    let of_peers = if device == Device::Cuda.to_string() { "cuda" } else { "cpu" };
    let mut peers = [
        Peer::new(("onnxruntime", "cpu"), ONNXRUNTIME_PEER, model.onnx),
        Peer::new(("openvino", "cpu"), OPENVINO_PEER, standard),
        Peer::new(("esm-cpp", "cpu"), ESM_CPP_PEER, checkpoint.clone()),
        Peer::new(("torch with transformers", "cpu"), PYTORCH_PEER, checkpoint.clone()),
        Peer::new(("torch with transformers on a GPU", "cuda"), PYTORCH_PEER, checkpoint),
    ];
    let (mut ours, mut rows) = (Vec::new(), Vec::new());
    let before = embedder.batcher().counts();
    for round in 0..args.rounds {
        eprintln!("round {} of {}", round + 1, args.rounds);
        let (rate, encoded) = embed_once(&embedder, &records)?;
        ours.push(rate);
        rows = encoded;
        for peer in peers.iter_mut().filter(|peer| peer.device == of_peers) {
            peer.run(&sequences, n_threads);
        }
    }
    let counts = embedder.batcher().counts();
    let n_residues: u64 = records.iter().map(|record| record.payload.as_str().len() as u64).sum();
    let ours_s: f64 = ours.iter().map(|rate| n_residues as f64 / rate).sum();
    let stages = Stages {
        in_sessions: (counts.in_sessions - before.in_sessions).as_secs_f64() / ours_s / n_threads as f64,
        preparing: args.rounds as f64 * cost::preparing_s(&embedder, &inputs)? / ours_s,
        padding: share(counts.n_padding_tokens - before.n_padding_tokens, counts.n_tokens - before.n_tokens),
    };
    let residues_per_s = percentile_of(ours, 0.5);
    let is_reference = device == Device::Cpu.to_string() && precision == Precision::Fp32.to_string();
    let clients = match args.clients {
        0 => None,
        n_clients => Some(clients::measure(&embedder, &inputs, n_clients, residues_per_s)?),
    };
    drop(embedder);
    let price = if is_reference { None } else { price(&on_the_cpu(&args, &records)?, &rows) };
    let [onnxruntime, openvino, esm_cpp, pytorch, pytorch_cuda] = &peers;
    let flops_per_residue = cost::flops(&model.files.config, &records)? / n_residues as f64;
    let ratio = |peer: &Peer| peer.rate().map(|rate| residues_per_s / rate);
    let report = Report {
        bench: "embed",
        device,
        precision,
        n_proteins: records.len(),
        n_residues,
        n_threads,
        rounds: args.rounds,
        residues_per_s,
        ratio_to_onnxruntime_python: ratio(onnxruntime),
        ratio_to_openvino_python: ratio(openvino),
        openvino_python_ran: openvino.way.clone(),
        ratio_to_esm_cpp: ratio(esm_cpp),
        ratio_to_pytorch: ratio(pytorch),
        ratio_to_pytorch_cuda: ratio(pytorch_cuda),
        mfu: pytorch_cuda.peak_flops.map(|peak| residues_per_s * flops_per_residue / peak),
        stages,
        not_installed: peers
            .iter()
            .filter(|peer| peer.failure.is_some())
            .map(|peer| peer.name.into())
            .collect(),
        price,
        clients,
        encoder: args.model.encoder,
    };
    print(&report);
    write_json(args.json.as_deref(), &report)?;
    Ok(ExitCode::SUCCESS)
}

fn share(part: u64, rest: u64) -> f64 {
    part as f64 / (part + rest).max(1) as f64
}

/// Proteins of 30 to 1,022 residues, evenly spread over the file, and what an encoder reads of each.
fn sample(args: &Args) -> anyhow::Result<Vec<(InputRecord, EncoderInput)>> {
    let mut records = Vec::new();
    for record in open(&Source::from_arg(&args.data), &InputOptions::new(Modality::Protein))? {
        let mut record = record?;
        let (sequence, _) = ProteinSequence::parse(record.payload.as_str(), ResiduePolicy::default())?;
        if (30..=1022).contains(&sequence.len()) {
            record.payload = Payload::Sequence(sequence.as_str().to_owned());
            records.push((record, EncoderInput::Protein(sequence)));
        }
    }
    let step = records.len().div_ceil(args.n_proteins).max(1);
    let chosen: Vec<_> = records.into_iter().step_by(step).collect();
    if chosen.is_empty() {
        return Err(UsageError(format!("{}: no protein of 30 to 1,022 residues", args.data.display())).into());
    }
    Ok(chosen)
}

/// Residues per second, and the rows in order.
fn embed_once(embedder: &Embedder, records: &[InputRecord]) -> anyhow::Result<(f64, Vec<Encoded>)> {
    let settings = RecordArgs::default().settings(Modality::Protein, false, false);
    let mut rows = Vec::with_capacity(records.len());
    let started = Instant::now();
    let records = records.iter().cloned().map(Ok);
    let summary = embed_records(embedder, "bench", records, &settings, |outcome| -> anyhow::Result<()> {
        rows.push(outcome?.encoded);
        Ok(())
    })?;
    Ok((summary.n_residues as f64 / started.elapsed().as_secs_f64(), rows))
}

/// The rows of the CPU provider in 32 bits, in the runtime that is loaded.
fn on_the_cpu(args: &Args, records: &[InputRecord]) -> anyhow::Result<Vec<Encoded>> {
    let model = ModelArgs { device: Device::Cpu.into(), ..args.model.clone() };
    Ok(embed_once(&wiring::start_embedder(&model, false)?, records)?.1)
}

fn print(report: &Report) {
    let (n, residues, threads) = (report.n_proteins, report.n_residues, report.n_threads);
    let (device, precision) = (&report.device, &report.precision);
    println!(
        "{} on {device} in {precision}: {n} proteins, {residues} residues, {threads} threads",
        report.encoder
    );
    println!("residues per second                          {:>8.0}", report.residues_per_s);
    let openvino = report.openvino_python_ran.as_deref().unwrap_or("at its best");
    for (name, ratio) in [
        ("ONNX Runtime in Python, one at a time", report.ratio_to_onnxruntime_python),
        (&format!("OpenVINO in Python, {openvino}"), report.ratio_to_openvino_python),
        ("esm.cpp, its scheduler", report.ratio_to_esm_cpp),
        ("PyTorch, sorted batches", report.ratio_to_pytorch),
        ("PyTorch on the GPU, bf16, SDPA", report.ratio_to_pytorch_cuda),
    ] {
        if let Some(ratio) = ratio {
            println!("times {name:<38} {ratio:>8.2}");
        }
    }
    for peer in &report.not_installed {
        println!("not installed: {peer}");
    }
    if let Some(mfu) = report.mfu {
        println!("of the GPU's peak with matrices              {mfu:>8.2}");
    }
    let Stages { in_sessions, preparing, padding } = report.stages;
    println!(
        "of the time in sessions {in_sessions:.2}, preparing beside them {preparing:.2}; of the tokens padding {padding:.2}"
    );
    if let Some(price) = &report.price {
        println!("least cosine with the CPU in fp32            {:>8.5}", price.cosine_min);
        println!("mean cosine                                  {:>8.5}", price.cosine_mean);
        println!("same nearest protein, share                  {:>8.3}", price.top1_agreement);
    }
    if let Some(clients) = &report.clients {
        println!(
            "{} callers: {:.2} of the above, p99 {:.0} ms ({:.0} ms alone, of which the median is {:.0} ms)",
            clients.n_clients,
            clients.share_of_offline,
            clients.p99_ms,
            clients.alone_p99_ms,
            clients.alone_p50_ms
        );
    }
}
