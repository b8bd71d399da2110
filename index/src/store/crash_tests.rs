//! Takes a copy of the folder at every step of a write and of a compaction, and opens it as a start after a crash would.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use protext_core::{Fingerprint, JointVector, Space};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Store, StoreOptions, Upsert, View, ViewSearch, verify};
use crate::collection::{CollectionBuilder, IndexKind, Record};
use crate::hnsw::HnswParams;

/// Id and version of every record that must be there.
type Model = BTreeMap<String, u32>;

fn spaces() -> [Space; 2] {
    [("s", 5), ("t", 3)].map(|(name, dim)| Space {
        name: name.into(),
        dim,
        fingerprint: Fingerprint::of([name]),
    })
}

/// The vectors that a version of a record has, so that a mixture of two would show.
fn vectors(id: &str, version: u32) -> Vec<JointVector> {
    let seed =
        id.bytes().fold(u64::from(version), |hash, byte| hash.wrapping_mul(1_099).wrapping_add(byte.into()));
    let mut rng = StdRng::seed_from_u64(seed);
    let mut vector =
        |dim| JointVector::normalized((0..dim).map(|_| rng.random_range(-1.0..1.0)).collect()).unwrap();
    vec![vector(5), vector(3)]
}

fn upsert(id: &str, version: u32) -> Upsert {
    let description = format!("version {version}");
    let record = Record { id: id.into(), length: version, description, ..Record::default() };
    Upsert { record, vectors: vectors(id, version) }
}

/// A folder with records `r0`, `r1`, ... and what it holds.
fn folder(n: usize) -> (tempfile::TempDir, Model) {
    let dir = tempfile::tempdir().unwrap();
    let kind = IndexKind::Hnsw(HnswParams { m: 4, ef_construction: 16, parallel: false });
    let [main, further] = spaces();
    let mut builder = CollectionBuilder::new(main, kind).unwrap();
    builder.add_space(further).unwrap();
    let mut model = Model::new();
    for row in 0..n {
        let Upsert { record, vectors } = upsert(&format!("r{row}"), 1);
        model.insert(record.id.clone(), 1);
        builder.push_in_all(record, &vectors.iter().collect::<Vec<_>>()).unwrap();
    }
    builder.build(&mut |_| {}).unwrap().save(dir.path()).unwrap();
    (dir, model)
}

fn options() -> StoreOptions {
    StoreOptions { compact_after: None, ..StoreOptions::default() }
}

