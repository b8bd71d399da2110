//! Searches under a filter beside comparing with every allowed row, from 5 allowed rows to all.
//!
//! ```text
//! RAYON_NUM_THREADS=1 cargo bench -p protext-index --bench filtered_search
//! ```
//!
//! 50,000 vectors of 128 components in 500 clusters. Rows are allowed by chance, near the query (what is filtered for is
//! what is searched for), or far from it (the walk starts in the wrong place). Processor time, the least of five rounds
//! that take turns.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints and may panic")]

#[path = "../tests/support/processor.rs"]
mod processor;

use std::sync::Arc;

use protext_core::{Fingerprint, JointVector, Space};
use protext_index::{HnswIndex, HnswParams, RowSet, SearchParams, VectorIndex as _, VectorTable};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

use processor::processor_s;

const K: usize = 10;
const N_ROUNDS: usize = 5;
const N_QUERIES: usize = 100;
const N_ALLOWED: [usize; 9] = [5, 50, 500, 2_500, 5_000, 12_500, 25_000, 37_500, 50_000];

fn made_up(n: usize, dim: usize, rng: &mut StdRng) -> Vec<f32> {
    let mut centre_rng = StdRng::seed_from_u64(1);
    let centres: Vec<f32> = (0..500 * dim).map(|_| centre_rng.random_range(-1.0..1.0)).collect();
    let row = |rng: &mut StdRng| {
        let centre = rng.random_range(0..500) * dim;
        let values: Vec<f32> =
            (0..dim).map(|at| centres[centre + at] + rng.random_range(-0.6..0.6_f32)).collect();
        JointVector::normalized(values).unwrap().into_vec()
    };
    (0..n).flat_map(|_| row(rng)).collect()
}

fn main() {
    let mut rng = StdRng::seed_from_u64(7);
    let (dim, n) = (128, 50_000);
    let (values, queries) = (made_up(n, dim, &mut rng), made_up(N_QUERIES, dim, &mut rng));
    let space = Space { name: "bench".into(), dim, fingerprint: Fingerprint::of(["bench"]) };
    let table = Arc::new(VectorTable::from_matrix(space, &values).unwrap());
    let queries: Vec<_> = queries
        .chunks(dim)
        .take(N_QUERIES)
        .map(|row| JointVector::normalized(row.to_vec()).unwrap())
        .collect();
    let index = HnswIndex::build(table, HnswParams::default(), &mut |_| {}).unwrap();
    println!("{n} x {dim}, {} queries, default ef {}", queries.len(), index.default_ef());
    println!(
        "{:<8} {:>8} {:>12} {:>12} {:>7} {:>8}",
        "allowed", "rows", "search us", "exact us", "ratio", "recall"
    );
    let mut shuffled: Vec<u32> = (0..n as u32).collect();
    shuffled.shuffle(&mut rng);
    let order: Vec<Vec<u32>> = queries
        .iter()
        .map(|query| {
            let all = index.exact_twin().search(query, &SearchParams::new(n)).unwrap();
            all.into_iter().map(|hit| hit.row).collect()
        })
        .collect();
    for which in ["chance", "near", "far"] {
        for n_allowed in N_ALLOWED.into_iter() {
            let allowed: Vec<RowSet> = order
                .iter()
                .map(|order| {
                    let mut set = RowSet::none(n);
                    let rows: Box<dyn Iterator<Item = &u32>> = match which {
                        "chance" => Box::new(shuffled.iter()),
                        "near" => Box::new(order.iter()),
                        _ => Box::new(order.iter().rev()),
                    };
                    for &row in rows.take(n_allowed) {
                        set.insert(row);
                    }
                    set
                })
                .collect();
            let run = |is_exact: bool| {
                let started_s = processor_s();
                let found: Vec<_> = queries
                    .iter()
                    .zip(&allowed)
                    .map(|(query, allowed)| {
                        let params =
                            SearchParams { exact: is_exact, ..SearchParams::new(K).with_filter(allowed) };
                        index.search(query, &params).unwrap()
                    })
                    .collect();
                ((processor_s() - started_s) * 1e6 / queries.len() as f64, found)
            };
            let mut best = [f64::INFINITY; 2];
            for _ in 0..N_ROUNDS {
                best = [best[0].min(run(false).0), best[1].min(run(true).0)];
            }
            let (found, truth) = (run(false).1, run(true).1);
            let n_found: usize =
                found.iter().zip(&truth).map(|(f, t)| f.iter().filter(|hit| t.contains(hit)).count()).sum();
            let recall = n_found as f64 / truth.iter().map(Vec::len).sum::<usize>() as f64;
            let (search, exact) = (best[0], best[1]);
            println!(
                "{which:<8} {n_allowed:>8} {search:>12.1} {exact:>12.1} {:>7.2} {recall:>8.4}",
                search / exact
            );
        }
    }
}
