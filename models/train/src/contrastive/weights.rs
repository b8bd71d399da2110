//! A trained tower: plain arrays behind the whitening of its rows, and its ONNX file.
//!
//! Towers that were trained several times are joined: their unit vectors stand side by side, so that the cosine of two
//! joined vectors is the mean of the members' cosines.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use half::f16;
use ndarray::{Array1, Array2, ArrayView2, Axis};
use protext_graph::{Dim, ElementType, GraphBuilder, LayerNorm, Linear, Value};

use super::error::TrainError;
use super::hubs::HubCorrection;
use super::tower::{NORM_EPSILON, Tower};
use crate::whitening::Whitening;

/// A tower, of one member or several over the same whitened rows.
#[derive(Debug, Clone, PartialEq)]
pub struct TowerWeights {
    whitening: Whitening,
    members: Vec<Member>,
    hubs: Option<HubCorrection>,
}

/// `last(... norm(gelu(x * weight + bias)) ...)` of a row `x`; towers scale it to unit norm.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Member {
    hidden: Vec<HiddenLayer>,
    pub(crate) last: DenseLayer,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DenseLayer {
    /// `[in, out]`, every value a float16.
    pub(crate) weight: Array2<f32>,
    /// `[out]`.
    pub(crate) bias: Array1<f32>,
}

#[derive(Debug, Clone, PartialEq)]
struct HiddenLayer {
    dense: DenseLayer,
    scale: Array1<f32>,
    shift: Array1<f32>,
}

impl TowerWeights {
    /// Takes a tower and the whitening of the rows that it reads. Matrices are rounded to float16, which is what the file
    /// holds.
    pub(super) fn new(whitening: &Whitening, tower: &Tower) -> Result<Self, TrainError> {
        Ok(Self { whitening: whitening.clone(), members: vec![Member::of(tower)?], hubs: None })
    }

    /// Joins towers over the same whitened rows; there is at least one.
    pub(super) fn join(mut towers: Vec<Self>) -> Self {
        let mut joined = towers.remove(0);
        joined.members.extend(towers.into_iter().flat_map(|tower| tower.members));
        joined
    }

    /// The same tower, its hubs corrected.
    pub(super) fn with_hub_correction(self, hubs: HubCorrection) -> Self {
        Self { hubs: Some(hubs), ..self }
    }

    /// Components of a row that it takes.
    #[must_use]
    pub fn n_inputs(&self) -> usize {
        self.whitening.mean.len()
    }

    /// Components of the shared space.
    #[must_use]
    pub fn dim(&self) -> usize {
        let joined = self.members.iter().map(|member| member.last.bias.len()).sum();
        if self.hubs.is_some() { HubCorrection::corrected_dim(joined) } else { joined }
    }

    /// Rows `[n, inputs]` to unit rows `[n, dim]`, as the ONNX file gives them.
    ///
    /// # Errors
    /// [`TrainError::Tensor`].
    pub fn apply(&self, rows: &ArrayView2<'_, f32>) -> Result<Array2<f32>, TrainError> {
        let white = self.whitening.rotate(rows);
        let parts =
            self.members.iter().map(|member| member.apply(&white.view())).collect::<Result<Vec<_>, _>>()?;
        let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
        let mut joined = ndarray::concatenate(Axis(1), &views).expect("as many rows in every part");
        joined /= (self.members.len() as f32).sqrt();
        Ok(self.hubs.as_ref().map(|hubs| hubs.apply(&joined.view())).unwrap_or(joined))
    }

    /// Writes the tower: input `rows` `[batch, inputs]`, output `vectors` `[batch, dim]` of unit norm.
    ///
    /// # Errors
    /// [`TrainError::Graph`].
    pub fn write(&self, path: &Path) -> Result<PathBuf, TrainError> {
        let mut graph = GraphBuilder::new("tower");
        let rows = graph.input("rows", ElementType::Float32, [Dim::from("batch"), self.n_inputs().into()]);
        let mean = graph.f32("mean", [self.n_inputs()], self.whitening.mean.to_vec());
        let centred = graph.sub(&rows, &mean);
        let matrix = halves(&mut graph, "whitening", &self.whitening.matrix);
        let white = graph.matmul(&centred, &matrix);
        let members = self.members.iter().enumerate();
        let parts: Vec<Value> =
            members.map(|(index, member)| member.build(&mut graph, &white, index + 1)).collect();
        graph.set_scope("joined");
        let joined = graph.concat(&parts, -1);
        let mut vectors = graph.unit_norm(&joined);
        if let Some(hubs) = &self.hubs {
            vectors = hubs.build(&mut graph, &vectors);
        }
        graph.output("vectors", &vectors, ElementType::Float32, [Dim::from("batch"), self.dim().into()]);
        Ok(graph.finish()?.write(path, &protext_graph::WriteOptions::default())?.model)
    }
}

