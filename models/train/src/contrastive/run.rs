//! The run: whiten, then epochs of batches until validation stops getting better.

use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use candle_core::{Device, Tensor, Var};
use ndarray::{Array2, Axis};
use protext_core::{N_WORD_COMPONENTS, RowKind};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_distr::StandardNormal;

use super::checkpoint::{Checkpoint, RunState};
use super::error::TrainError;
use super::hubs::{HubCorrection, Side};
use super::loss::{Batch, partners};
use super::ranks::{mean_reciprocal_rank, ranks};
use super::texts::{drop_sentences, mean_rows};
use super::tower::{Tower, TowerShape};
use super::weights::TowerWeights;
use super::{ContrastiveSettings, Epoch, Pairs, Parts, Trained, TrainingDevice, adamw::AdamW};
use crate::whitening::{Whitening, WhiteningSettings, first_not_finite};

/// Training vectors that hubs are told by.
const MAX_REFERENCES: usize = 2048;
/// The inverse temperature is kept below this. Source: CLIP.
const MAX_SCALE: f32 = 100.0;

/// Trains on the training pairs and, beside them, on extra ones; chooses the epoch by the validation pairs. Members of an ensemble are
/// trained side by side, one a core. `on_epoch` hears of every epoch, and ends the run by answering false; the checkpoint
/// then stands, and the next call with the same data and settings goes on from it.
///
/// # Errors
/// [`TrainError`].
pub fn train(
    parts: Parts<'_>,
    settings: &ContrastiveSettings,
    checkpoint: Option<&Checkpoint>,
    on_epoch: OnEpoch<'_>,
) -> Result<Trained, TrainError> {
    check(parts, settings)?;
    keep_freed_pages();
    let data = Data::prepare(parts, settings)?;
    let next = AtomicUsize::new(1);
    let listener = Listener { on_epoch: Mutex::new(on_epoch), stop: AtomicBool::new(false) };
    let work = || {
        let mut finished = Vec::new();
        loop {
            let member = next.fetch_add(1, Ordering::Relaxed);
            if member > settings.n_members || listener.has_enough() {
                return Ok(finished);
            }
            let mut run = Run::start(&data, settings, member)?;
            let towers = run.finish_epochs(checkpoint, &listener)?;
            finished.push((member, run.state.epochs, towers));
        }
    };
    let n_cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let n_threads = n_cores.min(settings.n_members);
    // Members share the cores out among them: two that wait for one another's cores are slower than one.
    let pools = (0..n_threads).map(|thread| {
        let n_cores = n_cores / n_threads + usize::from(thread < n_cores % n_threads);
        rayon::ThreadPoolBuilder::new().num_threads(n_cores).build().map_err(TrainError::Threads)
    });
    let pools = pools.collect::<Result<Vec<_>, _>>()?;
    let finished = std::thread::scope(|scope| {
        let threads: Vec<_> = pools.iter().map(|pool| scope.spawn(|| pool.install(work))).collect();
        let joined = threads.into_iter().map(|thread| thread.join().expect("a member never panics"));
        joined.collect::<Result<Vec<_>, TrainError>>()
    })?;
    let mut members: Vec<Finished> = finished.into_iter().flatten().collect();
    members.sort_by_key(|(member, ..)| *member);
    let last = |(_, epochs, _): &Finished| epochs.last().map_or(0, |epoch| epoch.number);
    let stopped = || TrainError::Stopped { epoch: members.iter().map(last).max().unwrap_or(0) };
    let towers: Option<Vec<_>> = members.iter().map(|(.., towers)| towers.clone()).collect();
    let towers = towers.filter(|towers| towers.len() == settings.n_members).ok_or_else(stopped)?;
    let (protein, text): (Vec<_>, Vec<_>) = towers.into_iter().unzip();
    let epochs = members.into_iter().flat_map(|(_, epochs, _)| epochs).collect();
    let (protein, text) = (TowerWeights::join(protein), TowerWeights::join(text));
    let (protein, text) = correct_hubs(protein, text, parts.training, settings)?;
    Ok(Trained { protein, text, epochs })
}

