//! Vectors of the proteins of genes: layer statistics, standardised, cut to their leading principal components.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Context as _;
use ndarray::{Array2, ArrayView2, Axis};
use protext_core::{Modality, RowKind};
use protext_engine::cached_rows::NamedContent;
use protext_engine::input::{Duplicates, InputOptions, Source, open};
use protext_texts::gene_table::Gene;
use protext_train::principal_components;

use crate::commands::row_source::rows;
use crate::fault::UsageError;
use crate::wiring::{self, ModelArgs};

/// Column of the genes of a protein.
const GENES: &str = "entrez_ids";

/// One vector a gene, `[genes, components]`: the mean over its proteins; zeros for genes without any.
pub(super) fn vectors(
    path: &Path,
    genes: &[Gene],
    model: &ModelArgs,
    n_components: usize,
) -> anyhow::Result<Array2<f32>> {
    let mut options = InputOptions::new(Modality::Protein);
    options.metadata_columns = vec![GENES.to_owned()];
    options.duplicates = Duplicates::KeepFirst;
    let places: HashMap<&str, usize> =
        genes.iter().enumerate().map(|(at, gene)| (gene.id.as_str(), at)).collect();
    let (mut records, mut genes_of) = (Vec::new(), Vec::new());
    for record in open(&Source::from_arg(path), &options)? {
        let record = record?;
        let named = record.metadata.iter().find(|(name, _)| name == GENES);
        let of: Vec<usize> = named
            .iter()
            .flat_map(|(_, ids)| ids.split(';'))
            .filter_map(|id| places.get(id.trim()).copied())
            .collect();
        if !of.is_empty() {
            records.push(NamedContent { id: record.id, payload: record.payload });
            genes_of.push(of);
        }
    }
    let embedder = wiring::start_embedder(model, false)?;
    let found = rows(&embedder, RowKind::LayerStatistics, &records, "embedding proteins")?;
    let mut sums = Array2::<f32>::zeros((genes.len(), found.ncols()));
    let mut counts = vec![0.0_f32; genes.len()];
    for (row, of) in found.rows().into_iter().zip(&genes_of) {
        for &gene in of {
            sums.row_mut(gene).scaled_add(1.0, &row);
            counts[gene] += 1.0;
        }
    }
    let there: Vec<usize> = (0..genes.len()).filter(|&gene| counts[gene] > 0.0).collect();
    if there.len() < 2 {
        let said =
            format!("{}: no protein of the genes of the table; {GENES} holds NCBI Gene ids", path.display());
        return Err(UsageError(said).into());
    }
    let mut means = sums.select(Axis(0), &there);
    for (mut row, &gene) in means.rows_mut().into_iter().zip(&there) {
        row /= counts[gene];
    }
    for mut column in means.columns_mut() {
        let (mean, deviation) = (column.mean().unwrap_or(0.0), column.std(0.0).max(1e-6));
        column.mapv_inplace(|value| (value - mean) / deviation);
    }
    let found = leading(&means.view(), n_components, &format!("proteins of {} genes", there.len()))?;
    let mut vectors = Array2::zeros((genes.len(), found.ncols()));
    there.iter().zip(found.rows()).for_each(|(&gene, row)| vectors.row_mut(gene).assign(&row));
    Ok(vectors)
}

/// Scores of the leading principal components of `rows`; says of `what` they are and how much they hold.
pub(super) fn leading(
    rows: &ArrayView2<'_, f32>,
    n_components: usize,
    what: &str,
) -> anyhow::Result<Array2<f32>> {
    let found = principal_components(rows, n_components).with_context(|| format!("components of {what}"))?;
    println!(
        "{what}, {} components that hold {:.1}% of the variance",
        found.scores.ncols(),
        100.0 * found.variance_share
    );
    Ok(found.scores)
}
