//! The run: whiten, then epochs of batches until validation stops getting better.

use candle_core::{Device, Tensor, Var};
use ndarray::Array2;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::checkpoint::{Checkpoint, RunState};
use super::error::TrainError;
use super::loss::{info_nce, targets};
use super::ranks::{mean_reciprocal_rank, ranks};
use super::texts::{drop_sentences, mean_rows};
use super::tower::{Tower, TowerShape};
use super::weights::TowerWeights;
use super::{ContrastiveSettings, Epoch, Pairs, Trained, adamw::AdamW};
use crate::whitening::{Whitening, WhiteningSettings, first_not_finite};

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
    let mut members = Vec::new();
    let mut epochs = Vec::new();
    for member in 1..=settings.n_members {
        let mut run = Run::start(training, validation, settings, member)?;
        let checkpoint = checkpoint.map(|checkpoint| checkpoint.of_member(member));
        if let Some(checkpoint) = &checkpoint {
            checkpoint.restore(&mut run.state, settings)?;
        }
        while !run.is_over() {
            let epoch = run.epoch()?;
            if let Some(checkpoint) = &checkpoint {
                checkpoint.save(&run.state, settings)?;
            }
            if !on_epoch(&epoch) {
                return Err(TrainError::Stopped { epoch: epoch.number });
            }
        }
        epochs.extend_from_slice(&run.state.epochs);
        members.push(run.finish()?);
    }
    let (protein, text): (Vec<_>, Vec<_>) = members.into_iter().unzip();
    Ok(Trained { protein: TowerWeights::join(protein), text: TowerWeights::join(text), epochs })
}

/// One pair of towers in training.
struct Run<'a> {
    settings: &'a ContrastiveSettings,
    member: usize,
    whitenings: [Whitening; 2],
    towers: [Tower; 2],
    /// Logarithm of the inverse temperature.
    log_scale: Var,
    training: &'a Pairs,
    /// Whitened proteins of the training pairs; their texts are made anew in each epoch.
    proteins: Tensor,
    /// Whitened rows of the validation pairs: proteins, texts.
    validation: [Tensor; 2],
    keys: [&'a [u32]; 2],
    state: RunState,
}

