//! An encoder at work: its batcher, and the projections that lead from its rows to joint spaces.
//!
//! Every use case that needs a vector comes through here, interactive ones by [`Embedder::embed`], batch jobs
//! by [`Embedder::submit`].

use std::sync::Arc;

use protext_core::{
    Encoded, Encoder, EncoderInput, EncoderRow, JointVector, LongPolicy, LongReport, PieceOutput, Prepared,
    Projection, RowKind, Space, Text,
};
use protext_texts::function_sentences;
use tokio::sync::oneshot;
use tracing::Instrument as _;

use crate::SPANS;
use crate::batcher::{Batcher, BatcherSettings, Outcome};
use crate::error::EngineError;
use crate::query_cache::{QueryCache, QueryKey};

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
pub struct Pending {
    parts: Vec<Prepared>,
    reply: oneshot::Receiver<Outcome>,
    encoder: Arc<dyn Encoder>,
}

impl Pending {
    /// Blocks until the record is done. Not for async threads.
    ///
    /// # Errors
    /// [`EngineError::Worker`], [`EngineError::Encode`] or [`EngineError::WorkerLost`].
    pub fn wait(self) -> Result<Encoded, EngineError> {
        let outcome = self.reply.blocking_recv().map_err(|_| EngineError::WorkerLost)?;
        join(&*self.encoder, &self.parts, outcome.map_err(EngineError::Worker)?)
    }
}

/// An encoder, its workers and its projections. The first projection leads to the main space.
pub struct Embedder {
    encoder: Arc<dyn Encoder>,
    projections: Vec<Arc<dyn Projection>>,
    batcher: Batcher,
    /// Rows of queries that came lately.
    cache: QueryCache,
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
                what: "encoder with layer statistics",
                instead: "another encoder, or --space encoder",
            })?;
            rows.ensure_same("the encoder's rows", projection.input_space(), "the projection's input")?;
        }
        let batcher = Batcher::start(&*encoder, settings)?;
        Ok(Self { encoder, projections, batcher, cache: QueryCache::default() })
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
        let key = QueryKey::of(input, options);
        if let Some(kept) = key.as_ref().and_then(|key| self.cache.get(key)) {
            return Ok(kept);
        }
        let span = tracing::info_span!(target: SPANS, "encode", encoder = self.encoder.id());
        let encoded = self.embed_anew(input, options).instrument(span).await?;
        if let Some(key) = key {
            self.cache.keep(key, &encoded);
        }
        Ok(encoded)
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
        Ok(Pending { parts, reply, encoder: Arc::clone(&self.encoder) })
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
        let outcomes: Vec<Result<(), EngineError>> = inputs
            .iter()
            .map(|input| self.prepare(input, options).map(|parts| prepared.push(parts)))
            .collect();
        let replies = self.batcher.submit_packed(&prepared, options.per_residue, max_batch_tokens);
        let mut under_way = prepared.into_iter().zip(replies);
        let pending = |outcome: Result<(), EngineError>| {
            outcome.map(|()| {
                let (parts, reply) = under_way.next().expect("one reply for each record that was prepared");
                Pending { parts, reply, encoder: Arc::clone(&self.encoder) }
            })
        };
        outcomes.into_iter().map(pending).collect()
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
    let dim = joined.first().map_or(0, |part| part.pooled.as_slice().len());
    let mean = |at: usize| {
        let sum: f32 = joined.iter().map(|part| part.pooled.as_slice()[at]).sum();
        sum / joined.len() as f32
    };
    let n_windows = parts.iter().map(|part| part.pieces.len()).sum();
    let is_cut = joined.iter().find(|part| part.report != LongReport::Whole);
    let report = match is_cut.map(|part| part.report) {
        Some(LongReport::Windowed { .. }) => LongReport::Windowed { n_windows },
        other => other.unwrap_or(LongReport::Whole),
    };
    Ok(Encoded {
        pooled: EncoderRow::new((0..dim).map(mean).collect())?,
        statistics: None,
        residues: None,
        report,
        n_tokens: joined.iter().map(|part| part.n_tokens).sum(),
    })
}
