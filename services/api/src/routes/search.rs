//! `POST /v1/search`: one query (fields at the top) or many (`queries`), JSON or FASTA in, JSON or m8 out.
//!
//! A JSON body with one query is answered by `{"hits": [...]}`; with `queries`, or a FASTA body, by
//! `{"results": [{"hits": [...]}, ...]}` in order. `Accept: text/tab-separated-values` gives m8 lines instead.

use actix_web::http::header::{ACCEPT, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::future::join_all;
use protext_core::{LongReport, ResidueNotes};
use protext_engine::align::LocalAlignment;
use protext_engine::m8::m8_lines;
use protext_engine::search::{Explanation, HitHomology, SearchAnswer, SearchHit, SearchRequest, search};
use protext_engine::{Limits, Target};
use serde::{Deserialize, Serialize};

use super::query::{QueryBody, check_count};
use crate::error::{Problem, ProblemKind};
use crate::fasta;
use crate::server::AppState;

const M8_TYPE: &str = "text/tab-separated-values";

/// Body of the JSON form: the fields of one query at the top, or `queries`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default)]
    sequence: Option<String>,
    #[serde(default)]
    text: Option<String>,
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
    #[serde(default)]
    collection: Option<String>,
    #[serde(default)]
    target: Option<Target>,
    #[serde(default)]
    exact: bool,
    #[serde(default)]
    align: bool,
    #[serde(default)]
    explain: bool,
    #[serde(default)]
    rerank: usize,
}

/// A request read from any content type.
struct Queries {
    queries: Vec<QueryBody>,
    /// The caller sent one query and gets one answer.
    is_single: bool,
    k: usize,
    collection: Option<String>,
    target: Option<Target>,
    exact: bool,
    align: bool,
    explain: bool,
    rerank: usize,
}

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<&'a str>,
    collection: &'a str,
    target: Target,
    hits: Vec<Hit<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<&'a Explanation>,
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
struct Hit<'a> {
    rank: usize,
    id: &'a str,
    cosine: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    rerank_score: Option<f32>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    homology: Option<HitHomology>,
    description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    organism: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    taxon_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gene: Option<&'a str>,
    length: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    alignment: Option<&'a LocalAlignment>,
}

fn default_k() -> usize {
    10
}

pub(super) async fn post(
    state: web::Data<AppState>,
    request: HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<HttpResponse, Problem> {
    let body = body.map_err(|_| Problem::body_too_large(state.max_body_bytes))?;
    let wants_m8 = header(&request, ACCEPT.as_str()).contains(M8_TYPE);
    let queries = read_body(header(&request, CONTENT_TYPE.as_str()), &body)?;
    let (is_single, explain) = (queries.is_single, queries.explain);
    let (named, requests) = plan(&state, queries, wants_m8)?;
    let answers = join_all(requests.into_iter().map(|one| search(&state.engine, one))).await;
    let answers = answers.into_iter().enumerate().map(|(index, answer)| {
        answer.map_err(|error| {
            let problem = Problem::from(error);
            if is_single { problem } else { problem.in_record(index + 1) }
        })
    });
    let answers: Vec<SearchAnswer> = answers.collect::<Result<_, _>>()?;
    if wants_m8 {
        let lines = answers
            .iter()
            .zip(&named)
            .map(|(answer, name)| m8_lines(name.as_deref().unwrap_or("query"), answer));
        return Ok(HttpResponse::Ok().content_type(M8_TYPE).body(lines.collect::<String>()));
    }
    let mut results: Vec<Answer<'_>> =
        answers.iter().zip(&named).map(|(a, name)| on_wire(a, name.as_deref(), explain)).collect();
    Ok(if is_single {
        HttpResponse::Ok().json(results.swap_remove(0))
    } else {
        HttpResponse::Ok().json(Answers { results })
    })
}

fn header<'a>(request: &'a HttpRequest, name: &str) -> &'a str {
    request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}

