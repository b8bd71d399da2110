//! Queries per second against recall, through the graph, on vectors from files; the peers read the same files.
//!
//! ```text
//! protext embed services/cli/demo/proteins.fasta -o .bench/rows.npz
//! python3 index/benches/peers/derive_vectors.py .bench/rows.npz .bench/vectors --n 200000
//! cargo bench -p protext-index --bench graph_search -- .bench/vectors
//! python3 index/benches/peers/hnswlib_peer.py .bench/vectors
//! ```
//!
//! One thread searches, all cores build. Both programs print the best of three rounds in processor time, which a
//! busy machine disturbs less than the clock.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints and may panic")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use protext_core::{Fingerprint, JointVector, Space};
use protext_index::{HnswIndex, HnswParams, Precision, SearchParams, VectorIndex as _, VectorTable};

const K: usize = 10;
const N_ROUNDS: usize = 3;
const CANDIDATES: [usize; 10] = [12, 16, 20, 24, 32, 48, 64, 96, 128, 192];

/// Shape and values of a two-dimensional .npy file of f32, `[n_rows, dim]`.
fn read_npy(path: &Path) -> (usize, Vec<f32>) {
    let bytes = std::fs::read(path).unwrap();
    let head_len = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let head = std::str::from_utf8(&bytes[10..10 + head_len]).unwrap();
    assert!(head.contains("'<f4'") && head.contains("'fortran_order': False"), "not rows of f32: {head}");
    let shape = head.split("'shape': (").nth(1).unwrap().split(')').next().unwrap();
    let dim = shape.split(',').nth(1).unwrap().trim().parse().unwrap();
    let values = bytes[10 + head_len..].as_chunks().0.iter().map(|&value| f32::from_le_bytes(value));
    (dim, values.collect())
}

/// Processor time of this program, in seconds.
fn processor_s() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

fn main() {
    let Some(folder) = std::env::args().skip(1).find(|arg| !arg.starts_with("--")) else {
        println!("NOT RUN: name a folder of vectors (see the head of this file)");
        return;
    };
    let (dim, values) = read_npy(&Path::new(&folder).join("base.npy"));
    let (_, queries) = read_npy(&Path::new(&folder).join("queries.npy"));
    let space = Space { name: "bench".into(), dim, fingerprint: Fingerprint::of(["bench"]) };
    let table = Arc::new(VectorTable::from_matrix(space, &values).unwrap());
    drop(values);
    let queries: Vec<_> =
        queries.chunks(dim).map(|values| JointVector::normalized(values.to_vec()).unwrap()).collect();

    let (started, started_s) = (Instant::now(), processor_s());
    let index = HnswIndex::build(table, HnswParams::default(), &mut |_| {}).unwrap();
    let (wall_s, work_s) = (started.elapsed().as_secs_f64(), processor_s() - started_s);
    let (n, default_ef) = (index.len(), index.default_ef());
    println!("{n} x {dim}: built in {wall_s:.1} s, {work_s:.1} s of processor time; default ef {default_ef}");
    let truth = index.search_batch(&queries, &SearchParams::new(K).exactly()).unwrap();
    for precision in [Precision::Full, Precision::Codes] {
        for ef in CANDIDATES {
            let params = SearchParams::new(K).with_ef(ef).with_precision(precision);
            let (mut best_s, mut n_found) = (f64::INFINITY, 0);
            for _ in 0..N_ROUNDS {
                let started_s = processor_s();
                let hits: Vec<_> =
                    queries.iter().map(|query| index.search(query, &params).unwrap()).collect();
                best_s = best_s.min(processor_s() - started_s);
                let found = hits
                    .iter()
                    .zip(&truth)
                    .flat_map(|(hits, truth)| hits.iter().filter(|h| truth.contains(h)));
                n_found = found.count();
            }
            let recall = n_found as f64 / (queries.len() * K) as f64;
            let qps = queries.len() as f64 / best_s;
            println!("{precision:?} ef {ef}: recall {recall:.4}, {qps:.0} queries/s");
        }
    }
}
