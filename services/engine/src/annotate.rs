//! The annotation use case: what a protein does, as ranked texts of a collection, without a label of its own.
//!
//! Every text of the collection is compared with the protein in the joint space. The confidence of a text is its share of
//! the belief among all that were offered, with a temperature that was fitted on held-out proteins; it is left out where
//! the joint space has none.

use std::sync::Arc;

use protext_core::{Encoded, LongReport, Modality, ResidueNotes, Space};
use protext_index::{Record, ViewHit};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::search::{EncodedQuery, Query, Searched, encode, locate};
use crate::target::Target;

/// One protein and how to annotate it.
#[derive(Debug, Clone, PartialEq)]
pub struct AnnotateRequest {
    /// The protein: its sequence, its id or its gene; a vector of the joint space will do, too.
    pub query: Query,
    /// Collection of texts, when there are several.
    pub collection: Option<String>,
    /// Annotations wanted, 1 or more.
    pub k: usize,
}

/// One text that may describe the protein.
#[derive(Debug, Clone, PartialEq)]
pub struct Annotation {
    /// 1-based.
    pub rank: usize,
    /// The text, with the file or database that it comes from.
    pub record: Arc<Record>,
    /// Cosine in the joint space, -1..=1.
    pub cosine: f32,
    /// 0..=1; the confidences of all texts of the collection sum to 1.
    pub confidence: Option<f64>,
}

/// What is known of one protein.
#[derive(Debug, Clone, PartialEq)]
pub struct AnnotateAnswer {
    /// Collection of texts that was asked.
    pub collection: String,
    /// Texts that were offered.
    pub n_texts: usize,
    /// The joint space.
    pub space: Space,
    /// Best first.
    pub annotations: Vec<Annotation>,
    /// What the long policy did to the sequence.
    pub long: Option<LongReport>,
    /// What the residue rules did to the sequence.
    pub residues: Option<ResidueNotes>,
}

/// Annotates one protein: encodes on the batcher's workers, compares on the blocking pool.
///
/// # Errors
/// [`EngineError`] naming what was wrong with the query, the collection or the machine.
pub async fn annotate(engine: &Arc<Engine>, request: AnnotateRequest) -> Result<AnnotateAnswer, EngineError> {
    engine.collection(request.collection.as_deref(), Some(Target::Texts))?;
    let encoded = encode(engine, &request.query).await?;
    let engine = Arc::clone(engine);
    let answer = tokio::task::spawn_blocking(move || answer(&engine, &request, encoded));
    answer.await.map_err(|_| EngineError::WorkerLost)?
}

/// Annotates one protein of a job, whose sequence was encoded already. Blocks; not for async threads.
///
/// # Errors
/// As [`annotate`].
pub fn annotate_encoded(
    engine: &Engine,
    request: &AnnotateRequest,
    sequence: &str,
    encoded: Encoded,
) -> Result<AnnotateAnswer, EngineError> {
    let (modality, sequence) = (Modality::Protein, Some(sequence.to_owned()));
    answer(engine, request, Some(EncodedQuery { modality, sequence, encoded, notes: None }))
}

fn answer(
    engine: &Engine,
    request: &AnnotateRequest,
    encoded: Option<EncodedQuery>,
) -> Result<AnnotateAnswer, EngineError> {
    let (name, open) = engine.collection(request.collection.as_deref(), Some(Target::Texts))?;
    let view = open.view();
    let located = locate(engine, Searched { name: &name, view: &view }, &request.query, encoded)?;
    let n_texts = view.len();
    let (cosines, hits) = view.compare_all(&located.space, &located.vector, request.k)?;
    let confidences = engine.calibration(&located.space).map(|calibration| calibration.confidences(&cosines));
    let annotation = |(index, hit): (usize, ViewHit)| {
        // Another process may have changed a collection on a server between its two answers.
        let confidence = confidences.as_ref().and_then(|all| all.get(index).copied());
        Annotation { rank: index + 1, record: hit.record, cosine: hit.cosine, confidence }
    };
    let annotations = hits.into_iter().enumerate().map(annotation);
    Ok(AnnotateAnswer {
        collection: name,
        n_texts,
        annotations: annotations.collect(),
        space: located.space,
        long: located.long,
        residues: located.residues,
    })
}
