//! What is kept of each content: vectors as they are, or the lines of hits or texts that were found with them.
//!
//! Look-ups are done on all cores, a chunk of contents at a time, in their order. Lines have no name of the query yet: one
//! content may belong to many records.

use protext_core::Encoded;
use protext_engine::annotate::{AnnotateRequest, annotate_encoded};
use protext_engine::m8::m8_lines;
use protext_engine::search::{Query, SearchAnswer, SearchRequest, search_encoded};
use protext_engine::{EngineError, ShardRow};
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

use super::OpenJob;
use super::shard::values_of;
use crate::blobs::Blob;
use crate::error::JobError;
use crate::pairs::code::codes;
use crate::spec::{HitFormat, Task};

/// Contents looked up together.
const CHUNK: usize = 64;

/// Columns of the answers to a search, after the query's id.
pub(crate) const HIT_COLUMNS: &str = "rank\ttarget\tcosine\tlength\tgene\torganism\tdescription\ttext\tprobability\texpected_false_hits\ttaxon\tkeyword_score";
/// Columns of annotations, after the protein's id.
pub(crate) const ANNOTATION_COLUMNS: &str = "rank\tid\tname\tconfidence\tcosine\tsource\ttext";

type Waiting = (String, Result<Encoded, String>);
type Put<'a> = dyn FnMut(&Blob) -> Result<(), JobError> + 'a;

/// Turns rows into what is kept, in order.
pub(super) struct Answers<'a> {
    job: &'a OpenJob,
    waiting: Vec<Waiting>,
}

impl<'a> Answers<'a> {
    pub(super) fn new(job: &'a OpenJob) -> Self {
        Self { job, waiting: Vec::new() }
    }

    pub(super) fn push(
        &mut self,
        content: &str,
        outcome: Result<ShardRow, EngineError>,
        put: &mut Put<'_>,
    ) -> Result<(), JobError> {
        if matches!(self.job.spec.task, Task::Embed { .. } | Task::Index { .. }) {
            return put(&match outcome {
                Ok(row) => Blob::Done(values_of(&self.job.spec, &row)),
                Err(error) => Blob::Failed(reason_of(&error)),
            });
        }
        let encoded = outcome.map(|row| row.encoded).map_err(|error| reason_of(&error));
        self.waiting.push((content.to_owned(), encoded));
        if self.waiting.len() < CHUNK { Ok(()) } else { self.finish(put) }
    }

    /// Looks up what waits.
    pub(super) fn finish(&mut self, put: &mut Put<'_>) -> Result<(), JobError> {
        let chunk = std::mem::take(&mut self.waiting);
        if self.job.spec.is_of_pairs() {
            return codes(self.job, chunk)?.iter().try_for_each(put);
        }
        let blobs: Vec<Result<Blob, EngineError>> =
            chunk.into_par_iter().map(|waiting| look_up(self.job, waiting)).collect();
        blobs.into_iter().try_for_each(|blob| put(&blob?))
    }
}

/// The error with its causes; one that repeats what was said is left out.
fn reason_of(error: &EngineError) -> String {
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if !said.contains(&text) {
            said = format!("{said}: {text}");
        }
        cause = error.source();
    }
    said
}

fn look_up(job: &OpenJob, (content, encoded): Waiting) -> Result<Blob, EngineError> {
    let encoded = match encoded {
        Ok(encoded) => encoded,
        Err(reason) => return Ok(Blob::Failed(reason)),
    };
    let query = Query::Sequence(content.clone());
    let lines = match &job.spec.task {
        Task::SearchAll { collection, k, exact, format } => {
            let request = SearchRequest {
                query: Some(query),
                keywords: None,
                filter: None,
                collection: Some(collection_name(collection)),
                target: None,
                k: *k,
                exact: *exact,
                align: *format == HitFormat::M8,
                rerank: 0,
            };
            let answer = search_encoded(&job.engine, &request, &content, encoded)?;
            match format {
                HitFormat::M8 => m8_lines("", &answer),
                HitFormat::Tsv => hit_lines(&answer),
                HitFormat::Json => hits_json(&answer),
            }
        }
        Task::Annotate { collection, k, format } => {
            let collection = collection.as_deref().map(collection_name);
            let request = AnnotateRequest { query, collection, k: *k };
            annotation_lines(job, &request, &content, encoded, *format)?
        }
        Task::Embed { .. } | Task::Index { .. } | Task::Ppi { .. } => String::new(),
    };
    Ok(Blob::Done(lines.into_bytes()))
}

