//! The search use case: a query becomes a vector, the vector finds neighbours, neighbours become hits.
//!
//! Queries and records meet in a space that both have vectors in, so a sequence finds proteins, texts and genes, and each
//! of these finds the others.

mod by_residues;
mod keywords;
mod locate;

use std::sync::Arc;
use std::time::Instant;

use protext_core::{
    EncoderInput, LongPolicy, LongReport, Modality, ProteinSequence, ResidueNotes, Space, Text,
};
use protext_index::{Chosen, Filter, Keywords, Record, StoredRecord, Wanted};
use tracing::Instrument as _;

use crate::SPANS;
use crate::align::{LocalAlignment, align_locally};
use crate::embedder::EmbedOptions;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::target::Target;
use keywords::{MIN_FUSED, Ranked};
pub(crate) use locate::{EncodedQuery, Located, Searched};
use locate::{locate_encoded, locate_gene, locate_id, locate_vector};

/// What is searched for.
#[derive(Debug, Clone, PartialEq)]
pub enum Query {
    /// A protein, as the caller wrote it.
    Sequence(String),
    /// A sentence or more, in words.
    Text(String),
    /// A record of any open collection; it is left out of its own hits.
    Id(String),
    /// A gene symbol: the first record of that gene in any open collection asks, as by its id.
    Gene(String),
    /// A vector of the collection's space, of any norm.
    Vector(Vec<f32>),
}

/// One query and how to answer it.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchRequest {
    /// What is searched for; without it, keywords alone.
    pub query: Option<Query>,
    /// Words to look for in genes, descriptions and texts, alone or beside the query: then both rankings are fused.
    pub keywords: Option<Keywords>,
    /// Which records may be hits; without it, all.
    pub filter: Option<Arc<Filter>>,
    /// Collection, when several hold the target.
    pub collection: Option<String>,
    /// What is searched; where neither this nor a collection is named, proteins.
    pub target: Option<Target>,
    /// Hits wanted, 1 or more.
    pub k: usize,
    /// Compare with every record instead of walking the graph.
    pub exact: bool,
    /// Align the query with each hit.
    pub align: bool,
    /// First hits that are ordered anew by their residues; 0 for none.
    pub rerank: usize,
}

/// One found record.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchHit {
    /// 1-based.
    pub rank: usize,
    /// Cosine with the query in the collection's space, -1..=1; `None` for an answer to keywords alone.
    pub cosine: Option<f32>,
    /// BM25 of the keywords, above 0, if the record holds one.
    pub keyword_score: Option<f32>,
    /// What the hit was ordered by where a query and keywords were given: the sum of 1 / (60 + rank) over both rankings.
    pub fused_score: Option<f32>,
    /// Probability that hit and query share a superfamily, and unrelated records that are expected at this cosine or above:
    /// where both are proteins and the space has been measured.
    pub homology: Option<HitHomology>,
    /// What the hit was ordered by, if hits were re-ranked: the cosine and the alignment of residues.
    pub rerank_score: Option<f32>,
    /// The record.
    pub record: Arc<Record>,
    /// If asked for, and if both sequences are known and align.
    pub alignment: Option<LocalAlignment>,
}

/// What a hit's cosine says about relatedness.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct HitHomology {
    /// Probability that hit and query share a superfamily, 0..=1.
    pub probability: f64,
    /// Unrelated records of a collection of this size that are expected at this cosine or above.
    pub expected_false_hits: f64,
}

/// The answer to one query.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchAnswer {
    /// Name of the collection searched.
    pub collection: String,
    /// What it holds.
    pub target: Target,
    /// How the answer was found.
    pub explanation: Explanation,
    /// Best first.
    pub hits: Vec<SearchHit>,
    /// What the long policy did to the query, when it was a sequence.
    pub long: Option<LongReport>,
    /// What the residue rules did to the query, when it was a sequence.
    pub residues: Option<ResidueNotes>,
}

/// How an answer was found.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Explanation {
    /// The space in which query and records met; `None` for keywords alone.
    pub space: Option<Space>,
    /// True if every record was compared.
    pub exact: bool,
    /// Records of the collection.
    pub n_records: usize,
    /// Records that the filter allows, if there is one.
    pub n_allowed: Option<usize>,
    /// Waiting for and running the encoder, in milliseconds; 0 for ids, genes and vectors.
    pub encode_ms: f64,
    /// Projecting and looking up, in milliseconds.
    pub search_ms: f64,
    /// Embedding and aligning the residues of the first hits, in milliseconds; 0 without re-ranking.
    pub rerank_ms: f64,
}

