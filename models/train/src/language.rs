//! A language head for an encoder whose checkpoint has none: residue rows to the 20 amino acids, encoder frozen.
//!
//! The head is that of ESM-2 and BERT: dense, GELU, layer normalization, dense. It is fitted by cross-entropy on rows and the
//! amino acids that they should tell; the epoch with the least loss on held-out proteins is kept. Same rows and seed, same
//! head.

use std::path::{Path, PathBuf};

use candle_core::{D, Device, Tensor, Var};
use half::f16;
use ndarray::{Array1, Array2, ArrayView2, Axis};
use protext_graph::{Dim, ElementType, GraphBuilder, GraphError, LayerNorm, Linear, WriteOptions};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand_distr::{Distribution as _, StandardNormal};

use crate::contrastive::adamw::AdamW;

/// Amino acids told apart.
const N_CLASSES: usize = 20;
/// Added to variances. Source: ESM-2's configuration.
const NORM_EPSILON: f64 = 1e-5;

/// A head cannot be fitted or written.
#[derive(Debug, thiserror::Error)]
pub enum LanguageError {
    /// Too little to fit.
    #[error("{n_rows} rows of positions are too few; at least {least} are needed, so give more proteins")]
    TooFew {
        /// Rows given.
        n_rows: usize,
        /// Rows needed.
        least: usize,
    },
    /// A loss that is not a number.
    #[error("the loss of epoch {epoch} is not finite; lower the learning rate")]
    Diverged {
        /// From 1.
        epoch: usize,
    },
    /// Autodiff failed.
    #[error("a tensor operation failed")]
    Tensor(#[from] candle_core::Error),
    /// The file could not be written.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// Rows of positions with the amino acid that each should tell.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledRows {
    /// `[rows, dim]`.
    pub rows: Array2<f32>,
    /// Amino acid of each row, 0 to 19.
    pub amino_acids: Vec<u8>,
}

/// How a head is fitted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LanguageSettings {
    /// Most epochs.
    pub n_epochs: usize,
    /// Rows of a step.
    pub batch_size: usize,
    /// Greatest learning rate; it falls along a cosine.
    pub learning_rate: f64,
    /// Of matrices.
    pub weight_decay: f64,
    /// Of the first weights and the order of rows.
    pub seed: u64,
}

impl Default for LanguageSettings {
    /// Source: chosen on held-out proteins, docs/results/variants_method.md.
    fn default() -> Self {
        Self { n_epochs: 8, batch_size: 1024, learning_rate: 1e-3, weight_decay: 0.05, seed: 1 }
    }
}

/// What held-out rows say of a head.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LanguageMetrics {
    /// Mean of -log p(amino acid), in nats.
    pub loss: f64,
    /// Share of rows whose amino acid is the likeliest.
    pub accuracy: f64,
}

/// A fitted head over standardised rows.
#[derive(Debug, Clone, PartialEq)]
pub struct LanguageFit {
    dense: (Array2<f32>, Array1<f32>),
    norm: (Array1<f32>, Array1<f32>),
    last: (Array2<f32>, Array1<f32>),
    /// On each set of rows held out.
    pub held_out: Vec<LanguageMetrics>,
    /// What the frequencies of the amino acids alone would give on all of them.
    pub frequencies_loss: f64,
    /// The epoch kept, from 1.
    pub epoch: usize,
}

/// Variables of the head, and the standardisation of its rows.
struct Network {
    vars: Vec<Var>,
    mean: Array1<f32>,
    deviation: Array1<f32>,
}

