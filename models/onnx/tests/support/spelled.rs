//! CUDA's attention over packed sequences in standard operators, so that its graphs run where there is no GPU.

use std::path::{Path, PathBuf};

use prost::Message as _;
use protext_graph::proto::{AttributeProto, AttributeType, ModelProto, NodeProto, TensorProto};

const FLOAT: i64 = 1;
const INT64: i64 = 7;

/// Writes the graph at `onnx` to `folder`, every `PackedMultiHeadAttention` as what it is: each token attends to those between the
/// same two of `cumulative_lengths`. Weights beside the graph are copied.
pub fn spell_out(onnx: &Path, folder: &Path) -> PathBuf {
    let mut model = ModelProto::decode(std::fs::read(onnx).unwrap().as_slice()).unwrap();
    let graph = model.graph.as_mut().unwrap();
    let mut nodes = Vec::new();
    for node in std::mem::take(&mut graph.node) {
        if node.op_type() == "PackedMultiHeadAttention" {
            let mut spelled =
                Spelled { prefix: node.name().to_owned(), nodes: Vec::new(), weights: Vec::new() };
            spelled.attention(&node);
            nodes.extend(spelled.nodes);
            graph.initializer.extend(spelled.weights);
        } else {
            nodes.push(node);
        }
    }
    graph.node = nodes;
    let file = onnx.file_name().unwrap().to_str().unwrap();
    let spelled = folder.join(format!("spelled-{file}"));
    std::fs::write(&spelled, model.encode_to_vec()).unwrap();
    let data = format!("{file}.data");
    if !folder.join(&data).exists() {
        std::fs::copy(onnx.with_file_name(&data), folder.join(&data)).unwrap();
    }
    spelled
}

struct Spelled {
    prefix: String,
    nodes: Vec<NodeProto>,
    weights: Vec<TensorProto>,
}

impl Spelled {
    fn attention(&mut self, packed: &NodeProto) {
        let attribute = |name: &str| packed.attribute.iter().find(|one| one.name() == name).unwrap();
        // The query is scaled where it is made.
        assert_eq!((attribute("scale").f, packed.input[3].as_str()), (Some(1.0), ""));
        let heads = self.integers(&[0, attribute("num_heads").i.unwrap(), -1]);
        let [query, key, value, _, _, cumulative_lengths] = packed.input.as_slice() else { panic!() };
        let mut of_heads = |x: &str, axes: [i64; 3]| {
            let split = self.node("Reshape", &[x, &heads], &[]);
            self.node("Transpose", &[&split], &[ints("perm", &axes)])
        };
        let (query_of_heads, value) = (of_heads(query, [1, 0, 2]), of_heads(value, [1, 0, 2]));
        let key = of_heads(key, [1, 2, 0]);
        let scores = self.node("MatMul", &[&query_of_heads, &key], &[]);
        let scores = self.node("Cast", &[&scores], &[int("to", FLOAT)]);
        let is_same = self.same_sequence(query, cumulative_lengths);
        let masked = self.weight(FLOAT, &[], (-10_000_f32).to_le_bytes().to_vec());
        let scores = self.node("Where", &[&is_same, &scores, &masked], &[]);
        let shares = self.node("Softmax", &[&scores], &[int("axis", -1)]);
        let shares = self.node("CastLike", &[&shares, &value], &[]);
        let mixed = self.node("MatMul", &[&shares, &value], &[]);
        let mixed = self.node("Transpose", &[&mixed], &[ints("perm", &[1, 0, 2])]);
        let flat = self.integers(&[0, -1]);
        self.node("Reshape", &[&mixed, &flat], &[]);
        self.nodes.last_mut().unwrap().output.clone_from(&packed.output);
    }

    /// `[tokens, tokens]`.
    fn same_sequence(&mut self, tokens: &str, cumulative_lengths: &str) -> String {
        let (zero, one) = (self.integer(0), self.integer(1));
        let shape = self.node("Shape", &[tokens], &[]);
        let n_tokens = self.node("Gather", &[&shape, &zero], &[]);
        let tokens = self.node("Range", &[&zero, &n_tokens, &one], &[]);
        let (first, second) = (self.integers(&[0]), self.integers(&[1]));
        let column = self.node("Unsqueeze", &[&tokens, &second], &[]);
        let ends = self.node("Cast", &[cumulative_lengths], &[int("to", INT64)]);
        let is_past = self.node("GreaterOrEqual", &[&column, &ends], &[]);
        let is_past = self.node("Cast", &[&is_past], &[int("to", INT64)]);
        let sequences = self.node("ReduceSum", &[&is_past, &second], &[int("keepdims", 0)]);
        let column = self.node("Unsqueeze", &[&sequences, &second], &[]);
        let row = self.node("Unsqueeze", &[&sequences, &first], &[]);
        self.node("Equal", &[&column, &row], &[])
    }

    fn node(&mut self, op: &str, inputs: &[&str], attributes: &[AttributeProto]) -> String {
        let name = format!("{}/{}", self.prefix, self.nodes.len());
        self.nodes.push(NodeProto {
            name: Some(name.clone()),
            op_type: Some(op.to_owned()),
            input: inputs.iter().map(ToString::to_string).collect(),
            output: vec![name.clone()],
            attribute: attributes.to_vec(),
            ..NodeProto::default()
        });
        name
    }

    fn integer(&mut self, value: i64) -> String {
        self.weight(INT64, &[], value.to_le_bytes().to_vec())
    }

    fn integers(&mut self, values: &[i64]) -> String {
        self.weight(INT64, &[values.len() as i64], values.iter().flat_map(|one| one.to_le_bytes()).collect())
    }

    fn weight(&mut self, data_type: i64, dims: &[i64], raw_data: Vec<u8>) -> String {
        let name = format!("{}/weight_{}", self.prefix, self.weights.len());
        self.weights.push(TensorProto {
            name: Some(name.clone()),
            data_type: Some(data_type as i32),
            dims: dims.to_vec(),
            raw_data: Some(raw_data),
            ..TensorProto::default()
        });
        name
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    let r#type = Some(AttributeType::Int as i32);
    AttributeProto { name: Some(name.to_owned()), i: Some(value), r#type, ..AttributeProto::default() }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    let r#type = Some(AttributeType::Ints as i32);
    AttributeProto { name: Some(name.to_owned()), ints: values.to_vec(), r#type, ..AttributeProto::default() }
}
