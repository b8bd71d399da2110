//! A process that writes is killed at random moments (SIGKILL): what it acknowledged is there, what it deleted is not.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use protext_core::JointVector;
use protext_index::{
    HnswParams, IndexKind, OpenOptions, Record, Store, StoreOptions, SyncPolicy, Upsert, View, ViewSearch,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::{clustered, collection, space};

const DIM: usize = 4;
const N_IDS: usize = 60;
const N_KILLS: usize = 40;

/// What one operation does: ids with their new version, or `None` for a deletion.
fn operation(number: u32) -> Vec<(String, Option<u32>)> {
    let mut rng = StdRng::seed_from_u64(number.into());
    let is_upsert = rng.random_bool(0.65);
    let first = rng.random_range(0..N_IDS);
    (0..rng.random_range(1..4)).map(|i| (format!("r{}", first + i), is_upsert.then_some(number))).collect()
}

fn vector(id: &str, version: u32) -> JointVector {
    let seed =
        id.bytes().fold(u64::from(version), |hash, byte| hash.wrapping_mul(977).wrapping_add(byte.into()));
    let mut rng = StdRng::seed_from_u64(seed);
    JointVector::normalized((0..DIM).map(|_| rng.random_range(-1.0..1.0)).collect()).unwrap()
}

/// Writes from operation `PROTEXT_TEST_FIRST` on until it is killed, and says each number once it is acknowledged.
#[test]
#[ignore = "the child of the test below"]
fn child_writes() {
    let Some(dir) = std::env::var_os("PROTEXT_TEST_DIR").map(PathBuf::from) else { return };
    let first: u32 = std::env::var("PROTEXT_TEST_FIRST").unwrap().parse().unwrap();
    let sync = match first % 2 {
        0 => SyncPolicy::EachWrite,
        _ => SyncPolicy::Grouped { interval: Duration::from_micros(200) },
    };
    let store =
        Store::open_with(dir, StoreOptions { sync, compact_after: Some(25), open: OpenOptions::default() });
    let store = store.unwrap();
    let mut out = std::io::stdout();
    for number in first.. {
        let changes = operation(number);
        if changes[0].1.is_some() {
            let upsert = |(id, version): (String, Option<u32>)| {
                let version = version.unwrap();
                let vectors = vec![vector(&id, version)];
                Upsert { record: Record { id, length: version, ..Record::default() }, vectors }
            };
            store.upsert(changes.into_iter().map(upsert).collect()).unwrap();
        } else {
            store.delete(changes.iter().map(|(id, _)| id.as_str())).unwrap();
        }
        writeln!(out, "DONE {number}").unwrap();
        out.flush().unwrap();
    }
}

fn shown(view: &View) -> BTreeMap<String, u32> {
    let mut seen = BTreeMap::new();
    for entry in view.entries() {
        let record = entry.record().unwrap();
        if record.id.starts_with('r') {
            let found = entry.vector(0).unwrap();
            assert!(found.cosine(&vector(&record.id, record.length)) > 0.999_999, "{} is torn", record.id);
            assert!(seen.insert(record.id.clone(), record.length).is_none(), "{} is there twice", record.id);
        }
    }
    seen
}

/// Runs the child until it is killed after `wait`; the last operation that it acknowledged.
fn run_and_kill(dir: &Path, first: u32, wait: Duration) -> Option<u32> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_writes", "--ignored", "--nocapture"])
        .env("PROTEXT_TEST_DIR", dir)
        .env("PROTEXT_TEST_FIRST", first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The clock starts with the first write, so that a slow start is not all that is tested.
    let is_done = |line: &String| line.contains("DONE ");
    let mut last = lines.by_ref().map(Result::unwrap).find(is_done);
    std::thread::sleep(wait);
    child.kill().unwrap();
    child.wait().unwrap();
    last = lines.map_while(Result::ok).filter(is_done).last().or(last);
    // A line is written at once, but the harness may have put its own words before the first.
    last.and_then(|line| line.rsplit("DONE ").next()?.trim().parse().ok())
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_deleted_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let kind = IndexKind::Hnsw(HnswParams { m: 4, ef_construction: 12, parallel: false });
    collection("P", &clustered(100, DIM, 9), kind).save(dir.path()).unwrap();
    let mut rng = StdRng::seed_from_u64(7);
    let mut model = BTreeMap::new();
    let mut next = 0;
    let mut n_logs = 0;
    for round in 0..N_KILLS {
        let last = run_and_kill(dir.path(), next, Duration::from_micros(rng.random_range(500..150_000)));
        let apply = |model: &mut BTreeMap<String, u32>, number| {
            for (id, version) in operation(number) {
                match version {
                    Some(version) => model.insert(id, version),
                    None => model.remove(&id),
                };
            }
        };
        let last = last.unwrap_or_else(|| panic!("round {round}: nothing was written"));
        (next..=last).for_each(|number| apply(&mut model, number));
        next = last + 1;
        n_logs += std::fs::read_dir(dir.path())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("log-"))
            .count();
        let view = Store::read(dir.path(), &OpenOptions::default()).unwrap();
        let found = shown(&view);
        // The one write that was under way is there whole or not at all.
        let mut with_next = model.clone();
        apply(&mut with_next, next);
        assert!(
            found == model || found == with_next,
            "round {round}, {next} operations: {found:?} {model:?}"
        );
        if found == with_next && with_next != model {
            model = with_next;
            next += 1;
        }
        let hits = view.search(&space(DIM), &vector("query", 0), &ViewSearch::new(1_000)).unwrap();
        assert_eq!(hits.len(), 100 + model.len());
    }
    println!("{next} operations, {n_logs} logs seen after {N_KILLS} kills");
    assert!(next > 30, "{next} operations are too few to mean anything");
}
