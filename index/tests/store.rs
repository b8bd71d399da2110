//! A collection that is written to while it is searched: readers, damage, bad input, full disks, copies, old files.
//! (Crash points are tested beside the code, in `store`; a process that is killed, in `store_killed.rs`.)

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use protext_core::JointVector;
use protext_index::store::{LogFault, restore, verify};
use protext_index::{
    Collection, CollectionBuilder, HnswParams, IndexError, IndexKind, OpenOptions, Record, SnapshotError,
    Store, StoreError, StoreOptions, SyncPolicy, Upsert, View, ViewSearch,
};
use support::{clustered, collection, space};

const DIM: usize = 6;

fn upsert(id: &str, length: u32, vector: &JointVector) -> Upsert {
    let record = Record { id: id.into(), length, ..Record::default() };
    Upsert { record, vectors: vec![vector.clone()] }
}

fn by_hand() -> StoreOptions {
    StoreOptions { compact_after: None, ..StoreOptions::default() }
}

/// A folder with `P0` to `P24` in it, and a store on it with `new` added, `P3` changed and `P4` deleted.
fn written() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let vectors = clustered(25, DIM, 9);
    let kind = IndexKind::Hnsw(HnswParams { m: 3, ef_construction: 10, parallel: false });
    collection("P", &vectors, kind).save(dir.path()).unwrap();
    let store = Store::open_with(dir.path(), by_hand()).unwrap();
    store.upsert(vec![upsert("new", 70, &vectors[0]), upsert("P3", 80, &vectors[1])]).unwrap();
    store.delete(["P4"]).unwrap();
    (dir, store)
}

fn ids(view: &View) -> Vec<String> {
    view.entries().map(|entry| entry.record().unwrap().id.clone()).collect()
}