/// A folder's collection is open under the folder's name without its ending.
pub(crate) fn collection_name(collection: &str) -> String {
    let path = std::path::Path::new(collection);
    path.file_stem().map_or_else(|| collection.to_owned(), |name| name.to_string_lossy().into_owned())
}

fn hit_lines(answer: &SearchAnswer) -> String {
    let mut lines = String::new();
    for hit in &answer.hits {
        let record = &hit.record;
        let (probability, false_hits) = hit.homology.map_or_else(Default::default, |known| {
            (format!("{:.3}", known.probability), format!("{:.2e}", known.expected_false_hits))
        });
        let cells = [
            "",
            &hit.rank.to_string(),
            &record.id,
            &hit.cosine.map_or_else(String::new, |cosine| format!("{cosine:.4}")),
            &record.length.to_string(),
            record.gene.as_deref().unwrap_or(""),
            record.organism.as_deref().unwrap_or(""),
            &record.description,
            record.text.as_deref().unwrap_or(""),
            &probability,
            &false_hits,
            &record.taxon_id.map_or_else(String::new, |taxon| taxon.to_string()),
            "",
        ];
        lines.push_str(&tidy(&cells));
    }
    lines
}

/// One line; a tab or line break in a cell becomes a space.
fn tidy(cells: &[&str]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace(['\t', '\n', '\r'], " ")).collect();
    format!("{}\n", cells.join("\t"))
}

fn hits_json(answer: &SearchAnswer) -> String {
    let hits: Vec<serde_json::Value> = answer
        .hits
        .iter()
        .map(|hit| {
            serde_json::json!({
                "rank": hit.rank, "id": hit.record.id, "cosine": hit.cosine,
                "probability": hit.homology.map(|known| known.probability),
                "expected_false_hits": hit.homology.map(|known| known.expected_false_hits),
                "description": hit.record.description, "organism": hit.record.organism,
                "gene": hit.record.gene, "length": hit.record.length, "text": hit.record.text,
                "taxon_id": hit.record.taxon_id, "source": hit.record.source, "fields": hit.record.fields,
            })
        })
        .collect();
    serde_json::json!({ "collection": answer.collection, "target": answer.target, "hits": hits }).to_string()
}

fn annotation_lines(
    job: &OpenJob,
    request: &AnnotateRequest,
    content: &str,
    encoded: Encoded,
    format: HitFormat,
) -> Result<String, EngineError> {
    let answer = annotate_encoded(&job.engine, request, content, encoded)?;
    if format == HitFormat::Json {
        let found = answer.annotations.iter().map(|found| {
            serde_json::json!({
                "rank": found.rank, "id": found.record.id, "name": found.record.description,
                "text": found.record.text, "source": found.record.source, "cosine": found.cosine,
                "confidence": found.confidence,
            })
        });
        let found: Vec<serde_json::Value> = found.collect();
        return Ok(serde_json::json!({ "n_texts": answer.n_texts, "annotations": found }).to_string());
    }
    let line = |found: &protext_engine::annotate::Annotation| {
        let record = &found.record;
        tidy(&[
            "",
            &found.rank.to_string(),
            &record.id,
            &record.description,
            &found.confidence.map_or("-".to_owned(), |value| format!("{value:.3}")),
            &format!("{:.4}", found.cosine),
            record.source.as_deref().unwrap_or(""),
            record.text.as_deref().unwrap_or(""),
        ])
    };
    Ok(answer.annotations.iter().map(line).collect())
}
