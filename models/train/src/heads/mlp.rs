//! MLP heads: hidden blocks (Linear, GELU, LayerNorm, dropout), AdamW, early stopping by a score on validation rows.
//!
//! Members of an ensemble differ by their seed and are trained one after the other; every draw depends on seed, member and
//! epoch alone, so the same rows give the same file.

use candle_core::{D, Device, Tensor, Var};
use ndarray::{Array1, Array2, ArrayView2, Axis};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::error::HeadTrainError;
use super::{Examples, OnEpoch, Targets, Validation};
use crate::contrastive::adamw::AdamW;
use crate::contrastive::tower::{Tower, TowerShape};
use crate::contrastive::weights::Member;

/// How an MLP is built and trained.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct MlpSettings {
    /// Width of the hidden blocks.
    pub hidden_dim: usize,
    /// Hidden blocks; 0 leaves a linear model.
    pub n_hidden: usize,
    /// Share of hidden values dropped in training, 0 to below 1.
    pub dropout: f32,
    /// Share of standardised inputs dropped in training, 0 to below 1.
    pub input_dropout: f32,
    /// Rows in a batch.
    pub batch_size: usize,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Decay of matrices, decoupled.
    pub weight_decay: f64,
    /// Epochs at most; also the length of the cosine schedule.
    pub n_epochs: usize,
    /// Epochs without a better validation score after which training stops.
    pub patience: usize,
    /// Members of the ensemble; their outputs are averaged.
    pub n_members: usize,
    /// Seed of every draw.
    pub seed: u64,
}

impl Default for MlpSettings {
    fn default() -> Self {
        Self {
            hidden_dim: 256,
            n_hidden: 1,
            dropout: 0.3,
            input_dropout: 0.1,
            batch_size: 256,
            learning_rate: 1e-3,
            weight_decay: 0.05,
            n_epochs: 30,
            patience: 6,
            n_members: 3,
            seed: 0,
        }
    }
}

/// One epoch of a member.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct HeadEpoch {
    /// 1 for the first.
    pub member: usize,
    /// 1 for the first.
    pub number: usize,
    /// Mean loss over its batches.
    pub loss: f64,
    /// Score on the validation rows, NaN without any.
    pub score: f64,
    /// True if it is the member's best so far.
    pub is_best: bool,
}

/// How numbers are scaled before they are learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scaling {
    /// Each to deviation 1.
    Each,
    /// All by one factor, so that those that vary more count for more.
    Whole,
}

/// Trains the members over standardised rows.
pub(super) fn train(
    examples: Examples<'_>,
    validation: Validation<'_>,
    (settings, scaling): (&MlpSettings, Scaling),
    on_epoch: OnEpoch<'_>,
) -> Result<Vec<Member>, HeadTrainError> {
    check(settings)?;
    let goal = Goal::new(examples.targets, scaling);
    (1..=settings.n_members)
        .map(|member| {
            let tower = train_member(examples, validation, settings, (member, &goal), on_epoch)?;
            let mut member = Member::of(&tower)?;
            goal.unscale(&mut member);
            Ok(member)
        })
        .collect()
}

fn train_member(
    examples: Examples<'_>,
    validation: Validation<'_>,
    settings: &MlpSettings,
    (member, goal): (usize, &Goal),
    on_epoch: OnEpoch<'_>,
) -> Result<Tower, HeadTrainError> {
    let shape = TowerShape {
        n_inputs: examples.rows.ncols(),
        hidden_dim: settings.hidden_dim,
        n_hidden: settings.n_hidden,
        shared_dim: examples.targets.n_outputs(),
    };
    let seed = settings.seed.wrapping_add(member as u64);
    let tower = Tower::new(shape, &mut StdRng::seed_from_u64(seed), &Device::Cpu)?;
    let mut optimizer = AdamW::new(tower.vars().to_vec(), settings.weight_decay)?;
    let held_out = tensor(&validation.rows)?;
    let mut best: Option<(f64, Vec<Tensor>)> = None;
    let mut since_best = 0;
    for number in 1..=settings.n_epochs {
        let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9).wrapping_add(number as u64));
        let run = Run { tower: &tower, examples, settings, goal, number };
        let loss = run.epoch(&mut optimizer, &mut rng)?;
        if !loss.is_finite() {
            return Err(HeadTrainError::Diverged { epoch: number });
        }
        let score = if validation.rows.is_empty() {
            f64::NAN
        } else {
            let mut outputs = to_array(&tower.outputs(&held_out, None)?)?;
            goal.unscale_outputs(&mut outputs);
            (validation.score)(&outputs)
        };
        // Without a score the last epoch is the best.
        let is_best = score.is_nan() || best.as_ref().is_none_or(|(known, _)| score > *known);
        since_best = if is_best { 0 } else { since_best + 1 };
        if is_best {
            let copies = tower.vars().iter().map(|var| var.as_tensor().copy());
            best = Some((score, copies.collect::<Result<_, _>>()?));
        }
        if !on_epoch(&HeadEpoch { member, number, loss, score, is_best }) {
            return Err(HeadTrainError::Stopped { epoch: number });
        }
        if since_best >= settings.patience {
            break;
        }
    }
    if let Some((_, values)) = best {
        tower.vars().iter().zip(values).try_for_each(|(var, value): (&Var, Tensor)| var.set(&value))?;
    }
    Ok(tower)
}

