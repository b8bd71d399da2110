//! The search use case: a query becomes a vector, the vector finds neighbours, neighbours become hits.

use std::sync::Arc;

use protext_core::{
    Encoded, EncoderInput, JointVector, LongReport, Modality, ProteinSequence, ResidueNotes, Space,
    VectorError,
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
    /// A record of the collection; it is left out of its own hits.
    Id(String),
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

/// A query sequence after validation and encoding.
struct EncodedQuery {
    sequence: String,
    encoded: Encoded,
    notes: ResidueNotes,
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
        Query::Sequence(raw) => Some(encode(engine, raw).await?),
        Query::Id(_) | Query::Vector(_) => None,
    };
    let engine = Arc::clone(engine);
    let looked_up = tokio::task::spawn_blocking(move || look_up(&engine, &request, encoded)).await;
    looked_up.map_err(|_| EngineError::WorkerLost)?
}

async fn encode(engine: &Engine, raw: &str) -> Result<EncodedQuery, EngineError> {
    let (sequence, notes) = ProteinSequence::parse(raw, engine.residue_policy())?;
    let embedder = engine.embedder(None, Modality::Protein)?;
    let residues = sequence.as_str().to_owned();
    let options = EmbedOptions { long: Engine::default_long(Modality::Protein), per_residue: false };
    let encoded = embedder.embed(&EncoderInput::Protein(sequence), options).await?;
    Ok(EncodedQuery { sequence: residues, encoded, notes })
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
        (Query::Vector(values), _) => locate_vector(collection, values)?,
        (Query::Sequence(_), encoded) => locate_sequence(engine, encoded.ok_or(EngineError::WorkerLost)?)?,
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

fn locate_sequence(engine: &Engine, query: EncodedQuery) -> Result<Located, EngineError> {
    let embedder = engine.embedder(None, Modality::Protein)?;
    let missing =
        EngineError::NotLoaded { what: "projection for the protein encoder", instead: "a search by vector" };
    Ok(Located {
        vector: embedder.project(&[&query.encoded])?.swap_remove(0),
        space: embedder.joint_space().ok_or(missing)?.clone(),
        sequence: Some(query.sequence),
        exclude: None,
        long: Some(query.encoded.report),
        residues: Some(query.notes),
    })
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

fn locate_vector(collection: &Collection, values: &[f32]) -> Result<Located, EngineError> {
    let (expected, found) = (collection.space().dim, values.len());
    if expected != found {
        return Err(VectorError::WrongDim { expected, found }.into());
    }
    Ok(Located {
        vector: JointVector::normalized(values.to_vec())?,
        space: collection.space().clone(),
        sequence: None,
        exclude: None,
        long: None,
        residues: None,
    })
}
