//! `POST /v1/annotate`: what proteins do, as ranked texts of a collection, each with source and confidence.
//!
//! A body with one query is answered by `{"annotations": [...]}`; with `queries`, by `{"results": [...]}` in order.

use actix_web::{HttpResponse, web};
use futures_util::future::join_all;
use protext_core::{LongReport, ResidueNotes};
use protext_engine::annotate::{AnnotateAnswer, AnnotateRequest, Annotation, annotate};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::query::{QueryBody, all_or_problems, check_count};
use crate::body::ReadBody;
use crate::error::Problem;
use crate::openapi::schemas;
use crate::state::AppState;

/// The fields of one query at the top, or `queries`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AnnotateBody)]
pub(crate) struct Body {
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
    /// Annotations of each query.
    #[serde(default = "default_k")]
    #[schema(minimum = 1, default = 5)]
    k: usize,
    /// Collection of texts, when there are several.
    #[serde(default)]
    collection: Option<String>,
}

/// Annotations of one query.
#[derive(Serialize, ToSchema)]
#[schema(as = AnnotateAnswer)]
pub(crate) struct Answer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<&'a str>,
    collection: &'a str,
    n_texts: usize,
    #[schema(value_type = schemas::Space)]
    space: &'a protext_core::Space,
    annotations: Vec<Line<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schemas::LongReport)]
    long: Option<LongReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schemas::ResidueNotes)]
    residues: Option<ResidueNotes>,
}

/// Annotations of many queries.
#[derive(Serialize, ToSchema)]
#[schema(as = AnnotateAnswers)]
pub(crate) struct Answers<'a> {
    results: Vec<Answer<'a>>,
}

/// The answer to one query, or to many.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = AnnotateAnswerOrAnswers)]
pub(crate) enum Either<'a> {
    One(Answer<'a>),
    Many(Answers<'a>),
}

/// One annotation.
#[derive(Serialize, ToSchema)]
#[schema(as = Annotation)]
pub(crate) struct Line<'a> {
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

/// Says what proteins do: texts of a collection, ranked, each with its source and a calibrated confidence.
///
/// One query is answered by `annotations`, `queries` by `results` in their order.
#[utoipa::path(post, path = "/v1/annotate", tag = "search",
    request_body(content = Body, example = json!({"id": "Q3Z7U4", "k": 3})),
    responses((status = 200, description = "Annotations", body = Either<'_>)))]
pub(crate) async fn post(state: web::Data<AppState>, body: ReadBody) -> Result<HttpResponse, Problem> {
    let Body { sequence, gene, id, vector, queries, k, collection } = body.json()?;
    let top = QueryBody { sequence, gene, id, vector, ..QueryBody::default() };
    let is_single = queries.is_none();
    let queries = top.or_many(queries)?;
    check_count(state.engine.limits(), k, queries.len())?;
    let named: Vec<Option<String>> =
        queries.iter().map(|query| query.name.clone().or_else(|| query.id.clone())).collect();
    let queries = QueryBody::into_queries(queries, is_single)?;
    let requests =
        queries.into_iter().map(|query| AnnotateRequest { query, collection: collection.clone(), k });
    let answers = join_all(requests.map(|one| annotate(&state.engine, one)));
    let answers = state.within_deadline(async { all_or_problems(answers.await, is_single) }).await?;
    let mut results: Vec<Answer<'_>> =
        answers.iter().zip(&named).map(|(answer, name)| on_wire(answer, name.as_deref())).collect();
    Ok(HttpResponse::Ok().json(if is_single {
        Either::One(results.swap_remove(0))
    } else {
        Either::Many(Answers { results })
    }))
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
