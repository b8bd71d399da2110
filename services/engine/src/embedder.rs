//! An encoder at work: its batcher, and the projections that lead from its rows to joint spaces.
//!
//! Every use case that needs a vector comes through here, interactive ones by [`Embedder::embed`], batch jobs
//! by [`Embedder::submit`].

use std::sync::Arc;

use protext_core::{
    Encoded, Encoder, EncoderInput, EncoderRow, JointVector, LongPolicy, LongReport, PieceOutput, Prepared,
    Projection, RowKind, Space, Text,
};
use protext_rows::{EmbeddingCache, EmbeddingKey};
use protext_texts::function_sentences;
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;
use tracing::Instrument as _;

use crate::SPANS;
use crate::batcher::{Batcher, BatcherSettings, Outcome};
use crate::error::EngineError;
use crate::packed::goes_alone;
use crate::query_cache::{Lookups, QueryCache, QueryKey};

/// What a caller wants of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbedOptions {
    /// What to do with inputs over the window.
    pub long: LongPolicy,
    /// Also return one row a residue.
    pub per_residue: bool,
    /// Texts only: encode each sentence that speaks of function alone; the pooled row is the mean of theirs. This is what
    /// text towers were trained on, so whatever is projected is read so.
    pub by_sentence: bool,
}

impl EmbedOptions {
    /// Rows of whole records.
    #[must_use]
    pub fn new(long: LongPolicy) -> Self {
        Self { long, per_residue: false, by_sentence: false }
    }

    /// Rows for a projection: texts are read sentence by sentence.
    #[must_use]
    pub fn to_project(long: LongPolicy) -> Self {
        Self { by_sentence: true, ..Self::new(long) }
    }
}

/// A record under way; [`Pending::wait`] returns its rows.
pub struct Pending(State);

enum State {
    /// It was kept from before.
    Kept(Encoded),
    UnderWay {
        parts: Vec<Prepared>,
        reply: oneshot::Receiver<Outcome>,
        encoder: Arc<dyn Encoder>,
        keep: Option<Keep>,
    },
}

impl Pending {
    /// Blocks until the record is done. Not for async threads.
    ///
    /// # Errors
    /// [`EngineError::Worker`], [`EngineError::Encode`] or [`EngineError::WorkerLost`].
    pub fn wait(self) -> Result<Encoded, EngineError> {
        let (parts, reply, encoder, keep) = match self.0 {
            State::Kept(encoded) => return Ok(encoded),
            State::UnderWay { parts, reply, encoder, keep } => (parts, reply, encoder, keep),
        };
        let outcome = reply.blocking_recv().map_err(|_| EngineError::WorkerLost)?;
        let encoded = join(&*encoder, &parts, outcome.map_err(EngineError::Worker)?)?;
        if let Some(keep) = keep {
            keep.put(&encoded);
        }
        Ok(encoded)
    }
}

/// Where an embedding is to be kept, and whether it goes alone.
struct Keep {
    cache: Arc<EmbeddingCache>,
    key: EmbeddingKey,
    is_alone: bool,
}

impl Keep {
    fn put(&self, encoded: &Encoded) {
        self.cache.keep(&self.key, encoded, self.is_alone);
    }
}

/// Embeddings that outlive this process.
struct Kept {
    cache: Arc<EmbeddingCache>,
    /// Digest of what computes them here.
    encoder: [u8; 32],
    lookups: Lookups,
}

impl Kept {
    fn key(&self, key: &QueryKey) -> EmbeddingKey {
        let digest = Sha256::new().chain_update(self.encoder).chain_update(key.as_bytes());
        EmbeddingKey(digest.finalize().into())
    }

    fn get(&self, key: &EmbeddingKey, only_alone: bool) -> Option<Encoded> {
        self.lookups.count(self.cache.get(key, only_alone))
    }

    fn keep(&self, key: EmbeddingKey, is_alone: bool) -> Keep {
        Keep { cache: Arc::clone(&self.cache), key, is_alone }
    }
}

