//! Vectors of what raises genes: in which knock-downs each is among the raised ones, cut to leading principal components.

use std::path::PathBuf;

use ndarray::{Array2, ArrayView2, Axis};
use protext_engine::eval::perturbation::PerturbationData;
use protext_engine::genes::GeneTable;

use super::gene_proteins::leading;
use crate::fault::UsageError;

/// One vector a gene of `table`, `[genes, components]`: its scores in all knock-downs of all files at unit norm, centred over all
/// genes. Those that are in no ranking are zeros before they are centred, so that they are alike.
pub(super) fn vectors(
    paths: &[PathBuf],
    table: &GeneTable,
    n_components: usize,
) -> anyhow::Result<Array2<f32>> {
    let mut files: Vec<Array2<f32>> = Vec::new();
    for path in paths {
        let PerturbationData::Ranked(data) = PerturbationData::read(path, None)? else {
            let said =
                format!("{}: no ranked responses; columns pert and up_ranked are needed", path.display());
            return Err(UsageError(said).into());
        };
        let mut rows = Array2::<f32>::zeros((table.genes().len(), data.perturbed.len()));
        for (output, scores) in data.outputs.iter().zip(data.scores.columns()) {
            if let Ok(found) = table.resolve(output) {
                let mut row = rows.row_mut(found.gene);
                // Two names of one gene: the stronger response.
                row.zip_mut_with(&scores, |known, score| *known = known.max(*score));
            }
        }
        files.push(rows);
    }
    let views: Vec<ArrayView2<'_, f32>> = files.iter().map(|rows| rows.view()).collect();
    let mut rows = ndarray::concatenate(Axis(1), &views)?;
    let mut n_raised = 0;
    for mut row in rows.rows_mut() {
        let norm = row.dot(&row).sqrt();
        if norm > 0.0 {
            row /= norm;
            n_raised += 1;
        }
    }
    leading(
        &rows.view(),
        n_components,
        &format!("responses of {n_raised} genes to {} knock-downs", rows.ncols()),
    )
}
