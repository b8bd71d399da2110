//! One request of the service: proteins by sequence or id, each encoded once, then paired as asked.

use std::collections::HashMap;
use std::sync::Arc;

use protext_core::{Encoded, EncoderInput, Modality, ProteinSequence};

use super::{Partner, PpiPredictor, Scored};
use crate::embedder::EmbedOptions;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::heads::features_of;

/// A protein as a caller gives it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProteinInput {
    /// What the answer calls it; without a sequence, its id in an open collection.
    pub id: Option<String>,
    /// Its residues.
    pub sequence: Option<String>,
}

/// Which pairs are asked about; members by their places among the proteins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// These.
    Pairs(Vec<(usize, usize)>),
    /// The first protein with each other one, the best few.
    OneAgainstAll {
        /// Answers wanted.
        top: usize,
    },
    /// Every protein with every other one, the best few of each.
    AllAgainstAll {
        /// Answers wanted for each protein.
        top: usize,
    },
}

/// Proteins, and which pairs of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PpiRequest {
    /// Proteins, each once.
    pub proteins: Vec<ProteinInput>,
    /// Pairs.
    pub asked: Asked,
}

/// One answer: a pair with its probability.
pub type PpiRow = Scored;

/// What the head says.
#[derive(Debug, Clone, PartialEq)]
pub struct PpiAnswer {
    /// Head that answered.
    pub head: String,
    /// The proteins, in the request's order.
    pub partners: Vec<Partner>,
    /// The pairs: as asked, or best first of each protein.
    pub rows: Vec<PpiRow>,
}

/// Answers a request: encodes each protein once on the batcher's workers, scores on the blocking pool. On failure the place
/// of the protein at fault is told where there is one.
///
/// # Errors
/// [`EngineError`] naming what was wrong.
pub async fn predict(
    engine: &Arc<Engine>,
    request: PpiRequest,
) -> Result<PpiAnswer, (Option<usize>, EngineError)> {
    let predictor = engine.ppi().cloned().ok_or((
        None,
        EngineError::NotLoaded {
            what: "head for pairs of proteins",
            instead: "another encoder for which one ships, or train one (protext train head --task pair)",
        },
    ))?;
    // Records may have to be fetched from a disk or a server.
    let (with_records, proteins) = (Arc::clone(engine), request.proteins.clone());
    let found = tokio::task::spawn_blocking(move || {
        let sequence = |(at, protein)| sequence_of(&with_records, protein).map_err(|error| (Some(at), error));
        proteins.iter().enumerate().map(sequence).collect::<Result<Vec<_>, _>>()
    });
    let sequences = found.await.map_err(|_| (None, EngineError::WorkerLost))??;
    ensure_different(&request, &sequences)?;
    let encoded = encode_all(engine, &sequences).await?;
    let engine = Arc::clone(engine);
    let answer = tokio::task::spawn_blocking(move || {
        let sequences: Vec<&str> = sequences.iter().map(ProteinSequence::as_str).collect();
        let names: Vec<String> = request
            .proteins
            .iter()
            .enumerate()
            .map(|(at, protein)| protein.id.clone().unwrap_or_else(|| (at + 1).to_string()))
            .collect();
        let named: Vec<(&str, &str)> =
            names.iter().map(String::as_str).zip(sequences.iter().copied()).collect();
        let embedder = engine.embedder(None, Modality::Protein)?;
        let records: Vec<&Encoded> = encoded.iter().map(Arc::as_ref).collect();
        let rows = features_of(embedder, predictor.head().card(), &records)?;
        let partners = predictor.partners(&named, &rows)?;
        let rows = scored(&predictor, &partners, &request.asked)?;
        Ok(PpiAnswer { head: predictor.head().card().id.clone(), partners, rows })
    });
    answer.await.map_err(|_| (None, EngineError::WorkerLost))?.map_err(|error: EngineError| (None, error))
}

fn scored(predictor: &PpiPredictor, partners: &[Partner], asked: &Asked) -> Result<Vec<Scored>, EngineError> {
    Ok(match asked {
        Asked::Pairs(pairs) => predictor.pairs(partners, pairs)?,
        Asked::OneAgainstAll { top } => {
            let others: Vec<usize> = (1..partners.len()).collect();
            let mut scored = predictor.one_against(partners, 0, &others)?;
            scored.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.b.cmp(&b.b)));
            scored.truncate(*top);
            scored
        }
        Asked::AllAgainstAll { top } => {
            let all = predictor.all_against_all(partners, *top, |_| true)?;
            all.unwrap_or_default().into_iter().flatten().collect()
        }
    })
}

/// The residues given, or those of the record of that id in an open collection.
fn sequence_of(engine: &Engine, protein: &ProteinInput) -> Result<ProteinSequence, EngineError> {
    if let Some(sequence) = &protein.sequence {
        return Ok(ProteinSequence::parse(sequence, engine.residue_policy())?.0);
    }
    let id = protein.id.clone().unwrap_or_default();
    let mut is_known = false;
    for open in engine.collections().values() {
        let view = open.view();
        let Some(found) = view.get(&id)? else { continue };
        is_known = true;
        if let Some(sequence) = &found.record.sequence {
            return Ok(ProteinSequence::parse(sequence, engine.residue_policy())?.0);
        }
    }
    Err(if is_known { EngineError::NoSequence { id } } else { EngineError::UnknownProtein { id } })
}

/// Refuses a pair with itself, by id or by sequence.
fn ensure_different(
    request: &PpiRequest,
    sequences: &[ProteinSequence],
) -> Result<(), (Option<usize>, EngineError)> {
    let Asked::Pairs(pairs) = &request.asked else { return Ok(()) };
    let same = |a: usize, b: usize| {
        let (one, other) = (&request.proteins[a].id, &request.proteins[b].id);
        a == b || (one.is_some() && one == other) || sequences[a].as_str() == sequences[b].as_str()
    };
    match pairs.iter().position(|&(a, b)| same(a, b)) {
        Some(pair) => Err((Some(pair), EngineError::PairWithItself { pair: pair + 1 })),
        None => Ok(()),
    }
}

/// Each sequence once, whatever the number of proteins that have it.
async fn encode_all(
    engine: &Engine,
    sequences: &[ProteinSequence],
) -> Result<Vec<Arc<Encoded>>, (Option<usize>, EngineError)> {
    let embedder = engine.embedder(None, Modality::Protein).map_err(|error| (None, error))?;
    let options = EmbedOptions::new(Engine::default_long(Modality::Protein));
    let mut first: HashMap<&str, usize> = HashMap::new();
    let mut different = Vec::new();
    for (at, sequence) in sequences.iter().enumerate() {
        if !first.contains_key(sequence.as_str()) {
            first.insert(sequence.as_str(), different.len());
            different.push((at, EncoderInput::Protein(sequence.clone())));
        }
    }
    let encoded = different.iter().map(|(at, input)| async move {
        embedder.embed(input, options).await.map(Arc::new).map_err(|error| (Some(*at), error))
    });
    let encoded = futures_util::future::try_join_all(encoded).await?;
    Ok(sequences.iter().map(|sequence| Arc::clone(&encoded[first[sequence.as_str()]])).collect())
}
