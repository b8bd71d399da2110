//! Heads for pairs, symmetric by construction: `(a, b)` and `(b, a)` have the same score.
//!
//! A tower turns a record's row into a code; of two codes the product, the absolute difference and the sum, none of which
//! knows an order, go through a hidden block to one score. Codes are made once a record, so that all against all costs
//! little more than products of small matrices. Called by `protext train head --task pair`.

mod model;
mod train;

use ndarray::ArrayView2;

pub use model::PairModel;
pub use train::train_pairs;

/// How a head for pairs is built and trained. Defaults are a starting point; what was tried: `docs/results/ppi_method.md`.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct PairSettings {
    /// Width of the tower's hidden block.
    pub hidden_dim: usize,
    /// Width of a member's code.
    pub code_dim: usize,
    /// Width of the hidden block over two codes.
    pub pair_dim: usize,
    /// Share of hidden values dropped in training, 0 to below 1.
    pub dropout: f32,
    /// Share of standardised inputs dropped in training, 0 to below 1.
    pub input_dropout: f32,
    /// Pairs in a batch.
    pub batch_size: usize,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Decay of matrices, decoupled.
    pub weight_decay: f64,
    /// Epochs at most; also the length of the cosine schedule.
    pub n_epochs: usize,
    /// Epochs without a better validation score after which a member stops.
    pub patience: usize,
    /// What is kept of the weights' running mean in each step, 0 to below 1; the mean is what is validated and written.
    pub averaging: f64,
    /// Members of the ensemble; their scores are averaged.
    pub n_members: usize,
    /// Seed of every draw.
    pub seed: u64,
}

impl Default for PairSettings {
    fn default() -> Self {
        Self {
            hidden_dim: 256,
            code_dim: 64,
            pair_dim: 64,
            dropout: 0.5,
            input_dropout: 0.2,
            batch_size: 2048,
            learning_rate: 1e-3,
            weight_decay: 0.1,
            n_epochs: 12,
            patience: 4,
            averaging: 0.98,
            n_members: 4,
            seed: 0,
        }
    }
}

/// Labelled pairs of records.
#[derive(Debug, Clone, Copy)]
pub struct PairExamples<'a> {
    /// Rows of the records, `[records, inputs]`.
    pub rows: ArrayView2<'a, f32>,
    /// Two different places among the rows.
    pub pairs: &'a [(u32, u32)],
    /// As many; empty where only scores are wanted.
    pub labels: &'a [bool],
}

/// How good scores for the validation pairs are; higher is better.
pub type PairScore<'a> = &'a dyn Fn(&[f32]) -> f64;
