//! Cross-validation by gene: what is said of a gene comes from heads that have not seen it.

use ndarray::{Array2, Axis};
use protext_engine::eval::perturbation::GenePairs;
use protext_engine::genes::GeneTable;
use protext_engine::split::folds;

use super::design::GeneRows;
use super::recipe::{PairRecipe, RankedRecipe};
use crate::commands::train::head::with_bar;

/// Seed of the folds.
const SEED: u64 = 0;

/// The fold of each gene.
#[derive(Debug, Clone)]
pub(crate) struct Folds {
    of_gene: Vec<usize>,
    n_folds: usize,
}

impl Folds {
    /// Genes that the table takes for one gene fall into one fold.
    pub(crate) fn new(table: &GeneTable, genes: &[String], places: &[Option<usize>], n_folds: usize) -> Self {
        let name = |(gene, place): (&String, &Option<usize>)| -> String {
            place.map_or_else(|| gene.clone(), |place| table.genes()[place].symbol.clone())
        };
        let names: Vec<String> = genes.iter().zip(places).map(name).collect();
        let groups: Vec<&str> = names.iter().map(String::as_str).collect();
        Self { of_gene: folds(&groups, n_folds, SEED), n_folds }
    }

    /// How many.
    pub(crate) fn n_folds(&self) -> usize {
        self.n_folds
    }

    /// The fold of a gene.
    pub(super) fn of(&self, gene: usize) -> usize {
        self.of_gene[gene]
    }

    /// Genes outside and inside of a fold.
    pub(crate) fn split(&self, fold: usize) -> (Vec<usize>, Vec<usize>) {
        (0..self.of_gene.len()).partition(|&gene| self.of_gene[gene] != fold)
    }
}

/// Predictions and the training mean, row by row of the data.
#[derive(Debug, Clone)]
pub(crate) struct Predictions {
    /// `[n, outputs]`.
    pub(crate) predicted: Array2<f32>,
    /// `[n, outputs]`.
    pub(crate) mean: Array2<f32>,
}

/// Many numbers of every gene, `[genes, outputs]`.
pub(crate) fn changes_by_gene(
    rows: &GeneRows,
    measured: &Array2<f32>,
    recipe: &RankedRecipe,
    folds: &Folds,
) -> anyhow::Result<Predictions> {
    let mut predicted = Array2::zeros(measured.dim());
    let mut mean = Array2::zeros(measured.dim());
    for fold in 0..folds.n_folds {
        let (training, held_out) = folds.split(fold);
        let scores = measured.select(Axis(0), &training);
        let head = with_bar(|on_epoch| recipe.fit(&rows.select(&training), &scores.view(), on_epoch))?;
        let found = head.predict(&rows.select(&held_out))?;
        let fold_mean = scores.mean_axis(Axis(0)).unwrap_or_default();
        for (at, &gene) in held_out.iter().enumerate() {
            predicted.row_mut(gene).assign(&found.row(at));
            mean.row_mut(gene).assign(&fold_mean);
        }
    }
    Ok(Predictions { predicted, mean })
}

/// Numbers of pairs of which one gene at least was not seen.
#[derive(Debug, Clone)]
pub(crate) struct PairPredictions {
    /// One a pair: the mean of what is said where one or both of its genes are held out.
    pub(crate) predicted: Vec<f64>,
    /// Whether both genes fall into one fold, so that neither was seen.
    pub(crate) both_unseen: Vec<bool>,
}

/// Every pair, by heads that have not seen one of its genes.
pub(crate) fn pairs_by_gene(
    rows: &GeneRows,
    data: &GenePairs,
    recipe: &PairRecipe,
    folds: &Folds,
) -> anyhow::Result<PairPredictions> {
    let (mut sums, mut counts) = (vec![0.0; data.pairs.len()], vec![0.0; data.pairs.len()]);
    for fold in 0..folds.n_folds {
        let (training, _) = folds.split(fold);
        let mut place = vec![None; data.genes.len()];
        training.iter().enumerate().for_each(|(at, &gene)| place[gene] = Some(at));
        let seen = data.pairs.iter().filter_map(|&(a, b, score)| Some((place[a]?, place[b]?, score)));
        let head = recipe.fit(&rows.select(&training), &seen.collect::<Vec<_>>())?;
        let codes = head.codes(rows, &place);
        for (at, &(a, b, _)) in data.pairs.iter().enumerate() {
            if place[a].is_none() || place[b].is_none() {
                sums[at] += f64::from(head.score(&codes.row(a), &codes.row(b)));
                counts[at] += 1.0;
            }
        }
    }
    let of_gene = &folds.of_gene;
    Ok(PairPredictions {
        predicted: sums.iter().zip(&counts).map(|(sum, count)| sum / count).collect(),
        both_unseen: data.pairs.iter().map(|&(a, b, _)| of_gene[a] == of_gene[b]).collect(),
    })
}
