//! Gene-gene interaction: do two genes belong together? Features of the pair are symmetric, so both orders give one answer.
//!
//! How alike the GO terms of both are, how many they share, how many each has, and how alike their texts are, with squares
//! and products, by ridge regression; learnt from training pairs, or across folds of pairs, as genes are shared between the parts
//! of such data.

use std::collections::HashSet;
use std::path::Path;

use ndarray::{Array1, Array2, Axis};
use protext_engine::eval::{BinaryMetrics, LabelledPairs, Resampling, binary};
use protext_engine::genes::GeneTable;
use protext_engine::split::folds;
use protext_train::genes::{Design, GeneHead, RidgeSettings, fit_ridge};

use super::genes::{TaskBaselines, TaskFound};
use crate::commands::gene_heads::places;

/// Plain features of a pair; the last is that of the text.
const N_PLAIN: usize = 6;
/// Small beside thousands of pairs, and large enough for single precision.
const SETTINGS: RidgeSettings = RidgeSettings { penalty: 10.0, max_rank: 1 };

/// Figures of labelled pairs: learnt from `train` without those that are asked about, else from the other of `n_folds` folds.
pub(super) fn measure(
    table: &GeneTable,
    path: &Path,
    data: &LabelledPairs,
    (train, n_folds): (Option<(&LabelledPairs, &Path)>, usize),
) -> anyhow::Result<TaskFound> {
    let (places, n_unknown_genes) = places(table, &data.genes, path);
    let asked = plain(table, &places, &data.pairs);
    let taught = train.map(|(pairs, of)| taught_pairs(table, data, pairs, of));
    let figures = |n_last: usize| -> anyhow::Result<BinaryMetrics> {
        let part = |rows: &[[f32; N_PLAIN]]| -> Vec<Vec<f32>> {
            rows.iter().map(|row| row[N_PLAIN - n_last..].to_vec()).collect()
        };
        let scores = match &taught {
            None => by_fold(&part(&asked), data, n_folds)?,
            Some((rows, labels)) => by_lessons(&part(&asked), &part(rows), labels)?,
        };
        Ok(binary(&scores, &data.labels, Resampling::Members(&data.pairs)))
    };
    let ours = figures(N_PLAIN)?;
    let baselines = TaskBaselines { text_ridge: figures(1)? };
    Ok(TaskFound { positive: data.positive.clone(), n_unknown_genes, ours, baselines })
}

fn plain(table: &GeneTable, places: &[Option<usize>], pairs: &[(usize, usize)]) -> Vec<[f32; N_PLAIN]> {
    pairs.iter().map(|&(a, b)| features(table, places[a], places[b])).collect()
}

/// A pair by its names, in an order that does not depend on how it is written.
fn name(genes: &[String], (a, b): (usize, usize)) -> String {
    let (a, b) = (&genes[a], &genes[b]);
    format!("{}+{}", a.min(b), a.max(b))
}

/// Features and labels of the pairs to learn from that are not asked about.
fn taught_pairs(
    table: &GeneTable,
    asked: &LabelledPairs,
    taught: &LabelledPairs,
    path: &Path,
) -> (Vec<[f32; N_PLAIN]>, Vec<bool>) {
    let known: HashSet<String> = asked.pairs.iter().map(|&pair| name(&asked.genes, pair)).collect();
    let kept: Vec<usize> = (0..taught.pairs.len())
        .filter(|&at| !known.contains(&name(&taught.genes, taught.pairs[at])))
        .collect();
    let pairs: Vec<(usize, usize)> = kept.iter().map(|&at| taught.pairs[at]).collect();
    let (places, _) = places(table, &taught.genes, path);
    (plain(table, &places, &pairs), kept.iter().map(|&at| taught.labels[at]).collect())
}