fn open(dir: &Path) -> Store {
    Store::open_with(dir, options()).unwrap()
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn image(dir: &Path) -> tempfile::TempDir {
    let copied = tempfile::tempdir().unwrap();
    copy(dir, copied.path());
    copied
}

/// Ids and versions of what a view shows, each record with its own vectors.
fn shown(view: &View) -> Model {
    let mut seen = Model::new();
    for entry in view.entries() {
        let record = entry.record().unwrap();
        for (space, expected) in vectors(&record.id, record.length).iter().enumerate() {
            assert!(entry.vector(space).unwrap().cosine(expected) > 0.999_999, "{} is torn", record.id);
        }
        assert_eq!(record.description, format!("version {}", record.length));
        assert!(seen.insert(record.id.clone(), record.length).is_none(), "{} is there twice", record.id);
    }
    seen
}

/// Whether a view shows the model, whichever way it is asked.
fn assert_shows(view: &View, model: &Model, what: &str) {
    assert_eq!(&shown(view), model, "{what}");
    assert_eq!(view.len(), model.len(), "{what}");
    assert_eq!(view.n_residues(), model.values().map(|&length| u64::from(length)).sum::<u64>(), "{what}");
    for (space, at) in spaces().iter().zip(0..) {
        let query = &vectors("query", 1)[at];
        let hits = view.search(space, query, &ViewSearch::new(model.len() + 3)).unwrap();
        assert_eq!(hits.len(), model.len(), "{what}");
        assert!(hits.iter().all(|hit| model.get(&hit.record.id) == Some(&hit.record.length)), "{what}");
        assert!(hits.windows(2).all(|pair| pair[0].cosine >= pair[1].cosine), "{what}");
        if let Some((id, &version)) = model.iter().nth(model.len() / 2) {
            let own = view.search(space, &vectors(id, version)[at], &ViewSearch::new(1).exactly()).unwrap();
            assert_eq!(&own[0].record.id, id, "{what}");
        }
    }
}

fn random_change(store: &Store, model: &mut Model, rng: &mut StdRng, version: u32) {
    if rng.random_bool(0.7) {
        let n = rng.random_range(1..4_usize);
        let first = rng.random_range(0..300_usize);
        let batch: Vec<_> = (0..n).map(|i| upsert(&format!("r{}", first + i), version)).collect();
        let n_known = batch.iter().filter(|upsert| model.contains_key(&upsert.record.id)).count();
        model.extend(batch.iter().map(|upsert| (upsert.record.id.clone(), version)));
        let report = store.upsert(batch).unwrap();
        assert_eq!((report.n_replaced, report.n_inserted), (n_known, n - n_known));
    } else {
        let ids: Vec<_> =
            (0..rng.random_range(1..4)).map(|_| format!("r{}", rng.random_range(0..300))).collect();
        let report = store.delete(ids.iter().map(String::as_str)).unwrap();
        let n_known = ids.iter().filter(|id| model.remove(*id).is_some()).count();
        assert_eq!(report.n_deleted, n_known);
        assert!(report.unknown.iter().all(|id| ids.contains(id)));
    }
}

/// 10,000 operations, with crashes among them: the folder is copied as a kill leaves it, or with its last write cut off
/// in the middle, and the work goes on in the copy.
#[test]
fn ten_thousand_operations_with_crashes_agree_with_a_model() {
    let mut rng = StdRng::seed_from_u64(20_261_121);
    let (mut dir, mut model) = folder(100);
    let mut store = open(dir.path());
    let (mut n_torn, mut n_killed) = (0, 0);
    for version in 2..10_002 {
        match rng.random_range(0..1_000) {
            0..4 => drop(store.compact(&mut |_| {}).unwrap()),
            4..10 => {
                // Nothing is closed in order: the copy is all that the next process sees.
                let copied = image(dir.path());
                drop(store);
                store = open(copied.path());
                dir = copied;
                n_killed += 1;
            }
            10..14 => {
                let log = last_log(dir.path());
                let before = fs::metadata(dir.path().join(&log)).unwrap().len();
                random_change(&store, &mut model.clone(), &mut rng, version);
                let copied = image(dir.path());
                drop(store);
                let torn = fs::File::options().write(true).open(copied.path().join(&log)).unwrap();
                let after = torn.metadata().unwrap().len();
                torn.set_len(rng.random_range(before..after)).unwrap();
                store = open(copied.path());
                dir = copied;
                n_torn += 1;
            }
            _ => random_change(&store, &mut model, &mut rng, version),
        }
        let id = format!("r{}", rng.random_range(0..300));
        let found = store.view().get(&id).unwrap().map(|entry| entry.record().unwrap().length);
        assert_eq!(found, model.get(&id).copied(), "{id} after version {version}");
        if version % 250 == 0 {
            assert_shows(&store.view(), &model, &format!("version {version}"));
        }
    }
    assert!(n_torn > 10 && n_killed > 20, "{n_torn} torn, {n_killed} killed");
    assert_shows(&store.view(), &model, "the end");
    drop(store);
    assert!(verify(dir.path()).unwrap().is_sound());
    assert_shows(&Store::read(dir.path(), &options().open).unwrap(), &model, "read at the end");
}

fn last_log(dir: &Path) -> String {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("log-")).max().unwrap()
}

/// Steps with the folder at each and what it must hold; an operation that is under way may be in it or not.
#[derive(Default)]
struct Images {
    taken: Vec<(String, tempfile::TempDir, Vec<Model>)>,
    /// What was acknowledged, and what is under way.
    model: Model,
    under_way: Option<Model>,
}

