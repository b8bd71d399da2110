//! Heads of genes as ONNX files; weights are halves, as they are when a head is used.

use std::path::Path;

use ndarray::{Array2, Axis};
use protext_graph::{Dim, ElementType, GraphBuilder, Value, WriteOptions};

use super::{GeneHead, GeneHeadError, GenePairHead};
use crate::contrastive::weights::halves;
use crate::heads::mean;

impl GeneHead {
    /// Writes the head: input `rows` `[batch, inputs]`, output `outputs` `[batch, outputs]`.
    ///
    /// # Errors
    /// [`GeneHeadError::Graph`].
    pub fn write(&self, path: &Path) -> Result<(), GeneHeadError> {
        let mut graph = GraphBuilder::new("gene head");
        let n_inputs = self.n_inputs();
        let rows = graph.input("rows", ElementType::Float32, [Dim::from("batch"), n_inputs.into()]);
        let linear = self.down.as_ref().map(|down| used_times(&mut graph, "ridge", &rows, down));
        let mlp = self.mlp.as_ref().map(|mlp| mlp.build(&mut graph, &rows));
        graph.set_scope("");
        let parts: Vec<Value> = linear.into_iter().chain(mlp).collect();
        if parts.is_empty() {
            return Err(GeneHeadError::NoMethod);
        }
        let mut changes = mean(&mut graph, &parts);
        if let Some(up) = &self.up {
            let up = halves(&mut graph, "up", up);
            changes = graph.matmul(&changes, &up);
        }
        let training_mean = graph.f32("training_mean", [self.mean.len()], self.mean.to_vec());
        let outputs = graph.add(&changes, &training_mean);
        let dims = [Dim::from("batch"), self.n_outputs().into()];
        graph.output("outputs", &outputs, ElementType::Float32, dims);
        finish(graph, path)
    }
}

impl GenePairHead {
    /// Writes `head.onnx`, rows (a gene's, then a one in the column of a training gene) to codes, and `pair.onnx`, the code
    /// `one` `[1, rank]` and codes `others` `[n, rank]` to `scores` `[n, 1]`.
    ///
    /// # Errors
    /// [`GeneHeadError::Graph`].
    pub fn write(&self, head: &Path, pair: &Path) -> Result<(), GeneHeadError> {
        let rank = self.down.ncols();
        let mut graph = GraphBuilder::new("gene pair head");
        let n_inputs = self.down.nrows() + self.own.nrows();
        let rows = graph.input("rows", ElementType::Float32, [Dim::from("batch"), n_inputs.into()]);
        let both = ndarray::concatenate![Axis(0), self.down, self.own];
        let codes = used_times(&mut graph, "both", &rows, &both);
        graph.output("codes", &codes, ElementType::Float32, [Dim::from("batch"), rank.into()]);
        finish(graph, head)?;
        let mut graph = GraphBuilder::new("gene pairs");
        let one = graph.input("one", ElementType::Float32, [Dim::from(1_usize), rank.into()]);
        let others = graph.input("others", ElementType::Float32, [Dim::from("batch"), rank.into()]);
        let sign = graph.f32("sign", [rank], self.sign.to_vec());
        let signed = graph.mul(&others, &sign);
        let one = graph.transpose(&one, [1, 0]);
        let products = graph.matmul(&signed, &one);
        let mean = graph.f32_scalar(self.mean);
        let scores = graph.add(&products, &mean);
        graph.output("scores", &scores, ElementType::Float32, [Dim::from("batch"), 1.into()]);
        finish(graph, pair)
    }
}

/// `rows * weight`. Columns that weigh nothing are not read, which keeps the file small.
pub(super) fn used_times(
    graph: &mut GraphBuilder<'_>,
    name: &str,
    rows: &Value,
    weight: &Array2<f32>,
) -> Value {
    let used: Vec<usize> =
        (0..weight.nrows()).filter(|&row| weight.row(row).iter().any(|value| *value != 0.0)).collect();
    let columns =
        graph.i64(&format!("{name}.columns"), [used.len()], used.iter().map(|&row| row as i64).collect());
    let rows = graph.node("Gather", [rows, &columns]).attribute("axis", 1).output();
    let weight = halves(graph, &format!("{name}.weight"), &weight.select(Axis(0), &used));
    graph.matmul(&rows, &weight)
}

fn finish(graph: GraphBuilder<'_>, path: &Path) -> Result<(), GeneHeadError> {
    let failed = |source| GeneHeadError::Graph { path: path.to_owned(), source };
    graph.finish().map_err(failed)?.write(path, &WriteOptions::default()).map_err(failed)?;
    Ok(())
}
