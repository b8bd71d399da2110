//! `protext doctor`: what is here, what runs, and what to type where something is missing.

use std::path::Path;
use std::process::{Command, ExitCode};

use protext_core::Encoder as _;
use protext_onnx::Device;
use protext_registry::runtime::{self, RuntimeKind};
use protext_registry::{Cache, wheel};

use crate::{remote, wiring};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also hash the runtime and every model again.
    #[arg(long)]
    verify: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let cache = Cache::from_environment()?;
    println!("protext     {}", env!("CARGO_PKG_VERSION"));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("machine     {} {}, {cores} cores", std::env::consts::OS, std::env::consts::ARCH);
    println!("cache       {}", cache.root().display());
    println!("disk        {}", disk(cache.root()));
    println!("python      {}", python());
    let mut is_well = runtime_lines(&cache, args.verify);
    is_well &= model_lines(args.verify)?;
    is_well &= device_lines()?;
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The build that `--device auto` takes is loaded; of the others it is said whether they are here.
fn runtime_lines(cache: &Cache, verify: bool) -> bool {
    let mut is_well = true;
    for kind in [RuntimeKind::Cpu, RuntimeKind::Openvino, RuntimeKind::Cuda] {
        if kind != RuntimeKind::Cpu && !runtime::is_installed(cache, kind) {
            println!("runtime     {kind}: not here; `protext runtime install {kind}`");
            continue;
        }
        let located = runtime::locate(cache, kind);
        let checked = located
            .and_then(|path| if verify { runtime::verify(&path, kind).map(|()| path) } else { Ok(path) });
        match checked {
            Ok(path) => println!("runtime     {kind}: {}", path.display()),
            Err(error) => {
                is_well = false;
                println!("runtime     {kind}: NOT USABLE: {}", crate::fault::message(&error.into()));
            }
        }
        if kind == RuntimeKind::Cuda
            && let Err(missing) = runtime::cuda::load_libraries()
        {
            println!("            cannot be used, these libraries are missing:");
            missing.iter().for_each(|line| println!("              {line}"));
        }
    }
    match wiring::load_runtime(cache, Device::Auto) {
        Ok(runtime) => println!("loaded      ONNX Runtime from {}", runtime.path().display()),
        Err(error) => {
            is_well = false;
            println!("loaded      NOT USABLE: {}", crate::fault::message(&error));
        }
    }
    is_well
}

/// What the default encoder runs on, as it proves itself.
fn device_lines() -> anyhow::Result<bool> {
    let registry = wiring::registry()?;
    let Ok(model) = registry.ready_to_run(wiring::DEFAULT_PROTEIN_ENCODER) else { return Ok(true) };
    let opened = wiring::load_runtime(registry.cache(), Device::Auto)
        .and_then(|runtime| wiring::open_encoder(&registry, &runtime, &model, Device::Auto));
    let encoder = match opened {
        Ok(encoder) => encoder,
        Err(error) => {
            println!("device      NOT USABLE: {}", crate::fault::message(&error));
            return Ok(false);
        }
    };
    if let Some(running) = encoder.running() {
        let nodes = running.nodes.iter().map(|(provider, n)| format!("{n} nodes on {provider}"));
        let nodes: Vec<String> = nodes.collect();
        let proof = running.proof.map(|cosine| format!(", cosine with the CPU's answers {cosine:.6}"));
        println!(
            "device      {} in {} for {}{}{}",
            running.device,
            running.precision,
            encoder.id(),
            proof.unwrap_or_default(),
            if nodes.is_empty() { String::new() } else { format!(" ({})", nodes.join(", ")) }
        );
    }
    Ok(true)
}

fn model_lines(verify: bool) -> anyhow::Result<bool> {
    let registry = wiring::registry()?;
    let mut is_well = true;
    for manifest in registry.manifests() {
        let id = &manifest.id;
        let state = match registry.ready(id) {
            Err(_) => format!("not here; `protext models pull {id}`"),
            Ok(_) if !verify => "here".to_owned(),
            Ok(_) => match registry.verify(id) {
                Ok(()) => "here, every hash as it should be".to_owned(),
                Err(error) => {
                    is_well = false;
                    format!("NOT USABLE: {error}")
                }
            },
        };
        println!("model       {id:<28} {state}");
    }
    for manifest in registry.remotes() {
        println!("model       {:<28} runs elsewhere; {}", manifest.id, remote::key_state(manifest));
    }
    Ok(is_well)
}

/// Free space, as `df` tells it.
fn disk(root: &Path) -> String {
    let mut folder = root;
    while !folder.exists() {
        match folder.parent() {
            Some(parent) => folder = parent,
            None => break,
        }
    }
    let output = Command::new("df").args(["-h", "--output=avail,pcent"]).arg(folder).output();
    let line = output.ok().and_then(|output| {
        let text = String::from_utf8(output.stdout).ok()?;
        let fields: Vec<String> = text.lines().nth(1)?.split_whitespace().map(str::to_owned).collect();
        Some(format!("{} free ({} used)", fields.first()?, fields.get(1)?))
    });
    line.unwrap_or_else(|| "unknown (df is missing)".to_owned())
}

fn python() -> String {
    let python = wheel::python();
    match Command::new(&python).args(["-m", "pip", "--version"]).output() {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            format!("{python}, {}", text.split(" from ").next().unwrap_or("pip").trim())
        }
        Ok(_) => format!("{python} has no pip; `apt-get install python3-pip` (only needed to fetch)"),
        Err(_) => format!("{python} is missing; `apt-get install python3-pip` (only needed to fetch)"),
    }
}
