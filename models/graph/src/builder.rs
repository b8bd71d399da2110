//! Puts a graph together: inputs, weights, nodes, outputs.
//!
//! Values are handles that only the builder makes, so nodes come out in an order in which every input is
//! already computed. Names that the caller does not give are counted up, which keeps the file's bytes the same
//! from run to run. Mistakes (a name used twice, a weight of the wrong length) are told by
//! [`GraphBuilder::finish`], so that a chain of calls needs no `?`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use half::f16;

use crate::error::{BoxError, GraphError};
use crate::initializer::{Initializer, Payload};
use crate::proto::{GraphProto, NodeProto, ValueInfoProto};
use crate::value::{Attribute, Dim, ElementType, Value, value_info};
use crate::writer::Model;

/// Version of the standard operators: the first with `Gelu`.
pub const OPSET: i64 = 20;

#[derive(PartialEq, Eq, Hash)]
enum Constant {
    Int64(Vec<usize>, Vec<i64>),
    /// By bits, so that equal floats are one constant and hashing is exact.
    Float32(u32),
}

/// A graph under construction. `'w` is how long deferred weights may borrow their source.
pub struct GraphBuilder<'w> {
    pub(crate) name: String,
    pub(crate) inputs: Vec<ValueInfoProto>,
    pub(crate) outputs: Vec<ValueInfoProto>,
    pub(crate) initializers: Vec<Initializer<'w>>,
    pub(crate) domains: BTreeSet<String>,
    pub(crate) metadata: BTreeMap<String, String>,
    /// Open graphs, innermost last; the first is the main graph.
    frames: Vec<Vec<NodeProto>>,
    constants: HashMap<Constant, Value>,
    scope: String,
    n_nodes: usize,
}

