//! The perturbation use case: a gene or a set of genes in, what changes per named output out.
//!
//! A [`PerturbationPredictor`] is a head over rows of the table of genes, with what its folder says of its outputs and of the
//! genes that it was trained on. Genes are resolved first; one that is not known is an error. What several genes do together
//! is the sum of what each does. Beside each prediction stand the training mean, ridge regression on text alone, an interval
//! from residuals of cross-validation, and the nearest training gene. Called by `protext perturb`, `protext eval
//! perturbation` and `POST /v1/predict/perturbation`.

mod details;
mod error;
mod gene_pairs;
mod predictors;
mod training;

use std::path::PathBuf;
use std::sync::Arc;

use ndarray::Array2;
use protext_core::{FeatureRows, Head};
use serde::Serialize;

pub use details::{DETAILS_FILE, HeadDetails, OutputDetails};
pub use error::PerturbationError;
pub use gene_pairs::{GenePairPredictor, own_columns};
pub use predictors::{OpenHead, PerturbationPredictors};
pub use training::{NearestGene, TrainingGenes};

use crate::genes::{GeneTable, Resolved, ResolvedBy};

/// Rows that go through a head at once; bounds memory.
const BLOCK: usize = 256;

/// A head for perturbations, ready to answer.
pub struct PerturbationPredictor {
    table: Arc<GeneTable>,
    head: Arc<dyn Head>,
    text: Arc<dyn Head>,
    details: HeadDetails,
    training: TrainingGenes,
}

/// A gene of a request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AskedGene {
    /// As it was given.
    pub asked: String,
    /// Official symbol.
    pub symbol: String,
    /// NCBI Gene id.
    pub entrez_id: String,
    /// How the symbol was understood.
    pub resolved_by: ResolvedBy,
    /// Whether the head was trained on its perturbation.
    pub in_training: bool,
    /// The training gene most like it.
    pub nearest: Option<NearestGene>,
}

/// One output.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PredictedChange {
    /// Gene or screen.
    pub name: String,
    /// Predicted change.
    pub predicted: f32,
    /// Lower end of the 95% interval.
    pub low: f32,
    /// Upper end.
    pub high: f32,
    /// The same of the mean over training perturbations.
    pub training_mean: f32,
    /// The same by ridge regression on text alone.
    pub text_ridge: f32,
}

/// What is predicted for one request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PerturbationAnswer {
    /// The head that answered.
    pub head: String,
    /// What a prediction is a change of.
    pub unit: String,
    /// The genes; what they do together is the sum.
    pub genes: Vec<AskedGene>,
    /// Outputs that the head has.
    pub n_outputs: usize,
    /// The largest predicted changes, largest first.
    pub movers: Vec<PredictedChange>,
}

/// Genes that are perturbed together at most.
pub const MAX_GENES: usize = 16;

