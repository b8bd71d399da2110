//! The run: whiten, then epochs of batches until validation stops getting better.

use candle_core::{Device, Tensor, Var};
use ndarray::{Array2, ArrayView2};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::checkpoint::{Checkpoint, RunState};
use super::error::TrainError;
use super::loss::{info_nce, targets};
use super::ranks::{mean_reciprocal_rank, ranks};
use super::tower::{Tower, TowerShape};
use super::weights::TowerWeights;
use super::{ContrastiveSettings, Epoch, Pairs, Trained, adamw::AdamW, first_not_finite};
use crate::whitening::{Whitening, WhiteningSettings};

/// The inverse temperature is kept below this. Source: CLIP.
const MAX_SCALE: f32 = 100.0;

/// Trains on `training`, chooses the epoch by `validation`. `on_epoch` hears of every epoch, and ends the run by
/// answering false; the checkpoint then stands, and the next call with the same data and settings goes on from it.
///
/// # Errors
/// [`TrainError`].
pub fn train(
    training: &Pairs,
    validation: &Pairs,
    settings: &ContrastiveSettings,
    checkpoint: Option<&Checkpoint>,
    on_epoch: &mut dyn FnMut(&Epoch) -> bool,
) -> Result<Trained, TrainError> {
    check(training, validation, settings)?;
    let mut run = Run::start(training, validation, settings)?;
    if let Some(checkpoint) = checkpoint {
        checkpoint.restore(&mut run.state, settings)?;
    }
    while !run.is_over() {
        let epoch = run.epoch()?;
        if let Some(checkpoint) = checkpoint {
            checkpoint.save(&run.state, settings)?;
        }
        if !on_epoch(&epoch) {
            return Err(TrainError::Stopped { epoch: epoch.number });
        }
    }
    run.finish()
}

struct Run<'a> {
    settings: &'a ContrastiveSettings,
    whitenings: [Whitening; 2],
    towers: [Tower; 2],
    /// Logarithm of the inverse temperature.
    log_scale: Var,
    /// Whitened rows: proteins, texts.
    training: [Tensor; 2],
    validation: [Tensor; 2],
    keys: [&'a [u32]; 2],
    state: RunState,
}

