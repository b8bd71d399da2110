//! A small graph is written in every layout and read back with the same messages.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use half::f16;
use prost::Message;
use protext_graph::proto::{DataLocation, DimensionValue, ModelProto, TensorProto};
use protext_graph::{
    ElementType, GraphBuilder, GraphError, LayerNorm, Linear, MICROSOFT, Model, WriteOptions,
    external_weights,
};

const DIM: usize = 32;

/// `Sub`, `MatMul` by 16-bit weights, `LayerNormalization`, `Gelu`, unit norm, and an `If`.
fn head() -> Model<'static> {
    let mut g = GraphBuilder::new("head");
    let rows = g.input("rows", ElementType::Float32, ["batch".into(), DIM.into()]);
    let wide = g.input("wide", ElementType::Bool, []);
    g.set_scope("tower");
    let center = g.f32("center", [DIM], vec![0.5; DIM]);
    let half = g.f16("weight", [DIM, DIM], vec![f16::from_f32(0.25); DIM * DIM]);
    let weight = g.cast(&half, ElementType::Float32);
    let bias = g.deferred_f32("bias", [DIM], || Ok(vec![1.0; DIM]));
    let norm = LayerNorm {
        weight: g.f32("norm.weight", [DIM], vec![1.0; DIM]),
        bias: g.f32("norm.bias", [DIM], vec![0.0; DIM]),
        epsilon: 1e-5,
    };
    let centered = g.sub(&rows, &center);
    let dense = g.gemm(&centered, &Linear { weight, bias });
    let normed = g.layer_norm(&dense, &norm);
    let exact = g.branch("exact", ElementType::Float32, |g| g.gelu(&normed));
    let fast =
        g.branch("fast", ElementType::Float32, |g| g.node("FastGelu", [&normed]).domain(MICROSOFT).output());
    let active =
        g.node("If", [&wide]).attribute("then_branch", exact).attribute("else_branch", fast).output();
    let unit = g.unit_norm(&active);
    g.output("vectors", &unit, ElementType::Float32, ["batch".into(), DIM.into()]);
    g.metadata("protext.kind", "head");
    g.finish().unwrap()
}

fn weight<'m>(model: &'m ModelProto, name: &str) -> &'m TensorProto {
    let weights = &model.graph.as_ref().unwrap().initializer;
    weights.iter().find(|weight| weight.name.as_deref() == Some(name)).unwrap()
}

fn external(tensor: &TensorProto, key: &str) -> String {
    let entry = tensor.external_data.iter().find(|entry| entry.key.as_deref() == Some(key)).unwrap();
    entry.value.clone().unwrap()
}

#[test]
fn bytes_read_back_as_the_graph_that_was_built() {
    let model = ModelProto::decode(head().to_bytes().unwrap().as_slice()).unwrap();
    let imports: Vec<_> = model.opset_import.iter().map(|set| (set.domain(), set.version())).collect();
    assert_eq!(imports, [("", 20), (MICROSOFT, 1)]);
    assert_eq!(model.metadata_props[0].key(), "protext.kind");
    let graph = model.graph.as_ref().unwrap();
    let ops: Vec<_> = graph.node.iter().map(|node| node.op_type()).collect();
    assert_eq!(ops, ["Cast", "Sub", "Gemm", "LayerNormalization", "If", "LpNormalization", "Identity"]);
    let shape = graph.input[0].r#type.as_ref().unwrap().tensor_type.as_ref().unwrap().shape.as_ref().unwrap();
    assert_eq!(shape.dim[0].value, Some(DimensionValue::DimParam("batch".into())));
    assert_eq!(shape.dim[1].value, Some(DimensionValue::DimValue(DIM as i64)));
    let stored = weight(&model, "weight");
    assert_eq!(stored.data_type(), ElementType::Float16.number());
    assert_eq!(stored.raw_data().len(), DIM * DIM * 2);
    assert_eq!(&weight(&model, "bias").raw_data()[..4], &1.0_f32.to_le_bytes());
}

#[test]
fn the_same_graph_gives_the_same_bytes_in_memory_and_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("head.onnx");
    let written = head().write(&path, &WriteOptions::default()).unwrap();
    assert_eq!(written.data, None);
    assert_eq!(std::fs::read(&path).unwrap(), head().to_bytes().unwrap());
    assert_eq!(files(folder.path()), ["head.onnx"]);
}