/// An answer before re-ranking and alignment.
struct Draft {
    answer: SearchAnswer,
    /// Residues of the query, where it has some.
    query_sequence: Option<String>,
    /// Residues of the collection.
    n_residues: u64,
}

/// Answers one query: encodes on the batcher's workers, looks up on the blocking pool.
///
/// # Errors
/// [`EngineError`] naming what was wrong with the query, the collection or the machine.
pub async fn search(engine: &Arc<Engine>, request: SearchRequest) -> Result<SearchAnswer, EngineError> {
    // A wrong collection or filter is refused before any encoding is paid for.
    let (_, open) = engine.collection(request.collection.as_deref(), request.target)?;
    if let Some(filter) = request.filter.clone() {
        let view = open.view();
        let looked = tokio::task::spawn_blocking(move || view.ensure_takes(&filter)).await;
        looked.map_err(|_| EngineError::WorkerLost)??;
    }
    let started = Instant::now();
    let encoded = match &request.query {
        Some(query) => encode(engine, query).await?,
        None => None,
    };
    let encode_ms = if encoded.is_some() { milliseconds_since(started) } else { 0.0 };
    let (k, align, rerank) = (request.k, request.align, request.rerank);
    let shared = Arc::clone(engine);
    let span = tracing::info_span!(target: SPANS, "search");
    let work = move || span.in_scope(|| look_up(&shared, &request, encoded, encode_ms));
    let looked_up = tokio::task::spawn_blocking(work).await;
    let mut draft = looked_up.map_err(|_| EngineError::WorkerLost)??;
    if rerank > 0 {
        let started = Instant::now();
        let span = tracing::info_span!(target: SPANS, "rerank");
        draft = by_residues::rerank(engine, draft).instrument(span).await?;
        draft.answer.explanation.rerank_ms = milliseconds_since(started);
    }
    draft.answer.hits.truncate(k);
    if align {
        let span = tracing::info_span!(target: SPANS, "align");
        let aligned = tokio::task::spawn_blocking(move || span.in_scope(|| draft.aligned())).await;
        draft = aligned.map_err(|_| EngineError::WorkerLost)?;
    }
    Ok(draft.answer)
}

/// Answers one query of a job, whose sequence was encoded already. Nothing is re-ranked. Blocks; not for async threads.
///
/// # Errors
/// As [`search`].
pub fn search_encoded(
    engine: &Engine,
    request: &SearchRequest,
    sequence: &str,
    encoded: protext_core::Encoded,
) -> Result<SearchAnswer, EngineError> {
    let (modality, sequence) = (Modality::Protein, Some(sequence.to_owned()));
    let query = EncodedQuery { modality, sequence, encoded, notes: None };
    let mut draft = look_up(engine, request, Some(query), 0.0)?;
    draft.answer.hits.truncate(request.k);
    Ok(if request.align { draft.aligned().answer } else { draft.answer })
}

impl Draft {
    /// With the alignment of each hit that has a sequence, if the query has one.
    fn aligned(mut self) -> Self {
        if let Some(query) = &self.query_sequence {
            for hit in &mut self.answer.hits {
                let target = hit.record.sequence.as_deref();
                hit.alignment = target.and_then(|target| align_locally(query, target, self.n_residues));
            }
        }
        self
    }
}

fn milliseconds_since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// Encodes what has to be encoded.
pub(crate) async fn encode(engine: &Engine, query: &Query) -> Result<Option<EncodedQuery>, EngineError> {
    Ok(match query {
        Query::Sequence(raw) => Some(encode_sequence(engine, raw).await?),
        Query::Text(raw) => Some(encode_text(engine, raw).await?),
        Query::Id(_) | Query::Gene(_) | Query::Vector(_) => None,
    })
}

async fn encode_sequence(engine: &Engine, raw: &str) -> Result<EncodedQuery, EngineError> {
    let (sequence, notes) = ProteinSequence::parse(raw, engine.residue_policy())?;
    let embedder = engine.embedder(None, Modality::Protein)?;
    let residues = sequence.as_str().to_owned();
    let options = EmbedOptions::new(Engine::default_long(Modality::Protein));
    let encoded = embedder.embed(&EncoderInput::Protein(sequence), options).await?;
    Ok(EncodedQuery { modality: Modality::Protein, sequence: Some(residues), encoded, notes: Some(notes) })
}

async fn encode_text(engine: &Engine, raw: &str) -> Result<EncodedQuery, EngineError> {
    let text = Text::parse(raw)?;
    let embedder = engine.embedder(None, Modality::Text)?;
    // A long description is read whole: its windows are averaged.
    let options = EmbedOptions::to_project(LongPolicy::Window);
    let encoded = embedder.embed(&EncoderInput::Text(text), options).await?;
    Ok(EncodedQuery { modality: Modality::Text, sequence: None, encoded, notes: None })
}