/// Everything but the record that decides on its rows, down to the numbers that they are computed in.
fn digest_of(encoder: &dyn Encoder) -> [u8; 32] {
    let mut hasher = Sha256::new();
    let mut add = |part: &str| {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    };
    add(env!("CARGO_PKG_VERSION"));
    add(encoder.id());
    for kind in RowKind::ALL {
        add(&encoder.space(kind).map(|space| space.fingerprint.to_string()).unwrap_or_default());
    }
    if let Some(running) = encoder.running() {
        [&running.device, &running.provider, &running.precision].into_iter().for_each(|part| add(part));
    }
    hasher.finalize().into()
}

/// An encoder, its workers and its projections. The first projection leads to the main space.
pub struct Embedder {
    encoder: Arc<dyn Encoder>,
    projections: Vec<Arc<dyn Projection>>,
    batcher: Batcher,
    /// Rows of queries that came lately.
    cache: QueryCache,
    kept: Option<Kept>,
}

impl Embedder {
    /// Starts the workers. Projections must have been trained on this encoder's rows; the first is the main one.
    ///
    /// # Errors
    /// [`EngineError::Space`] if encoder and projection do not fit, or the workers' own errors.
    pub fn start(
        encoder: Arc<dyn Encoder>,
        projections: Vec<Arc<dyn Projection>>,
        settings: BatcherSettings,
    ) -> Result<Self, EngineError> {
        for projection in &projections {
            let rows = encoder.space(projection.row_kind()).ok_or(EngineError::NotLoaded {
                what: "encoder with the rows that a projection reads",
                instead: "another encoder, or --space encoder",
            })?;
            rows.ensure_same("the encoder's rows", projection.input_space(), "the projection's input")?;
        }
        let batcher = Batcher::start(Arc::clone(&encoder), settings)?;
        Ok(Self { encoder, projections, batcher, cache: QueryCache::default(), kept: None })
    }

    /// Also keeps embeddings in `cache`, for interactive callers and for jobs, and takes them from there. A job takes only
    /// those whose last bits did not depend on others, so that what was kept changes no byte of what it writes.
    #[must_use]
    pub fn keeping(mut self, cache: Arc<EmbeddingCache>) -> Self {
        let encoder = digest_of(&*self.encoder);
        self.kept = Some(Kept { cache, encoder, lookups: Lookups::default() });
        self
    }

    /// The encoder.
    #[must_use]
    pub fn encoder(&self) -> &dyn Encoder {
        &*self.encoder
    }

    /// The queue in front of the encoder.
    #[must_use]
    pub fn batcher(&self) -> &Batcher {
        &self.batcher
    }

    /// The main joint space, if there is a projection.
    #[must_use]
    pub fn joint_space(&self) -> Option<&Space> {
        self.joint_spaces().next()
    }

    /// Every joint space that its projections lead to, the main one first.
    pub fn joint_spaces(&self) -> impl Iterator<Item = &Space> {
        self.projections.iter().map(|projection| projection.space())
    }

    /// The space of the encoder's pooled rows.
    ///
    /// # Panics
    /// Never: every encoder has pooled rows.
    #[must_use]
    pub fn encoder_space(&self) -> &Space {
        self.encoder.space(RowKind::Pooled).expect("every encoder has pooled rows")
    }

    /// Encodes one record for an interactive caller.
    ///
    /// # Errors
    /// [`EngineError::Busy`] if too much is waiting, or the encoder's errors.
    pub async fn embed(&self, input: &EncoderInput, options: EmbedOptions) -> Result<Encoded, EngineError> {
        let Some(key) = QueryKey::of(input, options) else { return self.embed_in_span(input, options).await };
        if let Some(found) = self.cache.get(&key) {
            return Ok(found);
        }
        let on_disk = self.kept.as_ref().map(|kept| (kept, kept.key(&key)));
        let found = on_disk.as_ref().and_then(|(kept, key)| kept.get(key, false));
        let is_new = found.is_none();
        let encoded = match found {
            Some(encoded) => encoded,
            None => self.embed_in_span(input, options).await?,
        };
        self.cache.keep(key, &encoded);
        if is_new && let Some((kept, key)) = on_disk {
            let (keep, encoded) = (kept.keep(key, false), encoded.clone());
            // Nobody waits for the disk.
            drop(tokio::task::spawn_blocking(move || keep.put(&encoded)));
        }
        Ok(encoded)
    }

