//! The small types that a graph is described with: values, element types, dimensions, attributes.

use std::sync::Arc;

use crate::builder::Branch;
use crate::proto::{
    AttributeProto, AttributeType, DimensionProto, DimensionValue, TensorShapeProto, TensorTypeProto,
    TypeProto, ValueInfoProto,
};

/// A named value in a graph: an input, a weight, or what a node computes. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Value(Arc<str>);

impl Value {
    pub(crate) fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Leaves an optional input out.
    #[must_use]
    pub fn absent() -> Self {
        Self::new("")
    }

    /// Its name in the file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// Element types of tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum ElementType {
    /// 32-bit float.
    Float32 = 1,
    /// Unsigned byte.
    Uint8 = 2,
    /// Signed byte.
    Int8 = 3,
    /// 32-bit integer.
    Int32 = 6,
    /// 64-bit integer.
    Int64 = 7,
    /// Truth value, one byte.
    Bool = 9,
    /// 16-bit float, IEEE.
    Float16 = 10,
    /// 64-bit float.
    Float64 = 11,
    /// 16-bit float with the exponent of float32.
    Bfloat16 = 16,
}

impl ElementType {
    /// Bytes of one element.
    #[must_use]
    pub fn n_bytes(self) -> usize {
        match self {
            Self::Uint8 | Self::Int8 | Self::Bool => 1,
            Self::Float16 | Self::Bfloat16 => 2,
            Self::Float32 | Self::Int32 => 4,
            Self::Int64 | Self::Float64 => 8,
        }
    }

    /// The number that the format gives it.
    #[must_use]
    pub fn number(self) -> i32 {
        self as i32
    }
}

/// One dimension of an input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    /// Known when the model is written.
    Fixed(usize),
    /// Known when the model runs; equal symbols are equal numbers.
    Symbol(String),
}

impl From<usize> for Dim {
    fn from(size: usize) -> Self {
        Self::Fixed(size)
    }
}

impl From<&str> for Dim {
    fn from(symbol: &str) -> Self {
        Self::Symbol(symbol.to_owned())
    }
}

pub(crate) fn value_info(name: &str, element: ElementType, dims: Option<&[Dim]>) -> ValueInfoProto {
    let shape = dims.map(|dims| TensorShapeProto { dim: dims.iter().map(dimension).collect() });
    let tensor_type = TensorTypeProto { elem_type: Some(element.number()), shape };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto { tensor_type: Some(tensor_type) }),
        doc_string: None,
    }
}

fn dimension(dim: &Dim) -> DimensionProto {
    let value = match dim {
        Dim::Fixed(size) => DimensionValue::DimValue(*size as i64),
        Dim::Symbol(symbol) => DimensionValue::DimParam(symbol.clone()),
    };
    DimensionProto { value: Some(value) }
}

/// The value of a node's attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    /// One integer.
    Int(i64),
    /// One float.
    Float(f32),
    /// One string.
    Text(String),
    /// Integers.
    Ints(Vec<i64>),
    /// Floats.
    Floats(Vec<f32>),
    /// A subgraph.
    Branch(Branch),
}

impl Attribute {
    pub(crate) fn into_proto(self, name: &str) -> AttributeProto {
        let mut proto = AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
        let kind = match self {
            Self::Int(value) => {
                proto.i = Some(value);
                AttributeType::Int
            }
            Self::Float(value) => {
                proto.f = Some(value);
                AttributeType::Float
            }
            Self::Text(value) => {
                proto.s = Some(value.into_bytes());
                AttributeType::String
            }
            Self::Ints(values) => {
                proto.ints = values;
                AttributeType::Ints
            }
            Self::Floats(values) => {
                proto.floats = values;
                AttributeType::Floats
            }
            Self::Branch(branch) => {
                proto.g = Some(branch.into_proto());
                AttributeType::Graph
            }
        };
        proto.r#type = Some(kind.into());
        proto
    }
}

impl From<i64> for Attribute {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<f32> for Attribute {
    fn from(value: f32) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Attribute {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl<const N: usize> From<[i64; N]> for Attribute {
    fn from(values: [i64; N]) -> Self {
        Self::Ints(values.to_vec())
    }
}

impl<const N: usize> From<[f32; N]> for Attribute {
    fn from(values: [f32; N]) -> Self {
        Self::Floats(values.to_vec())
    }
}

impl From<Branch> for Attribute {
    fn from(branch: Branch) -> Self {
        Self::Branch(branch)
    }
}