impl<'a> Run<'a> {
    fn start(
        training: &'a Pairs,
        validation: &Pairs,
        settings: &'a ContrastiveSettings,
    ) -> Result<Self, TrainError> {
        let device = Device::Cpu;
        let fit = |rows: &Array2<f32>, n_components: usize| {
            let n_components = n_components.min(rows.ncols());
            Whitening::fit(&rows.view(), WhiteningSettings { n_components, shrinkage: settings.shrinkage })
        };
        let whitenings = [
            fit(&training.proteins, settings.protein_components)?,
            fit(&training.texts, settings.text_components)?,
        ];
        let whiten = |rows: &ArrayView2<'_, f32>, whitening: &Whitening| {
            let white = (rows - &whitening.mean).dot(&whitening.matrix);
            let shape = white.dim();
            Tensor::from_vec(white.into_iter().collect::<Vec<f32>>(), shape, &device)
        };
        let both = |pairs: &Pairs| {
            Ok::<_, TrainError>([
                whiten(&pairs.proteins.view(), &whitenings[0])?,
                whiten(&pairs.texts.view(), &whitenings[1])?,
            ])
        };
        let (training_rows, validation_rows) = (both(training)?, both(validation)?);
        let mut rng = StdRng::seed_from_u64(settings.seed);
        let mut tower = |rows: &Tensor| {
            let shape = TowerShape {
                n_inputs: rows.dim(1)?,
                hidden_dim: settings.hidden_dim,
                n_hidden: settings.n_hidden,
                shared_dim: settings.shared_dim,
            };
            Tower::new(shape, &mut rng, &device)
        };
        let towers = [tower(&training_rows[0])?, tower(&training_rows[1])?];
        let log_scale = Var::new((1.0 / settings.temperature).ln(), &device)?;
        let vars: Vec<Var> =
            towers.iter().flat_map(|tower| tower.vars().to_vec()).chain([log_scale.clone()]).collect();
        let best = vars.iter().map(|var| var.as_tensor().copy()).collect::<Result<_, _>>()?;
        let optimizer = AdamW::new(vars.clone(), settings.weight_decay)?;
        Ok(Self {
            settings,
            whitenings,
            towers,
            log_scale,
            training: training_rows,
            validation: validation_rows,
            keys: [&training.protein_keys, &training.text_keys],
            state: RunState { vars, best, optimizer, epochs: Vec::new() },
        })
    }

    fn is_over(&self) -> bool {
        let epochs = &self.state.epochs;
        let since_best = epochs.iter().rev().take_while(|epoch| !epoch.is_best).count();
        epochs.len() >= self.settings.n_epochs || since_best >= self.settings.patience
    }

    /// One pass over the training pairs, and a look at the validation pairs.
    fn epoch(&mut self) -> Result<Epoch, TrainError> {
        let number = self.state.epochs.len() + 1;
        // A stream of its own for every epoch: a resumed run draws what an unbroken one would.
        let mut rng = StdRng::seed_from_u64(self.settings.seed);
        rand_stream(&mut rng, number);
        let mut order: Vec<u32> = (0..self.keys[0].len()).map(|row| row as u32).collect();
        order.shuffle(&mut rng);
        let mut losses = Vec::new();
        for batch in order.chunks_exact(self.settings.batch_size) {
            losses.push(self.step(batch, &mut rng)?);
        }
        let loss = losses.iter().sum::<f64>() / losses.len() as f64;
        if !loss.is_finite() {
            return Err(TrainError::Diverged { epoch: number });
        }
        let validation_mrr = self.validate()?;
        let best = self.state.epochs.iter().map(|epoch| epoch.validation_mrr).fold(-1.0, f64::max);
        let epoch = Epoch {
            number,
            loss,
            validation_mrr,
            temperature: 1.0 / f64::from(self.scale()?.to_scalar::<f32>()?),
            learning_rate: self.learning_rate(self.state.optimizer.n_steps()),
            is_best: validation_mrr > best,
        };
        if epoch.is_best {
            let copies = self.state.vars.iter().map(|var| var.as_tensor().copy());
            self.state.best = copies.collect::<Result<_, _>>()?;
        }
        self.state.epochs.push(epoch);
        Ok(epoch)
    }

    fn step(&mut self, batch: &[u32], rng: &mut StdRng) -> Result<f64, TrainError> {
        let rows = Tensor::new(batch, self.training[0].device())?;
        let mut project = |side: usize| {
            let input = self.training[side].index_select(&rows, 0)?;
            self.towers[side].forward(&input, Some((self.settings.dropout, &mut *rng)))
        };
        let (proteins, texts) = (project(0)?, project(1)?);
        let keys = |side: usize| batch.iter().map(|&row| self.keys[side][row as usize]).collect::<Vec<_>>();
        let targets = targets(&keys(0), &keys(1), rows.device())?;
        let loss = info_nce(&proteins, &texts, &self.scale()?, &targets)?;
        let learning_rate = self.learning_rate(self.state.optimizer.n_steps());
        self.state.optimizer.step(&loss.backward()?, learning_rate)?;
        Ok(f64::from(loss.to_scalar::<f32>()?))
    }

    fn scale(&self) -> Result<Tensor, TrainError> {
        Ok(self.log_scale.as_tensor().exp()?.minimum(MAX_SCALE)?)
    }

    /// Linear warm-up, then half a cosine down to zero.
    fn learning_rate(&self, step: usize) -> f64 {
        let n_batches = self.keys[0].len() / self.settings.batch_size;
        let n_steps = (self.settings.n_epochs * n_batches) as f64;
        let warm_up = ((step + 1) as f64 / (self.settings.warm_up * n_steps).max(1.0)).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * step as f64 / n_steps).cos());
        self.settings.learning_rate * warm_up * cosine
    }

    fn validate(&self) -> Result<f64, TrainError> {
        let project = |side: usize| {
            let rows = self.towers[side].forward(&self.validation[side], None)?;
            let shape = rows.dims2()?;
            let values = rows.flatten_all()?.to_vec1::<f32>()?;
            Ok::<_, TrainError>(
                Array2::from_shape_vec(shape, values).expect("as many values as the shape says"),
            )
        };
        let (proteins, texts) = (project(0)?, project(1)?);
        let found = ranks(&proteins.view(), &texts.view());
        Ok((mean_reciprocal_rank(&found.by_protein) + mean_reciprocal_rank(&found.by_text)) / 2.0)
    }

    fn finish(self) -> Result<Trained, TrainError> {
        for (var, best) in self.state.vars.iter().zip(&self.state.best) {
            var.set(best)?;
        }
        Ok(Trained {
            protein: TowerWeights::fold(&self.whitenings[0], &self.towers[0])?,
            text: TowerWeights::fold(&self.whitenings[1], &self.towers[1])?,
            epochs: self.state.epochs,
        })
    }
}