impl Member {
    /// Takes the weights of what was trained, matrices rounded to float16.
    pub(crate) fn of(tower: &Tower) -> Result<Self, candle_core::Error> {
        let n_hidden = tower.shape().n_hidden;
        let vars = tower.vars();
        let vector = |index: usize| Ok::<_, candle_core::Error>(Array1::from(vars[index].to_vec1::<f32>()?));
        let matrix = |index: usize| {
            let (rows, columns) = vars[index].dims2()?;
            let values = vars[index].flatten_all()?.to_vec1::<f32>()?;
            Ok::<_, candle_core::Error>(
                Array2::from_shape_vec((rows, columns), values).expect("candle's tensors are row-major"),
            )
        };
        let dense = |index: usize| {
            let weight = matrix(index)?.mapv(|value| f16::from_f32(value).to_f32());
            Ok::<_, candle_core::Error>(DenseLayer { weight, bias: vector(index + 1)? })
        };
        let hidden = (0..n_hidden).map(|layer| {
            let at = 4 * layer;
            Ok(HiddenLayer { dense: dense(at)?, scale: vector(at + 2)?, shift: vector(at + 3)? })
        });
        let hidden = hidden.collect::<Result<_, candle_core::Error>>()?;
        Ok(Self { hidden, last: dense(4 * n_hidden)? })
    }

    /// Unit rows.
    fn apply(&self, rows: &ArrayView2<'_, f32>) -> Result<Array2<f32>, TrainError> {
        let mut x = self.outputs(rows)?;
        for mut row in x.rows_mut() {
            let norm = row.dot(&row).sqrt().max(f32::MIN_POSITIVE);
            row /= norm;
        }
        Ok(x)
    }

    /// Rows `[n, inputs]` to outputs `[n, last]`, as the graph gives them.
    pub(crate) fn outputs(&self, rows: &ArrayView2<'_, f32>) -> Result<Array2<f32>, candle_core::Error> {
        let dense = |x: &Array2<f32>, layer: &DenseLayer| x.dot(&layer.weight) + &layer.bias;
        let mut x = rows.to_owned();
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
        Ok(dense(&x, &self.last))
    }

    /// Adds the member's nodes over whitened rows; its vectors have unit norm.
    fn build(&self, graph: &mut GraphBuilder<'_>, rows: &Value, number: usize) -> Value {
        let product = self.build_outputs(graph, rows, number);
        graph.unit_norm(&product)
    }

    /// Adds the member's nodes.
    pub(crate) fn build_outputs(&self, graph: &mut GraphBuilder<'_>, rows: &Value, number: usize) -> Value {
        let scope = format!("member.{number}");
        let mut x = rows.clone();
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
        graph.gemm(&x, &linear)
    }
}

fn linear(graph: &mut GraphBuilder<'_>, scope: &str, layer: &DenseLayer) -> Linear {
    graph.set_scope(scope);
    let weight = halves(graph, &format!("{scope}.weight"), &layer.weight);
    Linear { weight, bias: graph.f32(&format!("{scope}.bias"), [layer.bias.len()], layer.bias.to_vec()) }
}

/// A matrix of float16 values, kept as such.
pub(crate) fn halves(graph: &mut GraphBuilder<'_>, name: &str, matrix: &Array2<f32>) -> Value {
    let (n_inputs, n_outputs) = matrix.dim();
    let values: Vec<f16> = matrix.iter().map(|&value| f16::from_f32(value)).collect();
    let values = graph.f16(name, [n_inputs, n_outputs], values);
    graph.cast(&values, ElementType::Float32)
}

/// Exact GELU, by candle's error function.
fn gelu(x: &Array2<f32>) -> Result<Array2<f32>, candle_core::Error> {
    let values = x.iter().copied().collect::<Vec<f32>>();
    let values = Tensor::from_vec(values, x.len(), &Device::Cpu)?.gelu_erf()?.to_vec1::<f32>()?;
    Ok(Array2::from_shape_vec(x.raw_dim(), values).expect("as many values as before"))
}