impl PerturbationPredictor {
    /// A head with ridge regression on text beside it.
    ///
    /// # Errors
    /// [`PerturbationError::Head`] if a head reads rows of another table of genes, [`PerturbationError::Details`].
    pub fn new(
        table: Arc<GeneTable>,
        head: Arc<dyn Head>,
        text: Arc<dyn Head>,
        details: HeadDetails,
    ) -> Result<Self, PerturbationError> {
        for head in [&head, &text] {
            head.card().ensure_reads(std::slice::from_ref(table.space()))?;
        }
        if details.outputs.len() != head.card().outputs.len() {
            let (n, expected) = (details.outputs.len(), head.card().outputs.len());
            let rule = format!("it tells of {n} outputs, but the head has {expected}");
            return Err(PerturbationError::Details { path: PathBuf::from(DETAILS_FILE), rule });
        }
        let training = TrainingGenes::new(&table, &details.training, details.weights);
        Ok(Self { table, head, text, details, training })
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

    /// What is known of the outputs.
    #[must_use]
    pub fn outputs(&self) -> &[OutputDetails] {
        &self.details.outputs
    }

    /// Names of the outputs, separated by commas; the first few of many.
    #[must_use]
    pub fn output_names(&self) -> String {
        let names: Vec<&str> =
            self.details.outputs.iter().take(12).map(|output| output.name.as_str()).collect();
        names.join(", ") + if self.details.outputs.len() > 12 { ", ..." } else { "" }
    }

    /// Whether the head was trained on a gene's perturbation.
    #[must_use]
    pub fn knows(&self, gene: usize) -> bool {
        self.training.contains(gene)
    }

    /// Whether the head was trained on a gene of that very name, known to the table or not.
    #[must_use]
    pub fn trained_on(&self, name: &str) -> bool {
        self.details.training.iter().any(|known| known == name)
    }

    /// Predictions of the head and of ridge regression on text, `[genes, outputs]` each; of `None` the training mean.
    ///
    /// # Errors
    /// [`PerturbationError::Head`].
    pub fn matrices(&self, genes: &[Option<usize>]) -> Result<[Array2<f32>; 2], PerturbationError> {
        let n_outputs = self.details.outputs.len();
        let mut found =
            [&self.head, &self.text].map(|head| (head, Vec::with_capacity(genes.len() * n_outputs)));
        for block in genes.chunks(BLOCK) {
            let rows = self.table.rows().select(block);
            let values = (0..rows.n_rows()).flat_map(|row| rows.dense(row)).collect();
            let rows = FeatureRows::new(vec![self.table.space().clone()], values)?;
            for (head, values) in &mut found {
                values.extend(head.predict(&rows)?);
            }
        }
        let matrix = |values: Vec<f32>| Array2::from_shape_vec((genes.len(), n_outputs), values);
        Ok(found.map(|(_, values)| matrix(values).expect("a head gives all its outputs for every row")))
    }

    /// What perturbing `genes` together changes most.
    ///
    /// # Errors
    /// [`PerturbationError`].
    pub fn predict(
        &self,
        genes: &[String],
        n_movers: usize,
    ) -> Result<PerturbationAnswer, PerturbationError> {
        if genes.is_empty() || genes.len() > MAX_GENES {
            return Err(PerturbationError::Count { n: genes.len(), most: MAX_GENES });
        }
        let resolved = genes.iter().enumerate().map(|(at, gene)| {
            self.table.resolve(gene).map_err(|source| PerturbationError::Gene { position: at + 1, source })
        });
        let resolved: Vec<Resolved> = resolved.collect::<Result<_, _>>()?;
        let places: Vec<Option<usize>> = resolved.iter().map(|found| Some(found.gene)).collect();
        let [ours, text] = self.matrices(&places)?;
        let n = genes.len() as f32;
        let change = |(at, output): (usize, &OutputDetails)| {
            let predicted = ours.column(at).sum();
            // Residuals of different genes are taken for independent.
            let half = output.half_width * n.sqrt();
            PredictedChange {
                name: output.name.clone(),
                predicted,
                low: predicted - half,
                high: predicted + half,
                training_mean: output.training_mean * n,
                text_ridge: text.column(at).sum(),
            }
        };
        let mut movers: Vec<PredictedChange> = self.details.outputs.iter().enumerate().map(change).collect();
        movers.sort_by(|a, b| b.predicted.abs().total_cmp(&a.predicted.abs()));
        movers.truncate(n_movers);
        let asked = genes.iter().zip(&resolved).map(|(asked, found)| self.asked(asked, *found)).collect();
        Ok(PerturbationAnswer {
            head: self.id().to_owned(),
            unit: self.details.unit.clone(),
            genes: asked,
            n_outputs: self.details.outputs.len(),
            movers,
        })
    }

    fn asked(&self, asked: &str, found: Resolved) -> AskedGene {
        let gene = &self.table.genes()[found.gene];
        AskedGene {
            asked: asked.to_owned(),
            symbol: gene.symbol.clone(),
            entrez_id: gene.entrez_id.clone(),
            resolved_by: found.by,
            in_training: self.knows(found.gene),
            nearest: self.training.nearest(&self.table, found.gene),
        }
    }
}
