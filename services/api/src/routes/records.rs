//! `/v1/collections/{name}/records`: written, read, listed and deleted; searches see each write at once.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::StreamExt as _;
use protext_core::{JointVector, Space};
use protext_engine::EngineError;
use protext_engine::input::InputRecord;
use protext_engine::records::{NamedVector, NewRecord, delete, upsert, view_of};
use protext_index::{CollectionView, IndexError, Record, StoredRecord, WriteReport};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::streamed;
use crate::body::{BodyType, ReadBody};
use crate::error::{Problem, ProblemBody, ProblemKind};
use crate::fasta;
use crate::negotiate::{Form, choose};
use crate::state::AppState;

/// Most records on a page of JSON.
const MAX_PAGE: usize = 1_000;

/// Records to write.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecordsBody {
    /// All of them are written, or none.
    #[schema(min_items = 1)]
    records: Vec<NewRecordBody>,
}

/// A record to write. What has no vector of its own is embedded: proteins by `sequence`, texts and genes by `text`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRecordBody {
    /// Unique in the collection; a record with this id is replaced.
    #[schema(min_length = 1, max_length = 512, example = "P69905")]
    id: String,
    /// Residues.
    #[serde(default)]
    #[schema(example = "MVLSPADKTNVKAAWGKVGAHAGEYGAEALERMFLSFPTTKTYFPHF")]
    sequence: Option<String>,
    /// A sentence or more.
    #[serde(default)]
    text: Option<String>,
    /// What it is, in words.
    #[serde(default)]
    #[schema(example = "Hemoglobin subunit alpha")]
    description: String,
    #[serde(default)]
    organism: Option<String>,
    /// NCBI taxonomy id.
    #[serde(default)]
    taxon_id: Option<u32>,
    /// Gene symbol.
    #[serde(default)]
    gene: Option<String>,
    /// File or database that it comes from.
    #[serde(default)]
    source: Option<String>,
    /// What else is known of it; filters ask for it by name.
    #[serde(default)]
    fields: BTreeMap<String, String>,
    /// Vectors of one's own, each with its space.
    #[serde(default)]
    vectors: Vec<VectorBody>,
}

/// A vector and where it lives.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VectorBody {
    /// Fingerprint or name of a space of the collection.
    space: String,
    /// Components, of any norm but 0.
    values: Vec<f32>,
}

/// What a write did.
#[derive(Serialize, ToSchema)]
pub(crate) struct WrittenBody {
    /// Records whose id was new.
    n_inserted: usize,
    /// Records that took the place of one with their id.
    n_replaced: usize,
    /// Records deleted.
    n_deleted: usize,
    /// Ids to delete that no record had.
    unknown: Vec<String>,
    /// Records of the collection now.
    n_records: usize,
}

/// Records to delete.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct IdsBody {
    /// Ids; one that no record has is told and is no error.
    #[schema(min_items = 1)]
    ids: Vec<String>,
}

/// A record.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecordBody<'a> {
    id: &'a str,
    description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    organism: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    taxon_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gene: Option<&'a str>,
    /// Residues; 0 for a text.
    length: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    /// What else is known of it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    fields: &'a BTreeMap<String, String>,
    /// Where asked for: its vector in each space, at unit norm.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vectors: Vec<VectorOut<'a>>,
}

/// A vector of a record.
#[derive(Serialize, ToSchema)]
pub(crate) struct VectorOut<'a> {
    /// Fingerprint of its space.
    #[schema(value_type = String)]
    space: protext_core::Fingerprint,
    /// Name of its space.
    name: &'a str,
    values: &'a [f32],
}

/// A page of records.
#[derive(Serialize, ToSchema)]
pub(crate) struct PageBody<'a> {
    records: Vec<RecordBody<'a>>,
    /// Records of the collection.
    n_records: usize,
    /// Where the next page begins, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_offset: Option<usize>,
}

/// Which records, and how much of each.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Page {
    /// Records passed over, in the order in which they came.
    #[serde(default)]
    #[param(minimum = 0, maximum = 2147483647)]
    offset: u32,
    /// Records of a page of JSON.
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
    /// With vectors.
    #[serde(default)]
    vectors: bool,
}

fn default_limit() -> u32 {
    100
}

/// How much of a record.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Detail {
    /// With vectors.
    #[serde(default)]
    vectors: bool,
}