#[test]
fn weights_past_the_threshold_go_to_a_second_file_at_page_boundaries() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("head.onnx");
    let written = head().write(&path, &WriteOptions { max_inline_bytes: 0 }).unwrap();
    assert_eq!(written.data.as_deref(), Some(folder.path().join("head.onnx.data").as_path()));
    let model = ModelProto::decode(std::fs::read(&path).unwrap().as_slice()).unwrap();
    let stored = weight(&model, "weight");
    assert_eq!(stored.data_location(), DataLocation::External);
    assert_eq!(external(stored, "location"), "head.onnx.data");
    let offset: usize = external(stored, "offset").parse().unwrap();
    let length: usize = external(stored, "length").parse().unwrap();
    assert_eq!(offset % 4096, 0);
    let data = std::fs::read(written.data.unwrap()).unwrap();
    assert_eq!(data[offset..offset + length], f16::from_f32(0.25).to_le_bytes().repeat(DIM * DIM));
    let small = weight(&model, "bias");
    assert_eq!(small.data_location, None, "small weights stay where loaders look for shapes");
    assert_eq!(small.raw_data().len(), DIM * 4);
}

#[test]
fn weights_in_a_second_file_are_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("head.onnx");
    head().write(&path, &WriteOptions::default()).unwrap();
    assert_eq!(external_weights(&path).unwrap(), [], "all are within");
    let mut g = GraphBuilder::new("one");
    let rows = g.input("rows", ElementType::Float32, ["batch".into(), 64.into()]);
    let weight = g.f32("weight", [64, 32], vec![0.5; 64 * 32]);
    let product = g.node("MatMul", [&rows, &weight]).output();
    g.output("vectors", &product, ElementType::Float32, ["batch".into(), 32.into()]);
    g.finish().unwrap().write(&path, &WriteOptions { max_inline_bytes: 0 }).unwrap();
    let found = external_weights(&path).unwrap();
    let [weight] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((weight.name.as_str(), weight.dims.as_slice()), ("weight", &[64, 32][..]));
    assert_eq!(weight.n_bytes(), 8192);
    let data = std::fs::read(&weight.file).unwrap();
    assert_eq!(data[weight.offset..weight.offset + 8192], 0.5_f32.to_le_bytes().repeat(64 * 32));

    for (bytes, wanted) in [(&b"\xff\xff\xff"[..], "no model"), (&[][..], "")] {
        std::fs::write(&path, bytes).unwrap();
        match external_weights(&path) {
            Ok(found) => assert!(found.is_empty() && wanted.is_empty()),
            Err(error) => assert!(error.to_string().contains(wanted) && !wanted.is_empty(), "{error}"),
        }
    }
    let missing = external_weights(&folder.path().join("none.onnx")).unwrap_err();
    assert!(matches!(missing, GraphError::Read { .. }), "{missing}");
}

#[test]
fn a_failed_load_leaves_the_old_model_in_place() {
    for options in [WriteOptions::default(), WriteOptions { max_inline_bytes: 0 }] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        std::fs::write(&path, b"old").unwrap();
        let mut g = GraphBuilder::new("g");
        g.deferred_f32("broken", [1024], || Err("disk on fire".into()));
        let error = g.finish().unwrap().write(&path, &options).unwrap_err();
        assert!(matches!(&error, GraphError::Load { name, .. } if name == "broken"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(files(folder.path()), ["m.onnx"], "no temporary file stays behind");
    }
}

#[test]
fn mistakes_are_told_by_name() {
    let mut g = GraphBuilder::new("g");
    g.f32("w", [2], vec![0.0; 2]);
    g.f32("w", [2], vec![0.0; 2]);
    assert!(matches!(g.finish(), Err(GraphError::DuplicateName { name }) if name == "w"));

    let mut other = GraphBuilder::new("other");
    let stranger = other.f32("stranger", [1], vec![0.0]);
    let mut g = GraphBuilder::new("g");
    g.gelu(&stranger);
    assert!(matches!(g.finish(), Err(GraphError::UndefinedInput { name, .. }) if name == "stranger"));

    let mut g = GraphBuilder::new("g");
    g.f32("w", [2, 3], vec![0.0; 5]);
    assert!(matches!(g.finish(), Err(GraphError::WrongLength { found: 5, .. })));

    let mut g = GraphBuilder::new("g");
    g.f32("w", [usize::MAX, 2], vec![0.0; 5]);
    assert!(matches!(g.finish(), Err(GraphError::TooLarge { .. })));

    let mut g = GraphBuilder::new("g");
    g.deferred_f32("w", [4], || Ok(vec![0.0; 3]));
    assert!(matches!(g.finish().unwrap().to_bytes(), Err(GraphError::WrongLength { found: 3, .. })));

    let error = head().write(Path::new("/"), &WriteOptions { max_inline_bytes: 0 }).unwrap_err();
    assert!(matches!(error, GraphError::NoFileName { .. }), "{error}");
}

#[test]
fn equal_constants_are_one_weight() {
    let mut g = GraphBuilder::new("g");
    assert_eq!(g.i64_list(&[1]), g.i64_list(&[1]));
    assert_ne!(g.i64_list(&[1]), g.i64_scalar(1));
    assert_eq!(g.f32_scalar(0.5), g.f32_scalar(0.5));
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
