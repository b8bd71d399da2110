//! The systems that are measured, each in a process of its own that answers one request a line.
//!
//! A process is given FOLDER N DIM THREADS, builds over the first N rows of `base.f32` and prints [`Built`]. Then it reads
//! [`Request`]s from standard input as JSON lines, and answers each with one: `search` with [`Searched`], `single` with
//! [`Single`], `batch` with [`Batch`]. The end of its input ends it. All times of searches by one thread are processor
//! time, which a busy machine disturbs less than the clock.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::Context as _;
use protext_registry::wheel::python;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::K;
use super::curve::Curve;
use super::report::Opening;

const PEER: &str = include_str!("../../peers/search_peer.py");
/// Turns of one thread and of all, which the clock times; the best of each counts.
const N_BATCHES: usize = 5;
/// What the script exits with when the library is missing.
const NOT_INSTALLED: i32 = 3;

/// What is built and searched.
#[derive(Debug, Clone)]
pub(super) struct Workload {
    pub(super) folder: PathBuf,
    pub(super) n: usize,
    pub(super) dim: usize,
    pub(super) threads: usize,
}

impl Workload {
    pub(super) fn args(&self) -> [String; 4] {
        [
            self.folder.display().to_string(),
            self.n.to_string(),
            self.dim.to_string(),
            self.threads.to_string(),
        ]
    }

    pub(super) fn from_args(args: &[String]) -> anyhow::Result<Self> {
        let [folder, n, dim, threads] = args else { anyhow::bail!("four values are needed") };
        Ok(Self { folder: folder.into(), n: n.parse()?, dim: dim.parse()?, threads: threads.parse()? })
    }
}

/// The first line of a process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Built {
    /// Such as `hnswlib 0.8.0`.
    pub(super) version: String,
    /// What it can search, such as `f32`.
    pub(super) variants: Vec<String>,
    pub(super) build_s: f64,
    pub(super) build_processor_s: f64,
    /// Memory of vectors and links, in bytes: what is resident after building and was not before.
    pub(super) bytes: u64,
}

