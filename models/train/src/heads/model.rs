//! A trained head: standardised rows through a linear layer, or through the members of an ensemble, and its ONNX file.

use std::path::{Path, PathBuf};

use ndarray::{Array1, Array2, ArrayView2};
use protext_graph::{Dim, ElementType, GraphBuilder, Linear, Value, WriteOptions};

use super::error::HeadTrainError;
use super::standardize::Standardizer;
use crate::contrastive::weights::Member;

/// A head, as the file holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadModel {
    standardizer: Standardizer,
    body: Body,
}

#[derive(Debug, Clone, PartialEq)]
enum Body {
    Linear(LinearLayer),
    /// Outputs are the mean of the members'.
    Members(Vec<Member>),
}

/// `x * weight + bias`, kept in single precision.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LinearLayer {
    /// `[inputs, outputs]`.
    pub(super) weight: Array2<f32>,
    /// `[outputs]`.
    pub(super) bias: Array1<f32>,
}

impl HeadModel {
    pub(super) fn linear(standardizer: Standardizer, layer: LinearLayer) -> Self {
        Self { standardizer, body: Body::Linear(layer) }
    }

    pub(super) fn ensemble(standardizer: Standardizer, members: Vec<Member>) -> Self {
        Self { standardizer, body: Body::Members(members) }
    }

    /// Components of a row.
    #[must_use]
    pub fn n_inputs(&self) -> usize {
        self.standardizer.mean.len()
    }

    /// Outputs of a row.
    #[must_use]
    pub fn n_outputs(&self) -> usize {
        match &self.body {
            Body::Linear(layer) => layer.bias.len(),
            Body::Members(members) => members[0].last.bias.len(),
        }
    }

    /// Rows `[n, inputs]` to outputs `[n, outputs]`, as the ONNX file gives them.
    ///
    /// # Errors
    /// [`HeadTrainError::Tensor`].
    pub fn apply(&self, rows: &ArrayView2<'_, f32>) -> Result<Array2<f32>, HeadTrainError> {
        let rows = self.standardizer.apply(rows);
        match &self.body {
            Body::Linear(layer) => Ok(rows.dot(&layer.weight) + &layer.bias),
            Body::Members(members) => {
                let mut sum = Array2::zeros((rows.nrows(), self.n_outputs()));
                for member in members {
                    sum += &member.outputs(&rows.view())?;
                }
                Ok(sum / members.len() as f32)
            }
        }
    }

    /// Writes the head: input `rows` `[batch, inputs]`, output `outputs` `[batch, outputs]`.
    ///
    /// # Errors
    /// [`HeadTrainError::Graph`].
    pub fn write(&self, path: &Path) -> Result<PathBuf, HeadTrainError> {
        let mut graph = GraphBuilder::new("head");
        let rows = graph.input("rows", ElementType::Float32, [Dim::from("batch"), self.n_inputs().into()]);
        let outputs = self.build(&mut graph, &rows);
        let dims = [Dim::from("batch"), self.n_outputs().into()];
        graph.output("outputs", &outputs, ElementType::Float32, dims);
        Ok(graph.finish()?.write(path, &WriteOptions::default())?.model)
    }

    /// Adds the head's nodes over rows `[batch, inputs]`; gives its outputs.
    pub(crate) fn build(&self, graph: &mut GraphBuilder<'_>, rows: &Value) -> Value {
        let rows = standardized(graph, &self.standardizer, rows);
        match &self.body {
            Body::Linear(layer) => {
                let (n_inputs, n_outputs) = layer.weight.dim();
                let weight =
                    graph.f32("weight", [n_inputs, n_outputs], layer.weight.iter().copied().collect());
                let bias = graph.f32("bias", [n_outputs], layer.bias.to_vec());
                graph.gemm(&rows, &Linear { weight, bias })
            }
            Body::Members(members) => {
                let each = members.iter().enumerate();
                let each: Vec<Value> =
                    each.map(|(at, member)| member.build_outputs(graph, &rows, at + 1)).collect();
                graph.set_scope("mean");
                mean(graph, &each)
            }
        }
    }
}

/// Adds the nodes of `(rows - mean) * scale`.
pub(super) fn standardized(graph: &mut GraphBuilder<'_>, by: &Standardizer, rows: &Value) -> Value {
    let mean = graph.f32("mean", [by.mean.len()], by.mean.to_vec());
    let scale = graph.f32("scale", [by.scale.len()], by.scale.to_vec());
    let centred = graph.sub(rows, &mean);
    graph.mul(&centred, &scale)
}

/// Adds the nodes of the mean of several values of one shape; there is at least one.
pub(crate) fn mean(graph: &mut GraphBuilder<'_>, values: &[Value]) -> Value {
    let mut sum = values[0].clone();
    for value in &values[1..] {
        sum = graph.add(&sum, value);
    }
    if values.len() == 1 {
        return sum;
    }
    let share = graph.f32_scalar(1.0 / values.len() as f32);
    graph.mul(&sum, &share)
}
