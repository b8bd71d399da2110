//! Collections on disk: damage of any kind is refused with a reason, and a save that fails or is killed leaves
//! what was there. (Crash points between the steps of a save are tested beside the code, in `snapshot`.)

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use protext_core::{Fingerprint, JointVector, Space};
use protext_index::{
    Collection, CollectionBuilder, HnswParams, IndexError, IndexKind, OpenOptions, Record, SearchParams,
    SnapshotError, Verify, inspect, verify,
};
use sha2::{Digest, Sha256};
use support::{clustered, collection, space};

const DIM: usize = 6;
const LENGTHS: OpenOptions = OpenOptions { verify: Verify::Lengths, expected_space: None };

fn graph_kind() -> IndexKind {
    IndexKind::Hnsw(HnswParams { m: 3, ef_construction: 10, parallel: false })
}

fn small(prefix: &str) -> Collection {
    collection(prefix, &clustered(25, DIM, 9), graph_kind())
}

fn saved() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    small("P").save(dir.path()).unwrap();
    let folder = dir.path().join("snapshot-000001");
    (dir, folder)
}

/// A copy of a fixture that may be changed.
fn copy_of(fixture: &str) -> tempfile::TempDir {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(fixture);
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("snapshot-000001")).unwrap();
    for name in ["", "snapshot-000001"] {
        for entry in fs::read_dir(from.join(name)).unwrap().map(Result::unwrap).filter(|e| e.path().is_file())
        {
            fs::copy(entry.path(), dir.path().join(name).join(entry.file_name())).unwrap();
        }
    }
    dir
}

/// Changes the manifest and signs it again, as a program with other ideas would have written it.
fn edit_manifest(dir: &Path, edit: impl FnOnce(&mut serde_json::Value)) {
    let path = dir.join("snapshot-000001/manifest.json");
    let mut manifest = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut manifest);
    let bytes = serde_json::to_vec(&manifest).unwrap();
    fs::write(dir.join("CURRENT"), format!("snapshot-000001 {}\n", hex::encode(Sha256::digest(&bytes))))
        .unwrap();
    fs::write(path, bytes).unwrap();
}