/// Writes records: inserts them, or puts them in place of those with their ids.
///
/// JSON, or a FASTA body for a collection of proteins. The answer comes once the disk has the records; searches find them
/// from then on. One bad record refuses all, and every bad one is told.
#[utoipa::path(post, path = "/v1/collections/{name}/records", tag = "records",
    params(("name" = String, Path, example = "my-proteins")),
    request_body(content(
        (RecordsBody = "application/json", example = json!({"records": [{"id": "P69905", "description":
            "Hemoglobin subunit alpha", "sequence": "MVLSPADKTNVKAAWGKVGAHAGEYGAEALERMFLSFPTTKTYFPHF"}]})),
        (String = "text/x-fasta", example = ">P69905 Hemoglobin subunit alpha\nMVLSPADKTNVKAAWGKVGAHAGEY\n"))),
    responses((status = 200, description = "Written", body = WrittenBody),
        (status = 409, description = "The collection is open for reading only", body = ProblemBody<'_>,
            content_type = "application/problem+json")))]
pub(crate) async fn post(
    state: web::Data<AppState>,
    name: web::Path<String>,
    body: ReadBody,
) -> Result<HttpResponse, Problem> {
    let max_records = state.engine.limits().max_records;
    let records: Vec<NewRecord> = match body.body_type()? {
        BodyType::Fasta => fasta::records(&body.bytes, max_records)?.into_iter().map(of_fasta).collect(),
        BodyType::Json => body.parse::<RecordsBody>()?.records.into_iter().map(NewRecord::from).collect(),
    };
    ensure_count(records.len(), max_records, "records")?;
    let written = state.within_deadline(async { Ok(upsert(&state.engine, &name, records).await?) }).await?;
    answer(&state, &name, written)
}

/// Deletes records by id.
#[utoipa::path(delete, path = "/v1/collections/{name}/records", tag = "records",
    params(("name" = String, Path, example = "my-proteins")),
    request_body(content = IdsBody, example = json!({"ids": ["P69905"]})),
    responses((status = 200, description = "Deleted", body = WrittenBody),
        (status = 409, description = "The collection is open for reading only", body = ProblemBody<'_>,
            content_type = "application/problem+json")))]
pub(crate) async fn delete_many(
    state: web::Data<AppState>,
    name: web::Path<String>,
    body: ReadBody,
) -> Result<HttpResponse, Problem> {
    let IdsBody { ids } = body.json()?;
    // Ids are small, so many more than records may come at once.
    ensure_count(ids.len(), state.engine.limits().max_records.saturating_mul(100), "ids")?;
    let written = delete(&state.engine, &name, ids).await?;
    answer(&state, &name, written)
}

/// Deletes one record.
#[utoipa::path(delete, path = "/v1/collections/{name}/records/{id}", tag = "records",
    params(("name" = String, Path, example = "my-proteins"), ("id" = String, Path, example = "P69905")),
    responses((status = 204, description = "Deleted"),
        (status = 409, description = "The collection is open for reading only", body = ProblemBody<'_>,
            content_type = "application/problem+json")))]
pub(crate) async fn delete_one(
    state: web::Data<AppState>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let (name, id) = path.into_inner();
    match delete(&state.engine, &name, vec![id.clone()]).await?.n_deleted {
        0 => Err(EngineError::UnknownRecord { collection: name, id }.into()),
        _ => Ok(HttpResponse::NoContent().finish()),
    }
}