impl LanguageFit {
    /// Fits on `training`, keeps the epoch with the least sum of losses on the sets of `held_out`; `on_epoch` hears each
    /// epoch's figures.
    ///
    /// # Errors
    /// [`LanguageError`].
    pub fn fit(
        training: &LabelledRows,
        held_out: &[LabelledRows],
        settings: LanguageSettings,
        mut on_epoch: impl FnMut(usize, &[LanguageMetrics]),
    ) -> Result<Self, LanguageError> {
        let least = settings.batch_size.min(1024);
        for rows in std::iter::once(training).chain(held_out) {
            let n_rows = rows.amino_acids.len();
            if n_rows < least.min(64) {
                return Err(LanguageError::TooFew { n_rows, least: least.min(64) });
            }
        }
        let mut random = StdRng::seed_from_u64(settings.seed);
        let frequencies = frequencies(&training.amino_acids);
        let network = Network::new(&training.rows, &frequencies, &mut random)?;
        let mut optimizer = AdamW::new(network.vars.clone(), settings.weight_decay)?;
        let mut order: Vec<usize> = (0..training.amino_acids.len()).collect();
        let n_steps = settings.n_epochs * order.len().div_ceil(settings.batch_size);
        let held_out_letters: Vec<u8> = held_out.iter().flat_map(|rows| &rows.amino_acids).copied().collect();
        let loss_of = |all: &[LanguageMetrics]| all.iter().map(|metrics| metrics.loss).sum::<f64>();
        let mut best: Option<Self> = None;
        for epoch in 1..=settings.n_epochs {
            order.shuffle(&mut random);
            for batch in order.chunks(settings.batch_size) {
                let rows = training.rows.select(Axis(0), batch);
                let targets: Vec<u32> = batch.iter().map(|&row| training.amino_acids[row].into()).collect();
                let loss = network.loss(&rows.view(), &targets)?;
                let share = optimizer.n_steps() as f64 / n_steps as f64;
                let rate = settings.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * share).cos());
                optimizer.step(&loss.backward()?, rate)?;
            }
            let metrics: Vec<LanguageMetrics> =
                held_out.iter().map(|rows| network.measure(rows)).collect::<Result<_, _>>()?;
            if !loss_of(&metrics).is_finite() {
                return Err(LanguageError::Diverged { epoch });
            }
            on_epoch(epoch, &metrics);
            if best.as_ref().is_none_or(|best| loss_of(&metrics) < loss_of(&best.held_out)) {
                best = Some(network.freeze(metrics, entropy_of(&held_out_letters, &frequencies), epoch)?);
            }
        }
        best.ok_or(LanguageError::Diverged { epoch: 0 })
    }

    /// Components of a row that it reads.
    #[must_use]
    pub fn n_inputs(&self) -> usize {
        self.dense.0.nrows()
    }

    /// Writes the head: input `rows` `[batch, dim]`, output `logits` `[batch, 20]`; matrices in float16.
    ///
    /// # Errors
    /// [`LanguageError::Graph`].
    pub fn write(&self, path: &Path) -> Result<PathBuf, LanguageError> {
        let dim = self.n_inputs();
        let mut g = GraphBuilder::new("lm_head");
        let rows = g.input("rows", ElementType::Float32, [Dim::from("batch"), dim.into()]);
        let linear = |g: &mut GraphBuilder<'_>, name: &str, (weight, bias): &(Array2<f32>, Array1<f32>)| {
            let halves = weight.iter().map(|&value| f16::from_f32(value)).collect();
            let stored = g.f16(&format!("{name}.weight"), [weight.nrows(), weight.ncols()], halves);
            let weight = g.cast(&stored, ElementType::Float32);
            let bias = g.f32(&format!("{name}.bias"), [bias.len()], bias.to_vec());
            Linear { weight, bias }
        };
        let dense = linear(&mut g, "dense", &self.dense);
        let last = linear(&mut g, "decoder", &self.last);
        let hidden = g.gemm(&rows, &dense);
        let hidden = g.gelu(&hidden);
        let (weight, bias) = &self.norm;
        let norm = LayerNorm {
            weight: g.f32("norm.weight", [weight.len()], weight.to_vec()),
            bias: g.f32("norm.bias", [bias.len()], bias.to_vec()),
            epsilon: NORM_EPSILON as f32,
        };
        let hidden = g.layer_norm(&hidden, &norm);
        let logits = g.gemm(&hidden, &last);
        g.output("logits", &logits, ElementType::Float32, [Dim::from("batch"), N_CLASSES.into()]);
        Ok(g.finish()?.write(path, &WriteOptions::default())?.model)
    }
}

impl Network {
    /// The last bias starts at the amino acids' frequencies, so that the first step already knows them.
    fn new(rows: &Array2<f32>, frequencies: &[f64], random: &mut StdRng) -> Result<Self, LanguageError> {
        let dim = rows.ncols();
        let mean = rows.mean_axis(Axis(0)).expect("there are rows, checked by fit");
        let deviation = rows.std_axis(Axis(0), 0.0).mapv(|value| value.max(1e-6));
        let mut matrix = |inputs: usize, outputs: usize, scale: f64| {
            let values = (0..inputs * outputs).map(|_| {
                let value: f64 = StandardNormal.sample(random);
                (value * scale) as f32
            });
            Var::from_vec(values.collect(), (inputs, outputs), &Device::Cpu)
        };
        let dense = matrix(dim, dim, (dim as f64).sqrt().recip())?;
        let last = matrix(dim, N_CLASSES, 0.02)?;
        let vector = |values: Vec<f32>| Var::from_vec(values.clone(), values.len(), &Device::Cpu);
        let prior = frequencies.iter().map(|share| share.ln() as f32).collect();
        let vars = vec![
            dense,
            vector(vec![0.0; dim])?,
            vector(vec![1.0; dim])?,
            vector(vec![0.0; dim])?,
            last,
            vector(prior)?,
        ];
        Ok(Self { vars, mean, deviation })
    }

    /// Logits of rows, `[rows, 20]`.
    fn logits(&self, rows: &ArrayView2<'_, f32>) -> candle_core::Result<Tensor> {
        let standard = ((rows - &self.mean) / &self.deviation).as_standard_layout().into_owned();
        let (n_rows, dim) = standard.dim();
        let x = Tensor::from_vec(standard.into_raw_vec_and_offset().0, (n_rows, dim), &Device::Cpu)?;
        let x = x.matmul(&self.vars[0])?.broadcast_add(&self.vars[1])?.gelu_erf()?;
        let x = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let variance = x.sqr()?.mean_keepdim(D::Minus1)?;
        let x = x.broadcast_div(&(variance + NORM_EPSILON)?.sqrt()?)?;
        let x = x.broadcast_mul(&self.vars[2])?.broadcast_add(&self.vars[3])?;
        x.matmul(&self.vars[4])?.broadcast_add(&self.vars[5])
    }