/// One line to a process. `ef` is the number of candidates kept.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) what: What,
    pub(super) variant: String,
    pub(super) ef: usize,
    pub(super) threads: usize,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum What {
    /// All queries by one thread.
    Search,
    /// Each query in a call of its own, timed by the clock.
    Single,
    /// All queries by `threads`, timed by the clock.
    Batch,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Searched {
    pub(super) recall: f64,
    pub(super) queries_per_s: f64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Single {
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Batch {
    pub(super) queries_per_s: f64,
}

/// A process that has built.
pub(super) struct System {
    name: &'static str,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    built: Built,
    curves: BTreeMap<String, Curve>,
}

/// What was found out about a system.
pub(super) struct Measured {
    pub(super) name: &'static str,
    pub(super) n: usize,
    pub(super) built: Built,
    pub(super) variants: Vec<Variant>,
}

/// One way of searching it.
pub(super) struct Variant {
    pub(super) name: String,
    pub(super) curve: Curve,
    /// Latency of single queries by the number of candidates kept.
    pub(super) latencies: BTreeMap<usize, Single>,
    /// Queries a second by all threads over those by one, at the same settings.
    pub(super) speed_up: Option<f64>,
}

impl Variant {
    /// Latency where the fewest candidates reach `recall`.
    pub(super) fn latency_at(&self, recall: f64) -> Option<&Single> {
        self.latencies.get(&self.curve.least_candidates(recall)?)
    }
}

impl System {
    /// This program.
    pub(super) fn start_ours(workload: &Workload) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", "search", "--answer"]).args(workload.args());
        Self::start("protext", command)?.context("protext did not build; see above")
    }

    /// A peer, unless it is not installed.
    pub(super) fn start_peer(name: &'static str, workload: &Workload) -> anyhow::Result<Option<Self>> {
        let mut command = Command::new(python());
        command.args(["-c", PEER, name]).args(workload.args());
        Self::start(name, command)
    }

    fn start(name: &'static str, mut command: Command) -> anyhow::Result<Option<Self>> {
        eprintln!("{name}: building");
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.with_context(|| format!("{name} cannot be started"))?;
        let input = child.stdin.take().context("the input is piped")?;
        let mut output = BufReader::new(child.stdout.take().context("the output is piped")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        if line.is_empty() {
            let status = child.wait()?;
            if status.code() == Some(NOT_INSTALLED) {
                eprintln!("{name} is not installed for {}, so there is no ratio to it", python());
                return Ok(None);
            }
            anyhow::bail!("{name} ended while building ({status})");
        }
        let built = serde_json::from_str(&line).with_context(|| format!("{name} said {line:?}"))?;
        Ok(Some(Self { name, child, input, output, built, curves: BTreeMap::new() }))
    }

    pub(super) fn n_variants(&self) -> usize {
        self.built.variants.len()
    }

    fn ask<A: DeserializeOwned>(&mut self, request: &Request) -> anyhow::Result<A> {
        let mut line = serde_json::to_string(request)?;
        line.push('\n');
        self.input.write_all(line.as_bytes())?;
        line.clear();
        self.output.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("{} said {line:?} to {request:?}", self.name))
    }

    /// Each variant with each number of candidates; an exact one once.
    pub(super) fn run_round(&mut self, candidates: &[usize], on_variant: impl Fn()) -> anyhow::Result<()> {
        for variant in self.built.variants.clone() {
            let candidates = if variant == "exact" { &candidates[..1] } else { candidates };
            for &ef in candidates {
                let request = Request { what: What::Search, variant: variant.clone(), ef, threads: 1 };
                let found: Searched = self.ask(&request)?;
                self.curves.entry(variant.clone()).or_default().keep_best(
                    ef,
                    found.recall,
                    found.queries_per_s,
                );
            }
            on_variant();
        }
        Ok(())
    }

    /// Latency at every point, threads at a recall of 0.99, and the end of the process.
    pub(super) fn finish(mut self, workload: &Workload) -> anyhow::Result<Measured> {
        let (n, threads) = (workload.n, workload.threads);
        let mut variants = Vec::new();
        for name in self.built.variants.clone() {
            let curve = self.curves.remove(&name).unwrap_or_default();
            let request = |what, ef, threads| Request { what, variant: name.clone(), ef, threads };
            let mut latencies = BTreeMap::new();
            for (ef, _) in curve.points() {
                latencies.insert(ef, self.ask(&request(What::Single, ef, 1))?);
            }
            let mut speed_up = None;
            if let Some(ef) = curve.least_candidates(0.99).filter(|_| threads > 1) {
                let (mut one, mut all) = (0.0_f64, 0.0_f64);
                for _ in 0..N_BATCHES {
                    let of_one: Batch = self.ask(&request(What::Batch, ef, 1))?;
                    let of_all: Batch = self.ask(&request(What::Batch, ef, threads))?;
                    (one, all) = (one.max(of_one.queries_per_s), all.max(of_all.queries_per_s));
                }
                speed_up = Some(all / one);
            }
            variants.push(Variant { name, curve, latencies, speed_up });
        }
        drop(self.input);
        let status = self.child.wait()?;
        anyhow::ensure!(status.success(), "{} ended badly ({status})", self.name);
        Ok(Measured { name: self.name, n, built: self.built, variants })
    }
}

/// Opens a saved collection in a new process.
pub(super) fn open_collection(workload: &Workload, snapshot: &Path, n_bytes: u64) -> anyhow::Result<Opening> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut args = workload.args();
    args[0] = snapshot.display().to_string();
    command.args(["bench", "search", "--answer"]).args(args);
    let output = command.stderr(Stdio::inherit()).output()?;
    anyhow::ensure!(output.status.success(), "the collection could not be opened ({})", output.status);
    let mut opening: Opening = serde_json::from_slice(&output.stdout)?;
    opening.file_bytes = n_bytes;
    Ok(opening)
}

/// The share of the true rows `[n_queries, K]` that are among the found.
pub(super) fn recall(truth: &[u32], found: &[Vec<u32>]) -> f64 {
    let n_right: usize = truth
        .chunks(K)
        .zip(found)
        .map(|(truth, found)| found.iter().filter(|row| truth.contains(row)).count())
        .sum();
    n_right as f64 / (found.len() * K) as f64
}