fn explain(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

#[test]
fn writes_are_found_replaced_and_deleted_and_k_is_honoured() {
    let (dir, store) = written();
    let view = store.view();
    assert_eq!((view.len(), view.n_changes(), view.info().n_records), (25, 4, 25));
    assert_eq!(view.get("P3").unwrap().unwrap().record().unwrap().length, 80);
    assert!(view.get("P4").unwrap().is_none() && view.get("nobody").unwrap().is_none());
    assert!(matches!(view.vector_of("P4"), Err(IndexError::UnknownId { .. })));
    let query = &clustered(1, DIM, 10)[0];
    for k in [1, 5, 25, 26, 1_000_000] {
        let hits = view.search(&space(DIM), query, &ViewSearch::new(k)).unwrap();
        assert_eq!(hits.len(), k.min(25));
        let found: HashSet<_> = hits.iter().map(|hit| hit.record.id.as_str()).collect();
        assert!(found.len() == hits.len() && !found.contains("P4"));
        assert!(hits.iter().enumerate().all(|(index, hit)| hit.rank == index + 1));
    }
    let report = store.delete(["P4", "nobody", "P5", "P5"]).unwrap();
    assert_eq!((report.n_deleted, report.unknown), (1, vec!["P4".to_owned(), "nobody".to_owned()]));
    assert_eq!(view.len(), 25, "a view does not change");

    // A deleted id comes back as a new record, and everything goes on after a start.
    let report = store.upsert(vec![upsert("P4", 90, query), upsert("new", 71, query)]).unwrap();
    assert_eq!((report.n_inserted, report.n_replaced), (1, 1));
    let expected = ids(&store.view());
    drop(store);
    let store = Store::open_with(dir.path(), by_hand()).unwrap();
    assert_eq!(ids(&store.view()), expected);
    assert_eq!(store.compact(&mut |_| {}).unwrap().n_records, 25);
    assert_eq!((ids(&store.view()), store.view().n_changes()), (expected, 0));
    assert_eq!(store.compact(&mut |_| {}).unwrap().n_changes, 0, "nothing to do");
    assert_eq!(store.view().info().metadata["encoder"], "test-encoder");
}

#[test]
fn a_selection_bounds_old_and_new_records() {
    let (_dir, store) = written();
    let (view, query) = (store.view(), &clustered(1, DIM, 10)[0]);
    let odd = view.select(|record| record.length % 2 == 1).unwrap();
    let hits = view.search(&space(DIM), query, &ViewSearch::new(100).within(&odd)).unwrap();
    assert!(hits.len() == 11 && hits.iter().all(|hit| hit.record.length % 2 == 1), "{}", hits.len());
    let named = view.select_ids(["new", "P3", "P4", "P7", "nobody"]).unwrap();
    let hits = view.search(&space(DIM), query, &ViewSearch::new(100).within(&named)).unwrap();
    let found: HashSet<_> = hits.iter().map(|hit| hit.record.id.as_str()).collect();
    assert_eq!(found, HashSet::from(["new", "P3", "P7"]));
    let batch =
        view.search_batch(&space(DIM), &clustered(7, DIM, 11), &ViewSearch::new(3).within(&named)).unwrap();
    for (query, hits) in clustered(7, DIM, 11).iter().zip(batch) {
        assert_eq!(view.search(&space(DIM), query, &ViewSearch::new(3).within(&named)).unwrap(), hits);
    }
    store.upsert(vec![upsert("newer", 1, query)]).unwrap();
    let refused = store.view().search(&space(DIM), query, &ViewSearch::new(1).within(&named)).unwrap_err();
    assert!(matches!(refused, IndexError::FilterRows { .. }), "{refused}");
}

#[test]
fn many_later_records_are_searched_like_stored_ones() {
    let vectors = clustered(3_000, 64, 5);
    let dir = tempfile::tempdir().unwrap();
    collection("P", &vectors[..500], IndexKind::Exact).save(dir.path()).unwrap();
    let store = Store::open_with(dir.path(), by_hand()).unwrap();
    let later = (500..3_000).map(|row| upsert(&format!("P{row}"), row as u32, &vectors[row])).collect();
    assert_eq!(store.upsert(later).unwrap().n_inserted, 2_500);
    let whole = collection("P", &vectors, IndexKind::Exact);
    let queries = clustered(20, 64, 6);
    let found = store.view();
    let found = found.search_batch(&space(64), &queries, &ViewSearch::new(10)).unwrap();
    let params = protext_index::SearchParams::new(10);
    for (expected, found) in whole.search_batch(&space(64), &queries, &params).unwrap().iter().zip(&found) {
        let expected: Vec<_> = expected.iter().map(|hit| (hit.record.id.as_str(), hit.cosine)).collect();
        let found: Vec<_> = found.iter().map(|hit| (hit.record.id.as_str(), hit.cosine)).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn bad_input_is_refused_whole() {
    let (_dir, store) = written();
    let before = ids(&store.view());
    let good = clustered(1, DIM, 3).remove(0);
    let short = JointVector::normalized(vec![1.0, 0.0]).unwrap();
    let wrong = store.upsert(vec![upsert("ok", 1, &good), upsert("bad", 1, &short)]).unwrap_err();
    assert!(matches!(&wrong, StoreError::Record { record: 2, .. }), "{wrong}");
    assert!(wrong.to_string().contains("nothing of this batch was written"), "{wrong}");
    let twice = store.upsert(vec![upsert("a", 1, &good), upsert("a", 2, &good)]).unwrap_err();
    assert!(twice.to_string().contains("send each id once"), "{twice}");
    assert!(store.upsert(vec![upsert("", 1, &good)]).is_err());
    assert!(store.upsert(vec![upsert(&"x".repeat(600), 1, &good)]).is_err());
    let mut both = upsert("a", 1, &good);
    both.vectors.push(good.clone());
    assert!(matches!(store.upsert(vec![both]), Err(StoreError::VectorCount { expected: 1, found: 2, .. })));
    assert_eq!(store.upsert(Vec::new()).unwrap(), protext_index::WriteReport::default());
    assert_eq!(ids(&store.view()), before);

    let (view, query) = (store.view(), ViewSearch::new(1));
    assert!(matches!(view.search(&space(DIM), &good, &ViewSearch::new(0)), Err(IndexError::ZeroK)));
    assert!(matches!(view.search(&space(DIM), &short, &query), Err(IndexError::WrongDim { found: 2, .. })));
    assert!(matches!(view.search(&space(DIM + 1), &good, &query), Err(IndexError::Space(_))));
    assert!(view.search_batch(&space(DIM), &[], &query).unwrap().is_empty());
}

#[test]
fn an_empty_collection_takes_its_first_record_and_gives_its_last() {
    let dir = tempfile::tempdir().unwrap();
    let empty = CollectionBuilder::new(space(DIM), IndexKind::Auto).unwrap().build(&mut |_| {}).unwrap();
    empty.save(dir.path()).unwrap();
    let store = Store::open_with(dir.path(), by_hand()).unwrap();
    let query = clustered(1, DIM, 3).remove(0);
    let n_hits = || store.view().search(&space(DIM), &query, &ViewSearch::new(4)).unwrap().len();
    assert_eq!(n_hits(), 0);
    store.upsert(vec![upsert("first", 1, &query)]).unwrap();
    assert_eq!(n_hits(), 1);
    store.compact(&mut |_| {}).unwrap();
    assert_eq!(n_hits(), 1);
    store.delete(["first"]).unwrap();
    assert!(n_hits() == 0 && store.view().is_empty());
    store.compact(&mut |_| {}).unwrap();
    assert_eq!((n_hits(), store.view().info().n_records), (0, 0));
}

#[test]
fn one_flipped_byte_in_any_file_is_refused() {
    let (dir, store) = written();
    drop(store);
    // Two logs, as a compaction leaves them that was killed: the second is that of an earlier state here.
    let files = ["log-000001", "CURRENT", "snapshot-000001/manifest.json", "snapshot-000001/records.sqlite"];
    let files = files.iter().chain(&["snapshot-000001/vectors.bin", "snapshot-000001/graph.bin"]);
    for path in files.map(|name| dir.path().join(name)) {
        let sound = fs::read(&path).unwrap();
        let mut bytes = sound.clone();
        let step = if sound.len() > 20_000 { 31 } else { 1 };
        for position in (0..sound.len()).step_by(step) {
            bytes[position] ^= 1 << (position % 8);
            fs::write(&path, &bytes).unwrap();
            let error = Store::open_with(dir.path(), by_hand()).expect_err("a damaged collection opened");
            let ways_out = ["protext index build", "update Protext", "restore a backup"];
            let message = explain(&error);
            assert!(ways_out.iter().any(|way| message.contains(way)), "{path:?}, byte {position}: {message}");
            assert!(Store::read(dir.path(), &OpenOptions::default()).is_err());
            bytes[position] = sound[position];
        }
        assert!(fs::read(&path).unwrap() != sound, "opening repairs nothing");
        fs::write(&path, &sound).unwrap();
        Store::open_with(dir.path(), by_hand()).unwrap();
    }
}

/// Changes the JSON of a log's header and signs the whole log again, as a program with other ideas would have.
fn edit_header(dir: &Path, edit: impl FnOnce(&mut serde_json::Value)) {
    use sha2::{Digest, Sha256};
    let path = dir.join("log-000001");
    let bytes = fs::read(&path).unwrap();
    let n_json = u32::from_le_bytes(bytes[16..20].try_into().unwrap()) as usize;
    let mut json = serde_json::from_slice(&bytes[20..20 + n_json]).unwrap();
    edit(&mut json);
    let json = serde_json::to_vec(&json).unwrap();
    let mut header = [&bytes[..16], &(json.len() as u32).to_le_bytes(), &json].concat();
    let digest = Sha256::digest([&[0; 16], &header[..]].concat());
    header.extend(&digest[..16]);
    fs::write(&path, header).unwrap();
}

#[test]
fn logs_of_other_spaces_versions_and_orders_are_called_by_their_name() {
    let refuse = |edit: &dyn Fn(&Path)| {
        let (dir, store) = written();
        drop(store);
        edit(dir.path());
        let error = Store::open_with(dir.path(), by_hand()).unwrap_err();
        assert!(explain(&error).contains("log-00000"), "{error}");
        assert!(!verify(dir.path()).is_ok_and(|report| report.is_sound()));
        error
    };
    let bytes = |at: usize, bytes: &'static [u8]| {
        move |dir: &Path| {
            let path = dir.join("log-000001");
            let mut log = fs::read(&path).unwrap();
            log[at..at + bytes.len()].copy_from_slice(bytes);
            fs::write(&path, log).unwrap();
        }
    };
    assert!(matches!(refuse(&bytes(12, &[9, 0, 0, 0])), StoreError::NewerLog { found: 9, supported: 1, .. }));
    assert!(matches!(refuse(&bytes(8, &[1, 2, 3, 4])), StoreError::LogByteOrder { .. }));
    assert!(matches!(refuse(&bytes(0, b"PARQUET1")), StoreError::DamagedLog { fault: LogFault::Kind, .. }));
    let other_space = |dir: &Path| {
        edit_header(dir, |header| header["spaces"][0]["fingerprint"] = "ab".repeat(32).into());
    };
    assert!(matches!(refuse(&other_space), StoreError::LogSpace { .. }));
    let other_base = |dir: &Path| edit_header(dir, |header| header["base"] = "cd".repeat(32).into());
    assert!(matches!(refuse(&other_base), StoreError::ForeignLog { .. }));
    let other_number = |dir: &Path| edit_header(dir, |header| header["number"] = 2.into());
    assert!(matches!(refuse(&other_number), StoreError::ForeignLog { .. }));
    let gap = |dir: &Path| fs::rename(dir.join("log-000001"), dir.join("log-000002")).unwrap();
    assert!(matches!(refuse(&gap), StoreError::MissingLog { .. }));
    let emptied = |dir: &Path| fs::write(dir.join("log-000001"), b"").unwrap();
    assert!(matches!(refuse(&emptied), StoreError::DamagedLog { offset: 0, fault: LogFault::Header, .. }));
    // The same header signed again is fine: the edits above were refused for what they say.
    let (dir, store) = written();
    drop(store);
    edit_header(dir.path(), |_| ());
    assert_eq!(Store::open_with(dir.path(), by_hand()).unwrap().view().n_changes(), 0);
}

#[test]
fn one_process_writes_and_others_read() {
    let (dir, store) = written();
    let refused = Store::open(dir.path()).unwrap_err();
    assert!(matches!(refused, StoreError::Snapshot(SnapshotError::Locked { .. })), "{refused}");
    let refused = collection("Q", &clustered(3, DIM, 1), IndexKind::Exact).save(dir.path()).unwrap_err();
    assert!(matches!(refused, SnapshotError::Locked { .. }), "{refused}");
    assert_eq!(ids(&Store::read(dir.path(), &OpenOptions::default()).unwrap()), ids(&store.view()));
    drop(store);

    // A collection that is built anew does not get the writes of the old one.
    collection("Q", &clustered(3, DIM, 1), IndexKind::Exact).save(dir.path()).unwrap();
    assert!(!dir.path().join("log-000001").exists());
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(ids(&store.view()), ["Q0", "Q1", "Q2"]);
    drop(store);
    let nowhere = dir.path().join("nowhere");
    let refused = Store::open(&nowhere).unwrap_err();
    assert!(matches!(refused, StoreError::Snapshot(SnapshotError::NotACollection { .. })), "{refused}");
    assert!(!nowhere.exists());
}

#[test]
fn readers_see_whole_batches_while_others_write_delete_and_compact() {
    const N_ROUNDS: u32 = 150;
    let dir = tempfile::tempdir().unwrap();
    collection("P", &clustered(400, DIM, 9), IndexKind::Exact).save(dir.path()).unwrap();
    let grouped = SyncPolicy::Grouped { interval: Duration::from_millis(1) };
    let store = Store::open_with(dir.path(), StoreOptions { sync: grouped, ..by_hand() }).unwrap();
    let vectors = clustered(N_ROUNDS as usize + 1, DIM, 4);
    let (done, acknowledged) = (AtomicBool::new(false), AtomicU32::new(0));
    let query = &clustered(1, DIM, 10)[0];
    // Both records of a batch have the length and vector of its round.
    let write = |round: u32| {
        let vector = &vectors[round as usize];
        store.upsert(vec![upsert("left", round, vector), upsert("right", round, vector)])?;
        acknowledged.store(round, Ordering::SeqCst);
        store.upsert(vec![upsert(&format!("w{round}"), round, vector)])?;
        store.delete([format!("P{round}").as_str(), format!("w{}", round.saturating_sub(3)).as_str()])?;
        Ok::<_, StoreError>(())
    };
    let read = || {
        let mut n_reads = 0_u64;
        while !done.load(Ordering::SeqCst) {
            let at_least = acknowledged.load(Ordering::SeqCst);
            let view = store.view();
            let pair =
                ["left", "right"].map(|id| view.get(id).unwrap().map(|entry| entry.record().unwrap().length));
            assert_eq!(pair[0], pair[1], "half a batch");
            assert!(pair[0].unwrap_or(0) >= at_least, "an acknowledged write is not seen");
            let hits = view.search(&space(DIM), query, &ViewSearch::new(20)).unwrap();
            let found: HashSet<_> = hits.iter().map(|hit| hit.record.id.as_str()).collect();
            assert_eq!((hits.len(), found.len()), (20, 20));
            for hit in hits {
                let vector = view.get(&hit.record.id).unwrap().unwrap().vector(0).unwrap();
                assert!((vector.cosine(query) - hit.cosine).abs() < 1e-5, "{} is torn", hit.record.id);
                assert!(hit.record.id.starts_with('P') || vector == vectors[hit.record.length as usize]);
            }
            assert_eq!(view.entries().count(), view.len());
            n_reads += 1;
        }
        n_reads
    };
    std::thread::scope(|scope| {
        let readers = [scope.spawn(read), scope.spawn(read)];
        let compacting = scope.spawn(|| {
            let mut n_done = 0;
            while !done.load(Ordering::SeqCst) {
                n_done += usize::from(store.compact(&mut |_| {})?.n_changes > 0);
            }
            Ok::<_, StoreError>(n_done)
        });
        let copying = scope.spawn(|| -> Result<(), StoreError> {
            for number in 0..5 {
                let at_least = acknowledged.load(Ordering::SeqCst);
                let target = dir.path().with_extension(format!("copy{number}"));
                let report = store.backup_to(&target)?;
                assert!(report.is_sound(), "{report:?}");
                let view = Store::read(&target, &OpenOptions::default())?;
                let pair = ["left", "right"]
                    .map(|id| view.get(id).unwrap().map_or(0, |entry| entry.record().unwrap().length));
                assert!(pair[0] == pair[1] && pair[0] >= at_least, "{pair:?}, {at_least}");
                fs::remove_dir_all(target).unwrap();
            }
            Ok(())
        });
        let written = (1..=N_ROUNDS).try_for_each(write);
        // Raised before anything may panic, or the readers would never end.
        done.store(true, Ordering::SeqCst);
        written.unwrap();
        copying.join().unwrap().unwrap();
        assert!(compacting.join().unwrap().unwrap() > 1);
        assert!(readers.into_iter().all(|reader| reader.join().unwrap() > 1));
    });
    let view = store.view();
    assert_eq!(view.len(), 400 - N_ROUNDS as usize + 2 + 3, "the last three w are left");
    let expected = ids(&view);
    drop(store);
    assert_eq!(ids(&Store::open_with(dir.path(), by_hand()).unwrap().view()), expected);
}

#[test]
fn writers_share_syncs_and_each_gets_its_own_answer() {
    let (dir, store) = written();
    drop(store);
    let grouped = SyncPolicy::Grouped { interval: Duration::from_millis(20) };
    let store = Store::open_with(dir.path(), StoreOptions { sync: grouped, ..by_hand() }).unwrap();
    let vector = &clustered(1, DIM, 3)[0];
    std::thread::scope(|scope| {
        for writer in 0..16 {
            let store = &store;
            scope.spawn(move || {
                let report = store.upsert(vec![upsert(&format!("w{writer}"), 1, vector)]).unwrap();
                assert_eq!((report.n_inserted, report.n_replaced), (1, 0));
                assert!(store.view().get(&format!("w{writer}")).unwrap().is_some());
                assert_eq!(
                    store.delete([format!("P{writer}").as_str()]).unwrap().n_deleted,
                    usize::from(writer != 4)
                );
            });
        }
    });
    assert_eq!(store.view().len(), 25 + 16 - 15);
}

#[test]
fn a_collection_compacts_itself_in_the_background() {
    let dir = tempfile::tempdir().unwrap();
    collection("P", &clustered(20, DIM, 9), IndexKind::Exact).save(dir.path()).unwrap();
    let store = Store::open_with(dir.path(), StoreOptions { compact_after: Some(10), ..by_hand() }).unwrap();
    let vector = &clustered(1, DIM, 3)[0];
    for number in 0..60 {
        store.upsert(vec![upsert(&format!("n{number}"), number, vector)]).unwrap();
    }
    // Closing waits for the one that is under way.
    drop(store);
    let view = Store::read(dir.path(), &OpenOptions::default()).unwrap();
    assert!(view.len() == 80 && view.base().len() >= 30, "{} of {}", view.base().len(), view.len());
}

#[test]
fn a_copy_is_a_collection_and_can_be_put_back() {
    let (dir, store) = written();
    let place = tempfile::tempdir().unwrap();
    let (backup, back) = (place.path().join("backup"), place.path().join("back"));
    let report = store.backup_to(&backup).unwrap();
    assert!(report.is_sound() && report.logs.len() == 1, "{report:?}");
    let expected = ids(&store.view());
    store.delete(["P9"]).unwrap();
    assert!(matches!(store.backup_to(&backup), Err(StoreError::NotEmpty { .. })));
    drop(store);
    restore(&backup, &back).unwrap();
    let restored = Store::open_with(&back, by_hand()).unwrap();
    assert_eq!(ids(&restored.view()), expected);
    restored.compact(&mut |_| {}).unwrap();
    assert_eq!(ids(&Store::read(&backup, &OpenOptions::default()).unwrap()), expected);
    assert!(matches!(
        restore(dir.path().join("nowhere"), place.path().join("x")),
        Err(StoreError::Snapshot(_))
    ));
    let log = backup.join("log-000001");
    let mut bytes = fs::read(&log).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&log, bytes).unwrap();
    assert!(restore(&backup, place.path().join("y")).is_ok_and(|report| !report.is_sound()));
}

#[test]
#[cfg(target_os = "linux")]
fn on_a_full_disk_nothing_is_lost_and_writes_work_again_once_there_is_room() {
    struct Mounted(tempfile::TempDir);
    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").arg(self.0.path()).status();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let mount = ["-t", "tmpfs", "-o", "size=1m", "tmpfs"];
    let mounted = std::process::Command::new("mount").args(mount).arg(dir.path()).output();
    if !mounted.is_ok_and(|mounted| mounted.status.success()) {
        let _ =
            writeln!(std::io::stderr(), "NOT RUN: a small file system cannot be mounted here (needs root)");
        return;
    }
    let mounted = Mounted(dir);
    let target = mounted.0.path().join("collection");
    let ballast = mounted.0.path().join("ballast");
    collection("P", &clustered(500, DIM, 4), IndexKind::Exact).save(&target).unwrap();
    let store = Store::open_with(&target, by_hand()).unwrap();
    let vector = &clustered(1, DIM, 3)[0];
    let mut n_stored = 0_u32;
    let fill = |bytes: usize| {
        // The disk is full when no more of this can be written.
        let mut file = File::create(&ballast).unwrap();
        while bytes > 0 && file.write_all(&vec![1; bytes]).is_ok() {}
    };
    for round in 0..3 {
        fill(256);
        let refused = loop {
            let mut large = upsert(&format!("n{n_stored}"), n_stored, vector);
            large.record.text = Some("x".repeat(700));
            match store.upsert(vec![large]) {
                Ok(_) => n_stored += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(&refused, StoreError::Io { action: "write", .. }), "{}", explain(&refused));
        assert!(store.compact(&mut |_| {}).is_err(), "there is no room for a snapshot");
        let query = ViewSearch::new(1_000);
        assert_eq!(store.view().search(&space(DIM), vector, &query).unwrap().len(), 500 + n_stored as usize);
        let view = Store::read(&target, &OpenOptions::default()).unwrap();
        assert_eq!(view.len(), 500 + n_stored as usize, "round {round}");
        fs::remove_file(&ballast).unwrap();
        store.upsert(vec![upsert(&format!("n{n_stored}"), n_stored, vector)]).unwrap();
        n_stored += 1;
        assert_eq!(store.compact(&mut |_| {}).unwrap().n_records, 500 + n_stored as usize);
    }
    drop(store);
    let report = verify(&target).unwrap();
    assert!(report.is_sound() && report.snapshot.leftovers.is_empty(), "{report:?}");
    assert_eq!(Store::open(&target).unwrap().view().len(), 500 + n_stored as usize);
}

/// The folder `fixtures/store-v1` was written by the first version that had logs, by `write_fixture` below.
#[test]
fn the_first_version_is_still_read() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/store-v1");
    assert_eq!(Collection::open(&fixture).unwrap().len(), 25, "the snapshot alone");
    let view = Store::read(&fixture, &OpenOptions::default()).unwrap();
    let mut expected: Vec<_> =
        (0..25).filter(|row| ![3, 4].contains(row)).map(|row| format!("P{row}")).collect();
    expected.extend(["new".to_owned(), "P3".to_owned()]);
    assert_eq!(ids(&view), expected);
    assert_eq!(view.get("P3").unwrap().unwrap().record().unwrap().length, 80);
    assert!(verify(&fixture).unwrap().is_sound());
    // In a copy the work goes on.
    let place = tempfile::tempdir().unwrap();
    restore(&fixture, place.path().join("copy")).unwrap();
    let store = Store::open_with(place.path().join("copy"), by_hand()).unwrap();
    store.delete(["P3"]).unwrap();
    store.compact(&mut |_| {}).unwrap();
    assert_eq!(store.view().len(), 24);
}

#[test]
#[ignore = "writes the fixture of a new version: PROTEXT_TEST_DIR names the folder"]
fn write_fixture() {
    let Some(target) = std::env::var_os("PROTEXT_TEST_DIR").map(PathBuf::from) else { return };
    written().1.backup_to(target).unwrap();
}
