//! Tiny checkpoints in every layout give the same, well-formed graph; its numbers are tested where it runs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use prost::Message;
use protext_graph::proto::{DimensionValue, GraphProto, ModelProto, TensorProto, ValueInfoProto};
use protext_graph::{MICROSOFT, WriteOptions};
use protext_registry::convert::config::ModelConfig;
use protext_registry::convert::{ConvertRequest, Converted, Dialect, GraphOptions, content_key, convert};

const LAYOUTS: [(&str, [&[&str]; 4]); 2] = [
    (
        "tiny_esm",
        [
            &["model.safetensors"],
            &["pytorch_model.bin"],
            &["pytorch_model.bin.index.json"],
            &["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"],
        ],
    ),
    (
        "tiny_bert",
        [
            &["model.safetensors"],
            &["pytorch_model.bin"],
            &["model.safetensors.index.json"],
            &["model-00002-of-00002.safetensors", "model-00001-of-00002.safetensors"],
        ],
    ),
];

fn fixture(family: &str, file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(family).join(file)
}

fn request(family: &str, files: &[&str], folder: &Path) -> ConvertRequest {
    let checkpoint = files.iter().map(|file| fixture(family, file)).collect();
    let mut request =
        ConvertRequest::new(checkpoint, fixture(family, "config.json"), folder.join("model.onnx"));
    request.options.statistics_layers = vec![3, 1];
    request
}

fn read(converted: &Converted) -> ModelProto {
    ModelProto::decode(std::fs::read(&converted.model).unwrap().as_slice()).unwrap()
}

fn interface(values: &[ValueInfoProto]) -> Vec<String> {
    values.iter().map(|value| format!("{} {}", value.name(), dims(value))).collect()
}

fn dims(value: &ValueInfoProto) -> String {
    let tensor = value.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap();
    let dims = tensor.shape.as_ref().unwrap().dim.iter().map(|dim| match dim.value.as_ref().unwrap() {
        DimensionValue::DimValue(size) => size.to_string(),
        DimensionValue::DimParam(symbol) => symbol.clone(),
    });
    format!("{}:{}", tensor.elem_type(), dims.collect::<Vec<_>>().join(","))
}

/// Every operator of the graph and its branches, with its domain.
fn operators(graph: &GraphProto) -> Vec<(String, String)> {
    let nested =
        graph.node.iter().flat_map(|node| &node.attribute).filter_map(|attribute| attribute.g.as_ref());
    let own = graph.node.iter().map(|node| (node.domain().to_owned(), node.op_type().to_owned()));
    own.chain(nested.flat_map(operators)).collect()
}

fn weights(model: &ModelProto) -> BTreeMap<&str, &TensorProto> {
    model.graph.as_ref().unwrap().initializer.iter().map(|weight| (weight.name(), weight)).collect()
}

#[test]
fn every_layout_of_a_checkpoint_gives_the_same_bytes() {
    for (family, layouts) in LAYOUTS {
        let bytes = layouts.map(|files| {
            let folder = tempfile::tempdir().unwrap();
            let converted = convert(&request(family, files, folder.path())).unwrap();
            std::fs::read(converted.model).unwrap()
        });
        for (index, other) in bytes.iter().enumerate() {
            assert!(*other == bytes[0], "{family}: layout {index} differs from the first");
        }
    }
}

#[test]
fn the_interface_is_the_same_for_all_families() {
    for (family, layouts) in LAYOUTS {
        let folder = tempfile::tempdir().unwrap();
        let converted = convert(&request(family, layouts[0], folder.path())).unwrap();
        assert_eq!((converted.dim, converted.n_layers), (16, 3));
        assert_eq!(converted.max_tokens, (family == "tiny_bert").then_some(24));
        let model = read(&converted);
        let graph = model.graph.as_ref().unwrap();
        let inputs = ["token_ids 7:batch,tokens", "lengths 7:batch", "weights 1:batch,tokens"];
        assert_eq!(interface(&graph.input), inputs);
        let outputs = [
            "mean 1:batch,16",
            "hidden 1:batch,tokens,16",
            "layer_means 1:batch,32",
            "layer_variances 1:batch,32",
        ];
        assert_eq!(interface(&graph.output), outputs);
        let metadata: BTreeMap<_, _> =
            model.metadata_props.iter().map(|entry| (entry.key(), entry.value())).collect();
        assert_eq!(metadata["protext.statistics_layers"], "3,1");
        assert_eq!(metadata["protext.family"], converted.family);
    }
}

#[test]
fn without_statistics_layers_there_are_no_statistics() {
    let folder = tempfile::tempdir().unwrap();
    let mut request = request("tiny_bert", LAYOUTS[1].1[0], folder.path());
    request.options.statistics_layers.clear();
    let model = read(&convert(&request).unwrap());
    assert_eq!(interface(&model.graph.unwrap().output), ["mean 1:batch,16", "hidden 1:batch,tokens,16"]);
}