    /// Mean cross-entropy.
    fn loss(&self, rows: &ArrayView2<'_, f32>, targets: &[u32]) -> candle_core::Result<Tensor> {
        let logits = self.logits(rows)?;
        let targets = Tensor::from_slice(targets, (targets.len(), 1), &Device::Cpu)?;
        let of_target = logits.gather(&targets, D::Minus1)?.squeeze(D::Minus1)?;
        (logits.log_sum_exp(D::Minus1)? - of_target)?.mean_all()
    }

    fn measure(&self, rows: &LabelledRows) -> Result<LanguageMetrics, LanguageError> {
        const TOGETHER: usize = 4096;
        let (mut loss, mut n_right) = (0.0, 0);
        for (part, targets) in
            rows.rows.axis_chunks_iter(Axis(0), TOGETHER).zip(rows.amino_acids.chunks(TOGETHER))
        {
            let logits = self.logits(&part)?.to_vec2::<f32>()?;
            for (logits, &target) in logits.iter().zip(targets) {
                let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let total: f32 = logits.iter().map(|logit| (logit - greatest).exp()).sum();
                let own = logits[usize::from(target)];
                loss += f64::from(greatest + total.ln() - own);
                n_right += usize::from(own >= greatest);
            }
        }
        let n = rows.amino_acids.len() as f64;
        Ok(LanguageMetrics { loss: loss / n, accuracy: n_right as f64 / n })
    }

    /// Plain arrays, the standardisation folded into the first layer.
    fn freeze(
        &self,
        held_out: Vec<LanguageMetrics>,
        frequencies_loss: f64,
        epoch: usize,
    ) -> Result<LanguageFit, LanguageError> {
        let matrix = |index: usize| -> Result<Array2<f32>, LanguageError> {
            let shape = self.vars[index].dims2()?;
            let values = self.vars[index].flatten_all()?.to_vec1::<f32>()?;
            Ok(Array2::from_shape_vec(shape, values).expect("candle's tensors are row-major"))
        };
        let vector = |index: usize| -> Result<Array1<f32>, LanguageError> {
            Ok(Array1::from(self.vars[index].to_vec1::<f32>()?))
        };
        let scaled = matrix(0)? / self.deviation.view().insert_axis(Axis(1));
        let bias = vector(1)? - self.mean.dot(&scaled);
        Ok(LanguageFit {
            dense: (scaled, bias),
            norm: (vector(2)?, vector(3)?),
            last: (matrix(4)?, vector(5)?),
            held_out,
            frequencies_loss,
            epoch,
        })
    }
}

/// Shares of the amino acids, one more of each counted so that none is zero.
fn frequencies(amino_acids: &[u8]) -> Vec<f64> {
    let mut counts = [1.0; N_CLASSES];
    amino_acids.iter().for_each(|&it| counts[usize::from(it)] += 1.0);
    let total: f64 = counts.iter().sum();
    counts.iter().map(|count| count / total).collect()
}

fn entropy_of(amino_acids: &[u8], frequencies: &[f64]) -> f64 {
    let total: f64 = amino_acids.iter().map(|&it| -frequencies[usize::from(it)].ln()).sum();
    total / amino_acids.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows whose first components tell the amino acid, under noise.
    fn rows(n: usize, seed: u64) -> LabelledRows {
        let mut random = StdRng::seed_from_u64(seed);
        let amino_acids: Vec<u8> = (0..n).map(|row| (row % N_CLASSES) as u8).collect();
        let rows = Array2::from_shape_fn((n, 24), |(row, column)| {
            let noise: f64 = StandardNormal.sample(&mut random);
            let signal = if column == row % N_CLASSES { 4.0 } else { 0.0 };
            (signal + 0.3 * noise) as f32 * 5.0 + 100.0
        });
        LabelledRows { rows, amino_acids }
    }

    #[test]
    fn what_rows_tell_is_learnt_and_the_same_seed_gives_the_same_head() {
        let (training, held_out) = (rows(2000, 1), [rows(400, 2)]);
        let settings = LanguageSettings { batch_size: 100, n_epochs: 12, ..LanguageSettings::default() };
        let fit = || LanguageFit::fit(&training, &held_out, settings, |_, _| ()).unwrap();
        let first = fit();
        assert!(first.held_out[0].accuracy > 0.95, "{:?}", first.held_out);
        assert!((first.frequencies_loss - 20_f64.ln()).abs() < 1e-6);
        assert_eq!(first, fit());
    }

    #[test]
    fn too_few_rows_are_refused() {
        let refused = LanguageFit::fit(&rows(3, 1), &[rows(400, 2)], LanguageSettings::default(), |_, _| ());
        assert!(matches!(refused, Err(LanguageError::TooFew { n_rows: 3, .. })));
    }
}