    async fn embed_in_span(
        &self,
        input: &EncoderInput,
        options: EmbedOptions,
    ) -> Result<Encoded, EngineError> {
        let span = tracing::info_span!(target: SPANS, "encode", encoder = self.encoder.id());
        self.embed_anew(input, options).instrument(span).await
    }

    /// Encodes one record past the rows that are kept: whether the model answers at all.
    ///
    /// # Errors
    /// As [`Embedder::embed`].
    pub async fn probe(&self, input: &EncoderInput) -> Result<Encoded, EngineError> {
        self.embed_anew(input, EmbedOptions::new(LongPolicy::Window)).await
    }

    /// Inputs of [`Embedder::embed`] whose rows were kept from before, and those that were encoded.
    #[must_use]
    pub fn cache_counts(&self) -> (u64, u64) {
        self.cache.counts()
    }

    /// Embeddings that were found in the cache on disk, and those that were looked for in vain; `None` without one.
    #[must_use]
    pub fn kept_counts(&self) -> Option<(u64, u64)> {
        self.kept.as_ref().map(|kept| kept.lookups.get())
    }

    async fn embed_anew(&self, input: &EncoderInput, options: EmbedOptions) -> Result<Encoded, EngineError> {
        let parts = self.prepare(input, options)?;
        let reply = self.batcher.try_submit(&parts, options.per_residue)?;
        let outcome = reply.await.map_err(|_| EngineError::WorkerLost)?;
        join(&*self.encoder, &parts, outcome.map_err(EngineError::Worker)?)
    }

    /// Submits one record of a batch job; waits for room in the queue. Not for async threads.
    ///
    /// # Errors
    /// The encoder's refusal of the record.
    pub fn submit(&self, input: &EncoderInput, options: EmbedOptions) -> Result<Pending, EngineError> {
        let parts = self.prepare(input, options)?;
        let reply = self.batcher.submit_blocking(&parts, options.per_residue);
        Ok(Pending(State::UnderWay { parts, reply, encoder: Arc::clone(&self.encoder), keep: None }))
    }

    /// Submits records of a job, which share batches of `max_batch_tokens` with nothing else; behind all other callers.
    /// Waits for room. Not for async threads. Each record has its own outcome, in order.
    #[must_use]
    pub fn submit_packed(
        &self,
        inputs: &[EncoderInput],
        options: EmbedOptions,
        max_batch_tokens: usize,
    ) -> Vec<Result<Pending, EngineError>> {
        let mut prepared = Vec::with_capacity(inputs.len());
        let mut kept = Vec::with_capacity(inputs.len());
        let outcomes: Vec<Result<(), EngineError>> = inputs
            .iter()
            .map(|input| {
                let parts = self.prepare(input, options)?;
                kept.push(self.kept_for(input, options, &parts, max_batch_tokens));
                prepared.push(parts);
                Ok(())
            })
            .collect();
        let is_wanted: Vec<bool> = kept.iter().map(Result::is_err).collect();
        let replies =
            self.batcher.submit_packed(&prepared, &is_wanted, options.per_residue, max_batch_tokens);
        let mut under_way = prepared.into_iter().zip(replies).zip(kept);
        let pending = |outcome: Result<(), EngineError>| {
            outcome.map(|()| {
                let ((parts, reply), kept) =
                    under_way.next().expect("one reply for each record that was prepared");
                let encoder = Arc::clone(&self.encoder);
                Pending(match kept {
                    Ok(encoded) => State::Kept(encoded),
                    Err(keep) => State::UnderWay { parts, reply, encoder, keep },
                })
            })
        };
        outcomes.into_iter().map(pending).collect()
    }