/// Moves a generator to the stream of an epoch.
fn rand_stream(rng: &mut StdRng, epoch: usize) {
    use rand::Rng as _;
    let seed = rng.random::<u64>() ^ (epoch as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    *rng = StdRng::seed_from_u64(seed);
}

fn check(training: &Pairs, validation: &Pairs, settings: &ContrastiveSettings) -> Result<(), TrainError> {
    for pairs in [training, validation] {
        let n_keys = pairs.protein_keys.len().min(pairs.text_keys.len());
        let (n_proteins, n_texts) = (pairs.proteins.nrows(), pairs.texts.nrows());
        if n_proteins != n_texts || n_keys != n_texts {
            return Err(TrainError::Uneven { n_proteins, n_texts, n_keys });
        }
    }
    for (what, training, validation) in
        [("protein", &training.proteins, &validation.proteins), ("text", &training.texts, &validation.texts)]
    {
        let (expected, found) = (training.ncols(), validation.ncols());
        if expected != found {
            return Err(TrainError::Width { what, expected, found });
        }
        for (part, rows) in [("training", training), ("validation", validation)] {
            if let Some(row) = first_not_finite(&rows.view()) {
                return Err(TrainError::NotFinite { what, part, row });
            }
        }
    }
    check_settings(settings)?;
    let (n_pairs, batch_size) = (training.len(), settings.batch_size);
    if n_pairs < batch_size {
        return Err(TrainError::FewerThanABatch { n_pairs, batch_size });
    }
    if validation.len() < 2 {
        return Err(TrainError::NoValidation { n_pairs: validation.len() });
    }
    Ok(())
}

fn check_settings(settings: &ContrastiveSettings) -> Result<(), TrainError> {
    let positive = "at least 1";
    let rules: [(&'static str, f64, bool, &'static str); 11] = [
        ("shared_dim", settings.shared_dim as f64, settings.shared_dim >= 1, positive),
        ("hidden_dim", settings.hidden_dim as f64, settings.hidden_dim >= 1, positive),
        ("n_hidden", settings.n_hidden as f64, settings.n_hidden >= 1, positive),
        ("n_epochs", settings.n_epochs as f64, settings.n_epochs >= 1, positive),
        ("patience", settings.patience as f64, settings.patience >= 1, positive),
        ("batch_size", settings.batch_size as f64, settings.batch_size >= 2, "at least 2"),
        ("dropout", f64::from(settings.dropout), (0.0..1.0).contains(&settings.dropout), "from 0 to below 1"),
        ("learning_rate", settings.learning_rate, settings.learning_rate > 0.0, "above 0"),
        ("weight_decay", settings.weight_decay, settings.weight_decay >= 0.0, "0 or more"),
        ("warm_up", settings.warm_up, (0.0..=1.0).contains(&settings.warm_up), "from 0 to 1"),
        ("temperature", f64::from(settings.temperature), settings.temperature > 0.0, "above 0"),
    ];
    match rules.into_iter().find(|(.., holds, _)| !holds) {
        Some((name, value, _, rule)) => Err(TrainError::Setting { name, value: value.to_string(), rule }),
        None => Ok(()),
    }
}
