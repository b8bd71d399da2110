//! Heads of genes: which rows they read, how each kind of data is learnt, and cross-validation by gene.
//!
//! Shared by `protext train head --task perturbation`, `protext eval perturbation` and `protext eval genes`.

mod design;
mod recipe;
mod screens;
mod validate;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use protext_engine::genes::{GeneError, GeneTable};
use protext_registry::heads::gene_table;

use crate::wiring;

pub(crate) use design::GeneRows;
pub(crate) use recipe::{Blocks, PairRecipe, RankedRecipe, ResponseMethod, ScreenRecipe, normal_scores};
pub(crate) use screens::{ScreenChoices, ScreenHead, screens_by_gene};
pub(crate) use validate::{Folds, changes_by_gene, pairs_by_gene};

/// The table of genes that is used.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct GeneTableArgs {
    /// Table of genes of your own, made by `protext train genes`, instead of the one that ships.
    #[arg(long = "genes", value_name = "FILE")]
    pub(crate) gene_table: Option<PathBuf>,
}

impl GeneTableArgs {
    /// Opens it.
    pub(crate) fn open(&self) -> anyhow::Result<Arc<GeneTable>> {
        let path = match &self.gene_table {
            Some(path) => path.clone(),
            None => gene_table(wiring::registry()?.cache())?,
        };
        Ok(Arc::new(GeneTable::open(&path)?))
    }
}

/// Places of the genes of a data set, `None` where the table has no such gene; those are told on standard error.
pub(crate) fn places(table: &GeneTable, genes: &[String], data: &Path) -> (Vec<Option<usize>>, usize) {
    let found: Vec<Result<usize, GeneError>> =
        genes.iter().map(|gene| table.resolve(gene).map(|found| found.gene)).collect();
    let unknown: Vec<&str> =
        genes.iter().zip(&found).filter(|(_, found)| found.is_err()).map(|(gene, _)| gene.as_str()).collect();
    if !unknown.is_empty() {
        let first = unknown.iter().take(5).copied().collect::<Vec<_>>().join(", ");
        eprintln!(
            "{}: {} of {} genes are not in the table of genes, or mean several ({first}{}); what is said of them is the \
             training mean",
            data.display(),
            unknown.len(),
            genes.len(),
            if unknown.len() > 5 { ", ..." } else { "" }
        );
    }
    let n_unknown = unknown.len();
    (found.into_iter().map(Result::ok).collect(), n_unknown)
}