/// Freed memory stays with the process from here on: each step takes and frees matrices of up to `batch_size` squared, and a sixth of
/// its time would go to the kernel, which clears every page that it hands out anew.
fn keep_freed_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the three settings may be changed at any time; they say where memory comes from and when it goes.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Each tower learns how near its vectors are to the training vectors of the other.
fn correct_hubs(
    protein: TowerWeights,
    text: TowerWeights,
    training: &Pairs,
    settings: &ContrastiveSettings,
) -> Result<(TowerWeights, TowerWeights), TrainError> {
    if settings.hub_neighbours == 0 {
        return Ok((protein, text));
    }
    let n_references = training.len().min(MAX_REFERENCES);
    let rows: Vec<usize> = (0..n_references).map(|i| i * training.len() / n_references).collect();
    let chosen = training.select(&rows);
    let proteins = protein.apply(&chosen.proteins.view())?;
    let texts = text.apply(&chosen.text_rows().view())?;
    let n_nearest = settings.hub_neighbours.min(n_references);
    Ok((
        protein.with_hub_correction(HubCorrection::new(Side::Protein, &texts, n_nearest)),
        text.with_hub_correction(HubCorrection::new(Side::Text, &proteins, n_nearest)),
    ))
}

/// Hears of every epoch, from one thread at a time; false ends the run.
pub type OnEpoch<'a> = &'a mut (dyn FnMut(&Epoch) -> bool + Send);

/// The caller's ear, shared by the members.
struct Listener<'a> {
    on_epoch: Mutex<OnEpoch<'a>>,
    stop: AtomicBool,
}

impl Listener<'_> {
    fn hear(&self, epoch: &Epoch) {
        let mut on_epoch = self.on_epoch.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.has_enough() && !on_epoch(epoch) {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    fn has_enough(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// A member, its epochs and, unless it was stopped, its towers: protein, text.
type Finished = (usize, Vec<Epoch>, Option<(TowerWeights, TowerWeights)>);

/// What all members share: how rows are whitened, and whitened proteins.
struct Data<'a> {
    whitenings: [Whitening; 2],
    training: Part<'a>,
    extra: Option<Part<'a>>,
    /// Whitened rows of the validation pairs: proteins, texts.
    validation: [Tensor; 2],
}

/// Pairs to train on, their rows whitened; their texts are made anew of their sentences for each batch.
struct Part<'a> {
    pairs: &'a Pairs,
    proteins: Tensor,
    sentences: Array2<f32>,
}

impl<'a> Data<'a> {
    fn prepare(parts: Parts<'a>, settings: &ContrastiveSettings) -> Result<Self, TrainError> {
        let Parts { training, extra, validation } = parts;
        let device = open(settings.device)?;
        let n_components = settings.protein_components.min(training.proteins.ncols());
        let whitening = WhiteningSettings { n_components, shrinkage: settings.shrinkage };
        let whitenings = [
            Whitening::fit(&training.proteins.view(), whitening)?,
            of_texts(&training.text_rows(), settings)?,
        ];
        let part = |pairs: &'a Pairs| {
            let proteins = as_tensor(whitenings[0].rotate(&pairs.proteins.view()), &device)?;
            // Whitening is affine, so the mean of whitened sentences is the whitened mean.
            let sentences = whitenings[1].rotate(&pairs.sentences.view());
            Ok::<_, TrainError>(Part { pairs, proteins, sentences })
        };
        let validation = [
            as_tensor(whitenings[0].rotate(&validation.proteins.view()), &device)?,
            as_tensor(whitenings[1].rotate(&validation.text_rows().view()), &device)?,
        ];
        let (training, extra) = (part(training)?, extra.map(part).transpose()?);
        Ok(Self { whitenings, training, extra, validation })
    }
}

/// The encoder's own components are standardised. Words, of which few are common, are rotated to their leading components.
fn of_texts(rows: &Array2<f32>, settings: &ContrastiveSettings) -> Result<Whitening, TrainError> {
    if settings.text_kind() == RowKind::Pooled {
        return Ok(Whitening::standardize(&rows.view())?);
    }
    let n_pooled = rows.ncols().saturating_sub(N_WORD_COMPONENTS);
    let (pooled, words) = rows.view().split_at(Axis(1), n_pooled);
    let whitening =
        WhiteningSettings { n_components: settings.word_components, shrinkage: settings.shrinkage };
    Ok(Whitening::standardize(&pooled)?.beside(&Whitening::fit(&words, whitening)?))
}

/// One pair of towers in training.
struct Run<'a> {
    settings: &'a ContrastiveSettings,
    member: usize,
    data: &'a Data<'a>,
    towers: [Tower; 2],
    /// Logarithm of the inverse temperature.
    log_scale: Var,
    state: RunState,
}