impl<'w> GraphBuilder<'w> {
    /// An empty graph.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            initializers: Vec::new(),
            domains: BTreeSet::new(),
            metadata: BTreeMap::new(),
            frames: vec![Vec::new()],
            constants: HashMap::new(),
            scope: String::new(),
            n_nodes: 0,
        }
    }

    /// Adds an input, such as `("rows", Float32, ["batch".into(), 320.into()])`.
    pub fn input(&mut self, name: &str, element: ElementType, dims: impl AsRef<[Dim]>) -> Value {
        self.inputs.push(value_info(name, element, Some(dims.as_ref())));
        Value::new(name)
    }

    /// Makes `value` an output under `name`.
    pub fn output(&mut self, name: &str, value: &Value, element: ElementType, dims: impl AsRef<[Dim]>) {
        self.outputs.push(value_info(name, element, Some(dims.as_ref())));
        self.node("Identity", [value]).named(name);
    }

    /// Keeps a named string with the model.
    pub fn metadata(&mut self, key: &str, value: impl Into<String>) {
        self.metadata.insert(key.to_owned(), value.into());
    }

    /// Names the nodes added from here on after a part of the model, such as `encoder.layer.0`.
    pub fn set_scope(&mut self, scope: impl Into<String>) {
        self.scope = scope.into();
    }

    /// Starts a node of the standard operators; finish it with [`NodeBuilder::output`] or one of its kin.
    pub fn node<'v>(&mut self, op: &str, inputs: impl IntoIterator<Item = &'v Value>) -> NodeBuilder<'_, 'w> {
        let node = NodeProto {
            input: inputs.into_iter().map(|value| value.name().to_owned()).collect(),
            op_type: Some(op.to_owned()),
            ..NodeProto::default()
        };
        NodeBuilder { graph: self, node }
    }

    /// Builds a subgraph with one output, for `If`. It may read any value made before it; weights that it adds
    /// belong to the main graph.
    pub fn branch(
        &mut self,
        name: &str,
        element: ElementType,
        build: impl FnOnce(&mut GraphBuilder<'w>) -> Value,
    ) -> Branch {
        self.frames.push(Vec::new());
        let output = build(self);
        let nodes = self.frames.pop().expect("the frame pushed above is still there");
        let output = vec![value_info(output.name(), element, None)];
        Branch(GraphProto { node: nodes, name: Some(name.to_owned()), output, ..GraphProto::default() })
    }

    /// Adds a weight of 32-bit floats, row-major.
    pub fn f32(&mut self, name: &str, dims: impl Into<Vec<usize>>, values: Vec<f32>) -> Value {
        self.initializer(name, dims.into(), Payload::F32(values))
    }

    /// Adds a weight of 16-bit floats, row-major. Compute with it after [`GraphBuilder::cast`].
    pub fn f16(&mut self, name: &str, dims: impl Into<Vec<usize>>, values: Vec<f16>) -> Value {
        self.initializer(name, dims.into(), Payload::F16(values))
    }

    /// Adds a weight of 64-bit integers, row-major.
    pub fn i64(&mut self, name: &str, dims: impl Into<Vec<usize>>, values: Vec<i64>) -> Value {
        self.initializer(name, dims.into(), Payload::I64(values))
    }

    /// Adds a weight of 32-bit floats that is loaded when the file is written, and dropped right after.
    pub fn deferred_f32(
        &mut self,
        name: &str,
        dims: impl Into<Vec<usize>>,
        load: impl FnOnce() -> Result<Vec<f32>, BoxError> + 'w,
    ) -> Value {
        self.initializer(name, dims.into(), Payload::DeferredF32(Box::new(load)))
    }

    /// The same of a weight that is written in 16 bits.
    pub fn deferred_f16(
        &mut self,
        name: &str,
        dims: impl Into<Vec<usize>>,
        load: impl FnOnce() -> Result<Vec<f32>, BoxError> + 'w,
    ) -> Value {
        self.initializer(name, dims.into(), Payload::DeferredF16(Box::new(load)))
    }

    /// One float, `[]`. Equal constants share one weight.
    pub fn f32_scalar(&mut self, value: f32) -> Value {
        let key = Constant::Float32(value.to_bits());
        self.constant(key, Vec::new(), || Payload::F32(vec![value]))
    }

    /// One integer, `[]`. Equal constants share one weight.
    pub fn i64_scalar(&mut self, value: i64) -> Value {
        let key = Constant::Int64(Vec::new(), vec![value]);
        self.constant(key, Vec::new(), || Payload::I64(vec![value]))
    }

    /// A list of integers, `[n]`: axes, shapes, sizes. Equal constants share one weight.
    pub fn i64_list(&mut self, values: &[i64]) -> Value {
        let dims = vec![values.len()];
        let key = Constant::Int64(dims.clone(), values.to_vec());
        self.constant(key, dims, || Payload::I64(values.to_vec()))
    }

    fn constant(&mut self, key: Constant, dims: Vec<usize>, payload: impl FnOnce() -> Payload<'w>) -> Value {
        if let Some(value) = self.constants.get(&key) {
            return value.clone();
        }
        let name = format!("constant_{}", self.constants.len());
        let value = self.initializer(&name, dims, payload());
        self.constants.insert(key, value.clone());
        value
    }

    fn initializer(&mut self, name: &str, dims: Vec<usize>, payload: Payload<'w>) -> Value {
        self.initializers.push(Initializer { name: name.to_owned(), dims, payload });
        Value::new(name)
    }

    /// Checks the graph and closes it.
    ///
    /// # Errors
    /// [`GraphError::DuplicateName`], [`GraphError::UndefinedInput`], [`GraphError::UndefinedOutput`],
    /// [`GraphError::WrongLength`], [`GraphError::TooLarge`].
    pub fn finish(mut self) -> Result<Model<'w>, GraphError> {
        let nodes = self.frames.pop().expect("the main graph's frame is never popped before");
        let mut defined = BTreeSet::new();
        let given = self.inputs.iter().filter_map(|input| input.name.as_deref());
        for name in given.chain(self.initializers.iter().map(|weight| weight.name.as_str())) {
            define(&mut defined, name)?;
        }
        check_nodes(&nodes, &mut defined)?;
        self.initializers.iter().try_for_each(Initializer::check)?;
        Ok(Model::new(self, nodes))
    }
}