/// One epoch under way.
struct Run<'a, 'e> {
    tower: &'a Tower,
    examples: Examples<'e>,
    settings: &'a MlpSettings,
    goal: &'a Goal,
    /// 1 for the first epoch.
    number: usize,
}

impl Run<'_, '_> {
    fn epoch(&self, optimizer: &mut AdamW, rng: &mut StdRng) -> Result<f64, HeadTrainError> {
        let mut order: Vec<usize> = (0..self.examples.rows.nrows()).collect();
        order.shuffle(rng);
        let n_batches = order.len().div_ceil(self.settings.batch_size);
        let mut total = 0.0;
        for (at, batch) in order.chunks(self.settings.batch_size).enumerate() {
            let mut rows = self.examples.rows.select(Axis(0), batch);
            drop_inputs(&mut rows, self.settings.input_dropout, rng);
            let dropout = (self.settings.dropout > 0.0).then_some((self.settings.dropout, &mut *rng));
            let outputs = self.tower.outputs(&tensor(&rows.view())?, dropout)?;
            let weights = self.examples.weights;
            let weights: Vec<f32> = batch.iter().map(|&row| weights.map_or(1.0, |all| all[row])).collect();
            let loss = self.goal.loss(&outputs, batch, &weights)?;
            total += f64::from(loss.to_scalar::<f32>()?);
            let progress =
                ((self.number - 1) * n_batches + at) as f64 / (self.settings.n_epochs * n_batches) as f64;
            let rate = self.settings.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
            optimizer.step(&loss.backward()?, rate)?;
        }
        Ok(total / n_batches as f64)
    }
}

/// Sets a share of the values to their mean, zero, and scales the others up.
pub(super) fn drop_inputs(rows: &mut Array2<f32>, share: f32, rng: &mut StdRng) {
    if share > 0.0 {
        let kept = 1.0 / (1.0 - share);
        rows.mapv_inplace(|value| if rng.random::<f32>() < share { 0.0 } else { value * kept });
    }
}

/// What outputs are held against.
struct Goal {
    /// `[n, outputs]`; of numbers, standardised. NaN where unknown.
    targets: Array2<f32>,
    kind: Kind,
}

enum Kind {
    /// Mean and deviation of each target.
    Numbers(Array1<f32>, Array1<f32>),
    Classes,
    Labels,
}

impl Goal {
    fn new(targets: &Targets, scaling: Scaling) -> Self {
        let mut values = targets.to_matrix();
        let kind = match targets {
            Targets::Classes { .. } => Kind::Classes,
            Targets::Labels(_) => Kind::Labels,
            Targets::Numbers(_) => {
                let moments = values.columns().into_iter().map(|column| {
                    let known: Vec<f64> =
                        column.iter().filter(|v| v.is_finite()).map(|v| f64::from(*v)).collect();
                    let n = known.len().max(1) as f64;
                    let mean = known.iter().sum::<f64>() / n;
                    (mean, known.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n)
                });
                let (means, mut variances): (Vec<f64>, Vec<f64>) = moments.unzip();
                if scaling == Scaling::Whole {
                    let mean = variances.iter().sum::<f64>() / variances.len().max(1) as f64;
                    variances.fill(mean);
                }
                let deviation = |variance: f64| if variance > 0.0 { variance.sqrt() as f32 } else { 1.0 };
                let means: Array1<f32> = means.into_iter().map(|mean| mean as f32).collect();
                let deviations: Array1<f32> = variances.into_iter().map(deviation).collect();
                values -= &means;
                values /= &deviations;
                Kind::Numbers(means, deviations)
            }
        };
        Self { targets: values, kind }
    }

