//! Standard operators as methods, so that a model reads like the formula it computes.
//!
//! Only operators with more than one user are here; anything else is [`GraphBuilder::node`].

use crate::builder::GraphBuilder;
use crate::value::{ElementType, Value};

/// Weights of a layer normalization over the last axis.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    /// Scale, `[dim]`.
    pub weight: Value,
    /// Shift, `[dim]`.
    pub bias: Value,
    /// Added to the variance.
    pub epsilon: f32,
}

/// Weights of a dense layer, stored as they are multiplied: `x [.., inputs] * weight [inputs, outputs] + bias`.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[inputs, outputs]`.
    pub weight: Value,
    /// `[outputs]`.
    pub bias: Value,
}

impl GraphBuilder<'_> {
    /// `a + b`, broadcast.
    pub fn add(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Add", [a, b]).output()
    }

    /// `a - b`, broadcast.
    pub fn sub(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Sub", [a, b]).output()
    }

    /// `a * b`, element by element, broadcast.
    pub fn mul(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Mul", [a, b]).output()
    }

    /// `a / b`, broadcast.
    pub fn div(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Div", [a, b]).output()
    }

    /// Matrix product over the last two axes.
    pub fn matmul(&mut self, a: &Value, b: &Value) -> Value {
        self.node("MatMul", [a, b]).output()
    }

    /// `x * weight + bias` for `x` of any rank.
    pub fn linear(&mut self, x: &Value, layer: &Linear) -> Value {
        let product = self.matmul(x, &layer.weight);
        self.add(&product, &layer.bias)
    }

    /// `x * weight + bias` for `x` of rank 2, in one operator.
    pub fn gemm(&mut self, x: &Value, layer: &Linear) -> Value {
        self.node("Gemm", [x, &layer.weight, &layer.bias]).output()
    }

    /// Layer normalization over the last axis.
    pub fn layer_norm(&mut self, x: &Value, norm: &LayerNorm) -> Value {
        self.node("LayerNormalization", [x, &norm.weight, &norm.bias])
            .attribute("axis", -1)
            .attribute("epsilon", norm.epsilon)
            .output()
    }

    /// Exact GELU, by the error function.
    pub fn gelu(&mut self, x: &Value) -> Value {
        self.node("Gelu", [x]).output()
    }

    /// Scales each row of the last axis to unit Euclidean norm.
    pub fn unit_norm(&mut self, x: &Value) -> Value {
        self.node("LpNormalization", [x]).attribute("axis", -1).attribute("p", 2).output()
    }

    /// Another element type.
    pub fn cast(&mut self, x: &Value, element: ElementType) -> Value {
        self.node("Cast", [x]).attribute("to", i64::from(element.number())).output()
    }

    /// Rows (or scalars) of `table` along its first axis.
    pub fn gather(&mut self, table: &Value, indices: &Value) -> Value {
        self.node("Gather", [table, indices]).output()
    }

    /// Adds axes of length one.
    pub fn unsqueeze(&mut self, x: &Value, axes: &[i64]) -> Value {
        let axes = self.i64_list(axes);
        self.node("Unsqueeze", [x, &axes]).output()
    }

    /// Removes axes of length one.
    pub fn squeeze(&mut self, x: &Value, axes: &[i64]) -> Value {
        let axes = self.i64_list(axes);
        self.node("Squeeze", [x, &axes]).output()
    }

    /// Sum over axes, which stay with length one.
    pub fn reduce_sum(&mut self, x: &Value, axes: &[i64]) -> Value {
        let axes = self.i64_list(axes);
        self.node("ReduceSum", [x, &axes]).attribute("keepdims", 1).output()
    }

    /// Joins values along an axis; one value alone passes through.
    pub fn concat(&mut self, values: &[Value], axis: i64) -> Value {
        match values {
            [only] => only.clone(),
            _ => self.node("Concat", values).attribute("axis", axis).output(),
        }
    }

    /// New dimensions; 0 keeps one, -1 takes what is left.
    pub fn reshape(&mut self, x: &Value, dims: &[i64]) -> Value {
        let dims = self.i64_list(dims);
        self.node("Reshape", [x, &dims]).output()
    }

    /// Reorders axes.
    pub fn transpose<const N: usize>(&mut self, x: &Value, axes: [i64; N]) -> Value {
        self.node("Transpose", [x]).attribute("perm", axes).output()
    }

    /// Softmax over the last axis.
    pub fn softmax(&mut self, x: &Value) -> Value {
        self.node("Softmax", [x]).attribute("axis", -1).output()
    }
}
