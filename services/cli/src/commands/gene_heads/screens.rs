//! Screens: by which recipe each is learnt, and cross-validation by gene.

use ndarray::{Array2, ArrayView1};
use protext_engine::eval::perturbation::Screens;
use protext_engine::eval::spearman;
use protext_engine::genes::GeneTable;
use protext_train::genes::GeneHead;
use rayon::prelude::*;

use super::design::GeneRows;
use super::recipe::ScreenRecipe;
use super::validate::Folds;
use crate::progress;

/// Recipes that a screen may be learnt by, the simplest first, with the rows that they read.
pub(crate) struct ScreenChoices(Vec<(ScreenRecipe, GeneRows)>);

/// A screen's head and the recipe that it was learnt by.
pub(crate) struct ScreenHead {
    pub(crate) recipe: ScreenRecipe,
    pub(crate) head: GeneHead,
    /// Place of the recipe among the choices.
    choice: usize,
}

impl ScreenChoices {
    /// Rows of the genes at `places` for each recipe.
    pub(crate) fn new(table: &GeneTable, places: &[Option<usize>], recipes: &[ScreenRecipe]) -> Self {
        Self(recipes.iter().map(|recipe| (*recipe, GeneRows::new(table, places, recipe.blocks))).collect())
    }

    /// Fits the best recipe to the genes of a screen; to none of those of the fold `left_out`, by which it is not chosen either.
    pub(crate) fn fit(
        &self,
        scores: &ArrayView1<'_, f32>,
        folds: &Folds,
        left_out: Option<usize>,
    ) -> anyhow::Result<ScreenHead> {
        let choice = self.best(scores, folds, left_out)?;
        let training = measured(scores, |gene| Some(folds.of(gene)) != left_out);
        Ok(ScreenHead { recipe: self.0[choice].0, head: self.fit_one(choice, scores, &training)?, choice })
    }

    /// The first recipe, unless a later one orders genes that were held out better by a standard error of the correlation, in
    /// cross-validation over the other folds; the last where there is one other fold only. Source: the rule of one standard error,
    /// Breiman et al. 1984, "Classification and Regression Trees".
    fn best(
        &self,
        scores: &ArrayView1<'_, f32>,
        folds: &Folds,
        left_out: Option<usize>,
    ) -> anyhow::Result<usize> {
        let last = self.0.len() - 1;
        let inner: Vec<usize> = (0..folds.n_folds()).filter(|fold| Some(*fold) != left_out).collect();
        if last == 0 || inner.len() == 1 {
            return Ok(last);
        }
        let mut best = (0, f64::NEG_INFINITY);
        for choice in 0..=last {
            let (mut predicted, mut truth) = (Vec::new(), Vec::new());
            for &fold in &inner {
                let is_training = |gene| folds.of(gene) != fold && Some(folds.of(gene)) != left_out;
                let held_out = measured(scores, |gene| folds.of(gene) == fold);
                let head = self.fit_one(choice, scores, &measured(scores, is_training))?;
                let found = head.predict(&self.0[choice].1.select(&held_out))?;
                predicted.extend(found.iter().map(|value| f64::from(*value)));
                truth.extend(held_out.iter().map(|&gene| f64::from(scores[gene])));
            }
            let found = spearman(&predicted, &truth);
            let standard_error = (truth.len().max(2) as f64 - 1.0).sqrt().recip();
            if found > best.1 + standard_error {
                best = (choice, found);
            }
        }
        Ok(best.0)
    }

    fn fit_one(
        &self,
        choice: usize,
        scores: &ArrayView1<'_, f32>,
        genes: &[usize],
    ) -> anyhow::Result<GeneHead> {
        let (recipe, rows) = &self.0[choice];
        let targets: Vec<f32> = genes.iter().map(|&gene| scores[gene]).collect();
        Ok(recipe.fit(&rows.select(genes), &targets)?)
    }
}

/// Genes that a screen has, of those that `is_wanted`.
fn measured(scores: &ArrayView1<'_, f32>, is_wanted: impl Fn(usize) -> bool) -> Vec<usize> {
    (0..scores.len()).filter(|&gene| scores[gene].is_finite() && is_wanted(gene)).collect()
}

/// Scores of every gene in each screen, `[genes, screens]`; NaN where the screen does not have the gene.
pub(crate) fn screens_by_gene(
    choices: &ScreenChoices,
    data: &Screens,
    folds: &Folds,
) -> anyhow::Result<Array2<f32>> {
    let parts: Vec<(usize, usize)> = (0..data.screens.len())
        .flat_map(|screen| (0..folds.n_folds()).map(move |fold| (screen, fold)))
        .collect();
    let bar = progress::count(parts.len() as u64, "folds of screens");
    let found = parts.par_iter().map(|&(screen, fold)| {
        let scores = data.scores.column(screen);
        let ScreenHead { head, choice, .. } = choices.fit(&scores, folds, Some(fold))?;
        let held_out = measured(&scores, |gene| folds.of(gene) == fold);
        let found = head.predict(&choices.0[choice].1.select(&held_out))?;
        bar.inc(1);
        Ok((screen, held_out, found))
    });
    let found: Vec<(usize, Vec<usize>, Array2<f32>)> = found.collect::<anyhow::Result<_>>()?;
    bar.finish_and_clear();
    let mut predicted = Array2::from_elem(data.scores.dim(), f32::NAN);
    for (screen, held_out, found) in &found {
        held_out.iter().enumerate().for_each(|(at, &gene)| predicted[[gene, *screen]] = found[[at, 0]]);
    }
    Ok(predicted)
}
