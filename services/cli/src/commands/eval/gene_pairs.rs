//! Gene-gene interaction: do two genes belong together? Features of the pair are symmetric, so both orders give one answer.
//!
//! How alike the GO terms of both are, how many they share, how many each has, and how alike their texts are, with squares
//! and products, by ridge regression; folds are of pairs, as genes are shared between the parts of such data.

use std::path::Path;

use ndarray::{Array2, Axis};
use protext_engine::eval::{BinaryMetrics, LabelledPairs, Resampling, binary};
use protext_engine::genes::GeneTable;
use protext_engine::split::folds;
use protext_train::genes::{Design, RidgeSettings, fit_ridge};

use super::genes::{TaskBaselines, TaskFound};
use crate::commands::gene_heads::places;

/// Plain features of a pair; the last is that of the text.
const N_PLAIN: usize = 6;
/// Small beside thousands of pairs, and large enough for single precision.
const SETTINGS: RidgeSettings = RidgeSettings { penalty: 10.0, max_rank: 1 };

/// Cross-validated figures of labelled pairs.
pub(super) fn measure(
    table: &GeneTable,
    path: &Path,
    data: &LabelledPairs,
    n_folds: usize,
) -> anyhow::Result<TaskFound> {
    let (places, n_unknown_genes) = places(table, &data.genes, path);
    let plain: Vec<[f32; N_PLAIN]> =
        data.pairs.iter().map(|&(a, b)| features(table, places[a], places[b])).collect();
    let members = &data.pairs;
    let names: Vec<String> = members
        .iter()
        .map(|&(a, b)| {
            format!(
                "{}+{}",
                data.genes[a].as_str().min(&data.genes[b]),
                data.genes[a].as_str().max(&data.genes[b])
            )
        })
        .collect();
    let groups: Vec<&str> = names.iter().map(String::as_str).collect();
    let folds = folds(&groups, n_folds, 0);
    let figures = |rows: Array2<f32>| -> anyhow::Result<BinaryMetrics> {
        let scores = by_pair(&rows, &data.labels, &folds, n_folds)?;
        Ok(binary(&scores, &data.labels, Resampling::Members(members)))
    };
    let text = Array2::from_shape_fn((plain.len(), 1), |(row, _)| plain[row][N_PLAIN - 1]);
    let ours = figures(expanded(&plain))?;
    let baselines = TaskBaselines { text_ridge: figures(text)? };
    Ok(TaskFound { positive: data.positive.clone(), n_unknown_genes, ours, baselines })
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

/// Standardised features with their squares and products.
fn expanded(plain: &[[f32; N_PLAIN]]) -> Array2<f32> {
    let mut rows = Array2::from_shape_fn((plain.len(), N_PLAIN), |(row, at)| plain[row][at]);
    for mut column in rows.columns_mut() {
        let mean = column.mean().unwrap_or(0.0);
        let deviation = column.std(0.0).max(1e-6);
        column.mapv_inplace(|value| (value - mean) / deviation);
    }
    let products: Vec<(usize, usize)> =
        (0..N_PLAIN).flat_map(|a| (a..N_PLAIN).map(move |b| (a, b))).collect();
    Array2::from_shape_fn((plain.len(), N_PLAIN + products.len()), |(row, at)| {
        match at.checked_sub(N_PLAIN) {
            None => rows[[row, at]],
            Some(product) => rows[[row, products[product].0]] * rows[[row, products[product].1]],
        }
    })
}

fn by_pair(rows: &Array2<f32>, labels: &[bool], folds: &[usize], n_folds: usize) -> anyhow::Result<Vec<f64>> {
    let mut scores = vec![0.0; labels.len()];
    for fold in 0..n_folds {
        let (held_out, training): (Vec<usize>, Vec<usize>) =
            (0..labels.len()).partition(|&at| folds[at] == fold);
        let targets =
            Array2::from_shape_fn((training.len(), 1), |(at, _)| f32::from(u8::from(labels[training[at]])));
        let head = fit_ridge(&Dense(rows.select(Axis(0), &training)), &targets.view(), SETTINGS)?;
        let found = head.predict(&Dense(rows.select(Axis(0), &held_out)));
        held_out.iter().enumerate().for_each(|(at, &pair)| scores[pair] = f64::from(found[[at, 0]]));
    }
    Ok(scores)
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
