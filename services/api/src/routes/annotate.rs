//! `POST /v1/annotate`: what proteins do, as ranked texts of a collection, each with source and confidence.
//!
//! A body with one query is answered by `{"annotations": [...]}`; with `queries`, by `{"results": [...]}` in order.

use actix_web::{HttpResponse, web};
use futures_util::future::join_all;
use protext_core::{LongReport, ResidueNotes};
use protext_engine::annotate::{AnnotateAnswer, AnnotateRequest, Annotation, annotate};
use serde::{Deserialize, Serialize};

use super::query::{QueryBody, check_count};
use crate::error::{Problem, ProblemKind};
use crate::server::AppState;

/// The fields of one query at the top, or `queries`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default)]
    sequence: Option<String>,
    #[serde(default)]
    gene: Option<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    vector: Option<Vec<f32>>,
    #[serde(default)]
    queries: Option<Vec<QueryBody>>,
    #[serde(default = "default_k")]
    k: usize,
    /// Collection of texts, when there are several.
    #[serde(default)]
    collection: Option<String>,
}

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<&'a str>,
    collection: &'a str,
    n_texts: usize,
    space: &'a protext_core::Space,
    annotations: Vec<Line<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    long: Option<LongReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    residues: Option<ResidueNotes>,
}

#[derive(Serialize)]
struct Answers<'a> {
    results: Vec<Answer<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    rank: usize,
    id: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    cosine: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<f64>,
}

fn default_k() -> usize {
    5
}

pub(super) async fn post(
    state: web::Data<AppState>,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<HttpResponse, Problem> {
    let body = body.map_err(|_| Problem::body_too_large(state.max_body_bytes))?;
    let body: Body = serde_json::from_slice(&body)
        .map_err(|error| Problem::new(ProblemKind::Malformed, format!("body: {error}")))?;
    let Body { sequence, gene, id, vector, queries, k, collection } = body;
    let top = QueryBody { sequence, gene, id, vector, ..QueryBody::default() };
    let is_single = queries.is_none();
    let queries = top.or_many(queries)?;
    check_count(state.engine.limits(), k, queries.len())?;
    let mut named = Vec::with_capacity(queries.len());
    let mut requests = Vec::with_capacity(queries.len());
    for (index, query) in queries.into_iter().enumerate() {
        named.push(query.name.clone().or_else(|| query.id.clone()));
        let query = query.into_query().map_err(|problem| problem.in_record(index + 1))?;
        requests.push(AnnotateRequest { query, collection: collection.clone(), k });
    }
    let answers = join_all(requests.into_iter().map(|one| annotate(&state.engine, one))).await;
    let answers = answers.into_iter().enumerate().map(|(index, answer)| {
        let problem = |error| Problem::from(error);
        answer.map_err(|error| if is_single { problem(error) } else { problem(error).in_record(index + 1) })
    });
    let answers: Vec<AnnotateAnswer> = answers.collect::<Result<_, _>>()?;
    let mut results: Vec<Answer<'_>> =
        answers.iter().zip(&named).map(|(answer, name)| on_wire(answer, name.as_deref())).collect();
    Ok(if is_single {
        HttpResponse::Ok().json(results.swap_remove(0))
    } else {
        HttpResponse::Ok().json(Answers { results })
    })
}

fn on_wire<'a>(answer: &'a AnnotateAnswer, query: Option<&'a str>) -> Answer<'a> {
    Answer {
        query,
        collection: &answer.collection,
        n_texts: answer.n_texts,
        space: &answer.space,
        annotations: answer.annotations.iter().map(line).collect(),
        long: answer.long,
        residues: answer.residues.filter(|notes| !notes.is_clean()),
    }
}

fn line(annotation: &Annotation) -> Line<'_> {
    let Annotation { rank, record, cosine, confidence } = annotation;
    Line {
        rank: *rank,
        id: &record.id,
        name: &record.description,
        text: record.text.as_deref(),
        source: record.source.as_deref(),
        cosine: *cosine,
        confidence: *confidence,
    }
}
