//! The search use case: a query becomes a vector, the vector finds neighbours, neighbours become hits.

use std::sync::Arc;

use protext_core::{
    Encoded, EncoderInput, JointVector, LongPolicy, LongReport, Modality, ProteinSequence, ResidueNotes,
    Space, Text, VectorError,
};
use protext_index::{Collection, Record, SearchParams};

use crate::align::{LocalAlignment, align_locally};
use crate::embedder::EmbedOptions;
use crate::engine::Engine;
use crate::error::EngineError;

/// What is searched for.
#[derive(Debug, Clone, PartialEq)]
pub enum Query {
    /// A protein, as the caller wrote it.
    Sequence(String),
    /// A sentence or more, in words.
    Text(String),
    /// A record of the collection; it is left out of its own hits.
    Id(String),
    /// A gene symbol: the first record of that gene asks, as by its id.
    Gene(String),
    /// A vector of the collection's space, of any norm.
    Vector(Vec<f32>),
}

/// One query and how to answer it.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchRequest {
    /// What is searched for.
    pub query: Query,
    /// Collection, when there are several.
    pub collection: Option<String>,
    /// Hits wanted, 1 or more.
    pub k: usize,
    /// Compare with every record instead of walking the graph.
    pub exact: bool,
    /// Align the query with each hit.
    pub align: bool,
}

/// One found record.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchHit {
    /// 1-based.
    pub rank: usize,
    /// Cosine in the collection's space, -1..=1.
    pub cosine: f32,
    /// The record.
    pub record: Record,
    /// If asked for, and if both sequences are known and align.
    pub alignment: Option<LocalAlignment>,
}

/// The answer to one query.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchAnswer {
    /// Name of the collection searched.
    pub collection: String,
    /// Best first.
    pub hits: Vec<SearchHit>,
    /// What the long policy did to the query, when it was a sequence.
    pub long: Option<LongReport>,
    /// What the residue rules did to the query, when it was a sequence.
    pub residues: Option<ResidueNotes>,
}

/// A sequence or text after validation and encoding.
struct EncodedQuery {
    modality: Modality,
    /// Residues, for alignment.
    sequence: Option<String>,
    encoded: Encoded,
    notes: Option<ResidueNotes>,
}

/// A query turned into a vector.
struct Located {
    vector: JointVector,
    /// Where the vector lives.
    space: Space,
    /// Residues, for alignment.
    sequence: Option<String>,
    /// The record to leave out.
    exclude: Option<String>,
    long: Option<LongReport>,
    residues: Option<ResidueNotes>,
}

/// Answers one query: encodes on the batcher's workers, looks up on the blocking pool.
///
/// # Errors
/// [`EngineError`] naming what was wrong with the query, the collection or the machine.
pub async fn search(engine: &Arc<Engine>, request: SearchRequest) -> Result<SearchAnswer, EngineError> {
    // A wrong collection is refused before any encoding is paid for.
    engine.collection(request.collection.as_deref())?;
    let encoded = match &request.query {
        Query::Sequence(raw) => Some(encode_sequence(engine, raw).await?),
        Query::Text(raw) => Some(encode_text(engine, raw).await?),
        Query::Id(_) | Query::Gene(_) | Query::Vector(_) => None,
    };
    let engine = Arc::clone(engine);
    let looked_up = tokio::task::spawn_blocking(move || look_up(&engine, &request, encoded)).await;
    looked_up.map_err(|_| EngineError::WorkerLost)?
}

async fn encode_sequence(engine: &Engine, raw: &str) -> Result<EncodedQuery, EngineError> {
    let (sequence, notes) = ProteinSequence::parse(raw, engine.residue_policy())?;
    let embedder = engine.embedder(None, Modality::Protein)?;
    let residues = sequence.as_str().to_owned();
    let options = EmbedOptions { long: Engine::default_long(Modality::Protein), per_residue: false };
    let encoded = embedder.embed(&EncoderInput::Protein(sequence), options).await?;
    Ok(EncodedQuery { modality: Modality::Protein, sequence: Some(residues), encoded, notes: Some(notes) })
}

async fn encode_text(engine: &Engine, raw: &str) -> Result<EncodedQuery, EngineError> {
    let text = Text::parse(raw)?;
    let embedder = engine.embedder(None, Modality::Text)?;
    // A long description is read whole: its windows are averaged.
    let options = EmbedOptions { long: LongPolicy::Window, per_residue: false };
    let encoded = embedder.embed(&EncoderInput::Text(text), options).await?;
    Ok(EncodedQuery { modality: Modality::Text, sequence: None, encoded, notes: None })
}

