//! A trained tower: plain arrays, whitening folded into the first matrix, and its ONNX file.
//!
//! Towers that were trained several times are joined: their unit vectors stand side by side, so that the cosine of two
//! joined vectors is the mean of the members' cosines.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use half::f16;
use ndarray::{Array1, Array2, ArrayView2, Axis};
use protext_graph::{Dim, ElementType, GraphBuilder, LayerNorm, Linear, Value};

use super::error::TrainError;
use super::tower::{NORM_EPSILON, Tower};
use crate::whitening::Whitening;

/// A tower, of one member or several.
#[derive(Debug, Clone, PartialEq)]
pub struct TowerWeights {
    members: Vec<Member>,
}

/// `unit_norm(last(... norm(gelu((row - mean) * weight + bias)) ...))`.
#[derive(Debug, Clone, PartialEq)]
struct Member {
    /// Mean of the training rows, `[inputs]`.
    mean: Array1<f32>,
    hidden: Vec<HiddenLayer>,
    last: DenseLayer,
}

#[derive(Debug, Clone, PartialEq)]
struct DenseLayer {
    /// `[in, out]`, every value a float16.
    weight: Array2<f32>,
    /// `[out]`.
    bias: Array1<f32>,
}

#[derive(Debug, Clone, PartialEq)]
struct HiddenLayer {
    dense: DenseLayer,
    scale: Array1<f32>,
    shift: Array1<f32>,
}

impl TowerWeights {
    /// Takes a tower over whitened rows and folds the whitening in. Matrices are rounded to float16, which is what the
    /// file holds.
    pub(super) fn fold(whitening: &Whitening, tower: &Tower) -> Result<Self, TrainError> {
        let n_hidden = tower.shape().n_hidden;
        let vars = tower.vars();
        let vector = |index: usize| Ok::<_, TrainError>(Array1::from(vars[index].to_vec1::<f32>()?));
        let matrix = |index: usize| {
            let (rows, columns) = vars[index].dims2()?;
            let values = vars[index].flatten_all()?.to_vec1::<f32>()?;
            Ok::<_, TrainError>(
                Array2::from_shape_vec((rows, columns), values).expect("candle's tensors are row-major"),
            )
        };
        let dense = |index: usize| {
            let weight = matrix(index)?;
            let weight = if index == 0 { whitening.matrix.dot(&weight) } else { weight };
            let weight = weight.mapv(|value| f16::from_f32(value).to_f32());
            Ok::<_, TrainError>(DenseLayer { weight, bias: vector(index + 1)? })
        };
        let hidden = (0..n_hidden).map(|layer| {
            let at = 4 * layer;
            Ok(HiddenLayer { dense: dense(at)?, scale: vector(at + 2)?, shift: vector(at + 3)? })
        });
        let hidden = hidden.collect::<Result<_, TrainError>>()?;
        let member = Member { mean: whitening.mean.clone(), hidden, last: dense(4 * n_hidden)? };
        Ok(Self { members: vec![member] })
    }

    /// Joins towers over the same rows.
    pub(super) fn join(towers: Vec<Self>) -> Self {
        Self { members: towers.into_iter().flat_map(|tower| tower.members).collect() }
    }

    /// Components of a row that it takes.
    #[must_use]
    pub fn n_inputs(&self) -> usize {
        self.members[0].mean.len()
    }

