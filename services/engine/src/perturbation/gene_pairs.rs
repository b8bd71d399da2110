//! Genetic interaction of pairs of genes: a head for pairs over rows of the table of genes.
//!
//! What a head reads of a gene is its row, then a one in its own column if it is a training gene: what was measured with a
//! gene says more of it than what its likes did. Called by `protext perturb` and `protext eval perturbation`.

use std::collections::HashMap;
use std::sync::Arc;

use protext_core::{FeatureRows, Fingerprint, PairHead, Space};

use super::details::HeadDetails;
use super::error::PerturbationError;
use crate::genes::GeneTable;

/// Rows that go through a head at once; bounds memory.
const BLOCK: usize = 256;

/// The space of the columns that training genes have of their own.
#[must_use]
pub fn own_columns(training: &[String]) -> Space {
    let parts = std::iter::once("training genes").chain(training.iter().map(String::as_str));
    Space { name: "training genes".to_owned(), dim: training.len(), fingerprint: Fingerprint::of(parts) }
}

/// A head for pairs of genes, ready to answer.
pub struct GenePairPredictor {
    table: Arc<GeneTable>,
    head: Arc<dyn PairHead>,
    text: Arc<dyn PairHead>,
    spaces: [Space; 2],
    /// Place among the training genes, by place in the table.
    training: HashMap<usize, usize>,
    details: HeadDetails,
}

impl GenePairPredictor {
    /// A head with ridge regression on text beside it.
    ///
    /// # Errors
    /// [`PerturbationError::Head`] if a head reads rows of another table of genes.
    pub fn new(
        table: Arc<GeneTable>,
        head: Arc<dyn PairHead>,
        text: Arc<dyn PairHead>,
        details: HeadDetails,
    ) -> Result<Self, PerturbationError> {
        let spaces = [table.space().clone(), own_columns(&details.training)];
        for head in [&head, &text] {
            head.card().ensure_reads(&spaces)?;
        }
        let places = details.training.iter().enumerate();
        let training =
            places.filter_map(|(at, symbol)| Some((table.resolve(symbol).ok()?.gene, at))).collect();
        Ok(Self { table, head, text, spaces, training, details })
    }

    /// The head's name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.head.card().id
    }

    /// Genes that can be asked about.
    #[must_use]
    pub fn table(&self) -> &GeneTable {
        &self.table
    }

    /// What the folder says of the head.
    #[must_use]
    pub fn details(&self) -> &HeadDetails {
        &self.details
    }

    /// Whether a gene, if it is one, was trained on.
    #[must_use]
    pub fn knows(&self, gene: Option<usize>) -> bool {
        gene.is_some_and(|gene| self.training.contains_key(&gene))
    }

    /// Predictions of the head and of ridge regression on text for pairs of `genes`, by their places in that list.
    ///
    /// # Errors
    /// [`PerturbationError::Head`].
    pub fn scores(
        &self,
        genes: &[Option<usize>],
        pairs: &[(usize, usize, f32)],
    ) -> Result<[Vec<f64>; 2], PerturbationError> {
        Ok([self.scores_of(&*self.head, genes, pairs)?, self.scores_of(&*self.text, genes, pairs)?])
    }

    fn scores_of(
        &self,
        head: &dyn PairHead,
        genes: &[Option<usize>],
        pairs: &[(usize, usize, f32)],
    ) -> Result<Vec<f64>, PerturbationError> {
        let mut codes = Vec::with_capacity(genes.len() * head.code_dim());
        for block in genes.chunks(BLOCK) {
            let rows = self.table.rows().select(block);
            let mut values = Vec::with_capacity(block.len() * (self.spaces[0].dim + self.spaces[1].dim));
            for (at, gene) in block.iter().enumerate() {
                values.extend(rows.dense(at));
                let start = values.len();
                values.resize(start + self.spaces[1].dim, 0.0);
                if let Some(own) = gene.and_then(|gene| self.training.get(&gene)) {
                    values[start + own] = 1.0;
                }
            }
            codes.extend(head.encode(&FeatureRows::new(self.spaces.to_vec(), values)?)?);
        }
        let code = |gene: usize| &codes[gene * head.code_dim()..(gene + 1) * head.code_dim()];
        let mut by_first: HashMap<usize, Vec<usize>> = HashMap::new();
        pairs.iter().enumerate().for_each(|(at, pair)| by_first.entry(pair.0).or_default().push(at));
        let mut scores = vec![0.0; pairs.len()];
        for (first, places) in by_first {
            let others: Vec<f32> = places.iter().flat_map(|&at| code(pairs[at].1)).copied().collect();
            let found = head.score(code(first), &others)?;
            places.iter().zip(found).for_each(|(&at, score)| scores[at] = f64::from(score));
        }
        Ok(scores)
    }
}