fn refused(dir: &Path) -> String {
    let error = Collection::open(dir).expect_err("a damaged collection opened");
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

#[test]
fn one_flipped_byte_anywhere_is_refused() {
    let (dir, folder) = saved();
    let files = ["manifest.json", "records.sqlite", "vectors.bin", "graph.bin"].map(|name| folder.join(name));
    for path in files.iter().chain([&dir.path().join("CURRENT")]) {
        let sound = fs::read(path).unwrap();
        let mut bytes = sound.clone();
        // Tables have pages; every seventh byte of them is flipped, of other files each.
        let step = if sound.len() > 20_000 { 7 } else { 1 };
        for position in (0..sound.len()).step_by(step) {
            bytes[position] ^= 1 << (position % 8);
            fs::write(path, &bytes).unwrap();
            let message = refused(dir.path());
            let ways_out = ["protext index build", "update Protext"];
            assert!(ways_out.iter().any(|way| message.contains(way)), "{path:?}, byte {position}: {message}");
            bytes[position] = sound[position];
        }
        fs::write(path, &sound).unwrap();
        Collection::open(dir.path()).unwrap();
    }
}

#[test]
fn damage_that_no_checksum_catches_does_not_panic() {
    let (dir, folder) = saved();
    let query = &clustered(1, DIM, 10)[0];
    for name in ["records.sqlite", "vectors.bin", "graph.bin"] {
        let path = folder.join(name);
        let sound = fs::read(&path).unwrap();
        let mut n_opened = 0;
        let step = if sound.len() > 20_000 { 61 } else { 1 };
        for position in (0..sound.len()).step_by(step) {
            let mut bytes = sound.clone();
            bytes[position] ^= [0x01, 0x80, 0xff][position % 3];
            fs::write(&path, &bytes).unwrap();
            if let Ok(opened) = Collection::open_with(dir.path(), &LENGTHS) {
                match opened.search(&space(DIM), query, &SearchParams::new(3).with_ef(3)) {
                    Ok(hits) => assert_eq!(hits.len(), 3),
                    Err(error) => assert!(error.to_string().contains("protext index build"), "{error}"),
                }
                let _ = opened.by_id("P7");
                n_opened += 1;
            }
        }
        assert!(n_opened > 0 && n_opened < sound.len(), "{name}: {n_opened} of {}", sound.len());
        fs::write(&path, &sound).unwrap();
    }
}

#[test]
fn short_long_and_missing_files_are_named() {
    let (dir, folder) = saved();
    for name in ["records.sqlite", "vectors.bin", "graph.bin"] {
        let path = folder.join(name);
        let sound = fs::read(&path).unwrap();
        for len in [0, 1, 10, sound.len() / 2, sound.len() - 1] {
            fs::write(&path, &sound[..len]).unwrap();
            for options in [OpenOptions::default(), LENGTHS] {
                let error = Collection::open_with(dir.path(), &options).unwrap_err();
                assert!(
                    matches!(error, SnapshotError::Length { found, .. } if found == len as u64),
                    "{error}"
                );
                assert!(error.to_string().contains(name), "{error}");
            }
        }
        fs::write(&path, [&sound[..], b"\n"].concat()).unwrap();
        assert!(matches!(Collection::open(dir.path()), Err(SnapshotError::Length { .. })));
        fs::remove_file(&path).unwrap();
        assert!(
            matches!(Collection::open(dir.path()), Err(SnapshotError::MissingFile { path: p }) if p == path)
        );
        fs::write(&path, &sound).unwrap();
    }
    fs::remove_file(folder.join("manifest.json")).unwrap();
    assert!(refused(dir.path()).contains("manifest.json is missing"));
    fs::remove_file(dir.path().join("CURRENT")).unwrap();
    assert!(refused(dir.path()).contains("holds no collection"));
    assert!(refused(&dir.path().join("nowhere")).contains("protext index build"));
}

#[test]
fn other_versions_orders_spaces_and_counts_are_refused() {
    let refuse = |key: &str, value: serde_json::Value| {
        let (dir, _) = saved();
        edit_manifest(dir.path(), |manifest| manifest[key] = value);
        refused(dir.path())
    };
    assert!(
        refuse("version", 5.into())
            .contains("written by a newer version (format 5, this program reads up to 4)")
    );
    assert!(refuse("byte_order", "big".into()).contains("byte order \"big\""));
    assert!(refuse("format", "parquet".into()).contains("describes \"parquet\""));
    assert!(refuse("n_records", 26.into()).contains("number of records is 25, the manifest says 26"));
    assert!(refuse("n_records", u64::MAX.into()).contains("number of records"));
    assert!(refuse("files", serde_json::json!([])).contains("no entry for records.sqlite"));
    let hnsw = serde_json::json!({"kind": "hnsw", "m": 300, "ef_construction": 400});
    assert!(refuse("index", hnsw).contains("m = 300 is out of range"));
    for (dim, expected) in [(0, "has no components"), (7, "dimension is 6"), (usize::MAX, "dimension is 6")] {
        let (dir, _) = saved();
        edit_manifest(dir.path(), |manifest| manifest["space"]["dim"] = dim.into());
        let message = refused(dir.path());
        assert!(message.contains(expected), "{message}");
    }

    // A version that was edited by hand is called by its name although the digest is wrong, too.
    let (dir, folder) = saved();
    let path = folder.join("manifest.json");
    let text = fs::read_to_string(&path).unwrap().replace("\"version\": 4", "\"version\": 9");
    fs::write(&path, text).unwrap();
    assert!(matches!(Collection::open(dir.path()), Err(SnapshotError::NewerVersion { found: 9, .. })));

    let (dir, _) = saved();
    let expecting = |dim| OpenOptions { expected_space: Some(space(dim)), ..OpenOptions::default() };
    assert!(Collection::open_with(dir.path(), &expecting(DIM)).is_ok());
    let other = Collection::open_with(dir.path(), &expecting(DIM + 1));
    assert!(matches!(other, Err(SnapshotError::Space(_))));
}

#[test]
fn records_that_break_the_rules_are_refused_although_the_digest_is_right() {
    let refuse = |from: &str, to: &str| {
        let dir = copy_of("version-2");
        let folder = dir.path().join("snapshot-000001");
        let path = folder.join("records.jsonl");
        let bytes = fs::read_to_string(&path).unwrap().replace(from, to).into_bytes();
        fs::write(&path, &bytes).unwrap();
        edit_manifest(dir.path(), |manifest| {
            manifest["files"][0]["n_bytes"] = bytes.len().into();
            manifest["files"][0]["sha256"] = hex::encode(Sha256::digest(&bytes)).into();
        });
        refused(dir.path())
    };
    assert!(refuse("\"P3\"", "\"P2\"").contains("records 3 and 4 both have the id \"P2\""));
    assert!(refuse("\"P3\"", "\"\"").contains("record 4 has an empty id"));
    assert!(refuse("\"id\":\"P3\"", "\"name\":\"P3\"").contains("line 4: not a record"));
}

/// The fixture was written by `protext index build --kind hnsw --m 2 --ef-construction 4` of the last program that
/// wrote version 1, from the first three proteins of `services/cli/demo/proteins.fasta`.
#[test]
fn a_collection_of_the_first_version_opens_and_is_saved_as_the_present_one() {
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/version-1");
    assert!(verify(&old).unwrap().is_sound());
    let dir = tempfile::tempdir().unwrap();
    Collection::open(&old).unwrap().save(dir.path()).unwrap();
    let manifest = fs::read_to_string(dir.path().join("snapshot-000001/manifest.json")).unwrap();
    assert!(manifest.contains("\"version\": 4"), "{manifest}");
    for (dir, options) in
        [(&*old, OpenOptions::default()), (dir.path(), OpenOptions::default()), (dir.path(), LENGTHS)]
    {
        let opened = Collection::open_with(dir, &options).unwrap();
        assert_eq!(opened.spaces().map(|space| space.dim).collect::<Vec<_>>(), [1280, 516]);
        for record in opened.records().map(Result::unwrap) {
            let vector = opened.vector_of(&record.id).unwrap();
            let hits = opened.search(opened.space(), &vector, &SearchParams::new(3)).unwrap();
            assert!(hits.len() == 3 && hits[0].record == record && hits[0].cosine > 0.999_999);
        }
    }
}

/// The fixture was written by the last program that wrote version 2: twelve records in two spaces.
#[test]
fn a_collection_of_the_second_version_opens_and_is_saved_as_the_present_one() {
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/version-2");
    assert!(verify(&old).unwrap().is_sound());
    let dir = tempfile::tempdir().unwrap();
    let before = Collection::open(&old).unwrap();
    before.save(dir.path()).unwrap();
    assert!(dir.path().join("snapshot-000001/records.sqlite").exists());
    for options in [OpenOptions::default(), LENGTHS] {
        let after = Collection::open_with(dir.path(), &options).unwrap();
        assert!(before.records().eq(after.records()));
        let record = after.record(6).unwrap();
        assert_eq!((record.id.as_str(), record.gene.as_deref(), record.length), ("P6", Some("ADH6"), 106));
        for space in before.spaces() {
            let query = after.index_in(space).unwrap().vector(6).unwrap();
            let hits = after.search(space, &query, &SearchParams::new(3)).unwrap();
            assert!(
                hits[0].record.id == "P6"
                    && hits == before.search(space, &query, &SearchParams::new(3)).unwrap()
            );
        }
    }
}

/// The fixture was written by the last program that wrote version 3: twelve records in two spaces.
#[test]
fn a_collection_of_the_third_version_opens_and_its_digests_are_looked_at() {
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/version-3");
    assert!(verify(&old).unwrap().is_sound());
    let collection = Collection::open(&old).unwrap();
    let record = collection.record(3).unwrap();
    let query = collection.vector_of(&record.id).unwrap();
    let hits = collection.search(collection.space(), &query, &SearchParams::new(3)).unwrap();
    assert!(hits.len() == 3 && hits[0].record == record, "{hits:?}");
    let dir = copy_of("version-3");
    let path = dir.path().join("snapshot-000001/vectors.bin");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(refused(dir.path()).contains("its digest is sha256 "));
}

#[test]
fn what_is_mapped_can_be_searched_after_it_was_replaced_and_removed() {
    let (dir, folder) = saved();
    let mapped = Collection::open_with(dir.path(), &LENGTHS).unwrap();
    let query = &clustered(1, DIM, 10)[0];
    let search = || mapped.search(&space(DIM), query, &SearchParams::new(5)).unwrap();
    let expected = search();
    small("Q").save(dir.path()).unwrap();
    assert!(!folder.exists());
    assert_eq!(search(), expected);
}

#[test]
fn info_and_verify_describe_what_is_there() {
    let (dir, folder) = saved();
    let info = inspect(dir.path()).unwrap();
    assert_eq!(info, Collection::open(dir.path()).unwrap().info());
    assert_eq!((info.n_records, info.metadata["encoder"].as_str()), (25, "test-encoder"));
    assert!(info.created_unix_s > 1_700_000_000);

    let report = verify(dir.path()).unwrap();
    assert!(report.is_sound() && report.leftovers.is_empty(), "{report:?}");
    assert_eq!(report.files.len(), 3);
    for name in ["vectors.bin", "graph.bin"] {
        let mut bytes = fs::read(folder.join(name)).unwrap();
        bytes[60] ^= 4;
        fs::write(folder.join(name), bytes).unwrap();
    }
    fs::create_dir(dir.path().join("snapshot-000007.partial")).unwrap();
    let report = verify(dir.path()).unwrap();
    let damaged: Vec<_> = report.files.iter().filter(|file| file.problem.is_some()).collect();
    assert_eq!(damaged.iter().map(|file| &*file.name).collect::<Vec<_>>(), ["vectors.bin", "graph.bin"]);
    assert!(damaged[0].problem.as_ref().unwrap().contains("its digest is blake3 "));
    assert_eq!(report.leftovers, ["snapshot-000007.partial"]);
    serde_json::to_string(&report).unwrap();
}

#[test]
fn a_collection_in_two_spaces_answers_in_each_and_refuses_others() {
    let spaces = [space(2), Space { name: "other".into(), dim: 3, fingerprint: Fingerprint::of(["other"]) }];
    let mut builder = CollectionBuilder::new(spaces[0].clone(), IndexKind::Exact).unwrap();
    builder.add_space(spaces[1].clone()).unwrap();
    for (id, main, other) in [("a", [1.0, 0.0], [0.0, 0.0, 1.0]), ("b", [0.0, 1.0], [1.0, 0.0, 0.0])] {
        let vector = |values: &[f32]| JointVector::normalized(values.to_vec()).unwrap();
        let record = Record { id: id.into(), ..Record::default() };
        builder.push_in_all(record, &[&vector(&main), &vector(&other)]).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    builder.build(&mut |_| {}).unwrap().save(dir.path()).unwrap();
    let collection = Collection::open(dir.path()).unwrap();
    assert_eq!(collection.spaces().cloned().collect::<Vec<_>>(), spaces);
    assert_eq!(inspect(dir.path()).unwrap().further[0].space, spaces[1]);
    let first = |space: &Space, values: &[f32]| {
        let query = JointVector::normalized(values.to_vec()).unwrap();
        collection.search(space, &query, &SearchParams::new(1)).unwrap()[0].record.id.clone()
    };
    assert_eq!(
        (first(&spaces[0], &[1.0, 0.1]), first(&spaces[1], &[1.0, 0.1, 0.0])),
        ("a".into(), "b".into())
    );
    let foreign = Space { fingerprint: Fingerprint::of(["foreign"]), ..spaces[1].clone() };
    let query = JointVector::normalized(vec![1.0, 0.0, 0.0]).unwrap();
    let refused = collection.search(&foreign, &query, &SearchParams::new(1)).unwrap_err();
    assert!(matches!(refused, IndexError::Space(_)), "{refused}");
}

#[test]
fn a_collection_is_replaced_under_its_readers() {
    let dir = tempfile::tempdir().unwrap();
    small("old").save(dir.path()).unwrap();
    let handle = Collection::open(dir.path()).unwrap();
    let query = &clustered(1, DIM, 10)[0];
    let params = SearchParams::new(5);
    let expected = handle.search(&space(DIM), query, &params).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let searching = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                assert_eq!(handle.search(&space(DIM), query, &params).unwrap(), expected);
            }
        });
        let opening = scope.spawn(|| {
            let mut n_opened = 0;
            while !done.load(Ordering::Relaxed) {
                let opened = Collection::open(dir.path()).unwrap();
                assert!(opened.records().all(|r| r.unwrap().id[..3] == opened.record(0).unwrap().id[..3]));
                assert!(verify(dir.path()).unwrap().is_sound());
                n_opened += 1;
            }
            n_opened
        });
        let saved: Result<(), _> =
            (0..60).try_for_each(|round| small(if round % 2 == 0 { "new" } else { "old" }).save(dir.path()));
        // Raised before anything may panic, or the readers would never end.
        done.store(true, Ordering::Relaxed);
        saved.unwrap();
        searching.join().unwrap();
        assert!(opening.join().unwrap() > 0);
    });
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "CURRENT, LOCK and one snapshot are left: {names:?}");
}

