//! This project as one of the systems measured: the graph over f32 vectors and over codes, the scan, and a collection.

use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use protext_core::JointVector;
use protext_index::{
    Collection, CollectionBuilder, HnswIndex, HnswParams, IndexKind, Neighbour, Precision, Record,
    SearchParams, VectorIndex,
};
use serde::Serialize;

use super::K;
use super::process::{Batch, Built, Request, Searched, Single, What, Workload, recall};
use super::report::Opening;
use super::vectors::space;

/// Queries of a scan: it takes as long for each.
const N_EXACT: usize = 100;

/// What one process searches.
struct Ours {
    index: HnswIndex,
    queries: Vec<JointVector>,
    truth: Vec<u32>,
}

/// Answers the requests on standard input; a folder that holds a collection is opened and measured instead.
pub(super) fn answer(workload: &Workload) -> anyhow::Result<()> {
    if !workload.folder.join("base.f32").exists() {
        return say(&open(workload)?);
    }
    rayon::ThreadPoolBuilder::new().num_threads(workload.threads).build_global()?;
    let table = Arc::new(workload.table()?);
    let n_vector_bytes = (workload.n * workload.dim * size_of::<f32>()) as u64;
    let resident = resident_bytes()?;
    let (started, started_s) = (Instant::now(), processor_s());
    let index = HnswIndex::build(table, HnswParams::default(), &mut |_| {})?;
    let built = Built {
        version: format!("protext {}", env!("CARGO_PKG_VERSION")),
        variants: ["f32", "codes", "exact"].map(str::to_owned).to_vec(),
        build_s: started.elapsed().as_secs_f64(),
        build_processor_s: processor_s() - started_s,
        bytes: n_vector_bytes + resident_bytes()?.saturating_sub(resident),
    };
    let truth = std::fs::read(workload.folder.join("truth.u32"))?;
    let truth: Vec<u32> = truth.as_chunks().0.iter().map(|&row| u32::from_le_bytes(row)).collect();
    let queries = super::read_f32(&workload.folder.join("queries.f32"), truth.len() / K * workload.dim)?;
    let queries = queries.chunks(workload.dim).map(|values| JointVector::normalized(values.to_vec()));
    let ours = Ours { index, queries: queries.collect::<Result<_, _>>()?, truth };
    say(&built)?;
    for line in std::io::stdin().lock().lines() {
        let request: Request = serde_json::from_str(&line?)?;
        match request.what {
            What::Search => say(&ours.search(&request)?)?,
            What::Single => say(&ours.single(&request)?)?,
            What::Batch => say(&ours.batch(&request)?)?,
        }
    }
    Ok(())
}

fn say(answer: &impl Serialize) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(answer)?)?;
    Ok(out.flush()?)
}

impl Ours {
    fn params(request: &Request) -> SearchParams<'static> {
        let params = SearchParams::new(K).with_ef(request.ef);
        match request.variant.as_str() {
            "exact" => params.exactly(),
            "f32" => params.with_precision(Precision::Full),
            _ => params.with_precision(Precision::Codes),
        }
    }

    fn queries(&self, request: &Request) -> &[JointVector] {
        let n = if request.variant == "exact" { N_EXACT } else { self.queries.len() };
        &self.queries[..n.min(self.queries.len())]
    }

    /// Hits of all queries, and queries answered in a second of `clock`.
    fn all_at_once(
        &self,
        request: &Request,
        n_threads: usize,
        clock: impl Fn() -> f64,
    ) -> anyhow::Result<(Vec<Vec<Neighbour>>, f64)> {
        let (queries, params) = (self.queries(request), Self::params(request));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build()?;
        let started_s = clock();
        let hits = pool.install(|| self.index.search_batch(queries, &params))?;
        Ok((hits, queries.len() as f64 / (clock() - started_s)))
    }

    /// One thread, by the time of the processor.
    fn search(&self, request: &Request) -> anyhow::Result<Searched> {
        let (hits, queries_per_s) = self.all_at_once(request, 1, processor_s)?;
        let found: Vec<Vec<u32>> = hits.iter().map(|hits| hits.iter().map(|hit| hit.row).collect()).collect();
        Ok(Searched { recall: recall(&self.truth, &found), queries_per_s })
    }

    /// As many threads as asked for, by the clock on the wall.
    fn batch(&self, request: &Request) -> anyhow::Result<Batch> {
        let started = Instant::now();
        let (_, queries_per_s) =
            self.all_at_once(request, request.threads, || started.elapsed().as_secs_f64())?;
        Ok(Batch { queries_per_s })
    }

    fn single(&self, request: &Request) -> anyhow::Result<Single> {
        let params = Self::params(request);
        let mut times_us = Vec::new();
        for query in self.queries(request) {
            let started = Instant::now();
            self.index.search(query, &params)?;
            times_us.push(started.elapsed().as_secs_f64() * 1e6);
        }
        times_us.sort_by(f64::total_cmp);
        let at = |share: f64| times_us[((times_us.len() as f64 * share) as usize).min(times_us.len() - 1)];
        Ok(Single { p50_us: at(0.5), p99_us: at(0.99) })
    }
}

/// Builds a collection of `workload.n` records and saves it; the bytes of its files.
pub(super) fn save_collection(workload: &Workload, folder: &Path) -> anyhow::Result<u64> {
    let values = super::read_f32(&workload.folder.join("base.f32"), workload.n * workload.dim)?;
    let mut builder = CollectionBuilder::new(space(workload.dim), IndexKind::Hnsw(HnswParams::default()))?;
    for (row, vector) in values.chunks(workload.dim).enumerate() {
        let record = Record { id: format!("record-{row}"), ..Record::default() };
        builder.push(record, &JointVector::normalized(vector.to_vec())?)?;
    }
    drop(values);
    let bar = crate::progress::count(workload.n as u64, "building");
    let collection = builder.build(&mut |n| bar.set_position(n as u64))?;
    bar.finish_and_clear();
    collection.save(folder)?;
    bytes_below(folder)
}

fn bytes_below(folder: &Path) -> anyhow::Result<u64> {
    let mut n_bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let (kind, path) = entry.map(|entry| (entry.file_type(), entry.path()))?;
        n_bytes += if kind?.is_dir() { bytes_below(&path)? } else { path.metadata()?.len() };
    }
    Ok(n_bytes)
}

/// Opens the collection in `workload.folder` and searches it once.
fn open(workload: &Workload) -> anyhow::Result<Opening> {
    let resident = resident_bytes()?;
    let started = Instant::now();
    let collection = Collection::open(&workload.folder)?;
    let open_s = started.elapsed().as_secs_f64();
    let opened_bytes = resident_bytes()?.saturating_sub(resident);
    let started = Instant::now();
    let query = collection.index().vector(0)?;
    let hits = collection.index().search(&query, &SearchParams::new(K))?;
    anyhow::ensure!(hits.first().is_some_and(|hit| hit.row == 0), "a vector does not find itself");
    let first_search_ms = started.elapsed().as_secs_f64() * 1e3;
    Ok(Opening { n: collection.len(), open_s, first_search_ms, opened_bytes, file_bytes: 0 })
}

/// Memory of this process that belongs to no file, in bytes.
fn resident_bytes() -> anyhow::Result<u64> {
    let status =
        std::fs::read_to_string("/proc/self/status").context("resident memory is read on Linux only")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    Ok(kibibytes.context("/proc/self/status has no RssAnon")? * 1024)
}

/// Processor time of this process, in seconds.
fn processor_s() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