fn read_body(content_type: &str, body: &[u8]) -> Result<Queries, Problem> {
    match content_type.split(';').next().unwrap_or("").trim() {
        "" | "application/json" => read_json(body),
        "text/x-fasta" | "chemical/seq-aa-fasta" => Ok(Queries {
            queries: fasta::queries(body)?
                .into_iter()
                .map(|(name, sequence)| QueryBody {
                    sequence: Some(sequence),
                    name: Some(name),
                    ..QueryBody::default()
                })
                .collect(),
            is_single: false,
            k: default_k(),
            collection: None,
            target: None,
            exact: false,
            align: false,
            explain: false,
            rerank: 0,
        }),
        other => {
            let detail =
                format!("content type {other:?} is not understood; send application/json or text/x-fasta");
            Err(Problem::new(ProblemKind::UnsupportedMediaType, detail))
        }
    }
}

fn read_json(body: &[u8]) -> Result<Queries, Problem> {
    let body: Body = serde_json::from_slice(body)
        .map_err(|error| Problem::new(ProblemKind::Malformed, format!("body: {error}")))?;
    let Body {
        sequence,
        text,
        gene,
        id,
        vector,
        queries,
        k,
        collection,
        target,
        exact,
        align,
        explain,
        rerank,
    } = body;
    let top = QueryBody { sequence, text, gene, id, vector, name: None };
    let is_single = queries.is_none();
    let queries = top.or_many(queries)?;
    Ok(Queries { queries, is_single, k, collection, target, exact, align, explain, rerank })
}

type Plan = (Vec<Option<String>>, Vec<SearchRequest>);

/// Checks limits and turns every query into an engine request, with the name that the caller gave it.
fn plan(state: &AppState, body: Queries, wants_m8: bool) -> Result<Plan, Problem> {
    check_count(state.engine.limits(), body.k, body.queries.len())?;
    let n_queries = body.queries.len();
    check_rerank(state.engine.limits(), body.rerank)?;
    let mut named = Vec::with_capacity(n_queries);
    let mut requests = Vec::with_capacity(n_queries);
    for (index, query) in body.queries.into_iter().enumerate() {
        named.push(query.name.clone().or_else(|| query.id.clone()));
        let query = query.into_query().map_err(|problem| problem.in_record(index + 1))?;
        requests.push(SearchRequest {
            query,
            collection: body.collection.clone(),
            target: body.target,
            k: body.k,
            exact: body.exact,
            align: body.align || wants_m8,
            rerank: body.rerank,
        });
    }
    Ok((named, requests))
}

fn check_rerank(limits: Limits, rerank: usize) -> Result<(), Problem> {
    if rerank <= limits.max_rerank {
        return Ok(());
    }
    let detail = format!("rerank is {rerank}, but at most {} hits are ordered anew", limits.max_rerank);
    Err(Problem::new(ProblemKind::Invalid, detail).in_field("rerank"))
}

fn on_wire<'a>(answer: &'a SearchAnswer, name: Option<&'a str>, explain: bool) -> Answer<'a> {
    Answer {
        query: name,
        collection: &answer.collection,
        target: answer.target,
        explanation: explain.then_some(&answer.explanation),
        hits: answer.hits.iter().map(hit_on_wire).collect(),
        long: answer.long,
        residues: answer.residues.filter(|notes| !notes.is_clean()),
    }
}

fn hit_on_wire(hit: &SearchHit) -> Hit<'_> {
    Hit {
        rank: hit.rank,
        id: &hit.record.id,
        cosine: hit.cosine,
        rerank_score: hit.rerank_score,
        homology: hit.homology,
        description: &hit.record.description,
        text: hit.record.text.as_deref(),
        organism: hit.record.organism.as_deref(),
        taxon_id: hit.record.taxon_id,
        gene: hit.record.gene.as_deref(),
        length: hit.record.length,
        alignment: hit.alignment.as_ref(),
    }
}