    /// What the cache on disk has for a record of a job, or where it goes when it is done.
    fn kept_for(
        &self,
        input: &EncoderInput,
        options: EmbedOptions,
        parts: &[Prepared],
        max_batch_tokens: usize,
    ) -> Result<Encoded, Option<Keep>> {
        let (Some(kept), Some(key)) = (&self.kept, QueryKey::of(input, options)) else {
            return Err(None);
        };
        let key = kept.key(&key);
        let is_alone = goes_alone(parts, self.encoder.packing(), max_batch_tokens);
        let found = if is_alone { kept.get(&key, true) } else { None };
        found.ok_or_else(|| Some(kept.keep(key, is_alone)))
    }

    /// The whole record, or one part a sentence.
    fn prepare(&self, input: &EncoderInput, options: EmbedOptions) -> Result<Vec<Prepared>, EngineError> {
        match input {
            EncoderInput::Text(text) if options.by_sentence => {
                let sentences = function_sentences(text.as_str()).into_iter();
                let prepared = sentences.map(|sentence| {
                    Ok(self.encoder.prepare(&EncoderInput::Text(Text::parse(&sentence)?), options.long)?)
                });
                prepared.collect()
            }
            _ => Ok(vec![self.encoder.prepare(input, options.long)?]),
        }
    }

    /// Projects encoded records into one of [`Embedder::joint_spaces`], one vector a record.
    ///
    /// # Errors
    /// [`EngineError::NotLoaded`] if no projection leads there, or the projection's errors.
    pub fn project(&self, records: &[&Encoded], space: &Space) -> Result<Vec<JointVector>, EngineError> {
        let missing = EngineError::NotLoaded { what: "projection to that space", instead: "another space" };
        let leads_there =
            |projection: &&Arc<dyn Projection>| projection.space().fingerprint == space.fingerprint;
        let projection = self.projections.iter().find(leads_there).ok_or(missing)?;
        let kind = projection.row_kind();
        let rows: Vec<_> = records.iter().filter_map(|record| record.row(kind)).collect();
        debug_assert_eq!(rows.len(), records.len(), "start() has checked that the encoder has such rows");
        Ok(projection.project(&rows)?)
    }
}

/// One record from the outputs of all its pieces: of several parts, the mean.
fn join(
    encoder: &dyn Encoder,
    parts: &[Prepared],
    mut outputs: Vec<PieceOutput>,
) -> Result<Encoded, EngineError> {
    if let [whole] = parts {
        return Ok(encoder.join(whole, outputs)?);
    }
    let mut joined = Vec::with_capacity(parts.len());
    for part in parts {
        let rest = outputs.split_off(part.pieces.len());
        joined.push(encoder.join(part, std::mem::replace(&mut outputs, rest))?);
    }
    let mean = |rows: Vec<&EncoderRow>| {
        let dim = rows.first().map_or(0, |row| row.as_slice().len());
        let sum = |at: usize| rows.iter().map(|row| row.as_slice()[at]).sum::<f32>();
        EncoderRow::new((0..dim).map(|at| sum(at) / rows.len() as f32).collect())
    };
    let n_windows = parts.iter().map(|part| part.pieces.len()).sum();
    let is_cut = joined.iter().find(|part| part.report != LongReport::Whole);
    let report = match is_cut.map(|part| part.report) {
        Some(LongReport::Windowed { .. }) => LongReport::Windowed { n_windows },
        other => other.unwrap_or(LongReport::Whole),
    };
    Ok(Encoded {
        pooled: mean(joined.iter().map(|part| &part.pooled).collect())?,
        statistics: joined
            .iter()
            .map(|part| part.statistics.as_ref())
            .collect::<Option<_>>()
            .map(mean)
            .transpose()?,
        residues: None,
        report,
        n_tokens: joined.iter().map(|part| part.n_tokens).sum(),
    })
}
