//! `POST /v1/search`: one query (fields at the top) or many (`queries`), JSON or FASTA in, JSON or m8 out.
//!
//! A JSON body with one query is answered by `{"hits": [...]}`; with `queries`, or a FASTA body, by
//! `{"results": [{"hits": [...]}, ...]}` in order. `Accept: text/tab-separated-values` gives m8 lines instead.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::future::join_all;
use protext_core::{LongReport, ResidueNotes};
use protext_engine::align::LocalAlignment;
use protext_engine::m8::m8_lines;
use protext_engine::search::{Explanation, HitHomology, SearchAnswer, SearchHit, SearchRequest, search};
use protext_engine::{EngineError, Limits, Target};
use protext_index::{Filter, IndexError};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::query::{QueryBody, all_or_problems, check_count};
use crate::body::{BodyType, ReadBody};
use crate::error::{Problem, ProblemKind};
use crate::fasta;
use crate::negotiate::{Form, choose};
use crate::openapi::schemas;
use crate::state::AppState;

/// Most hits of one request, over all of its queries: what an answer may take in memory.
const MAX_HITS: usize = 100_000;

/// The fields of one query at the top (exactly one of `sequence`, `text`, `gene`, `id` and `vector`), or `queries`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SearchBody)]
pub(crate) struct Body {
    /// A protein.
    #[serde(default)]
    #[schema(example = "MVLSPADKTNVKAAWGKVGAHAGEYGAEALERMFLSFPTTKTYFPHF")]
    sequence: Option<String>,
    /// A sentence or more.
    #[serde(default)]
    text: Option<String>,
    /// A gene symbol.
    #[serde(default)]
    gene: Option<String>,
    /// A record of any collection.
    #[serde(default)]
    id: Option<String>,
    /// A vector of one of the collection's spaces.
    #[serde(default)]
    vector: Option<Vec<f32>>,
    /// Many queries at once.
    /// Words to look for in names and descriptions, alone or beside one of these.
    #[serde(default)]
    #[schema(example = "heat shock")]
    keywords: Option<String>,
    /// Only records of which this holds, such as `organism = "Homo sapiens" and length < 500`.
    #[serde(default)]
    #[schema(example = "length between 100 and 400")]
    filter: Option<String>,
    #[serde(default)]
    queries: Option<Vec<QueryBody>>,
    /// Hits of each query.
    #[serde(default = "default_k")]
    #[schema(minimum = 1, default = 10)]
    k: usize,
    /// By name, when several hold the target.
    #[serde(default)]
    collection: Option<String>,
    /// What to search.
    #[serde(default)]
    #[schema(value_type = Option<schemas::Target>)]
    target: Option<Target>,
    /// Compare with every record.
    #[serde(default)]
    exact: bool,
    /// Align the query with each hit.
    #[serde(default)]
    align: bool,
    /// Say how the answer was found.
    #[serde(default)]
    explain: bool,
    /// So many first hits are ordered anew by their residues.
    #[serde(default)]
    rerank: usize,
}

/// For FASTA bodies: what JSON bodies say in their fields.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct FastaParams {
    #[serde(default)]
    filter: Option<String>,
    #[serde(default = "default_k")]
    #[param(minimum = 1, default = 10)]
    k: usize,
    #[serde(default)]
    collection: Option<String>,
    #[serde(default)]
    #[param(value_type = Option<schemas::Target>)]
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
    filter: Option<String>,
    k: usize,
    collection: Option<String>,
    target: Option<Target>,
    exact: bool,
    align: bool,
    explain: bool,
    rerank: usize,
}

/// Hits of one query.
#[derive(Serialize, ToSchema)]
#[schema(as = SearchAnswer)]
pub(crate) struct Answer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<&'a str>,
    collection: &'a str,
    #[schema(value_type = schemas::Target)]
    target: Target,
    /// Best first.
    hits: Vec<Hit<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schemas::Explanation)]
    explanation: Option<&'a Explanation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schemas::LongReport)]
    long: Option<LongReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schemas::ResidueNotes)]
    residues: Option<ResidueNotes>,
}

