//! Contrastive training of two towers: rows of a protein encoder and of a text encoder into one shared space.
//!
//! [`train`] is the whole run: both inputs are whitened on the training rows, the towers learn by symmetric InfoNCE with
//! several positives, the epoch with the best validation MRR is kept, and [`TowerWeights`] (with the whitening) is what
//! comes out. Every draw depends on the seed and the epoch alone, so a run repeats bit for bit, also when it was killed and
//! went on from its [`Checkpoint`]. Called by `protext train projection`.

pub(crate) mod adamw;
mod block;
mod calibrate;
mod checkpoint;
mod error;
mod hubs;
mod loss;
mod products;
mod ranks;
mod run;
mod simd;
mod texts;
pub(crate) mod tower;
pub(crate) mod weights;

use ndarray::{Array2, Axis};
use protext_core::RowKind;

pub use calibrate::fit_inverse_temperature;
pub use checkpoint::Checkpoint;
pub use error::TrainError;
pub use ranks::{Ranks, mean_reciprocal_rank, ranks};
pub use run::{OnEpoch, train};
pub use texts::mean_rows;
pub use weights::TowerWeights;

/// Where towers are trained; rows and vectors stay with the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrainingDevice {
    /// Any processor, in steps written for it.
    #[default]
    Cpu,
    /// The first NVIDIA GPU; needs the feature `cuda`.
    Cuda,
}

/// How the towers are built and trained. Defaults: chosen on validation pairs, `docs/results/retrieval.md`.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ContrastiveSettings {
    /// Width of the shared space.
    pub shared_dim: usize,
    /// Width of the hidden blocks.
    pub hidden_dim: usize,
    /// Hidden blocks of each tower, 1 or more.
    pub n_hidden: usize,
    /// Share of hidden values dropped in training, 0 to below 1.
    pub dropout: f32,
    /// Pairs in a batch; the last, smaller batch of an epoch is left out.
    pub batch_size: usize,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Decay of matrices, decoupled.
    pub weight_decay: f64,
    /// Epochs at most; also the length of the cosine schedule.
    pub n_epochs: usize,
    /// Share of the steps in which the learning rate rises.
    pub warm_up: f64,
    /// Epochs without a better validation MRR after which training stops.
    pub patience: usize,
    /// Temperature at the start; it is learned.
    pub temperature: f32,
    /// Components of the whitened protein rows.
    pub protein_components: usize,
    /// Components of the whitened words of a text, where its rows are of [`RowKind::PooledAndWords`]; 0 for other rows.
    pub word_components: usize,
    /// Share of a text's sentences left out of it in each epoch, so that no sentence is learned by heart.
    pub sentence_dropout: f32,
    /// Deviation of the noise added to whitened rows in training, whose own deviation is 1.
    pub noise: f32,
    /// Nearest training vectors by which hubs are told and corrected; 0 corrects none.
    pub hub_neighbours: usize,
    /// Batches of extra pairs for each batch of training pairs, where there are extra pairs.
    pub extra_share: f64,
    /// Pairs of towers; their vectors are joined, and cosines are their mean.
    pub n_members: usize,
    /// Share of the mean eigenvalue that is added to each in whitening.
    pub shrinkage: f64,
    /// Seed of every draw.
    pub seed: u64,
    /// Where the towers are trained.
    pub device: TrainingDevice,
}

impl Default for ContrastiveSettings {
    fn default() -> Self {
        Self {
            shared_dim: 128,
            hidden_dim: 1024,
            n_hidden: 1,
            dropout: 0.5,
            batch_size: 2048,
            learning_rate: 1e-3,
            weight_decay: 0.05,
            n_epochs: 50,
            warm_up: 0.05,
            patience: 12,
            temperature: 0.07,
            protein_components: 512,
            word_components: 0,
            sentence_dropout: 0.3,
            noise: 0.0,
            extra_share: 1.0,
            hub_neighbours: 30,
            n_members: 1,
            shrinkage: 0.3,
            seed: 0,
            device: TrainingDevice::Cpu,
        }
    }
}

impl ContrastiveSettings {
    /// The rows of texts that these settings are for.
    #[must_use]
    pub fn text_kind(&self) -> RowKind {
        if self.word_components > 0 { RowKind::PooledAndWords } else { RowKind::Pooled }
    }
}

/// Pairs: protein `i` and text `i` belong together. A text is the mean of the rows of its sentences.
#[derive(Debug, Clone, PartialEq)]
pub struct Pairs {
    /// Encoder rows of the proteins, `[n, inputs]`.
    pub proteins: Array2<f32>,
    /// Encoder rows of all sentences, `[sentences, inputs]`.
    pub sentences: Array2<f32>,
    /// Rows of `sentences` of each text, at least one.
    pub texts: Vec<Vec<u32>>,
    /// Equal for equal sequences.
    pub protein_keys: Vec<u32>,
    /// Equal for equal texts.
    pub text_keys: Vec<u32>,
}

/// What a run reads.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// Pairs to learn from; rows are whitened by them.
    pub training: &'a Pairs,
    /// Further pairs to learn from, such as those of another source, in batches of their own.
    pub extra: Option<&'a Pairs>,
    /// Pairs to choose the epoch by.
    pub validation: &'a Pairs,
}

impl Pairs {
    /// Pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.proteins.nrows()
    }

    /// True without pairs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows of the texts, `[n, inputs]`: each the mean of its sentences.
    #[must_use]
    pub fn text_rows(&self) -> Array2<f32> {
        texts::mean_rows(&self.sentences, self.texts.iter().map(Vec::as_slice))
    }

    /// The pairs of these rows, in their order.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let keys = |keys: &[u32]| rows.iter().map(|&row| keys[row]).collect();
        Self {
            proteins: self.proteins.select(Axis(0), rows),
            sentences: self.sentences.clone(),
            texts: rows.iter().map(|&row| self.texts[row].clone()).collect(),
            protein_keys: keys(&self.protein_keys),
            text_keys: keys(&self.text_keys),
        }
    }
}

/// One epoch, as the training report shows it.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Epoch {
    /// Pair of towers, 1 for the first.
    pub member: usize,
    /// 1 for the first.
    pub number: usize,
    /// Mean loss over its batches, in nats.
    pub loss: f64,
    /// Mean of both directions on the validation pairs, 0 to 1.
    pub validation_mrr: f64,
    /// Learned temperature.
    pub temperature: f64,
    /// Learning rate of its last step.
    pub learning_rate: f64,
    /// True if it is the best so far.
    pub is_best: bool,
}

/// What a run gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// Protein rows to the shared space.
    pub protein: TowerWeights,
    /// Text rows to the shared space.
    pub text: TowerWeights,
    /// Every epoch in order.
    pub epochs: Vec<Epoch>,
}