/// Gives one record.
#[utoipa::path(get, path = "/v1/collections/{name}/records/{id}", tag = "records",
    params(("name" = String, Path, example = "demo"), ("id" = String, Path, example = "Q3Z7U4"), Detail),
    responses((status = 200, description = "The record", body = RecordBody<'_>)))]
pub(crate) async fn get_one(
    state: web::Data<AppState>,
    path: web::Path<(String, String)>,
    detail: Result<web::Query<Detail>, actix_web::Error>,
) -> Result<HttpResponse, Problem> {
    let (name, id) = path.into_inner();
    let detail = detail.map_err(|error| bad_query(&error))?;
    let view = view_of(&state.engine, &name)?;
    let (asked, wanted) = (Arc::clone(&view), id.clone());
    let found = web::block(move || asked.get(&wanted)).await.map_err(|_| EngineError::WorkerLost)?;
    let found = found.map_err(EngineError::from)?;
    let found = found.ok_or_else(|| EngineError::UnknownRecord { collection: name, id })?;
    let vectors = if detail.vectors { &*found.vectors } else { &[] };
    Ok(HttpResponse::Ok().json(on_wire(&found.record, vectors, view.spaces())))
}

/// Lists records: a page of JSON, or all of them, streamed, as JSON lines or FASTA by `Accept`.
#[utoipa::path(get, path = "/v1/collections/{name}/records", tag = "records",
    params(("name" = String, Path, example = "demo"), Page),
    responses((status = 200, description = "Records", content((PageBody<'_> = "application/json"),
        (String = "application/x-ndjson"), (String = "text/x-fasta")))))]
pub(crate) async fn list(
    state: web::Data<AppState>,
    request: HttpRequest,
    name: web::Path<String>,
    page: Result<web::Query<Page>, actix_web::Error>,
) -> Result<HttpResponse, Problem> {
    let page = page.map_err(|error| bad_query(&error))?.into_inner();
    let form = choose(&request, &[Form::Json, Form::JsonLines, Form::Fasta])?;
    let view = view_of(&state.engine, &name)?;
    let (offset, limit) = (page.offset as usize, page.limit as usize);
    if form != Form::Json {
        let permit = state.streams.clone().try_acquire_owned().map_err(|_| {
            Problem::new(
                ProblemKind::Busy,
                "too many whole collections are being read; try again in a moment",
            )
        })?;
        let body = streamed::records(view, form, (offset, page.vectors), permit);
        return Ok(HttpResponse::Ok()
            .content_type(form.media_type())
            .streaming(body.map(Ok::<_, actix_web::Error>)));
    }
    if limit == 0 || limit > MAX_PAGE {
        let detail = format!("limit is {limit}, but must be from 1 to {MAX_PAGE}");
        return Err(Problem::new(ProblemKind::Invalid, detail).in_field("limit"));
    }
    let asked = Arc::clone(&view);
    let read = web::block(move || some_records(&*asked, offset, limit, page.vectors)).await;
    let found = read.map_err(|_| EngineError::WorkerLost)?.map_err(EngineError::from)?;
    let records = found.iter().map(|one| on_wire(&one.record, &one.vectors, view.spaces())).collect();
    let next = offset.saturating_add(limit);
    let next_offset = (next < view.len()).then_some(next);
    Ok(HttpResponse::Ok().json(PageBody { records, n_records: view.len(), next_offset }))
}

/// The records of a page; at least one is asked for.
fn some_records(
    view: &dyn CollectionView,
    offset: usize,
    limit: usize,
    with_vectors: bool,
) -> Result<Vec<StoredRecord>, IndexError> {
    let mut found = Vec::with_capacity(limit);
    view.each((offset, 1), with_vectors, &mut |stored| {
        found.push(stored);
        if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(found)
}

fn answer(state: &AppState, name: &str, written: WriteReport) -> Result<HttpResponse, Problem> {
    let WriteReport { n_inserted, n_replaced, n_deleted, unknown } = written;
    let n_records = view_of(&state.engine, name).map_or(0, |view| view.len());
    Ok(HttpResponse::Ok().json(WrittenBody { n_inserted, n_replaced, n_deleted, unknown, n_records }))
}

fn ensure_count(n: usize, max: usize, field: &'static str) -> Result<(), Problem> {
    if (1..=max).contains(&n) {
        return Ok(());
    }
    let kind = if n == 0 { ProblemKind::Invalid } else { ProblemKind::TooLarge };
    Err(Problem::new(kind, format!("{n} {field} were sent, but 1 to {max} are taken at once"))
        .in_field(field))
}

fn bad_query(error: &actix_web::Error) -> Problem {
    Problem::new(ProblemKind::Malformed, format!("query string: {error}"))
}

/// A record as it goes over the wire, with its vectors if it comes with any.
pub(super) fn on_wire<'a>(
    record: &'a Record,
    vectors: &'a [JointVector],
    spaces: &'a [Space],
) -> RecordBody<'a> {
    let in_space = |(space, vector): (&'a Space, &'a JointVector)| VectorOut {
        space: space.fingerprint,
        name: &space.name,
        values: vector.as_slice(),
    };
    RecordBody {
        id: &record.id,
        description: &record.description,
        organism: record.organism.as_deref(),
        taxon_id: record.taxon_id,
        gene: record.gene.as_deref(),
        length: record.length,
        sequence: record.sequence.as_deref(),
        text: record.text.as_deref(),
        source: record.source.as_deref(),
        fields: &record.fields,
        vectors: spaces.iter().zip(vectors).map(in_space).collect(),
    }
}

impl From<NewRecordBody> for NewRecord {
    fn from(body: NewRecordBody) -> Self {
        let NewRecordBody {
            id,
            sequence,
            text,
            description,
            organism,
            taxon_id,
            gene,
            source,
            fields,
            vectors,
        } = body;
        let fields = fields.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
        let vectors = vectors.into_iter().map(|VectorBody { space, values }| NamedVector { space, values });
        let record = Record {
            id,
            sequence,
            text,
            description,
            organism,
            taxon_id,
            gene,
            source,
            fields,
            ..Record::default()
        };
        Self { record, vectors: vectors.collect() }
    }
}

/// A record of a FASTA body: UniProt's headers give id, organism and gene, as everywhere.
fn of_fasta(input: InputRecord) -> NewRecord {
    let InputRecord { id, description, organism, taxon_id, gene, payload, .. } = input;
    let sequence = Some(payload.as_str().to_owned());
    let record = Record { id, description, organism, taxon_id, gene, sequence, ..Record::default() };
    NewRecord { record, vectors: Vec::new() }
}