/// Hits of many queries.
#[derive(Serialize, ToSchema)]
#[schema(as = SearchAnswers)]
pub(crate) struct Answers<'a> {
    results: Vec<Answer<'a>>,
}

/// The answer to one query, or to many.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = SearchAnswerOrAnswers)]
pub(crate) enum Either<'a> {
    One(Answer<'a>),
    Many(Answers<'a>),
}

/// A hit.
#[derive(Serialize, ToSchema)]
pub(crate) struct Hit<'a> {
    /// 1 for the best.
    rank: usize,
    id: &'a str,
    /// Absent where only keywords found it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = -1, maximum = 1)]
    cosine: Option<f32>,
    /// How well the keywords fit (BM25); greater fits better.
    #[serde(skip_serializing_if = "Option::is_none")]
    keyword_score: Option<f32>,
    /// What hits of a query with keywords are ordered by.
    #[serde(skip_serializing_if = "Option::is_none")]
    fused_score: Option<f32>,
    /// What re-ranked hits are ordered by.
    #[serde(skip_serializing_if = "Option::is_none")]
    rerank_score: Option<f32>,
    /// Probability that hit and query share a superfamily.
    #[serde(skip_serializing_if = "Option::is_none")]
    probability: Option<f64>,
    /// Unrelated records expected at this cosine or above in a collection of this size.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_false_hits: Option<f64>,
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
    source: Option<&'a str>,
    /// Further fields of the record.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    fields: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schemas::LocalAlignment)]
    alignment: Option<&'a LocalAlignment>,
}

fn default_k() -> usize {
    10
}

