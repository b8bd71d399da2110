//! Broken and hostile checkpoints: each is refused with a typed error, none panics, none leaves a file behind.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::error::Error;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use protext_graph::GraphError;
use protext_registry::convert::{ConfigError, ConvertError, ConvertRequest, PickleError, convert};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use zip::write::SimpleFileOptions;

fn fixture(family: &str, file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(family).join(file)
}

/// A folder with a copy of a config, into which tests put checkpoint files.
struct Bench {
    folder: tempfile::TempDir,
    request: ConvertRequest,
}

impl Bench {
    fn new(family: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = fixture(family, "config.json");
        let request = ConvertRequest::new(Vec::new(), config, folder.path().join("model.onnx"));
        Self { folder, request }
    }

    fn add(&mut self, name: &str, bytes: &[u8]) -> &mut Self {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        self.request.checkpoint.push(path);
        self
    }

    fn configure(&mut self, field: &str, value: serde_json::Value) -> &mut Self {
        let mut config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&self.request.config).unwrap()).unwrap();
        config[field] = value;
        self.request.config = self.folder.path().join("config.json");
        std::fs::write(&self.request.config, config.to_string()).unwrap();
        self
    }

    fn refusal(&self) -> ConvertError {
        let error = convert(&self.request).unwrap_err();
        assert!(!self.request.output.exists(), "nothing is left behind after: {error}");
        error
    }
}

fn zipped(entries: &[(&str, &[u8])], method: zip::CompressionMethod) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        archive.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn torch_file(pickle: &[u8]) -> Vec<u8> {
    zipped(&[("a/data.pkl", pickle), ("a/data/0", &[0; 64])], zip::CompressionMethod::Stored)
}

#[test]
fn code_in_a_pickle_is_named_and_never_run() {
    let witness = std::env::temp_dir().join(format!("protext-pickle-{}", std::process::id()));
    let command = format!("touch {}", witness.display());
    for module in ["os", "posix"] {
        let mut pickle = format!("\x02c{module}\nsystem\nX").into_bytes();
        pickle.insert(0, 0x80);
        pickle.extend((command.len() as u32).to_le_bytes());
        pickle.extend(command.as_bytes());
        pickle.extend(b"\x85R.");
        let error = Bench::new("tiny_esm").add("pytorch_model.bin", &torch_file(&pickle)).refusal();
        let expected = PickleError::Global { name: format!("{module}.system") };
        assert!(matches!(&error, ConvertError::Pickle { source, .. } if *source == expected), "{error:?}");
        assert!(error.source().unwrap().to_string().contains("do not trust this file"));
    }
    assert!(!witness.exists());
}

#[test]
fn every_cut_of_a_file_is_refused() {
    for (family, file) in [
        ("tiny_esm", "pytorch_model.bin"),
        ("tiny_esm", "model.safetensors"),
        ("tiny_bert", "pytorch_model.bin"),
        ("tiny_bert", "model.safetensors"),
    ] {
        let whole = std::fs::read(fixture(family, file)).unwrap();
        for end in (0..whole.len()).step_by(211).chain([1, 4, 8, 9, 10, whole.len() - 1]) {
            Bench::new(family).add(file, &whole[..end]).refusal();
        }
    }
}

#[test]
fn changed_bytes_are_read_or_refused() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % bound as u64) as usize
    };
    for file in ["pytorch_model.bin", "model.safetensors"] {
        let whole = std::fs::read(fixture("tiny_esm", file)).unwrap();
        for round in 0..150 {
            let mut changed = whole.clone();
            // Half of the rounds hit the start, where headers are, or the end, where the zip's directory is.
            for _ in 0..8 {
                let position = match round % 4 {
                    0 => random(6000),
                    1 => whole.len() - 1 - random(6000),
                    _ => random(whole.len()),
                };
                changed[position] = random(256) as u8;
            }
            let bench = &mut Bench::new("tiny_esm");
            let _ = convert(&bench.add(file, &changed).request);
        }
    }
}