fn look_up(
    engine: &Engine,
    request: &SearchRequest,
    encoded: Option<EncodedQuery>,
) -> Result<SearchAnswer, EngineError> {
    let (name, open) = engine.collection(request.collection.as_deref())?;
    let collection = &open.collection;
    let located = match (&request.query, encoded) {
        (Query::Id(id), _) => locate_record(name, collection, id)?,
        (Query::Gene(symbol), _) => locate_gene(name, collection, symbol)?,
        (Query::Vector(values), _) => locate_vector(collection, values)?,
        (Query::Sequence(_) | Query::Text(_), encoded) => {
            locate_encoded(engine, collection, encoded.ok_or(EngineError::WorkerLost)?)?
        }
    };
    // The record itself may be among its neighbours, so one more is asked for.
    let k = request.k.saturating_add(usize::from(located.exclude.is_some()));
    let params = SearchParams { exact: request.exact, ..SearchParams::new(k) };
    let found = collection.search(&located.space, &located.vector, &params)?;
    let align = |record: &Record| {
        let (query, target) = (located.sequence.as_deref()?, record.sequence.as_deref()?);
        request.align.then(|| align_locally(query, target, open.n_residues)).flatten()
    };
    let hits = found
        .into_iter()
        .filter(|hit| located.exclude.as_ref() != Some(&hit.record.id))
        .take(request.k)
        .enumerate()
        .map(|(index, hit)| SearchHit {
            rank: index + 1,
            cosine: hit.cosine,
            alignment: align(hit.record),
            record: hit.record.clone(),
        })
        .collect();
    Ok(SearchAnswer { collection: name.to_owned(), hits, long: located.long, residues: located.residues })
}

/// In the first space that the query's encoder leads to and the collection has vectors in.
fn locate_encoded(
    engine: &Engine,
    collection: &Collection,
    query: EncodedQuery,
) -> Result<Located, EngineError> {
    let embedder = engine.embedder(None, query.modality)?;
    let is_shared = |space: &&Space| collection.index_in(space).is_ok();
    // Where none is shared, the collection refuses the main one by name.
    let space = embedder.joint_spaces().find(is_shared).or_else(|| embedder.joint_space());
    let space = space.ok_or(EngineError::NotLoaded {
        what: "projection for this encoder",
        instead: "a search by id or vector",
    })?;
    Ok(Located {
        vector: embedder.project(&[&query.encoded], space)?.swap_remove(0),
        space: space.clone(),
        sequence: query.sequence,
        exclude: None,
        long: Some(query.encoded.report),
        residues: query.notes,
    })
}

fn locate_gene(name: &str, collection: &Collection, symbol: &str) -> Result<Located, EngineError> {
    let is_it = |record: &&Record| {
        record.gene.as_deref().is_some_and(|gene| gene.eq_ignore_ascii_case(symbol.trim()))
    };
    let missing = || EngineError::UnknownGene { collection: name.to_owned(), symbol: symbol.to_owned() };
    let id = collection.records().iter().find(is_it).ok_or_else(missing)?.id.clone();
    locate_record(name, collection, &id)
}

fn locate_record(name: &str, collection: &Collection, id: &str) -> Result<Located, EngineError> {
    let missing = || EngineError::UnknownRecord { collection: name.to_owned(), id: id.to_owned() };
    let row = collection.by_id(id).ok_or_else(missing)?;
    Ok(Located {
        vector: collection.vector_of(id)?,
        space: collection.space().clone(),
        sequence: collection.records()[row as usize].sequence.clone(),
        exclude: Some(id.to_owned()),
        long: None,
        residues: None,
    })
}

/// A vector given by the caller is of the space that has its width, the main one first.
fn locate_vector(collection: &Collection, values: &[f32]) -> Result<Located, EngineError> {
    let (expected, found) = (collection.space().dim, values.len());
    let space = collection.spaces().find(|space| space.dim == found);
    let space = space.ok_or(VectorError::WrongDim { expected, found })?;
    Ok(Located {
        vector: JointVector::normalized(values.to_vec())?,
        space: space.clone(),
        sequence: None,
        exclude: None,
        long: None,
        residues: None,
    })
}