/// Finds the nearest proteins, texts or genes of each query.
///
/// One query is answered by `hits`, `queries` and FASTA bodies by `results` in their order;
/// `Accept: text/tab-separated-values` gives m8 lines. Parameters of the query string are for FASTA bodies.
#[utoipa::path(post, path = "/v1/search", tag = "search",
    params(FastaParams),
    request_body(content(
        (Body = "application/json", example = json!({"id": "Q3Z7U4", "k": 3})),
        (String = "text/x-fasta", example = ">query\nMVLSPADKTNVKAAWGKVGAHAGEYGAEALERMFLSFPTTKTYFPHF\n"))),
    responses((status = 200, description = "Hits",
        content((Either<'_> = "application/json"), (String = "text/tab-separated-values")))))]
pub(crate) async fn post(
    state: web::Data<AppState>,
    request: HttpRequest,
    params: Result<web::Query<FastaParams>, actix_web::Error>,
    body: ReadBody,
) -> Result<HttpResponse, Problem> {
    let form = choose(&request, &[Form::Json, Form::Tsv])?;
    let params = params
        .map_err(|error| Problem::new(ProblemKind::Malformed, format!("query string: {error}")))?
        .into_inner();
    let queries = match body.body_type()? {
        BodyType::Json => of_json(body.parse()?)?,
        BodyType::Fasta => of_fasta(&body.bytes, params, state.engine.limits())?,
    };
    let (is_single, explain) = (queries.is_single, queries.explain);
    let (named, requests) = plan(&state, queries, form == Form::Tsv)?;
    let answers = join_all(requests.into_iter().map(|one| search(&state.engine, one)));
    let answers = state.within_deadline(async { all_or_problems(answers.await, is_single) }).await?;
    answers.iter().for_each(|answer| state.metrics.searched(&answer.explanation));
    if form == Form::Tsv {
        let lines = answers
            .iter()
            .zip(&named)
            .map(|(answer, name)| m8_lines(name.as_deref().unwrap_or("query"), answer));
        return Ok(HttpResponse::Ok().content_type(form.media_type()).body(lines.collect::<String>()));
    }
    let mut results: Vec<Answer<'_>> =
        answers.iter().zip(&named).map(|(a, name)| on_wire(a, name.as_deref(), explain)).collect();
    Ok(HttpResponse::Ok().json(if is_single {
        Either::One(results.swap_remove(0))
    } else {
        Either::Many(Answers { results })
    }))
}

/// Answers with the names of their queries, as the route sends several of them.
pub(crate) fn answers_as_json(answers: &[(Option<String>, SearchAnswer)]) -> Result<String, Problem> {
    let results = answers.iter().map(|(name, answer)| on_wire(answer, name.as_deref(), true)).collect();
    serde_json::to_string_pretty(&Answers { results })
        .map_err(|error| Problem::new(ProblemKind::Internal, error.to_string()))
}

fn of_fasta(body: &[u8], params: FastaParams, limits: Limits) -> Result<Queries, Problem> {
    let FastaParams { filter, k, collection, target, exact, align, explain, rerank } = params;
    let query = |record: protext_engine::input::InputRecord| QueryBody {
        sequence: Some(record.payload.as_str().to_owned()),
        name: Some(record.id),
        ..QueryBody::default()
    };
    let queries = fasta::records(body, limits.max_records)?.into_iter().map(query).collect();
    Ok(Queries { queries, is_single: false, filter, k, collection, target, exact, align, explain, rerank })
}

fn of_json(body: Body) -> Result<Queries, Problem> {
    let Body {
        sequence,
        text,
        gene,
        id,
        vector,
        keywords,
        filter,
        queries,
        k,
        collection,
        target,
        exact,
        align,
        explain,
        rerank,
    } = body;
    let top = QueryBody { sequence, text, gene, id, vector, keywords, name: None };
    let is_single = queries.is_none();
    let queries = top.or_many(queries)?;
    Ok(Queries { queries, is_single, filter, k, collection, target, exact, align, explain, rerank })
}

type Plan = (Vec<Option<String>>, Vec<SearchRequest>);

/// Checks limits and turns every query into an engine request, with the name that the caller gave it.
fn plan(state: &AppState, body: Queries, wants_m8: bool) -> Result<Plan, Problem> {
    check_count(state.engine.limits(), body.k, body.queries.len())?;
    check_rerank(state.engine.limits(), body.rerank)?;
    let n_hits = body.k.max(body.rerank).saturating_mul(body.queries.len());
    if n_hits > MAX_HITS {
        let detail =
            format!("{n_hits} hits were asked for, more than the {MAX_HITS} of one answer; ask in parts");
        return Err(Problem::new(ProblemKind::TooLarge, detail).in_field("k"));
    }
    let filter = body.filter.as_deref().map(Filter::parse).transpose();
    let filter = filter.map_err(|error| EngineError::from(IndexError::from(error)))?.map(Arc::new);
    let named = body.queries.iter().map(|query| query.name.clone().or_else(|| query.id.clone())).collect();
    let queries = QueryBody::into_searches(body.queries, body.is_single)?;
    let request = |(query, keywords)| SearchRequest {
        query,
        keywords,
        filter: filter.clone(),
        collection: body.collection.clone(),
        target: body.target,
        k: body.k,
        exact: body.exact,
        align: body.align || wants_m8,
        rerank: body.rerank,
    };
    let requests = queries.into_iter().map(request).collect();
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
        keyword_score: hit.keyword_score,
        fused_score: hit.fused_score,
        rerank_score: hit.rerank_score,
        probability: hit.homology.map(|homology: HitHomology| homology.probability),
        expected_false_hits: hit.homology.map(|homology| homology.expected_false_hits),
        description: &hit.record.description,
        text: hit.record.text.as_deref(),
        organism: hit.record.organism.as_deref(),
        taxon_id: hit.record.taxon_id,
        gene: hit.record.gene.as_deref(),
        length: hit.record.length,
        source: hit.record.source.as_deref(),
        fields: &hit.record.fields,
        alignment: hit.alignment.as_ref(),
    }
}
