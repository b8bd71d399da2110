//! What a snapshot with many records costs to open, to look up, to filter and to search by words.
//!
//! ```text
//! cargo bench -p protext-index --bench records -- 1000000
//! ```
//!
//! Records are made up, vectors have 8 components, so that records are what is measured. Times are of the clock and
//! of the processor; memory is what the system counts as resident. The first asking of a condition reads the tables,
//! the next takes what was kept.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints and may panic")]

#[path = "../tests/support/processor.rs"]
mod processor;

use std::path::Path;
use std::time::Instant;

use protext_core::{Fingerprint, JointVector, Space};
use protext_index::{
    Collection, CollectionBuilder, Filter, IndexKind, Keywords, OpenOptions, Record, Verify, View,
};

use processor::processor_s;

const DIM: usize = 8;
/// Names the collection to the process that measures.
const OPENED: &str = "PROTEXT_BENCH_OPENED";
const WORDS: [&str; 24] = [
    "alcohol",
    "dehydrogenase",
    "kinase",
    "subunit",
    "alpha",
    "beta",
    "ribosomal",
    "protein",
    "transporter",
    "zinc",
    "finger",
    "receptor",
    "membrane",
    "putative",
    "uncharacterized",
    "synthase",
    "polymerase",
    "DNA",
    "RNA",
    "binding",
    "ATP",
    "domain",
    "containing",
    "factor",
];

/// Memory that belongs to this process alone, in MiB; mapped files are not in it.
fn own_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap_or("0 0");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// Runs `work` and prints what it took.
fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (started, started_s) = (Instant::now(), processor_s());
    let done = work();
    let (wall, work) = (started.elapsed().as_secs_f64() * 1e3, (processor_s() - started_s) * 1e3);
    println!("{what:<58} {wall:>10.2} ms, {work:>10.2} ms of processor time, {:>7.1} MiB", own_mib());
    done
}

fn record(row: usize) -> Record {
    let mix = |by: usize| (row.wrapping_mul(by) ^ (row >> 3)) % 9_973;
    let word = |at: usize| WORDS[(mix(31 + at * 7) + at * row) % WORDS.len()];
    let taxon = [9606, 10090, 559_292, 83_333, 3702][mix(3) % 5] + (mix(5) % 200) as u32;
    Record {
        id: format!("A0A{row:07}"),
        description: (0..4).map(word).collect::<Vec<_>>().join(" "),
        organism: Some(format!("Organism {taxon}")),
        taxon_id: Some(taxon),
        gene: Some(format!("G{}", mix(17))),
        length: 50 + (mix(11) % 900) as u32,
        sequence: Some("ACDEFGHIKLMNPQRSTVWY".repeat(15)),
        fields: [("pe".to_owned(), (1 + mix(7) % 5).to_string())].into(),
        source: Some("bench".into()),
        ..Record::default()
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let n: usize = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(100_000);
    if let Some(dir) = std::env::var_os(OPENED) {
        return measure(Path::new(&dir), n);
    }
    let dir = std::env::temp_dir().join(format!("protext-records-{}", std::process::id()));
    let space = Space { name: "bench".into(), dim: DIM, fingerprint: Fingerprint::of(["bench"]) };
    let mut builder = CollectionBuilder::new(space, IndexKind::Exact).unwrap();
    for row in 0..n {
        let values = (0..DIM).map(|at| ((row * 13 + at * 7) as f32).sin() + 0.001).collect();
        builder.push(record(row), &JointVector::normalized(values).unwrap()).unwrap();
    }
    let built = builder.build(&mut |_| {}).unwrap();
    timed(&format!("write {n} records"), || built.save(&dir).unwrap());
    drop(built);
    let file = dir.join("snapshot-000001/records.sqlite");
    println!("records.sqlite: {:.0} MiB", std::fs::metadata(file).unwrap().len() as f64 / f64::from(1 << 20));
    // A process of its own, which holds nothing of what was built.
    let mut opened = std::process::Command::new(std::env::current_exe().unwrap());
    assert!(opened.arg(n.to_string()).env(OPENED, &dir).status().unwrap().success());
    std::fs::remove_dir_all(&dir).unwrap();
}

/// Opens the collection in `dir` and asks it.
fn measure(dir: &Path, n: usize) {
    let options = OpenOptions { verify: Verify::Lengths, expected_space: None };
    let opened = timed("open, lengths verified", || Collection::open_with(dir, &options).unwrap());
    let view = View::from(opened);
    timed("1,000 records by id", || {
        for row in (0..n).step_by((n / 1_000).max(1)) {
            let entry = view.get(&format!("A0A{row:07}")).unwrap().unwrap();
            assert_eq!(entry.record().unwrap().id.len(), 10);
        }
    });
    for filter in [
        "gene = G77",
        "taxon = 9606",
        "pe = 1",
        "length between 100 and 500",
        "organism exists",
        "taxon = 9606 and pe = 1",
    ] {
        let parsed = Filter::parse(filter).unwrap();
        let found = timed(&format!("filter {filter}"), || view.select_where(&parsed).unwrap());
        timed(&format!("  again ({} records)", found.count()), || view.select_where(&parsed).unwrap());
    }
    for words in ["G77", "alcohol dehydrogenase", "zinc finger protein of unknown function"] {
        let keywords = Keywords::parse(words).unwrap();
        timed(&format!("keywords {words}"), || view.search_keywords(&keywords, 10, None).unwrap().len());
    }
    drop(view);
    timed("open, every byte verified", || Collection::open(dir).unwrap());
}