    /// Components of the shared space.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.members.iter().map(|member| member.last.bias.len()).sum()
    }

    /// Rows `[n, inputs]` to unit rows `[n, dim]`, as the ONNX file gives them.
    ///
    /// # Errors
    /// [`TrainError::Tensor`].
    pub fn apply(&self, rows: &ArrayView2<'_, f32>) -> Result<Array2<f32>, TrainError> {
        let parts = self.members.iter().map(|member| member.apply(rows)).collect::<Result<Vec<_>, _>>()?;
        let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
        let mut joined = ndarray::concatenate(Axis(1), &views).expect("as many rows in every part");
        joined /= (self.members.len() as f32).sqrt();
        Ok(joined)
    }

    /// Writes the tower: input `rows` `[batch, inputs]`, output `vectors` `[batch, dim]` of unit norm.
    ///
    /// # Errors
    /// [`TrainError::Graph`].
    pub fn write(&self, path: &Path) -> Result<PathBuf, TrainError> {
        let mut graph = GraphBuilder::new("tower");
        let rows = graph.input("rows", ElementType::Float32, [Dim::from("batch"), self.n_inputs().into()]);
        let members = self.members.iter().enumerate();
        let parts: Vec<Value> =
            members.map(|(index, member)| member.build(&mut graph, &rows, index + 1)).collect();
        graph.set_scope("joined");
        let joined = graph.concat(&parts, -1);
        let vectors = graph.unit_norm(&joined);
        graph.output("vectors", &vectors, ElementType::Float32, [Dim::from("batch"), self.dim().into()]);
        Ok(graph.finish()?.write(path, &protext_graph::WriteOptions::default())?.model)
    }
}

impl Member {
    fn apply(&self, rows: &ArrayView2<'_, f32>) -> Result<Array2<f32>, TrainError> {
        let dense = |x: &Array2<f32>, layer: &DenseLayer| x.dot(&layer.weight) + &layer.bias;
        let mut x = rows - &self.mean;
        for layer in &self.hidden {
            x = gelu(&dense(&x, &layer.dense))?;
            for mut row in x.rows_mut() {
                let mean = row.sum() / row.len() as f32;
                row -= mean;
                let variance = row.dot(&row) / row.len() as f32;
                row /= (variance + NORM_EPSILON as f32).sqrt();
                row *= &layer.scale;
                row += &layer.shift;
            }
        }
        let mut x = dense(&x, &self.last);
        for mut row in x.rows_mut() {
            let norm = row.dot(&row).sqrt().max(f32::MIN_POSITIVE);
            row /= norm;
        }
        Ok(x)
    }

    /// Adds the member's nodes; its vectors have unit norm.
    fn build(&self, graph: &mut GraphBuilder<'_>, rows: &Value, number: usize) -> Value {
        let scope = format!("member.{number}");
        let mean = graph.f32(&format!("{scope}.mean"), [self.mean.len()], self.mean.to_vec());
        let mut x = graph.sub(rows, &mean);
        for (index, layer) in self.hidden.iter().enumerate() {
            let scope = format!("{scope}.hidden.{}", index + 1);
            let linear = linear(graph, &scope, &layer.dense);
            let product = graph.gemm(&x, &linear);
            let activated = graph.gelu(&product);
            let width = [layer.scale.len()];
            let norm = LayerNorm {
                weight: graph.f32(&format!("{scope}.scale"), width, layer.scale.to_vec()),
                bias: graph.f32(&format!("{scope}.shift"), width, layer.shift.to_vec()),
                epsilon: NORM_EPSILON as f32,
            };
            x = graph.layer_norm(&activated, &norm);
        }
        let linear = linear(graph, &format!("{scope}.last"), &self.last);
        let product = graph.gemm(&x, &linear);
        graph.unit_norm(&product)
    }
}

fn linear(graph: &mut GraphBuilder<'_>, scope: &str, layer: &DenseLayer) -> Linear {
    graph.set_scope(scope);
    let (n_inputs, n_outputs) = layer.weight.dim();
    let halves: Vec<f16> = layer.weight.iter().map(|&value| f16::from_f32(value)).collect();
    let halves: Value = graph.f16(&format!("{scope}.weight"), [n_inputs, n_outputs], halves);
    let weight = graph.cast(&halves, ElementType::Float32);
    Linear { weight, bias: graph.f32(&format!("{scope}.bias"), [n_outputs], layer.bias.to_vec()) }
}

/// Exact GELU, by candle's error function.
fn gelu(x: &Array2<f32>) -> Result<Array2<f32>, TrainError> {
    let values = x.iter().copied().collect::<Vec<f32>>();
    let values = Tensor::from_vec(values, x.len(), &Device::Cpu)?.gelu_erf()?.to_vec1::<f32>()?;
    Ok(Array2::from_shape_vec(x.raw_dim(), values).expect("as many values as before"))
}
