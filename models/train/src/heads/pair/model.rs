//! A trained head for pairs and its two graphs: rows to codes, and two codes to a score.

use std::path::{Path, PathBuf};

use ndarray::{Array2, ArrayView2, Axis, s};
use protext_graph::{Dim, ElementType, GraphBuilder, Value, WriteOptions};

use crate::contrastive::weights::Member;
use crate::heads::error::HeadTrainError;
use crate::heads::model::{mean, standardized};
use crate::heads::standardize::Standardizer;

/// Pairs that are scored together; bounds memory.
const BLOCK: usize = 4096;

/// A head for pairs, as its files hold it.
#[derive(Debug, Clone, PartialEq)]
pub struct PairModel {
    pub(super) standardizer: Standardizer,
    pub(super) members: Vec<PairMember>,
    /// Width of a member's code.
    pub(super) code_dim: usize,
}

/// One member: its tower, and what compares two of its codes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PairMember {
    pub(super) tower: Member,
    pub(super) pair: Member,
}

impl PairModel {
    /// Width of a code: those of all members side by side.
    #[must_use]
    pub fn code_dim(&self) -> usize {
        self.code_dim * self.members.len()
    }

    /// Rows `[n, inputs]` to codes `[n, code_dim]`, as `head.onnx` gives them.
    ///
    /// # Errors
    /// [`HeadTrainError::Tensor`].
    pub fn codes(&self, rows: &ArrayView2<'_, f32>) -> Result<Array2<f32>, HeadTrainError> {
        let rows = self.standardizer.apply(rows);
        let parts = self.members.iter().map(|member| member.tower.outputs(&rows.view()));
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
        Ok(ndarray::concatenate(Axis(1), &views).expect("as many rows in every part"))
    }

    /// Scores (logits) of pairs of codes `[n, code_dim]`, as `pair.onnx` gives them.
    ///
    /// # Errors
    /// [`HeadTrainError::Tensor`].
    pub fn scores(
        &self,
        codes: &ArrayView2<'_, f32>,
        pairs: &[(u32, u32)],
    ) -> Result<Vec<f32>, HeadTrainError> {
        let mut scores = Vec::with_capacity(pairs.len());
        for block in pairs.chunks(BLOCK) {
            let mut sum = Array2::<f32>::zeros((block.len(), 1));
            for (at, member) in self.members.iter().enumerate() {
                let codes = codes.slice(s![.., at * self.code_dim..(at + 1) * self.code_dim]);
                let take = |side: fn(&(u32, u32)) -> u32| {
                    let rows: Vec<usize> = block.iter().map(|pair| side(pair) as usize).collect();
                    codes.select(Axis(0), &rows)
                };
                let (a, b) = (take(|pair| pair.0), take(|pair| pair.1));
                let joined = ndarray::concatenate![Axis(1), &a * &b, (&a - &b).mapv(f32::abs), &a + &b];
                sum += &member.pair.outputs(&joined.view())?;
            }
            scores.extend(sum.iter().map(|sum| sum / self.members.len() as f32));
        }
        Ok(scores)
    }

    /// Writes rows to codes: input `rows` `[batch, inputs]`, output `codes` `[batch, code_dim]`.
    ///
    /// # Errors
    /// [`HeadTrainError::Graph`].
    pub fn write_tower(&self, path: &Path) -> Result<PathBuf, HeadTrainError> {
        let mut graph = GraphBuilder::new("pair-tower");
        let n_inputs = self.standardizer.mean.len();
        let rows = graph.input("rows", ElementType::Float32, [Dim::from("batch"), n_inputs.into()]);
        let rows = standardized(&mut graph, &self.standardizer, &rows);
        let members = self.members.iter().enumerate();
        let each: Vec<Value> =
            members.map(|(at, member)| member.tower.build_outputs(&mut graph, &rows, at + 1)).collect();
        graph.set_scope("codes");
        let codes = graph.concat(&each, -1);
        graph.output("codes", &codes, ElementType::Float32, [Dim::from("batch"), self.code_dim().into()]);
        Ok(graph.finish()?.write(path, &WriteOptions::default())?.model)
    }

    /// Writes two codes to a score: inputs `one` `[1 or batch, code_dim]` and `others` `[batch, code_dim]`, output `scores`
    /// `[batch]`.
    ///
    /// # Errors
    /// [`HeadTrainError::Graph`].
    pub fn write_pair(&self, path: &Path) -> Result<PathBuf, HeadTrainError> {
        let mut graph = GraphBuilder::new("pair");
        let dim = self.code_dim();
        let one = graph.input("one", ElementType::Float32, [Dim::from("ones"), dim.into()]);
        let others = graph.input("others", ElementType::Float32, [Dim::from("batch"), dim.into()]);
        let mut each = Vec::with_capacity(self.members.len());
        for (at, member) in self.members.iter().enumerate() {
            graph.set_scope(format!("member.{}.codes", at + 1));
            let (a, b) = (self.slice(&mut graph, &one, at), self.slice(&mut graph, &others, at));
            let product = graph.mul(&a, &b);
            let difference = graph.sub(&a, &b);
            let difference = graph.node("Abs", [&difference]).output();
            let sum = graph.add(&a, &b);
            let joined = graph.concat(&[product, difference, sum], -1);
            each.push(member.pair.build_outputs(&mut graph, &joined, at + 1));
        }
        graph.set_scope("mean");
        let scores = mean(&mut graph, &each);
        let scores = graph.squeeze(&scores, &[1]);
        graph.output("scores", &scores, ElementType::Float32, [Dim::from("batch")]);
        Ok(graph.finish()?.write(path, &WriteOptions::default())?.model)
    }

    /// The code of one member.
    fn slice(&self, graph: &mut GraphBuilder<'_>, codes: &Value, member: usize) -> Value {
        if self.members.len() == 1 {
            return codes.clone();
        }
        let [start, end] = [member, member + 1].map(|at| (at * self.code_dim) as i64);
        let (start, end, axis) = (graph.i64_list(&[start]), graph.i64_list(&[end]), graph.i64_list(&[1]));
        graph.node("Slice", [codes, &start, &end, &axis]).output()
    }
}