fn look_up(
    engine: &Engine,
    request: &SearchRequest,
    encoded: Option<EncodedQuery>,
    encode_ms: f64,
) -> Result<Draft, EngineError> {
    let started = Instant::now();
    let (name, open) = engine.collection(request.collection.as_deref(), request.target)?;
    let view = open.view();
    let chosen = request.filter.as_deref().map(|filter| view.choose(filter)).transpose()?;
    let searched = Searched { name: &name, view: &view };
    let located = request.query.as_ref().map(|query| locate(engine, searched, query, encoded)).transpose()?;
    let ranked = rank(engine, searched, request, located.as_ref(), chosen.as_ref())?;
    let calibration = located.as_ref().and_then(|located| engine.homology(&located.space));
    let homology = |cosine: f32| {
        calibration.map(|known| HitHomology {
            probability: known.probability(cosine),
            expected_false_hits: known.expected_false_hits(cosine, view.len()),
        })
    };
    let exclude = located.as_ref().and_then(|located| located.exclude.as_ref());
    let hits = ranked
        .into_iter()
        .filter(|hit| exclude != Some(&hit.record.id))
        .take(request.k.max(request.rerank))
        .enumerate()
        .map(|(index, hit)| SearchHit {
            rank: index + 1,
            cosine: hit.cosine,
            keyword_score: hit.keyword_score,
            fused_score: hit.fused_score,
            homology: hit.cosine.and_then(homology),
            rerank_score: None,
            alignment: None,
            record: hit.record,
        })
        .collect();
    let is_exact = located.as_ref().map_or(Ok(true), |located| view.is_exact(&located.space))?;
    let explanation = Explanation {
        exact: request.exact || is_exact,
        space: located.as_ref().map(|located| located.space.clone()),
        n_records: view.len(),
        n_allowed: chosen.as_ref().map(Chosen::count),
        encode_ms,
        search_ms: milliseconds_since(started),
        rerank_ms: 0.0,
    };
    let (collection, target) = (name, open.target);
    let (query_sequence, long, residues) =
        located.map_or_else(Default::default, |located| (located.sequence, located.long, located.residues));
    let answer = SearchAnswer { collection, target, explanation, hits, long, residues };
    Ok(Draft { answer, query_sequence, n_residues: view.n_residues() })
}

/// The best records, by vector, by words, or by both.
fn rank(
    engine: &Engine,
    searched: Searched<'_>,
    request: &SearchRequest,
    located: Option<&Located>,
    within: Option<&Chosen>,
) -> Result<Vec<Ranked>, EngineError> {
    let view = searched.view;
    // The record that asks may be among its own hits, so one more is looked for.
    let is_record = located.is_some_and(|located| located.exclude.is_some());
    let n_wanted = request.k.max(request.rerank).saturating_add(usize::from(is_record));
    let of_words = |n: usize| {
        let found = |keywords| view.find_words(keywords, n, within);
        request.keywords.as_ref().map(found).transpose()
    };
    let Some(located) = located else {
        let found = of_words(n_wanted)?.ok_or(EngineError::NothingAsked)?;
        return Ok(keywords::by_words(found));
    };
    let n = if request.keywords.is_some() { n_wanted.max(MIN_FUSED) } else { n_wanted };
    let wanted = Wanted { exact: request.exact, within, ..Wanted::new(n) };
    let found = view.find(&located.space, &located.vector, &wanted)?;
    let Some(words) = of_words(n)? else {
        if let Some(monitor) = engine.recall().filter(|_| !request.exact && within.is_none()) {
            monitor.consider(searched.name, view, located, &found);
        }
        return Ok(found.into_iter().map(Ranked::from).collect());
    };
    let space = view.position_of(&located.space)?;
    let cosine = |stored: &StoredRecord| stored.vectors[space].cosine(&located.vector);
    Ok(keywords::fused(found, words, &cosine))
}

pub(crate) fn locate(
    engine: &Engine,
    searched: Searched<'_>,
    query: &Query,
    encoded: Option<EncodedQuery>,
) -> Result<Located, EngineError> {
    match query {
        Query::Id(id) => locate_id(engine, searched, id),
        Query::Gene(symbol) => locate_gene(engine, searched, symbol),
        Query::Vector(values) => locate_vector(searched, values),
        Query::Sequence(_) | Query::Text(_) => {
            locate_encoded(engine, searched, encoded.ok_or(EngineError::WorkerLost)?)
        }
    }
}