#[test]
fn a_directory_that_is_not_ours_or_in_use_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.tex"), "do not lose").unwrap();
    let refused = small("P").save(dir.path()).unwrap_err();
    assert!(
        matches!(&refused, SnapshotError::ForeignFiles { entry, .. } if entry == "thesis.tex"),
        "{refused}"
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);

    let (dir, _) = saved();
    fs::write(dir.path().join("README"), "a note beside a collection is fine").unwrap();
    let lock = File::options().write(true).open(dir.path().join("LOCK")).unwrap();
    lock.lock().unwrap();
    let busy = small("Q").save(dir.path()).unwrap_err();
    assert!(matches!(busy, SnapshotError::Locked { .. }), "{busy}");
    drop(lock);
    small("Q").save(dir.path()).unwrap();
    assert_eq!(Collection::open(dir.path()).unwrap().by_id("Q0"), Ok(Some(0)));
    assert!(dir.path().join("README").exists());
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a-file");
    fs::write(&file, "").unwrap();
    for target in [file.clone(), file.join("below"), PathBuf::from("/proc/protext-collection")] {
        let message = small("P").save(&target).unwrap_err().to_string();
        assert!(message.contains(&*target.to_string_lossy()), "{message}");
        assert!(message.contains("check that"), "{message}");
    }
    // A new directory below ones that do not exist is made.
    let deep = dir.path().join("a/b/c");
    small("P").save(&deep).unwrap();
    assert_eq!(Collection::open(&deep).unwrap().len(), 25);
}

