//! dev
#![allow(clippy::unwrap_used, clippy::print_stdout, dead_code, reason = "a bench prints and may panic")]
use std::sync::Arc;
use protext_core::{Fingerprint, JointVector, Space};
use protext_index::*;

fn npy(path: &str) -> (usize, usize, Vec<f32>) {
    let b = std::fs::read(path).unwrap();
    let hl = u16::from_le_bytes([b[8], b[9]]) as usize;
    let h = String::from_utf8_lossy(&b[10..10 + hl]).to_string();
    let s = h.split("'shape': (").nth(1).unwrap().split(')').next().unwrap();
    let d: Vec<usize> = s.split(',').filter_map(|x| x.trim().parse().ok()).collect();
    let v = b[10 + hl..].chunks_exact(4).map(|c| f32::from_le_bytes(c.try_into().unwrap())).collect();
    (d[0], d[1], v)
}
fn cpu() -> f64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t) };
    t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9
}
fn main() {
    let dir = std::env::var("VEC").unwrap();
    let (n, dim, v) = npy(&format!("{dir}/base.npy"));
    let (nq, _, q) = npy(&format!("{dir}/queries.npy"));
    let (_, _, t) = npy(&format!("{dir}/truth.npy"));
    let space = Space { name: "b".into(), dim, fingerprint: Fingerprint::of(["b"]) };
    let table = Arc::new(VectorTable::from_matrix(space, &v).unwrap());
    drop(v);
    let t0 = cpu();
    let index = HnswIndex::build(table, HnswParams::default(), &mut |_| {}).unwrap();
    println!("n {n} dim {dim} build {:.1} s", (cpu() - t0));
    let queries: Vec<JointVector> = q.chunks(dim).map(|c| JointVector::normalized(c.to_vec()).unwrap()).collect();
    let rounds: usize = std::env::var("ROUNDS").ok().and_then(|x| x.parse().ok()).unwrap_or(3);
    for precision in [Precision::Full, Precision::Codes] {
        for ef in [12, 16, 20, 24, 32, 48, 64, 96] {
            let p = SearchParams::new(10).with_ef(ef).with_precision(precision);
            let mut best = f64::MAX;
            let mut found = 0;
            for _ in 0..rounds {
                let t0 = cpu();
                let hits: Vec<_> = queries.iter().map(|q| index.search(q, &p).unwrap()).collect();
                best = best.min((cpu() - t0));
                found = hits.iter().enumerate().map(|(i, h)| h.iter().filter(|h| t[i * 10..i * 10 + 10].contains(&(h.row as f32))).count()).sum::<usize>();
            }
            println!("{precision:?} ef {ef} recall {:.4} qps {:.0}", found as f64 / (nq * 10) as f64, nq as f64 / best);
        }
    }
}