fn define(defined: &mut BTreeSet<String>, name: &str) -> Result<(), GraphError> {
    if name.is_empty() || defined.insert(name.to_owned()) {
        return Ok(());
    }
    Err(GraphError::DuplicateName { name: name.to_owned() })
}

fn check_nodes(nodes: &[NodeProto], defined: &mut BTreeSet<String>) -> Result<(), GraphError> {
    for node in nodes {
        if let Some(name) = node.input.iter().find(|name| !name.is_empty() && !defined.contains(*name)) {
            let node = node.name.clone().unwrap_or_default();
            return Err(GraphError::UndefinedInput { node, name: name.clone() });
        }
        for branch in node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()) {
            check_branch(branch, defined)?;
        }
        node.output.iter().try_for_each(|name| define(defined, name))?;
    }
    Ok(())
}

/// A branch sees what stands before it; what it computes stays inside.
fn check_branch(branch: &GraphProto, defined: &BTreeSet<String>) -> Result<(), GraphError> {
    let mut inside = defined.clone();
    check_nodes(&branch.node, &mut inside)?;
    let computed = |name: &String| branch.node.iter().any(|node| node.output.contains(name));
    match branch.output.iter().filter_map(|output| output.name.as_ref()).find(|name| !computed(name)) {
        Some(name) => Err(GraphError::UndefinedOutput { name: name.clone() }),
        None => Ok(()),
    }
}

/// A subgraph with one output, made by [`GraphBuilder::branch`].
#[derive(Debug, Clone, PartialEq)]
pub struct Branch(GraphProto);

impl Branch {
    pub(crate) fn into_proto(self) -> GraphProto {
        self.0
    }
}

/// A node under construction.
#[must_use = "a node is added by output, outputs or named"]
pub struct NodeBuilder<'g, 'w> {
    graph: &'g mut GraphBuilder<'w>,
    node: NodeProto,
}

impl NodeBuilder<'_, '_> {
    /// Takes the operator from another domain, such as [`MICROSOFT`](crate::MICROSOFT).
    pub fn domain(mut self, domain: &str) -> Self {
        self.graph.domains.insert(domain.to_owned());
        self.node.domain = Some(domain.to_owned());
        self
    }

    /// Sets an attribute.
    pub fn attribute(mut self, name: &str, value: impl Into<Attribute>) -> Self {
        self.node.attribute.push(value.into().into_proto(name));
        self
    }

    /// Adds the node; it computes one value.
    pub fn output(self) -> Value {
        let [value] = self.outputs();
        value
    }

    /// Adds the node; it computes `N` values.
    pub fn outputs<const N: usize>(mut self) -> [Value; N] {
        let name = self.name_node();
        let values = std::array::from_fn(|index| match index {
            0 => Value::new(&name),
            _ => Value::new(&format!("{name}:{index}")),
        });
        self.node.output = values.iter().map(|value: &Value| value.name().to_owned()).collect();
        self.push();
        values
    }

    /// Adds the node; it computes one value, called `name`.
    pub fn named(mut self, name: &str) -> Value {
        self.name_node();
        self.node.output = vec![name.to_owned()];
        self.push();
        Value::new(name)
    }

    fn name_node(&mut self) -> String {
        let op = self.node.op_type.as_deref().unwrap_or_default();
        let separator = if self.graph.scope.is_empty() { "" } else { "/" };
        let name = format!("{}{separator}{op}_{}", self.graph.scope, self.graph.n_nodes);
        self.graph.n_nodes += 1;
        self.node.name = Some(name.clone());
        name
    }

    fn push(self) {
        let frame = self.graph.frames.last_mut().expect("the main graph's frame is always open");
        frame.push(self.node);
    }
}