#[test]
fn the_standard_dialect_needs_no_other_operators() {
    for (family, layouts) in LAYOUTS {
        let folder = tempfile::tempdir().unwrap();
        let mut request = request(family, layouts[0], folder.path());
        let fused = read(&convert(&request).unwrap());
        let names = operators(fused.graph.as_ref().unwrap());
        for op in ["MultiHeadAttention", "BiasGelu"] {
            assert!(names.contains(&(MICROSOFT.to_owned(), op.to_owned())), "{op}");
        }
        request.options.dialect = Dialect::Standard;
        let standard = read(&convert(&request).unwrap());
        let names = operators(standard.graph.as_ref().unwrap());
        assert!(names.iter().all(|(domain, op)| domain.is_empty() && op != "If"), "{names:?}");
        assert_eq!(standard.opset_import.len(), 1);
        let shared: Vec<_> = weights(&standard)
            .into_keys()
            .filter(|name| !name.starts_with("constant") && !name.starts_with("rotary"))
            .collect();
        assert!(shared.iter().all(|name| weights(&fused).contains_key(name)), "{shared:?}");
    }
}

/// Layers and norms in 16 bits, what is around them in 32.
#[test]
fn halves_are_the_same_graph_with_blocks_in_16_bits() {
    for (family, layouts) in LAYOUTS {
        let folder = tempfile::tempdir().unwrap();
        let mut request = request(family, layouts[0], folder.path());
        let single = read(&convert(&request).unwrap());
        request.options.dialect = Dialect::Halves;
        let halves = read(&convert(&request).unwrap());
        let (single, halves) = (weights(&single), weights(&halves));
        let (float, half) = (1, 10);
        let mut n_halves = 0;
        for (name, weight) in &halves {
            let is_layer =
                name.contains(".layer.") || name.contains("LayerNorm") || name.contains("layer_norm");
            let expected = if is_layer { half } else { single[name].data_type() };
            assert_eq!(weight.data_type(), expected, "{name}");
            if weight.data_type() != half {
                continue;
            }
            n_halves += 1;
            let (values, _) = single[name].raw_data().as_chunks::<4>();
            let (found, _) = weight.raw_data().as_chunks::<2>();
            assert!(single[name].data_type() == float && values.len() == found.len(), "{name}");
            for (value, found) in values.iter().zip(found) {
                assert_eq!(half::f16::from_f32(f32::from_le_bytes(*value)), half::f16::from_le_bytes(*found));
            }
        }
        assert!(n_halves > 16, "{family}: {n_halves}");
    }
}

/// One operator of attention a block, no branches, and the weights of the graph that pads.
#[test]
fn packed_graphs_take_sequences_one_behind_the_other() {
    for (dialect, padded) in
        [(Dialect::Packed, Dialect::OnnxRuntime), (Dialect::PackedHalves, Dialect::Halves)]
    {
        for (family, layouts) in LAYOUTS {
            let folder = tempfile::tempdir().unwrap();
            let mut request = request(family, layouts[0], folder.path());
            request.options.dialect = padded;
            let padded = read(&convert(&request).unwrap());
            request.options.dialect = dialect;
            let packed = read(&convert(&request).unwrap());
            let graph = packed.graph.as_ref().unwrap();
            let inputs = [
                "token_ids 7:tokens",
                "positions 7:tokens",
                "sequences 7:tokens",
                "weights 1:tokens",
                "token_offset 6:batch,longest",
                "cumulative_lengths 6:ends",
            ];
            assert_eq!(interface(&graph.input), inputs);
            let outputs = [
                "mean 1:batch,16",
                "hidden 1:1,tokens,16",
                "layer_means 1:batch,32",
                "layer_variances 1:batch,32",
            ];
            assert_eq!(interface(&graph.output), outputs);
            let operators = operators(graph);
            let n_of = |op: &str| operators.iter().filter(|(_, name)| name == op).count();
            assert_eq!([n_of("PackedMultiHeadAttention"), n_of("MultiHeadAttention"), n_of("If")], [3, 0, 0]);
            let layers = |model| weights(model).into_iter().filter(|(name, _)| name.starts_with("encoder"));
            assert!(layers(&packed).eq(layers(&padded)), "{family}");
        }
    }
}