/// Saves until it is stopped; run in a process of its own by the tests below.
#[test]
#[ignore = "the child of other tests"]
fn child_saves() {
    let Some(dir) = std::env::var_os("PROTEXT_TEST_DIR").map(PathBuf::from) else { return };
    if std::env::var_os("PROTEXT_TEST_FOREVER").is_some() {
        for round in 0_usize.. {
            small(if round.is_multiple_of(2) { "even" } else { "odd" }).save(&dir).unwrap();
        }
    }
    let large = collection("large", &clustered(4_000, DIM, 4), IndexKind::Exact);
    match large.save(&dir) {
        Ok(()) => println!("SAVED"),
        Err(error) => println!("REFUSED {error}"),
    }
}

fn child(dir: &Path, limits: &str) -> std::process::Command {
    let mut command = std::process::Command::new("sh");
    let script = format!("{limits} exec \"$0\" --exact child_saves --ignored --nocapture");
    command.arg("-c").arg(script).arg(std::env::current_exe().unwrap()).env("PROTEXT_TEST_DIR", dir);
    command
}

#[test]
#[cfg(unix)]
fn when_no_more_can_be_written_the_old_collection_stays() {
    let (dir, _) = saved();
    // Files may grow to 64 or 128 blocks of 512 bytes; past that writing fails, as on a full disk.
    let output = child(dir.path(), "trap '' XFSZ; ulimit -f 128;").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("REFUSED cannot write"), "{said}");
    assert!(said.contains("records.sqlite.") || said.contains("records.sqlite;"), "{said}");
    assert_eq!(Collection::open(dir.path()).unwrap().by_id("P0"), Ok(Some(0)));
    assert_eq!(verify(dir.path()).unwrap().leftovers, [""; 0], "what was written was removed again");
}

