//! What an alignment of a hit costs, beside the same table filled one cell at a time by `bio`.
//!
//! ```text
//! cargo bench -p protext-engine --bench align
//! ```
//!
//! Pairs of neighbours in the demo proteins; both take turns, and the best of five rounds counts.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints and may panic")]

use std::time::Instant;

use bio::alignment::pairwise::Aligner;
use bio::scores::blosum62;
use protext_engine::align::align_locally;

const N_PAIRS: usize = 300;
const N_ROUNDS: usize = 5;

fn main() {
    let fasta = include_str!("../../cli/demo/proteins.fasta");
    let proteins: Vec<String> = fasta
        .split('>')
        .skip(1)
        .map(|record| record.lines().skip(1).collect::<String>())
        .filter(|residues| (50..1_022).contains(&residues.len()))
        .take(N_PAIRS + 1)
        .collect();
    let pairs: Vec<(&str, &str)> = proteins.windows(2).map(|pair| (&*pair[0], &*pair[1])).collect();
    let n_cells: usize = pairs.iter().map(|(query, target)| query.len() * target.len()).sum();
    let (mut ours_s, mut theirs_s) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..N_ROUNDS {
        let started = Instant::now();
        let ours: i32 =
            pairs.iter().map(|(q, t)| align_locally(q, t, 1).map_or(0, |found| found.score)).sum();
        ours_s = ours_s.min(started.elapsed().as_secs_f64());
        let started = Instant::now();
        let align = |q: &str, t: &str| {
            Aligner::with_capacity(q.len(), t.len(), -12, -1, blosum62)
                .local(q.as_bytes(), t.as_bytes())
                .score
        };
        let theirs: i32 = pairs.iter().map(|(q, t)| align(q, t)).sum();
        theirs_s = theirs_s.min(started.elapsed().as_secs_f64());
        assert_eq!(ours, theirs, "the scores differ");
    }
    let line = |name, seconds: f64| {
        let (us, rate) = (seconds * 1e6 / pairs.len() as f64, n_cells as f64 / seconds / 1e6);
        println!("{name}: {us:.0} µs a pair, {rate:.0} million cells/s");
    };
    let side = (n_cells as f64 / pairs.len() as f64).sqrt();
    println!("{} pairs of about {side:.0} by {side:.0} residues", pairs.len());
    line("align_locally", ours_s);
    line("bio", theirs_s);
    println!("ratio: {:.1}", theirs_s / ours_s);
}