#[test]
fn whole_blocks_are_one_operator_each() {
    for (family, layouts) in LAYOUTS {
        let folder = tempfile::tempdir().unwrap();
        let mut request = request(family, layouts[0], folder.path());
        let fused = read(&convert(&request).unwrap());
        request.options.dialect = Dialect::Blocks;
        let blocks = read(&convert(&request).unwrap());
        let graph = blocks.graph.as_ref().unwrap();
        let whole: Vec<_> = graph.node.iter().filter(|node| node.op_type() == "EncoderBlock").collect();
        assert_eq!(whole.len(), 3, "{family}");
        for block in whole {
            assert_eq!(
                (block.domain(), block.input.len()),
                ("protext", if family == "tiny_esm" { 20 } else { 18 })
            );
        }
        assert!(operators(graph).iter().all(|(_, op)| op != "MultiHeadAttention" && op != "If"));
        for (name, weight) in weights(&blocks).into_iter().filter(|(name, _)| name.starts_with("encoder")) {
            assert_eq!(weight.raw_data(), weights(&fused)[name].raw_data(), "{name}");
        }
    }
}

#[test]
fn weights_in_a_second_file_are_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    let mut request = request("tiny_esm", LAYOUTS[0].1[0], folder.path());
    let inline = read(&convert(&request).unwrap());
    request.layout = WriteOptions { max_inline_bytes: 10_000 };
    request.output = folder.path().join("large.onnx");
    let converted = convert(&request).unwrap();
    let external = read(&converted);
    assert_eq!(converted.data.as_deref(), Some(folder.path().join("large.onnx.data").as_path()));
    let data = std::fs::read(converted.data.unwrap()).unwrap();
    let mut n_external = 0;
    for (name, weight) in weights(&external) {
        let field = |key: &str| {
            let entry = weight.external_data.iter().find(|entry| entry.key() == key)?;
            entry.value().parse::<usize>().ok()
        };
        let elements = match (field("offset"), field("length")) {
            (Some(offset), Some(length)) => &data[offset..offset + length],
            _ => weight.raw_data(),
        };
        n_external += usize::from(field("offset").is_some());
        assert_eq!(elements, weights(&inline)[name].raw_data(), "{name}");
    }
    assert!(n_external > 10, "{n_external}");
}

#[test]
fn weights_are_transposed_and_the_query_is_scaled() {
    let folder = tempfile::tempdir().unwrap();
    let model = read(&convert(&request("tiny_esm", LAYOUTS[0].1[0], folder.path())).unwrap());
    let bytes = std::fs::read(fixture("tiny_esm", "model.safetensors")).unwrap();
    let stored = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let floats = |bytes: &[u8]| -> Vec<f32> {
        bytes.as_chunks::<4>().0.iter().map(|&value| f32::from_le_bytes(value)).collect()
    };
    let scale = (8.0_f32).sqrt().recip();
    for (name, scale) in [("query", scale), ("key", 1.0)] {
        let name = format!("encoder.layer.1.attention.self.{name}.weight");
        let from = floats(stored.tensor(&name).unwrap().data());
        let to = floats(weights(&model)[name.as_str()].raw_data());
        for (row, column) in [(0, 0), (3, 11), (15, 2)] {
            assert_eq!(to[column * 16 + row], from[row * 16 + column] * scale);
        }
    }
    let table = floats(weights(&model)["embeddings.word_embeddings.weight"].raw_data());
    assert!(table[32 * 16..].iter().all(|&value| value == 0.0), "the row of <mask> is zero");
}

#[test]
fn the_content_key_changes_with_everything_that_changes_the_bytes() {
    let options = GraphOptions::default();
    let key = content_key(&["aa", "bb"], b"{}", &options);
    assert_eq!(key.len(), 64);
    assert_eq!(key, content_key(&["BB", "aa"], b"{}", &options), "order and case of digests do not count");
    let layers = GraphOptions { statistics_layers: vec![1], ..options };
    let dialect = GraphOptions { dialect: Dialect::Standard, ..options.clone() };
    let blocks = GraphOptions { dialect: Dialect::Blocks, ..options.clone() };
    let halves = GraphOptions { dialect: Dialect::Halves, ..options.clone() };
    let others = [
        content_key(&["aa", "bb"], b"{}", &halves),
        content_key(&["aa", "bb"], b"{}", &blocks),
        content_key(&["aa"], b"{}", &options),
        content_key(&["aa", "bb"], b"{ }", &options),
        content_key(&["aa", "bb"], b"{}", &layers),
        content_key(&["aa", "bb"], b"{}", &dialect),
    ];
    assert!(others.iter().all(|other| *other != key));
    let folder = tempfile::tempdir().unwrap();
    let request = request("tiny_esm", LAYOUTS[0].1[0], folder.path());
    assert_eq!(request.content_key().unwrap(), request.content_key().unwrap());
}

#[test]
fn every_fixture_config_is_understood() {
    for (family, _) in LAYOUTS {
        for entry in std::fs::read_dir(fixture(family, "")).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().starts_with("config") {
                let config = ModelConfig::parse(&std::fs::read(&path).unwrap()).unwrap();
                assert_eq!(format!("tiny_{}", config.family()), family);
            }
        }
    }
}
