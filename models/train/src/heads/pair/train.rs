//! Training of a head for pairs: each batch makes the codes of its records once, however many pairs they are in.

use std::collections::HashMap;

use candle_core::{Device, Tensor, Var};
use ndarray::Axis;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::model::{PairMember, PairModel};
use super::{PairExamples, PairScore, PairSettings};
use crate::contrastive::adamw::AdamW;
use crate::contrastive::tower::{Tower, TowerShape};
use crate::contrastive::weights::Member;
use crate::heads::error::HeadTrainError;
use crate::heads::mlp::{HeadEpoch, drop_inputs, logistic_loss, tensor};
use crate::heads::standardize::Standardizer;

/// Pairs that are scored together in validation.
const BLOCK: usize = 8192;

/// Trains the members; rows of both parts are standardised by the training records. Each member keeps its best epoch by
/// `score` on the validation pairs.
///
/// # Errors
/// [`HeadTrainError`].
pub fn train_pairs(
    training: PairExamples<'_>,
    validation: PairExamples<'_>,
    score: PairScore<'_>,
    settings: &PairSettings,
    on_epoch: &mut dyn FnMut(&HeadEpoch) -> bool,
) -> Result<PairModel, HeadTrainError> {
    check(training, validation, settings)?;
    let standardizer = Standardizer::fit(&training.rows);
    let rows = standardizer.apply(&training.rows);
    let held_out = standardizer.apply(&validation.rows);
    let training = PairExamples { rows: rows.view(), ..training };
    let validation = PairExamples { rows: held_out.view(), ..validation };
    let mut members = Vec::with_capacity(settings.n_members);
    for member in 1..=settings.n_members {
        let run = Run::start(training, settings, member)?;
        members.push(run.finish(validation, score, on_epoch)?);
    }
    Ok(PairModel { standardizer, members, code_dim: settings.code_dim })
}

/// One member in training.
struct Run<'e, 's> {
    training: PairExamples<'e>,
    settings: &'s PairSettings,
    number: usize,
    tower: Tower,
    pair: Tower,
    vars: Vec<Var>,
    /// The weights' running mean.
    averages: Vec<Tensor>,
    optimizer: AdamW,
}

impl<'e, 's> Run<'e, 's> {
    fn start(
        training: PairExamples<'e>,
        settings: &'s PairSettings,
        number: usize,
    ) -> Result<Self, HeadTrainError> {
        let mut rng = StdRng::seed_from_u64(settings.seed.wrapping_add(number as u64));
        let (hidden_dim, shared_dim) = (settings.hidden_dim, settings.code_dim);
        let shape = TowerShape { n_inputs: training.rows.ncols(), hidden_dim, n_hidden: 1, shared_dim };
        let tower = Tower::new(shape, &mut rng, &Device::Cpu)?;
        let shape = TowerShape {
            n_inputs: 3 * settings.code_dim,
            hidden_dim: settings.pair_dim,
            n_hidden: 1,
            shared_dim: 1,
        };
        let pair = Tower::new(shape, &mut rng, &Device::Cpu)?;
        let vars: Vec<Var> = tower.vars().iter().chain(pair.vars()).cloned().collect();
        let averages = vars.iter().map(|var| var.as_tensor().copy()).collect::<Result<_, _>>()?;
        let optimizer = AdamW::new(vars.clone(), settings.weight_decay)?;
        Ok(Self { training, settings, number, tower, pair, vars, averages, optimizer })
    }

    fn finish(
        mut self,
        validation: PairExamples<'_>,
        score: PairScore<'_>,
        on_epoch: &mut dyn FnMut(&HeadEpoch) -> bool,
    ) -> Result<PairMember, HeadTrainError> {
        let mut best: Option<(f64, Vec<Tensor>)> = None;
        let mut since_best = 0;
        for number in 1..=self.settings.n_epochs {
            let loss = self.epoch(number)?;
            if !loss.is_finite() {
                return Err(HeadTrainError::Diverged { epoch: number });
            }
            let current = self.swap_in(self.averages.clone())?;
            let found = score(&self.score(validation)?);
            self.swap_in(current)?;
            let is_best = best.as_ref().is_none_or(|(known, _)| found > *known);
            since_best = if is_best { 0 } else { since_best + 1 };
            if is_best {
                best = Some((found, self.averages.clone()));
            }
            let epoch = HeadEpoch { member: self.number, number, loss, score: found, is_best };
            if !on_epoch(&epoch) {
                return Err(HeadTrainError::Stopped { epoch: number });
            }
            if since_best >= self.settings.patience {
                break;
            }
        }
        if let Some((_, weights)) = best {
            self.swap_in(weights)?;
        }
        Ok(PairMember { tower: Member::of(&self.tower)?, pair: Member::of(&self.pair)? })
    }

    /// Puts other weights in place, and returns those that were there.
    fn swap_in(&self, weights: Vec<Tensor>) -> Result<Vec<Tensor>, HeadTrainError> {
        let before = self.vars.iter().map(|var| var.as_tensor().copy()).collect::<Result<_, _>>()?;
        self.vars.iter().zip(weights).try_for_each(|(var, value)| var.set(&value))?;
        Ok(before)
    }