    /// Weighted mean over the batch's known targets.
    fn loss(&self, outputs: &Tensor, batch: &[usize], weights: &[f32]) -> candle_core::Result<Tensor> {
        let (n, k) = outputs.dims2()?;
        let mut targets = self.targets.select(Axis(0), batch);
        let mut mask = Array2::zeros((n, k));
        for ((i, j), value) in targets.indexed_iter_mut() {
            if value.is_finite() {
                mask[[i, j]] = weights[i];
            } else {
                *value = 0.0;
            }
        }
        let known = match self.kind {
            Kind::Classes => weights.iter().sum::<f32>(),
            _ => mask.sum(),
        };
        let (targets, mask) = (tensor(&targets.view())?, tensor(&mask.view())?);
        let each = match self.kind {
            Kind::Numbers(..) => (outputs - targets)?.sqr()?,
            Kind::Labels => logistic_loss(outputs, &targets)?,
            Kind::Classes => {
                let highest = outputs.max_keepdim(D::Minus1)?.detach();
                let shifted = outputs.broadcast_sub(&highest)?;
                let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
                (shifted.broadcast_sub(&log_sum)? * targets)?.neg()?
            }
        };
        (each * mask)?.sum_all()? / f64::from(known.max(f32::MIN_POSITIVE))
    }

    /// Takes standardised targets back to their own scale.
    fn unscale_outputs(&self, outputs: &mut Array2<f32>) {
        if let Kind::Numbers(means, deviations) = &self.kind {
            *outputs *= deviations;
            *outputs += means;
        }
    }

    fn unscale(&self, member: &mut Member) {
        if let Kind::Numbers(means, deviations) = &self.kind {
            member.last.weight *= deviations;
            member.last.weight.mapv_inplace(|value| half::f16::from_f32(value).to_f32());
            member.last.bias = &member.last.bias * deviations + means;
        }
    }
}

/// Cross-entropy of scores with zeros and ones: `max(s, 0) - s y + log(1 + exp(-|s|))`.
pub(super) fn logistic_loss(scores: &Tensor, targets: &Tensor) -> candle_core::Result<Tensor> {
    let soft = ((scores.abs()?.neg()?.exp()? + 1.0)?).log()?;
    (scores.relu()? - (scores * targets)?)? + soft
}

pub(super) fn tensor(rows: &ArrayView2<'_, f32>) -> candle_core::Result<Tensor> {
    Tensor::from_vec(rows.iter().copied().collect(), rows.dim(), &Device::Cpu)
}

pub(super) fn to_array(tensor: &Tensor) -> candle_core::Result<Array2<f32>> {
    let values = tensor.flatten_all()?.to_vec1()?;
    Ok(Array2::from_shape_vec(tensor.dims2()?, values).expect("candle's tensors are row-major"))
}

fn check(settings: &MlpSettings) -> Result<(), HeadTrainError> {
    let MlpSettings { hidden_dim, dropout, input_dropout, batch_size, learning_rate, .. } = *settings;
    let at_least_one = "1 or more";
    let counts = [
        ("hidden_dim", hidden_dim),
        ("batch_size", batch_size),
        ("n_epochs", settings.n_epochs),
        ("patience", settings.patience),
        ("n_members", settings.n_members),
    ];
    if let Some((name, value)) = counts.into_iter().find(|(_, value)| *value == 0) {
        return Err(HeadTrainError::Setting { name, value: value.to_string(), rule: at_least_one });
    }
    for (name, value) in [("dropout", dropout), ("input_dropout", input_dropout)] {
        if !(0.0..1.0).contains(&value) {
            let rule = "from 0 to below 1";
            return Err(HeadTrainError::Setting { name, value: value.to_string(), rule });
        }
    }
    if !(learning_rate.is_finite() && learning_rate > 0.0) {
        let (name, value) = ("learning_rate", learning_rate.to_string());
        return Err(HeadTrainError::Setting { name, value, rule: "above 0" });
    }
    Ok(())
}
