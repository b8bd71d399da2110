//! The language head of a checkpoint becomes a graph of its own: the right columns, tied or not, and nothing without one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use prost::Message;
use protext_graph::proto::ModelProto;
use protext_registry::convert::{ConvertError, ConvertRequest, convert_language_head};

const DIM: usize = 16;
const VOCAB: usize = 33;

fn fixture(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny_esm").join(file)
}

/// A safetensors file of the tensors named, each filled with its own counter.
fn checkpoint(folder: &Path, tensors: &[(&str, &[usize])]) -> PathBuf {
    let (mut entries, mut bytes) = (serde_json::Map::new(), Vec::new());
    for (name, shape) in tensors {
        let start = bytes.len();
        let n: usize = shape.iter().product();
        (0..n).for_each(|index| bytes.extend((index as f32).to_le_bytes()));
        let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [start, bytes.len()]});
        entries.insert((*name).to_owned(), entry);
    }
    let header = serde_json::to_string(&entries).unwrap();
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes].concat();
    let path = folder.join("model.safetensors");
    std::fs::write(&path, file).unwrap();
    path
}

const HEAD: [(&str, &[usize]); 5] = [
    ("lm_head.dense.weight", &[DIM, DIM]),
    ("lm_head.dense.bias", &[DIM]),
    ("lm_head.layer_norm.weight", &[DIM]),
    ("lm_head.layer_norm.bias", &[DIM]),
    ("lm_head.bias", &[VOCAB]),
];

fn convert(folder: &Path, tensors: &[(&str, &[usize])]) -> Result<Option<ModelProto>, ConvertError> {
    let output = folder.join("lm_head.onnx");
    let weights = vec![checkpoint(folder, tensors)];
    let request = ConvertRequest::new(weights, fixture("config.json"), folder.join("model.onnx"));
    let written = convert_language_head(&request, &output)?;
    Ok(written.map(|path| ModelProto::decode(std::fs::read(path).unwrap().as_slice()).unwrap()))
}

/// Weights of a model by name, as floats.
fn floats(model: &ModelProto) -> BTreeMap<String, Vec<f32>> {
    let weights = &model.graph.as_ref().unwrap().initializer;
    let values =
        |raw: &[u8]| raw.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    weights.iter().map(|weight| (weight.name().to_owned(), values(weight.raw_data()))).collect()
}

#[test]
fn the_columns_are_the_amino_acids_in_alphabetic_order() {
    let decoder = ("lm_head.decoder.weight", &[VOCAB, DIM][..]);
    let tied = ("esm.embeddings.word_embeddings.weight", &[VOCAB, DIM][..]);
    for last in [decoder, tied] {
        let folder = tempfile::tempdir().unwrap();
        let model = convert(folder.path(), &[&HEAD[..], &[last]].concat()).unwrap().unwrap();
        let graph = model.graph.as_ref().unwrap();
        assert_eq!((graph.input[0].name(), graph.output[0].name()), ("rows", "logits"));
        let weights = floats(&model);
        // Tokens of A, C, D and Y in the published vocabulary are 5, 23, 13 and 19.
        let bias = &weights["decoder.bias"];
        assert_eq!((bias.len(), bias[0], bias[1], bias[2], bias[19]), (20, 5.0, 23.0, 13.0, 19.0));
        let matrix = &weights["decoder.weight"];
        assert_eq!(matrix.len(), DIM * 20);
        // Stored [dim, 20]: component 3 of C is element 23 * 16 + 3 of the table.
        assert_eq!(matrix[3 * 20 + 1], (23 * DIM + 3) as f32);
    }
}

#[test]
fn without_a_head_there_is_no_graph_and_a_broken_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let embeddings = ("esm.embeddings.word_embeddings.weight", &[VOCAB, DIM][..]);
    assert!(convert(folder.path(), &[embeddings]).unwrap().is_none());
    assert!(!folder.path().join("lm_head.onnx").exists());
    let error = convert(folder.path(), &HEAD).unwrap_err();
    assert!(matches!(error, ConvertError::MissingTensor { .. }), "{error}");
    assert!(!folder.path().join("lm_head.onnx").exists());
    let wrong = [&HEAD[1..], &[("lm_head.dense.weight", &[DIM, DIM + 1][..]), embeddings]].concat();
    assert!(matches!(convert(folder.path(), &wrong), Err(ConvertError::WrongShape { .. })));
}