impl<'a> Run<'a> {
    fn start(
        training: &'a Pairs,
        validation: &Pairs,
        settings: &'a ContrastiveSettings,
        member: usize,
    ) -> Result<Self, TrainError> {
        let device = Device::Cpu;
        let n_components = settings.protein_components.min(training.proteins.ncols());
        let whitening = WhiteningSettings { n_components, shrinkage: settings.shrinkage };
        let whitenings = [
            Whitening::fit(&training.proteins.view(), whitening)?,
            Whitening::standardize(&training.text_rows().view())?,
        ];
        let proteins = as_tensor(whitenings[0].rotate(&training.proteins.view()), &device)?;
        let validation = [
            as_tensor(whitenings[0].rotate(&validation.proteins.view()), &device)?,
            as_tensor(whitenings[1].rotate(&validation.text_rows().view()), &device)?,
        ];
        let mut rng = StdRng::seed_from_u64(settings.seed.wrapping_add(member as u64));
        let mut tower = |rows: &Tensor| {
            let shape = TowerShape {
                n_inputs: rows.dim(1)?,
                hidden_dim: settings.hidden_dim,
                n_hidden: settings.n_hidden,
                shared_dim: settings.shared_dim,
            };
            Tower::new(shape, &mut rng, &device)
        };
        let towers = [tower(&validation[0])?, tower(&validation[1])?];
        let log_scale = Var::new((1.0 / settings.temperature).ln(), &device)?;
        let vars: Vec<Var> =
            towers.iter().flat_map(|tower| tower.vars().to_vec()).chain([log_scale.clone()]).collect();
        let best = vars.iter().map(|var| var.as_tensor().copy()).collect::<Result<_, _>>()?;
        let optimizer = AdamW::new(vars.clone(), settings.weight_decay)?;
        Ok(Self {
            settings,
            member,
            whitenings,
            towers,
            log_scale,
            training,
            proteins,
            validation,
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
        let mut rng = stream(self.settings.seed, self.member, number);
        let texts = drop_sentences(&self.training.texts, self.settings.sentence_dropout, &mut rng);
        let texts = mean_rows(&self.training.sentences, texts.iter().map(Vec::as_slice));
        let texts = as_tensor(self.whitenings[1].rotate(&texts.view()), self.proteins.device())?;
        let mut order: Vec<u32> = (0..self.keys[0].len()).map(|row| row as u32).collect();
        order.shuffle(&mut rng);
        let mut losses = Vec::new();
        for batch in order.chunks_exact(self.settings.batch_size) {
            losses.push(self.step(batch, &texts, &mut rng)?);
        }
        let loss = losses.iter().sum::<f64>() / losses.len() as f64;
        if !loss.is_finite() {
            return Err(TrainError::Diverged { epoch: number });
        }
        let validation_mrr = self.validate()?;
        let best = self.state.epochs.iter().map(|epoch| epoch.validation_mrr).fold(-1.0, f64::max);
        let epoch = Epoch {
            member: self.member,
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

    fn step(&mut self, batch: &[u32], texts: &Tensor, rng: &mut StdRng) -> Result<f64, TrainError> {
        let rows = Tensor::new(batch, texts.device())?;
        let mut project = |tower: &Tower, inputs: &Tensor| {
            let input = add_noise(&inputs.index_select(&rows, 0)?, self.settings.noise, rng)?;
            tower.forward(&input, Some((self.settings.dropout, &mut *rng)))
        };
        let (proteins, texts) = (project(&self.towers[0], &self.proteins)?, project(&self.towers[1], texts)?);
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

    /// The towers of the best epoch: protein, text.
    fn finish(self) -> Result<(TowerWeights, TowerWeights), TrainError> {
        for (var, best) in self.state.vars.iter().zip(&self.state.best) {
            var.set(best)?;
        }
        Ok((
            TowerWeights::new(&self.whitenings[0], &self.towers[0])?,
            TowerWeights::new(&self.whitenings[1], &self.towers[1])?,
        ))
    }
}

/// The draws of one epoch of one pair of towers: a resumed run draws what an unbroken one would.
fn stream(seed: u64, member: usize, epoch: usize) -> StdRng {
    let mut bytes = [0; 32];
    for (part, value) in bytes.chunks_exact_mut(8).zip([seed, member as u64, epoch as u64]) {
        part.copy_from_slice(&value.to_le_bytes());
    }
    StdRng::from_seed(bytes)
}

fn as_tensor(rows: Array2<f32>, device: &Device) -> Result<Tensor, TrainError> {
    let shape = rows.dim();
    Ok(Tensor::from_vec(rows.into_iter().collect::<Vec<f32>>(), shape, device)?)
}

/// Normal noise of the deviation given, by Box and Muller's rule.
fn add_noise(x: &Tensor, deviation: f32, rng: &mut StdRng) -> candle_core::Result<Tensor> {
    if deviation <= 0.0 {
        return Ok(x.clone());
    }
    let normal = |_| {
        let (radius, angle) = (1.0 - rng.random::<f32>(), rng.random::<f32>());
        deviation * (-2.0 * radius.ln()).sqrt() * (std::f32::consts::TAU * angle).cos()
    };
    let noise: Vec<f32> = (0..x.elem_count()).map(normal).collect();
    x.add(&Tensor::from_vec(noise, x.shape(), x.device())?)
}

fn check(training: &Pairs, validation: &Pairs, settings: &ContrastiveSettings) -> Result<(), TrainError> {
    for pairs in [training, validation] {
        let n_keys = pairs.protein_keys.len().min(pairs.text_keys.len());
        let (n_proteins, n_texts) = (pairs.proteins.nrows(), pairs.texts.len());
        if n_proteins != n_texts || n_keys != n_texts {
            return Err(TrainError::Uneven { n_proteins, n_texts, n_keys });
        }
        let has_rows = |text: &Vec<u32>| {
            !text.is_empty() && text.iter().all(|&row| (row as usize) < pairs.sentences.nrows())
        };
        if let Some(text) = pairs.texts.iter().position(|text| !has_rows(text)) {
            return Err(TrainError::NoSentence { text });
        }
    }
    for (what, training, validation) in [
        ("protein", &training.proteins, &validation.proteins),
        ("sentence", &training.sentences, &validation.sentences),
    ] {
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
    let share = |value: f32| (0.0..1.0).contains(&value);
    let (dropout, sentence_dropout) = (settings.dropout, settings.sentence_dropout);
    let rules: [(&'static str, f64, bool, &'static str); 14] = [
        ("shared_dim", settings.shared_dim as f64, settings.shared_dim >= 1, positive),
        ("hidden_dim", settings.hidden_dim as f64, settings.hidden_dim >= 1, positive),
        ("n_hidden", settings.n_hidden as f64, settings.n_hidden >= 1, positive),
        ("n_epochs", settings.n_epochs as f64, settings.n_epochs >= 1, positive),
        ("patience", settings.patience as f64, settings.patience >= 1, positive),
        ("batch_size", settings.batch_size as f64, settings.batch_size >= 2, "at least 2"),
        ("n_members", settings.n_members as f64, settings.n_members >= 1, positive),
        ("dropout", f64::from(dropout), share(dropout), "from 0 to below 1"),
        ("sentence_dropout", f64::from(sentence_dropout), share(sentence_dropout), "from 0 to below 1"),
        ("noise", f64::from(settings.noise), settings.noise >= 0.0, "0 or more"),
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