/// Of a gene that is not known all are zero.
fn features(table: &GeneTable, a: Option<usize>, b: Option<usize>) -> [f32; N_PLAIN] {
    let (Some(a), Some(b)) = (a, b) else { return [0.0; N_PLAIN] };
    let n_terms = table.n_term_columns() as u32;
    let ((columns_a, values_a), (columns_b, values_b)) = (table.rows().row(a), table.rows().row(b));
    let (mut alike, mut n_shared, mut text) = (0.0, 0.0, 0.0);
    let mut at = 0;
    for (column, value) in columns_a.iter().zip(values_a) {
        while at < columns_b.len() && columns_b[at] < *column {
            at += 1;
        }
        if columns_b.get(at) == Some(column) {
            if *column == n_terms {
                continue;
            }
            if *column < n_terms {
                (alike, n_shared) = (alike + value * values_b[at], n_shared + 1.0);
            } else {
                text += value * values_b[at];
            }
        }
    }
    let n_of = |gene: usize| table.genes()[gene].terms.len() as f32;
    let (fewer, more) = (n_of(a).min(n_of(b)), n_of(a).max(n_of(b)));
    [alike, alike.max(0.0).sqrt(), f32::ln_1p(n_shared), fewer.ln_1p(), more.ln_1p(), text]
}

/// Standardised features with their squares and products; the scale is that of the first rows given.
fn expanded(scale_of: &[Vec<f32>], plain: &[Vec<f32>]) -> Array2<f32> {
    let width = scale_of.first().map_or(0, Vec::len);
    let scales: Vec<(f32, f32)> = (0..width)
        .map(|at| {
            let column: Array1<f32> = scale_of.iter().map(|row| row[at]).collect();
            (column.mean().unwrap_or(0.0), column.std(0.0).max(1e-6))
        })
        .collect();
    let products: Vec<(usize, usize)> = (0..width).flat_map(|a| (a..width).map(move |b| (a, b))).collect();
    let value = |row: usize, at: usize| (plain[row][at] - scales[at].0) / scales[at].1;
    Array2::from_shape_fn((plain.len(), width + products.len()), |(row, at)| match at.checked_sub(width) {
        None => value(row, at),
        Some(product) => value(row, products[product].0) * value(row, products[product].1),
    })
}

fn fitted(rows: Array2<f32>, labels: impl Fn(usize) -> bool) -> anyhow::Result<GeneHead> {
    let targets = Array2::from_shape_fn((rows.nrows(), 1), |(at, _)| f32::from(u8::from(labels(at))));
    Ok(fit_ridge(&Dense(rows), &targets.view(), SETTINGS)?)
}

/// What each pair gets from a fit that has not seen it.
fn by_fold(plain: &[Vec<f32>], data: &LabelledPairs, n_folds: usize) -> anyhow::Result<Vec<f64>> {
    let rows = expanded(plain, plain);
    let names: Vec<String> = data.pairs.iter().map(|&pair| name(&data.genes, pair)).collect();
    let folds = folds(&names.iter().map(String::as_str).collect::<Vec<_>>(), n_folds, 0);
    let mut scores = vec![0.0; plain.len()];
    for fold in 0..n_folds {
        let (held_out, training): (Vec<usize>, Vec<usize>) =
            (0..plain.len()).partition(|&at| folds[at] == fold);
        let head = fitted(rows.select(Axis(0), &training), |at| data.labels[training[at]])?;
        let found = head.predict(&Dense(rows.select(Axis(0), &held_out)))?;
        held_out.iter().enumerate().for_each(|(at, &pair)| scores[pair] = f64::from(found[[at, 0]]));
    }
    Ok(scores)
}

/// What each pair gets from a fit on other pairs.
fn by_lessons(plain: &[Vec<f32>], taught: &[Vec<f32>], labels: &[bool]) -> anyhow::Result<Vec<f64>> {
    let head = fitted(expanded(taught, taught), |at| labels[at])?;
    let found = head.predict(&Dense(expanded(taught, plain)))?;
    Ok(found.column(0).iter().map(|&score| f64::from(score)).collect())
}

/// Rows without zeros.
struct Dense(Array2<f32>);

impl Design for Dense {
    fn n_rows(&self) -> usize {
        self.0.nrows()
    }

    fn dim(&self) -> usize {
        self.0.ncols()
    }

    fn gram(&self) -> Array2<f64> {
        let rows = self.0.mapv(f64::from);
        rows.dot(&rows.t())
    }

    fn times(&self, weight: &ndarray::ArrayView2<'_, f32>) -> Array2<f32> {
        self.0.dot(weight)
    }

    fn transposed_times(&self, values: &ndarray::ArrayView2<'_, f32>) -> Array2<f32> {
        self.0.t().dot(values)
    }

    fn mean_square(&self) -> f64 {
        self.0.iter().map(|value| f64::from(value * value)).sum::<f64>() / self.0.nrows().max(1) as f64
    }
}