#[test]
fn random_bytes_are_no_checkpoint() {
    let noise: Vec<u8> = (0..4096_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let not_read = |bytes: &[u8]| Bench::new("tiny_esm").add("pytorch_model.bin", bytes).refusal();
    assert!(matches!(not_read(&noise), ConvertError::NotACheckpoint { .. }));
    assert!(matches!(not_read(b""), ConvertError::NotACheckpoint { .. }));
    assert!(matches!(not_read(&[b"PK\x03\x04", noise.as_slice()].concat()), ConvertError::Archive { .. }));
    let legacy = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.";
    assert!(matches!(not_read(legacy), ConvertError::LegacyTorch { .. }));
    let huge_header = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    assert!(matches!(not_read(&huge_header), ConvertError::Safetensors { .. }));
    let no_table = zipped(&[("a/weights", b"x")], zip::CompressionMethod::Stored);
    assert!(matches!(not_read(&no_table), ConvertError::NotTorch { .. }));
    let big_endian = [("a/data.pkl", &b"\x80\x02}."[..]), ("a/byteorder", b"big")];
    let big_endian = zipped(&big_endian, zip::CompressionMethod::Stored);
    assert!(matches!(not_read(&big_endian), ConvertError::NotTorch { .. }));
}

#[test]
fn a_table_that_unpacks_without_end_is_refused() {
    let zeros = vec![b'N'; 64 << 20];
    let bomb = zipped(&[("a/data.pkl", &zeros)], zip::CompressionMethod::Deflated);
    assert!(bomb.len() < 1 << 20);
    let error = Bench::new("tiny_esm").add("pytorch_model.bin", &bomb).refusal();
    assert!(matches!(error, ConvertError::Pickle { source: PickleError::Limit { .. }, .. }), "{error:?}");
}

#[test]
fn a_config_of_another_model_is_told_by_the_first_tensor_that_differs() {
    let whole = std::fs::read(fixture("tiny_esm", "model.safetensors")).unwrap();
    let refused = |field: &str, value: serde_json::Value| {
        Bench::new("tiny_esm").add("model.safetensors", &whole).configure(field, value).refusal()
    };
    let error = refused("num_hidden_layers", 1_000_000_000.into());
    assert!(
        matches!(&error, ConvertError::MissingTensor { name, .. } if name.starts_with("encoder.layer.3.")),
        "{error}"
    );
    let error = refused("intermediate_size", 64.into());
    assert!(matches!(&error, ConvertError::WrongShape { expected, .. } if *expected == [64, 16]), "{error}");
    let error = refused("hidden_size", 1_u64.checked_shl(62).unwrap().into());
    assert!(matches!(error, ConvertError::WrongShape { .. }), "{error}");
    let error = refused("model_type", "bert".into());
    assert!(matches!(error, ConvertError::Config { source: ConfigError::Unsupported { .. }, .. }), "{error}");
    let error = refused("model_type", "gpt2".into());
    assert!(matches!(error, ConvertError::Config { source: ConfigError::Family { .. }, .. }), "{error}");
}

#[test]
fn statistics_layers_are_those_of_the_model_once_each() {
    for layers in [vec![0], vec![4], vec![1, 2, 1]] {
        let mut bench = Bench::new("tiny_esm");
        bench.request.checkpoint = vec![fixture("tiny_esm", "model.safetensors")];
        bench.request.options.statistics_layers = layers;
        assert!(matches!(bench.refusal(), ConvertError::StatisticsLayer { n_layers: 3, .. }));
    }
}

#[test]
fn files_that_are_missing_or_come_twice_are_named() {
    let mut bench = Bench::new("tiny_esm");
    assert!(matches!(bench.refusal(), ConvertError::NoFiles));
    bench.request.checkpoint = vec!["nowhere.bin".into()];
    assert!(matches!(bench.refusal(), ConvertError::Read { .. }));
    bench.request.checkpoint =
        vec![fixture("tiny_esm", "pytorch_model.bin"), fixture("tiny_esm", "pytorch_model.bin.index.json")];
    assert!(matches!(bench.refusal(), ConvertError::DuplicateTensor { .. }));
    bench.request.checkpoint = vec![fixture("tiny_esm", "pytorch_model-00001-of-00002.bin")];
    assert!(matches!(bench.refusal(), ConvertError::MissingTensor { .. }));
}

#[test]
fn an_index_names_files_beside_it_and_no_others() {
    for (json, told) in [
        (r#"{"weight_map": {"w": "../secret.bin"}}"#, "plain file name"),
        (r#"{"weight_map": {"w": "/etc/passwd"}}"#, "plain file name"),
        (r#"{"weight_map": {"w": ".."}}"#, "plain file name"),
        (r#"{"weight_map": {"w": "missing.bin"}}"#, "missing.bin"),
        (r#"{"weight_map": 3}"#, "invalid type"),
        ("", "EOF"),
    ] {
        let error = Bench::new("tiny_esm").add("pytorch_model.bin.index.json", json.as_bytes()).refusal();
        assert!(matches!(&error, ConvertError::Index { .. }), "{json}: {error:?}");
        assert!(error.to_string().contains(told), "{json}: {error}");
    }
}

/// The tiny ESM-2 with one tensor replaced or added.
fn edited(name: &str, dtype: Dtype, shape: Vec<usize>, data: &[u8]) -> Vec<u8> {
    let whole = std::fs::read(fixture("tiny_esm", "model.safetensors")).unwrap();
    let stored = safetensors::SafeTensors::deserialize(&whole).unwrap();
    let mut tensors: Vec<(String, TensorView<'_>)> =
        stored.tensors().into_iter().filter(|(other, _)| other != name).collect();
    tensors.push((name.to_owned(), TensorView::new(dtype, shape, data).unwrap()));
    safetensors::serialize(tensors, None).unwrap()
}

#[test]
fn weights_of_another_element_type_are_refused() {
    let name = "encoder.layer.0.output.dense.bias";
    let bytes = edited(name, Dtype::F64, vec![16], &[0; 128]);
    let error = Bench::new("tiny_esm").add("model.safetensors", &bytes).refusal();
    let ConvertError::Graph(GraphError::Load { name: told, source }) = error else { panic!("{error:?}") };
    assert_eq!(told, name);
    assert!(source.to_string().contains("float64"), "{source}");
}

#[test]
fn layers_that_rotate_differently_are_refused() {
    let name = "encoder.layer.2.attention.self.rotary_embeddings.inv_freq";
    let bytes = edited(name, Dtype::F32, vec![4], &[0; 16]);
    let error = Bench::new("tiny_esm").add("model.safetensors", &bytes).refusal();
    assert!(matches!(error, ConvertError::RotaryDiffers { .. }), "{error:?}");
}