impl<'a> Run<'a> {
    fn start(
        data: &'a Data<'a>,
        settings: &'a ContrastiveSettings,
        member: usize,
    ) -> Result<Self, TrainError> {
        let device = data.validation[0].device();
        let mut rng = StdRng::seed_from_u64(settings.seed.wrapping_add(member as u64));
        let mut tower = |rows: &Tensor| {
            let shape = TowerShape {
                n_inputs: rows.dim(1)?,
                hidden_dim: settings.hidden_dim,
                n_hidden: settings.n_hidden,
                shared_dim: settings.shared_dim,
            };
            Tower::new(shape, &mut rng, device)
        };
        let towers = [tower(&data.validation[0])?, tower(&data.validation[1])?];
        let log_scale = Var::new((1.0 / settings.temperature).ln(), device)?;
        let vars: Vec<Var> =
            towers.iter().flat_map(|tower| tower.vars().to_vec()).chain([log_scale.clone()]).collect();
        let best = vars.iter().map(|var| var.as_tensor().copy()).collect::<Result<_, _>>()?;
        let optimizer = AdamW::new(vars.clone(), settings.weight_decay)?;
        let state = RunState { vars, best, optimizer, epochs: Vec::new() };
        Ok(Self { settings, member, data, towers, log_scale, state })
    }

