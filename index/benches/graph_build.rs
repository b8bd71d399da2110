//! What building a graph costs: `hnsw_rs` as it comes, and the builder that takes its core from it, on one thread each.
//!
//! `cargo bench -p protext-index --bench graph_build [-- N [hnsw_rs|ours]]` prints processor time for N vectors (50,000 unless
//! told) of 128 components, random around centres. With a name only that one runs, for a profiler: docs/decisions/graph-construction.md
//! has the command and what it showed.
#![allow(clippy::unwrap_used, clippy::print_stdout, dead_code, reason = "a bench prints and may panic")]

#[path = "../tests/support/processor.rs"]
mod processor;
#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicU64, Ordering};

use hnsw_rs::anndists::dist::distances::{DistDot, Distance};
use hnsw_rs::hnsw::Hnsw;
use protext_core::JointVector;
use protext_index::{CollectionBuilder, HnswParams, IndexKind};

use processor::processor_s;

const N_VECTORS: usize = 50_000;
const DIM: usize = 128;
/// M 16 and ef_construction 200, as everywhere in docs/results/index.md.
const M: usize = 16;
const EF_CONSTRUCTION: usize = 200;
const MAX_LAYERS: usize = 16;

static N_COMPARED: AtomicU64 = AtomicU64::new(0);

/// The crate's own distance, counted.
struct Counted(DistDot);

impl Distance<f32> for Counted {
    fn eval(&self, a: &[f32], b: &[f32]) -> f32 {
        N_COMPARED.fetch_add(1, Ordering::Relaxed);
        self.0.eval(a, b)
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let n_vectors = words.iter().find_map(|word| word.parse().ok()).unwrap_or(N_VECTORS);
    let is_asked = |name: &str| words.iter().all(|word| word.parse::<usize>().is_ok() || word == name);
    let vectors = support::clustered(n_vectors, DIM, 2);
    if is_asked("hnsw_rs") {
        let started = processor_s();
        with_hnsw_rs(&vectors);
        let n_compared = N_COMPARED.load(Ordering::Relaxed) / n_vectors as u64;
        println!(
            "hnsw_rs: {n_vectors} vectors in {:.1} s, {n_compared} comparisons each",
            processor_s() - started
        );
    }
    if is_asked("ours") {
        let started = processor_s();
        with_ours(&vectors);
        println!("ours: {n_vectors} vectors in {:.1} s", processor_s() - started);
    }
}

fn with_hnsw_rs(vectors: &[JointVector]) {
    let graph = Hnsw::<f32, Counted>::new(M, vectors.len(), MAX_LAYERS, EF_CONSTRUCTION, Counted(DistDot));
    for (row, vector) in vectors.iter().enumerate() {
        // A rounding away from a norm of 1 would make a distance negative, on which the crate ends the process.
        let shorter: Vec<f32> = vector.as_slice().iter().map(|value| value * 0.999_999).collect();
        graph.insert((&shorter, row));
    }
    assert_eq!(graph.get_nb_point(), vectors.len());
}

fn with_ours(vectors: &[JointVector]) {
    let params = HnswParams { m: M, ef_construction: EF_CONSTRUCTION, parallel: false };
    let mut builder = CollectionBuilder::new(support::space(DIM), IndexKind::Hnsw(params)).unwrap();
    for (row, vector) in vectors.iter().enumerate() {
        builder.push(support::record("R", row), vector).unwrap();
    }
    builder.build(&mut |_| ()).unwrap();
}
