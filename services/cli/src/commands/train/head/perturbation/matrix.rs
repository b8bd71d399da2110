//! Changes of expression, learnt from a matrix of conditions and genes; sets of genes are measured as sums.

use std::collections::BTreeMap;

use ndarray::Array2;
use protext_core::{HeadFigure, HeadTask};
use protext_engine::eval::perturbation::response_figures;
use protext_engine::expression::Responses;

use super::super::with_bar;
use super::{Made, Training, details};
use crate::commands::gene_heads::{RankedRecipe, changes_by_gene};

impl Training<'_> {
    /// Changes of single genes are learnt; sets of genes, if any, are measured as sums.
    pub(super) fn matrix(&self, data: &MatrixResponses) -> anyhow::Result<Made> {
        let recipe = RankedRecipe { power: 1.0, ..self.recipe };
        let text = RankedRecipe::TEXT;
        let rows = self.rows(recipe.blocks);
        let validated = changes_by_gene(&rows, &data.changes, &recipe, &self.folds)?;
        let figures = response_figures(&validated.predicted, &data.changes);
        let baseline = response_figures(&validated.mean, &data.changes);
        let mut metrics = BTreeMap::new();
        for (part, figures) in [("cv", figures), ("cv_training_mean", baseline)] {
            for (name, value) in figures.named() {
                metrics.insert(format!("{part}_{name}"), HeadFigure { value, low: None, high: None });
            }
        }
        let head = with_bar(|on_epoch| recipe.fit(&rows, &data.changes.view(), on_epoch))?;
        if let Some((predicted, measured)) = data.sets(&head.predict(&rows)?) {
            for (name, value) in response_figures(&predicted, &measured).named() {
                metrics.insert(format!("sets_as_sums_{name}"), HeadFigure { value, low: None, high: None });
            }
        }
        self.write_head(head, recipe.blocks, "head.onnx")?;
        let text_head = text.fit(&self.rows(text.blocks), &data.changes.view(), &mut |_| true)?;
        self.write_head(text_head, text.blocks, "text.onnx")?;
        let means = data.changes.mean_axis(ndarray::Axis(0)).unwrap_or_default();
        Ok(Made {
            task: HeadTask::Perturbation,
            method: recipe.in_words("changes"),
            unit: "change of mean expression against the controls",
            outputs: details(&data.outputs, &means, &(&validated.predicted - &data.changes)),
            files: vec!["head.onnx", "text.onnx"],
            metrics,
            own: None,
            weights: recipe.blocks,
            n_rows: data.genes.len(),
        })
    }
}

/// Responses of single genes, and of sets of genes that were perturbed alone, too.
pub(super) struct MatrixResponses {
    pub(super) genes: Vec<String>,
    outputs: Vec<String>,
    /// `[genes, outputs]`.
    changes: Array2<f32>,
    /// Places of the genes of each set.
    set_members: Vec<Vec<usize>>,
    /// `[sets, outputs]`.
    set_changes: Array2<f32>,
}

impl MatrixResponses {
    pub(super) fn new(all: Responses) -> Self {
        let single: Vec<usize> =
            (0..all.conditions.len()).filter(|&at| all.conditions[at].len() == 1).collect();
        let genes: Vec<String> = single.iter().map(|&at| all.conditions[at][0].clone()).collect();
        let place = |gene: &String| genes.iter().position(|known| known == gene);
        let sets: Vec<(usize, Vec<usize>)> = (0..all.conditions.len())
            .filter(|&at| all.conditions[at].len() > 1)
            .filter_map(|at| Some((at, all.conditions[at].iter().map(place).collect::<Option<Vec<_>>>()?)))
            .collect();
        let rows: Vec<usize> = sets.iter().map(|(at, _)| *at).collect();
        Self {
            changes: all.changes.select(ndarray::Axis(0), &single),
            set_changes: all.changes.select(ndarray::Axis(0), &rows),
            set_members: sets.into_iter().map(|(_, members)| members).collect(),
            outputs: all.outputs,
            genes,
        }
    }

    /// Predicted and measured changes of sets, `[sets, outputs]` each.
    fn sets(&self, predicted: &Array2<f32>) -> Option<(Array2<f32>, Array2<f32>)> {
        if self.set_members.is_empty() {
            return None;
        }
        let mut sums = Array2::zeros(self.set_changes.dim());
        for (mut sum, members) in sums.rows_mut().into_iter().zip(&self.set_members) {
            members.iter().for_each(|&gene| sum += &predicted.row(gene));
        }
        Some((sums, self.set_changes.clone()))
    }
}
