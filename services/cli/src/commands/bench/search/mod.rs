//! `protext bench search`: queries per second against recall, building, memory, threads and growth, beside hnswlib,
//! usearch and faiss on the same vectors in the same run.
//!
//! Each system runs in a process of its own and answers the same requests ([`process`]); ours is this program again
//! ([`ours`]), the others are `peers/search_peer.py`. Rounds take turns between the systems, and the best of each counts.

mod curve;
mod ours;
mod page;
mod process;
mod report;
mod vectors;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use crate::commands::eval::{write_json, write_text};
use crate::fault::UsageError;
use crate::progress;
use crate::wiring::ModelArgs;
use process::{Measured, Workload};
use report::{Growth, Opening, Report, SystemReport};
use vectors::Vectors;

/// Hits a query.
const K: usize = 10;
/// Candidates that searches keep, in the order measured.
const CANDIDATES: [usize; 12] = [10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256];
/// Peers by the name that the script takes.
const PEERS: [&str; 3] = ["hnswlib", "usearch", "faiss"];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Proteins that the vectors are derived from.
    #[arg(long, value_name = "FILE", required_unless_present = "answer")]
    data: Option<PathBuf>,
    /// Vectors searched.
    #[arg(long, default_value_t = 200_000)]
    n: usize,
    /// Queries.
    #[arg(long, default_value_t = 2_000)]
    n_queries: usize,
    /// Further sizes, for what growth costs.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    growth: Vec<usize>,
    /// Peers are measured at sizes up to this.
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    peers_up_to: usize,
    /// Records of a collection that is saved and opened anew; 0 leaves that out.
    #[arg(long, value_name = "N", default_value_t = 0)]
    open: usize,
    /// Rounds; the systems take turns and the best of each counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Threads that build, and that are measured beside one thread [default: all cores].
    #[arg(long)]
    threads: Option<usize>,
    #[command(flatten)]
    model: ModelArgs,
    /// Where the figures go as JSON; - for standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where a page with the figures goes, in Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Where the plot of queries per second against recall goes, as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Answers the requests of another `bench search` on these files.
    #[arg(long, hide = true, num_args = 4, value_names = ["FOLDER", "N", "DIM", "THREADS"])]
    answer: Option<Vec<String>>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(workload) = &args.answer {
        ours::answer(&Workload::from_args(workload)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    validate(&args)?;
    let threads = match args.threads {
        Some(threads) => threads,
        None => std::thread::available_parallelism()
            .context("the number of cores is not known; give --threads")?
            .get(),
    };
    let folder = tempfile::tempdir()?;
    let sizes = args.growth.iter().copied().chain([args.n, args.open]);
    let n_most = sizes.max().unwrap_or(args.n);
    let data = args.data.as_deref().context("--data is asked for by the command line")?;
    let vectors = vectors::derive(data, &args.model, (n_most, args.n_queries), folder.path())?;
    let workload = |n| Workload { folder: folder.path().to_owned(), n, dim: vectors.dim, threads };

    let mut growth = Vec::new();
    for &n in &args.growth {
        let measured = measure_all(&vectors, &workload(n), n <= args.peers_up_to, 1)?;
        growth.extend(measured.iter().map(Growth::of));
    }
    let measured = measure_all(&vectors, &workload(args.n), true, args.rounds)?;
    let opening = (args.open > 0).then(|| open_anew(&workload(args.open))).transpose()?;
    let missing = PEERS.iter().filter(|name| measured.iter().all(|system| system.name != **name));
    let report = Report {
        bench: "search",
        data: data.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        n: args.n,
        dim: vectors.dim,
        k: K,
        n_queries: args.n_queries,
        rounds: args.rounds,
        threads,
        ratios: report::Ratios::of(&measured),
        not_installed: missing.map(|name| (*name).to_owned()).collect(),
        systems: measured.iter().map(SystemReport::of).collect(),
        growth,
        opening,
    };
    print!("{}", page::table(&report));
    write_json(args.json.as_deref(), &report)?;
    write_text(args.markdown.as_deref(), &page::markdown(&report, args.plot.as_deref()))?;
    if args.plot.is_some() {
        write_text(args.plot.as_deref(), &page::plot(&measured)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn validate(args: &Args) -> anyhow::Result<()> {
    let least = [("--n", args.n, 1_000), ("--n-queries", args.n_queries, 100), ("--rounds", args.rounds, 1)];
    for (name, value, least) in least {
        if value < least {
            return Err(UsageError(format!("{name} must be at least {least}")).into());
        }
    }
    if args.growth.iter().any(|&n| n < 1_000) {
        return Err(UsageError("--growth takes sizes of at least 1000".to_owned()).into());
    }
    if args.threads == Some(0) {
        return Err(UsageError("--threads must be at least 1".to_owned()).into());
    }
    Ok(())
}

/// Every system that is installed, on the first `workload.n` vectors; ours comes first.
fn measure_all(
    vectors: &Vectors,
    workload: &Workload,
    with_peers: bool,
    rounds: usize,
) -> anyhow::Result<Vec<Measured>> {
    vectors.write_truth(workload, K)?;
    let mut systems = vec![process::System::start_ours(workload)?];
    for name in if with_peers { &PEERS[..] } else { &[] } {
        systems.extend(process::System::start_peer(name, workload)?);
    }
    let n_steps = systems.iter().map(process::System::n_variants).sum::<usize>() * rounds;
    let bar = progress::count(n_steps as u64, &format!("searching {} vectors", workload.n));
    for _ in 0..rounds {
        for system in &mut systems {
            system.run_round(&CANDIDATES, || bar.inc(1))?;
        }
    }
    bar.finish_and_clear();
    systems.into_iter().map(|system| system.finish(workload)).collect()
}

/// Saves a collection and opens it in a new process.
fn open_anew(workload: &Workload) -> anyhow::Result<Opening> {
    eprintln!("building, saving and opening {} records", workload.n);
    let snapshot: PathBuf = workload.folder.join("collection");
    let n_bytes = ours::save_collection(workload, &snapshot)?;
    process::open_collection(workload, &snapshot, n_bytes)
}

/// The vectors of a file of little-endian f32, in memory as the file is.
fn read_f32(path: &Path, n_values: usize) -> anyhow::Result<Vec<f32>> {
    let bytes = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let values = bytes.as_chunks().0.iter().take(n_values);
    Ok(values.map(|&value| f32::from_le_bytes(value)).collect())
}