#[test]
fn a_crash_at_any_step_loses_nothing_and_brings_nothing_back() {
    let (dir, model) = folder(40);
    let images = Arc::new(Mutex::new(Images { model, ..Images::default() }));
    let handle: Arc<OnceLock<Weak<Store>>> = Arc::default();
    let observer = {
        let (dir, images, handle) = (dir.path().to_path_buf(), Arc::clone(&images), Arc::clone(&handle));
        move |step: &str| {
            // Between the steps of a save others write: one new record, one changed, one deleted.
            let is_save = !["written", "synced", "before rotation", "rotated", "rebased"].contains(&step);
            if let Some(store) = handle.get().and_then(Weak::upgrade).filter(|_| is_save) {
                let n = images.lock().unwrap().taken.len();
                write(
                    &store,
                    &images,
                    vec![upsert(&format!("new{n}"), 7), upsert("r3", 100 + n as u32)],
                    None,
                );
                write(&store, &images, Vec::new(), Some(&format!("r{}", 10 + n % 28)));
            }
            let mut images = images.lock().unwrap();
            let allowed = std::iter::once(images.model.clone()).chain(images.under_way.clone()).collect();
            images.taken.push((step.to_owned(), image(&dir), allowed));
        }
    };
    let store = Arc::new(Store::open_observed(dir.path(), options(), Arc::new(observer)).unwrap());
    handle.set(Arc::downgrade(&store)).unwrap();
    write(&store, &images, vec![upsert("x", 2), upsert("r1", 2)], None);
    write(&store, &images, Vec::new(), Some("r2"));
    store.compact(&mut |_| {}).unwrap();
    assert_shows(&store.view(), &images.lock().unwrap().model, "afterwards");
    store.compact(&mut |_| {}).unwrap();

    let taken = std::mem::take(&mut images.lock().unwrap().taken);
    let steps: Vec<_> = taken.iter().map(|(step, ..)| step.as_str()).collect();
    for step in [
        "written",
        "synced",
        "rotated",
        "Started",
        "FolderNamed",
        "CurrentWritten",
        "Switched",
        "OldRemoved",
        "rebased",
    ] {
        assert!(steps.iter().filter(|&&seen| seen == step).count() >= 2, "{step} in {steps:?}");
    }
    for (step, folder, allowed) in taken {
        let store = open(folder.path());
        let now = shown(&store.view());
        assert!(allowed.contains(&now), "{step}: {now:?} is none of {allowed:?}");
        assert_shows(&store.view(), &now, &step);
        // The work goes on from there, through a compaction and another start.
        let mut model = now;
        store.upsert(vec![upsert("later", 9)]).unwrap();
        model.insert("later".into(), 9);
        store.compact(&mut |_| {}).unwrap();
        store.delete(["r0"]).unwrap();
        model.remove("r0");
        drop(store);
        assert_shows(&open(folder.path()).view(), &model, &step);
        let report = verify(folder.path()).unwrap();
        assert!(report.is_sound() && report.snapshot.leftovers.is_empty(), "{step}: {report:?}");
    }
}

fn write(store: &Store, images: &Mutex<Images>, batch: Vec<Upsert>, delete: Option<&str>) {
    let after = {
        let mut images = images.lock().unwrap();
        let mut after = images.model.clone();
        after.extend(batch.iter().map(|upsert| (upsert.record.id.clone(), upsert.record.length)));
        after.retain(|id, _| delete != Some(id.as_str()));
        images.under_way = Some(after.clone());
        after
    };
    match delete {
        Some(id) => store.delete([id]).unwrap(),
        None => store.upsert(batch).unwrap(),
    };
    let mut images = images.lock().unwrap();
    (images.model, images.under_way) = (after, None);
}

#[test]
fn a_last_write_cut_off_anywhere_is_gone_whole_and_the_others_stay() {
    let (dir, mut model) = folder(5);
    let store = open(dir.path());
    store.upsert(vec![upsert("a", 3)]).unwrap();
    model.insert("a".into(), 3);
    let log = dir.path().join(last_log(dir.path()));
    let before = fs::metadata(&log).unwrap().len();
    store.upsert(vec![upsert("b", 4), upsert("r1", 4)]).unwrap();
    drop(store);
    let bytes = fs::read(&log).unwrap();
    for n_bytes in before as usize..bytes.len() {
        for blank in [0, 1, 100] {
            // A file system may have made the file longer than what it wrote into it.
            let blank = if n_bytes == before as usize { blank } else { 0 };
            fs::write(&log, [&bytes[..n_bytes], &vec![0; blank]].concat()).unwrap();
            assert_shows(&Store::read(dir.path(), &options().open).unwrap(), &model, "read");
            assert_shows(&open(dir.path()).view(), &model, &format!("{n_bytes} bytes"));
            assert_eq!(fs::metadata(&log).unwrap().len(), before, "the rest is cut off");
        }
    }
}

#[test]
fn a_compaction_that_fails_changes_nothing_and_the_next_one_works() {
    let (dir, mut model) = folder(20);
    let store = open(dir.path());
    for round in 0..3 {
        store.upsert(vec![upsert("a", round), upsert(&format!("n{round}"), round)]).unwrap();
        model.insert("a".into(), round);
        model.insert(format!("n{round}"), round);
        // Where the snapshot is to be built there is something in the way that a save does not remove.
        let number = super::Generation::read(dir.path()).unwrap().number + u64::from(round) + 1;
        let obstacle = dir.path().join(format!("snapshot-{number:06}.partial"));
        fs::write(&obstacle, "a file").unwrap();
        let refused = store.compact(&mut |_| {}).unwrap_err();
        assert!(refused.to_string().contains("snapshot-"), "{refused}");
        fs::remove_file(&obstacle).unwrap();
        assert_shows(&store.view(), &model, "still open");
        assert_shows(&Store::read(dir.path(), &options().open).unwrap(), &model, "read from several logs");
    }
    store.compact(&mut |_| {}).unwrap();
    drop(store);
    assert_shows(&open(dir.path()).view(), &model, "opened again");
    assert!(verify(dir.path()).unwrap().is_sound());
}