#[test]
#[cfg(target_os = "linux")]
fn on_a_full_disk_the_old_collection_stays() {
    struct Mounted(tempfile::TempDir);
    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").arg(self.0.path()).status();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
        .arg(dir.path())
        .output();
    if !mount.is_ok_and(|mount| mount.status.success()) {
        let _ =
            writeln!(std::io::stderr(), "NOT RUN: a small file system cannot be mounted here (needs root)");
        return;
    }
    let dir = Mounted(dir);
    let target = dir.0.path().join("collection");
    small("P").save(&target).unwrap();
    let large = collection("large", &clustered(4_000, DIM, 4), IndexKind::Exact);
    let refused = large.save(&target).unwrap_err();
    assert!(matches!(&refused, SnapshotError::Io { action: "write", .. }), "{refused}");
    assert_eq!(Collection::open(&target).unwrap().by_id("P0"), Ok(Some(0)));
    small("Q").save(&target).unwrap();
}

#[test]
#[cfg(unix)]
fn a_killed_save_leaves_a_collection_that_opens() {
    let dir = tempfile::tempdir().unwrap();
    small("odd").save(dir.path()).unwrap();
    let mut n_leftovers = 0;
    for round in 0..12 {
        let mut child = child(dir.path(), "")
            .env("PROTEXT_TEST_FOREVER", "1")
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(60 + 13 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(Collection::open(dir.path()).unwrap().len(), 25);
        let report = verify(dir.path()).unwrap();
        assert!(report.is_sound(), "{report:?}");
        n_leftovers += report.leftovers.len();
    }
    println!("{n_leftovers} leftovers seen after 12 kills");
    small("last").save(dir.path()).unwrap();
    assert!(verify(dir.path()).unwrap().leftovers.is_empty());
}
