//! What a search costs beyond the encoder: k = 10 among 100,000 records, in vectors as wide as those of the joint space.
//!
//! `cargo bench -p protext-index --bench text_search` prints the times of single searches on one thread, through the graph
//! and exact, and the share of exact neighbours that the graph finds. Vectors are random around centres; what they stand
//! for does not change what a comparison costs.
#![allow(clippy::unwrap_used, clippy::print_stdout, dead_code, reason = "a bench prints and may panic")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Instant;

use protext_core::JointVector;
use protext_index::{CollectionBuilder, HnswParams, IndexKind, SearchParams};

const N_RECORDS: usize = 100_000;
/// Width of the joint space that ships.
const DIM: usize = 516;
const N_QUERIES: usize = 500;
const K: usize = 10;

fn main() {
    let mut builder =
        CollectionBuilder::new(support::space(DIM), IndexKind::Hnsw(HnswParams::default())).unwrap();
    for (row, vector) in support::clustered(N_RECORDS, DIM, 2).iter().enumerate() {
        builder.push(support::record("R", row), vector).unwrap();
    }
    let started = Instant::now();
    let collection = builder.build(&mut |_| ()).unwrap();
    println!("{N_RECORDS} records of {DIM} components, built in {:.0} s", started.elapsed().as_secs_f64());
    let queries = support::clustered(N_QUERIES, DIM, 3);
    let search = |query: &JointVector, exact: bool| {
        let params = SearchParams { exact, ..SearchParams::new(K) };
        let started = Instant::now();
        let hits = collection.search(&support::space(DIM), query, &params).unwrap();
        (started.elapsed().as_secs_f64() * 1e3, hits.into_iter().map(|hit| hit.row).collect::<Vec<u32>>())
    };
    let mut n_found = 0;
    let mut times = [Vec::new(), Vec::new()];
    for query in &queries {
        let (graph_ms, found) = search(query, false);
        let (exact_ms, right) = search(query, true);
        n_found += found.iter().filter(|row| right.contains(row)).count();
        times[0].push(graph_ms);
        times[1].push(exact_ms);
    }
    for (name, mut times) in ["graph", "exact"].into_iter().zip(times) {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        println!("{name}: median {:.2} ms, 99th percentile {:.2} ms", at(0.5), at(0.99));
    }
    println!("recall at {K}: {:.3}", n_found as f64 / (N_QUERIES * K) as f64);
}
