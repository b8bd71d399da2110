//! Programs measured beside us: Python scripts that embed the same proteins and print their time.

use std::path::{Path, PathBuf};
use std::process::Command;

use protext_registry::wheel::python;
use serde::Deserialize;

use crate::commands::bench::percentile::percentile_of;

/// One program.
pub(super) struct Peer {
    pub(super) name: &'static str,
    /// What it runs on, `cpu` or `cuda`.
    pub(super) device: &'static str,
    script: &'static str,
    model: PathBuf,
    /// Residues per second of each round.
    rates: Vec<f64>,
    /// How it ran, if it says so.
    pub(super) way: Option<String>,
    /// What its device reaches with products of large matrices, if it says so.
    pub(super) peak_flops: Option<f64>,
    /// Why it did not run.
    pub(super) failure: Option<String>,
}

/// What a peer prints.
#[derive(Deserialize)]
struct Said {
    seconds: f64,
    residues: u64,
    way: Option<String>,
    peak_flops: Option<f64>,
}

impl Peer {
    /// `model` is what the script reads: a graph or a checkpoint's folder.
    pub(super) fn new(
        (name, device): (&'static str, &'static str),
        script: &'static str,
        model: PathBuf,
    ) -> Self {
        Self { name, device, script, model, rates: Vec::new(), way: None, peak_flops: None, failure: None }
    }

    /// Runs it once and keeps its rate. After a failure it is left out.
    pub(super) fn run(&mut self, sequences: &Path, n_threads: usize) {
        if self.failure.is_some() {
            return;
        }
        match self.said(sequences, n_threads) {
            Ok(said) => {
                self.rates.push(said.residues as f64 / said.seconds);
                self.way = said.way;
                self.peak_flops = said.peak_flops;
            }
            Err(failure) => {
                let (name, python) = (self.name, python());
                eprintln!("no ratio to {name}: {failure} (run by {python}; `make bench` installs the peers)");
                self.failure = Some(failure);
            }
        }
    }

    fn said(&self, sequences: &Path, n_threads: usize) -> Result<Said, String> {
        let mut command = Command::new(python());
        command
            .args(["-c", self.script])
            .arg(&self.model)
            .arg(sequences)
            .arg(n_threads.to_string())
            .arg(self.device);
        let output = command.output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            return Err(errors.trim().lines().last().unwrap_or("it failed silently").to_owned());
        }
        serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
    }

    /// Median of its rounds.
    pub(super) fn rate(&self) -> Option<f64> {
        (!self.rates.is_empty()).then(|| percentile_of(self.rates.clone(), 0.5))
    }
}