    fn epoch(&mut self, number: usize) -> Result<f64, HeadTrainError> {
        let seed = self.settings.seed.wrapping_add(self.number as u64).wrapping_mul(0x9e37_79b9);
        let mut rng = StdRng::seed_from_u64(seed.wrapping_add(number as u64));
        let mut order: Vec<usize> = (0..self.training.pairs.len()).collect();
        order.shuffle(&mut rng);
        let n_batches = order.len().div_ceil(self.settings.batch_size);
        let mut total = 0.0;
        for (at, batch) in order.chunks(self.settings.batch_size).enumerate() {
            let loss = self.loss(batch, &mut rng)?;
            total += f64::from(loss.to_scalar::<f32>()?);
            let done = ((number - 1) * n_batches + at) as f64 / (self.settings.n_epochs * n_batches) as f64;
            let rate = self.settings.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
            self.optimizer.step(&loss.backward()?, rate)?;
            self.average(((number - 1) * n_batches + at) as f64)?;
        }
        Ok(total / n_batches as f64)
    }

    /// Takes the new weights into the running mean; early steps count more, so that the start is forgotten.
    fn average(&mut self, n_steps: f64) -> Result<(), HeadTrainError> {
        let kept = self.settings.averaging.min((1.0 + n_steps) / (10.0 + n_steps));
        for (average, var) in self.averages.iter_mut().zip(&self.vars) {
            *average = ((&*average * kept)? + (var.as_tensor() * (1.0 - kept))?)?.detach();
        }
        Ok(())
    }

    fn loss(&self, batch: &[usize], rng: &mut StdRng) -> Result<Tensor, HeadTrainError> {
        let mut places: HashMap<u32, u32> = HashMap::new();
        let mut records: Vec<usize> = Vec::new();
        let mut place = |record: u32| {
            *places.entry(record).or_insert_with(|| {
                records.push(record as usize);
                records.len() as u32 - 1
            })
        };
        let sides: Vec<(u32, u32)> = batch
            .iter()
            .map(|&at| {
                let (a, b) = self.training.pairs[at];
                (place(a), place(b))
            })
            .collect();
        let labels: Vec<f32> =
            batch.iter().map(|&at| f32::from(u8::from(self.training.labels[at]))).collect();
        let mut rows = self.training.rows.select(Axis(0), &records);
        drop_inputs(&mut rows, self.settings.input_dropout, rng);
        let share = self.settings.dropout;
        let dropout = (share > 0.0).then_some((share, &mut *rng));
        let codes = self.tower.outputs(&tensor(&rows.view())?, dropout)?;
        let joined = join(&codes, &sides)?;
        let dropout = (share > 0.0).then_some((share, &mut *rng));
        let scores = self.pair.outputs_of_learned(&joined, dropout)?;
        let targets = Tensor::from_vec(labels, (batch.len(), 1), &Device::Cpu)?;
        Ok(logistic_loss(&scores, &targets)?.mean_all()?)
    }

    fn score(&self, examples: PairExamples<'_>) -> Result<Vec<f32>, HeadTrainError> {
        let codes = self.tower.outputs(&tensor(&examples.rows)?, None)?;
        let mut scores = Vec::with_capacity(examples.pairs.len());
        for block in examples.pairs.chunks(BLOCK) {
            let found = self.pair.outputs_of_learned(&join(&codes, block)?, None)?;
            scores.extend(found.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(scores)
    }
}

/// Product, absolute difference and sum of the codes of pairs: `[pairs, 3 * code_dim]`.
fn join(codes: &Tensor, pairs: &[(u32, u32)]) -> candle_core::Result<Tensor> {
    let side =
        |places: Vec<u32>| codes.index_select(&Tensor::from_vec(places, pairs.len(), &Device::Cpu)?, 0);
    let a = side(pairs.iter().map(|pair| pair.0).collect())?;
    let b = side(pairs.iter().map(|pair| pair.1).collect())?;
    Tensor::cat(&[(&a * &b)?, (&a - &b)?.abs()?, (&a + &b)?], 1)?.contiguous()
}

fn check(
    training: PairExamples<'_>,
    validation: PairExamples<'_>,
    settings: &PairSettings,
) -> Result<(), HeadTrainError> {
    check_part("training", training)?;
    check_part("validation", validation)?;
    let counts = [
        ("hidden_dim", settings.hidden_dim),
        ("code_dim", settings.code_dim),
        ("pair_dim", settings.pair_dim),
        ("batch_size", settings.batch_size),
        ("n_epochs", settings.n_epochs),
        ("patience", settings.patience),
        ("n_members", settings.n_members),
    ];
    if let Some((name, value)) = counts.into_iter().find(|(_, value)| *value == 0) {
        return Err(HeadTrainError::Setting { name, value: value.to_string(), rule: "1 or more" });
    }
    let (dropout, input_dropout) = (f64::from(settings.dropout), f64::from(settings.input_dropout));
    let shares = [("dropout", dropout), ("input_dropout", input_dropout), ("averaging", settings.averaging)];
    if let Some((name, value)) = shares.into_iter().find(|(_, value)| !(0.0..1.0).contains(value)) {
        let rule = "from 0 to below 1";
        return Err(HeadTrainError::Setting { name, value: value.to_string(), rule });
    }
    Ok(())
}

fn check_part(part: &'static str, examples: PairExamples<'_>) -> Result<(), HeadTrainError> {
    let (n_rows, n_targets) = (examples.pairs.len(), examples.labels.len());
    if n_rows != n_targets {
        return Err(HeadTrainError::Uneven { what: "labels", n_rows, n_targets });
    }
    if n_rows < 2 {
        return Err(HeadTrainError::TooFewRows { part, n_rows, least: 2 });
    }
    if examples.labels.iter().all(|label| *label == examples.labels[0]) {
        let class = u8::from(examples.labels[0]).to_string();
        return Err(HeadTrainError::OneClass { part, n_rows, class });
    }
    if let Some(row) = crate::whitening::first_not_finite(&examples.rows) {
        return Err(HeadTrainError::NotFinite { part, row });
    }
    Ok(())
}
