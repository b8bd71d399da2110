//! The genes that a head was trained on, and which of them is most like another.

use std::collections::HashSet;

use serde::Serialize;

use crate::genes::{GeneTable, SparseRows};

/// Training genes, and how like them others are.
#[derive(Debug, Clone)]
pub struct TrainingGenes {
    places: Vec<usize>,
    known: HashSet<usize>,
    rows: SparseRows,
    norms: Vec<f32>,
    scale: Vec<f32>,
}

/// The training gene that is most like one asked about.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NearestGene {
    /// Its symbol.
    pub symbol: String,
    /// Cosine of their rows, the parts weighed as the head was trained.
    pub similarity: f32,
    /// One less that cosine.
    pub distance: f32,
}

impl TrainingGenes {
    /// The genes of `symbols`; those that the table does not have are passed over.
    #[must_use]
    pub fn new(table: &GeneTable, symbols: &[String], weights: [f32; 4]) -> Self {
        let places: Vec<usize> =
            symbols.iter().filter_map(|symbol| table.resolve(symbol).ok()).map(|found| found.gene).collect();
        let scale = table.block_scale(weights);
        let chosen: Vec<Option<usize>> = places.iter().copied().map(Some).collect();
        let rows = table.rows().select(&chosen).scaled(&scale);
        let norms = rows.norms();
        Self { known: places.iter().copied().collect(), places, rows, norms, scale }
    }

    /// Whether a gene is one of them.
    #[must_use]
    pub fn contains(&self, gene: usize) -> bool {
        self.known.contains(&gene)
    }

    /// The nearest one; of a training gene the nearest other one.
    #[must_use]
    pub fn nearest(&self, table: &GeneTable, gene: usize) -> Option<NearestGene> {
        let row = table.rows().select(&[Some(gene)]).scaled(&self.scale);
        let norm = row.norms()[0];
        let products = self.rows.dot(&row.dense(0));
        let cosine = |at: usize| products[at] / (norm * self.norms[at]).max(f32::MIN_POSITIVE);
        let others = (0..self.places.len()).filter(|&at| self.places[at] != gene);
        let best = others.max_by(|&a, &b| cosine(a).total_cmp(&cosine(b)))?;
        let similarity = cosine(best).clamp(-1.0, 1.0);
        let symbol = table.genes()[self.places[best]].symbol.clone();
        Some(NearestGene { symbol, similarity, distance: 1.0 - similarity })
    }
}
