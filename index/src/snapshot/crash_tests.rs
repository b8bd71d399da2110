//! Stops a save after each of its steps and looks at what is left.

use std::fs;
use std::path::Path;

use protext_core::{Fingerprint, JointVector, Space};

use super::save::{Step, Successor, save, save_stepwise};
use super::verify;
use crate::collection::{Collection, CollectionBuilder, IndexKind, Record};
use crate::error::SnapshotError;
use crate::hnsw::HnswParams;

fn steps() -> Vec<Step> {
    let files =
        ["records.sqlite", "vectors.bin", "graph.bin", "vectors-2.bin", "graph-2.bin", "manifest.json"];
    let files = files.map(|name| Step::FileWritten(name.to_owned()));
    let rest = [Step::FolderNamed, Step::CurrentWritten, Step::Switched, Step::OldRemoved];
    std::iter::once(Step::Started).chain(files).chain(rest).collect()
}

fn collection(prefix: &str) -> Collection {
    let space = |name: &str| Space { name: name.into(), dim: 2, fingerprint: Fingerprint::of([name]) };
    let kind = IndexKind::Hnsw(HnswParams { m: 4, ef_construction: 8, parallel: false });
    let mut builder = CollectionBuilder::new(space("s"), kind).unwrap();
    builder.add_space(space("t")).unwrap();
    for row in 0..10 {
        let record = Record { id: format!("{prefix}{row}"), ..Record::default() };
        let vector = |x: f32| JointVector::normalized(vec![x, row as f32]).unwrap();
        builder.push_in_all(record, &[&vector(1.0), &vector(-1.0)]).unwrap();
    }
    builder.build(&mut |_| {}).unwrap()
}

/// Saves until `last` is done and then stops as if the power had gone.
fn crash_after(last: &Step, collection: &Collection, dir: &Path) {
    let mut seen = Vec::new();
    let stopped = save_stepwise(collection, dir, Successor::default(), &mut |step| {
        seen.push(step.clone());
        if step == *last { Err(SnapshotError::Locked { dir: dir.into() }) } else { Ok(()) }
    });
    assert!(stopped.is_err());
    assert_eq!(seen.last(), Some(last));
    assert_eq!(seen, steps()[..seen.len()], "every step is one that is tested");
}

#[test]
fn a_crash_between_any_two_steps_leaves_the_old_or_the_new_collection() {
    for step in steps() {
        let dir = tempfile::tempdir().unwrap();
        save(&collection("old"), dir.path()).unwrap();
        crash_after(&step, &collection("new"), dir.path());

        let expected = if matches!(step, Step::Switched | Step::OldRemoved) { "new0" } else { "old0" };
        assert_eq!(Collection::open(dir.path()).unwrap().record(0).unwrap().id, expected, "{step:?}");
        let report = verify(dir.path()).unwrap();
        assert!(report.is_sound(), "{step:?}: {report:?}");
        assert_eq!(report.leftovers.is_empty(), step == Step::OldRemoved, "{step:?}: {report:?}");

        save(&collection("next"), dir.path()).unwrap();
        assert_eq!(Collection::open(dir.path()).unwrap().record(0).unwrap().id, "next0", "{step:?}");
        assert!(verify(dir.path()).unwrap().leftovers.is_empty(), "{step:?}");
    }
}

#[test]
fn a_crash_of_the_first_save_leaves_no_collection_and_the_next_save_works() {
    for step in &steps()[..9] {
        let dir = tempfile::tempdir().unwrap();
        crash_after(step, &collection("new"), dir.path());
        let error = Collection::open(dir.path()).unwrap_err();
        assert!(matches!(error, SnapshotError::NotACollection { .. }), "{step:?}: {error}");
        save(&collection("next"), dir.path()).unwrap();
        assert_eq!(Collection::open(dir.path()).unwrap().len(), 10, "{step:?}");
    }
}

#[test]
fn torn_files_that_do_not_count_are_ignored() {
    let dir = tempfile::tempdir().unwrap();
    save(&collection("old"), dir.path()).unwrap();
    let partial = dir.path().join("snapshot-000002.partial");
    fs::create_dir(&partial).unwrap();
    fs::write(partial.join("vectors.bin"), b"PTXV").unwrap();
    fs::write(dir.path().join("CURRENT.partial"), b"snapshot-0000").unwrap();
    assert_eq!(Collection::open(dir.path()).unwrap().record(0).unwrap().id, "old0");
    save(&collection("new"), dir.path()).unwrap();
    assert_eq!(Collection::open(dir.path()).unwrap().record(0).unwrap().id, "new0");
    assert!(!partial.exists());
}

#[test]
fn a_save_heals_a_directory_whose_current_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    save(&collection("old"), dir.path()).unwrap();
    fs::write(dir.path().join("CURRENT"), b"?").unwrap();
    assert!(matches!(Collection::open(dir.path()), Err(SnapshotError::Current { .. })));
    save(&collection("new"), dir.path()).unwrap();
    assert_eq!(Collection::open(dir.path()).unwrap().record(0).unwrap().id, "new0");
}