    /// Epochs from the checkpoint on; the towers of the best, or none if the run was stopped.
    fn finish_epochs(
        &mut self,
        checkpoint: Option<&Checkpoint>,
        listener: &Listener<'_>,
    ) -> Result<Option<(TowerWeights, TowerWeights)>, TrainError> {
        let checkpoint = checkpoint.map(|checkpoint| checkpoint.of_member(self.member));
        if let Some(checkpoint) = &checkpoint {
            checkpoint.restore(&mut self.state, self.settings)?;
        }
        while !self.is_over() {
            if listener.has_enough() {
                return Ok(None);
            }
            let epoch = self.epoch()?;
            if let Some(checkpoint) = &checkpoint {
                checkpoint.save(&self.state, self.settings)?;
            }
            listener.hear(&epoch);
        }
        self.finish().map(Some)
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
        let mut losses = Vec::new();
        for (is_extra, batch) in self.batches(&mut rng) {
            let loss = self.step(is_extra, &batch, &mut rng)?;
            if !is_extra {
                losses.push(loss);
            }
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
            temperature: 1.0 / f64::from(self.scale()?),
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

    /// The batches of an epoch: every pair once, and extra pairs in between; true for those.
    fn batches(&self, rng: &mut StdRng) -> Vec<(bool, Vec<u32>)> {
        let draw = |part: &Part<'_>, n_batches: usize, rng: &mut StdRng| {
            let mut order: Vec<u32> = (0..part.pairs.len() as u32).collect();
            order.shuffle(rng);
            let batches = order.chunks_exact(self.settings.batch_size).take(n_batches);
            batches.map(<[u32]>::to_vec).collect::<Vec<_>>()
        };
        let training = draw(&self.data.training, self.n_batches()[0], rng);
        let mut batches: Vec<_> = training.into_iter().map(|batch| (false, batch)).collect();
        if let Some(extra) = &self.data.extra {
            batches.extend(draw(extra, self.n_batches()[1], rng).into_iter().map(|batch| (true, batch)));
            batches.shuffle(rng);
        }
        batches
    }

    /// Batches of an epoch: of the training pairs, of extra pairs.
    fn n_batches(&self) -> [usize; 2] {
        let whole = |part: &Part<'_>| part.pairs.len() / self.settings.batch_size;
        let n_training = whole(&self.data.training);
        let wanted = (self.settings.extra_share * n_training as f64).round() as usize;
        [n_training, self.data.extra.as_ref().map_or(0, |extra| wanted.min(whole(extra)))]
    }

    fn step(&mut self, is_extra: bool, batch: &[u32], rng: &mut StdRng) -> Result<f64, TrainError> {
        let part = self.data.extra.as_ref().filter(|_| is_extra).unwrap_or(&self.data.training);
        let rows = Tensor::new(batch, part.proteins.device())?;
        let texts = batch.iter().map(|&row| part.pairs.texts[row as usize].as_slice());
        let texts = drop_sentences(texts, self.settings.sentence_dropout, rng);
        let texts = mean_rows(&part.sentences, texts.iter().map(Vec::as_slice));
        let texts = as_tensor(texts, rows.device())?;
        let mut project = |tower: &Tower, inputs: &Tensor| {
            let input = add_noise(inputs, self.settings.noise, rng)?;
            tower.forward(&input, Some((self.settings.dropout, &mut *rng)))
        };
        let proteins = project(&self.towers[0], &part.proteins.index_select(&rows, 0)?)?;
        let texts = project(&self.towers[1], &texts)?;
        let of_batch = |keys: &[u32]| batch.iter().map(|&row| keys[row as usize]).collect::<Vec<_>>();
        let (protein_keys, text_keys) = (of_batch(&part.pairs.protein_keys), of_batch(&part.pairs.text_keys));
        let partners = partners(&protein_keys, &text_keys);
        let batch = Batch {
            proteins: &proteins,
            texts: &texts,
            log_scale: self.log_scale.as_tensor(),
            max_scale: MAX_SCALE,
            partners: &partners,
        };
        let loss = batch.info_nce()?;
        let learning_rate = self.learning_rate(self.state.optimizer.n_steps());
        self.state.optimizer.step(&loss.to_differentiate.backward()?, learning_rate)?;
        Ok(loss.value)
    }

    fn scale(&self) -> Result<f32, TrainError> {
        Ok(self.log_scale.as_tensor().to_scalar::<f32>()?.exp().min(MAX_SCALE))
    }

    /// Linear warm-up, then half a cosine down to zero.
    fn learning_rate(&self, step: usize) -> f64 {
        let n_steps = (self.settings.n_epochs * self.n_batches().iter().sum::<usize>()) as f64;
        let warm_up = ((step + 1) as f64 / (self.settings.warm_up * n_steps).max(1.0)).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * step as f64 / n_steps).cos());
        self.settings.learning_rate * warm_up * cosine
    }

    fn validate(&self) -> Result<f64, TrainError> {
        let project = |side: usize| {
            let rows = self.towers[side].forward(&self.data.validation[side], None)?;
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
    fn finish(&self) -> Result<(TowerWeights, TowerWeights), TrainError> {
        for (var, best) in self.state.vars.iter().zip(&self.state.best) {
            var.set(best)?;
        }
        Ok((
            TowerWeights::new(&self.data.whitenings[0], &self.towers[0])?,
            TowerWeights::new(&self.data.whitenings[1], &self.towers[1])?,
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

fn open(device: TrainingDevice) -> Result<Device, TrainError> {
    match device {
        TrainingDevice::Cpu => Ok(Device::Cpu),
        TrainingDevice::Cuda => Device::new_cuda(0).map_err(TrainError::NoCuda),
    }
}

fn as_tensor(rows: Array2<f32>, device: &Device) -> Result<Tensor, TrainError> {
    let shape = rows.dim();
    Ok(Tensor::from_vec(rows.into_iter().collect::<Vec<f32>>(), shape, device)?)
}

/// Normal noise of the deviation given.
fn add_noise(x: &Tensor, deviation: f32, rng: &mut StdRng) -> candle_core::Result<Tensor> {
    if deviation <= 0.0 {
        return Ok(x.clone());
    }
    let normal = (0..x.elem_count()).map(|_| deviation * rng.sample::<f32, _>(StandardNormal));
    let noise: Vec<f32> = normal.collect();
    x.add(&Tensor::from_vec(noise, x.shape(), x.device())?)
}

fn check(parts: Parts<'_>, settings: &ContrastiveSettings) -> Result<(), TrainError> {
    let Parts { training, extra, validation } = parts;
    for pairs in [Some(training), extra, Some(validation)].into_iter().flatten() {
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
    let parts = [("training", Some(training)), ("extra", extra), ("validation", Some(validation))];
    for (part, pairs) in parts.into_iter().filter_map(|(part, pairs)| Some((part, pairs?))) {
        let matrices = [
            ("protein", &training.proteins, &pairs.proteins),
            ("sentence", &training.sentences, &pairs.sentences),
        ];
        for (what, like, rows) in matrices {
            let (expected, found) = (like.ncols(), rows.ncols());
            if expected != found {
                return Err(TrainError::Width { what, part, expected, found });
            }
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
    let rules: [(&'static str, f64, bool, &'static str); 15] = [
        ("shared_dim", settings.shared_dim as f64, settings.shared_dim >= 1, positive),
        ("hidden_dim", settings.hidden_dim as f64, settings.hidden_dim >= 1, positive),
        ("n_hidden", settings.n_hidden as f64, settings.n_hidden >= 1, positive),
        ("n_epochs", settings.n_epochs as f64, settings.n_epochs >= 1, positive),
        ("patience", settings.patience as f64, settings.patience >= 1, positive),
        ("batch_size", settings.batch_size as f64, settings.batch_size >= 2, "at least 2"),
        ("n_members", settings.n_members as f64, settings.n_members >= 1, positive),
        ("dropout", f64::from(dropout), share(dropout), "from 0 to below 1"),
        ("sentence_dropout", f64::from(sentence_dropout), share(sentence_dropout), "from 0 to below 1"),
        ("extra_share", settings.extra_share, settings.extra_share >= 0.0, "0 or more"),
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
