//! `/v1/collections`: what there is, made, described, deleted, and copied while it is in use.

use std::sync::Arc;

use actix_web::http::header::LOCATION;
use actix_web::{HttpResponse, web};
use protext_core::Space;
use protext_engine::hosted;
use protext_engine::library::{Library, NewCollection, Snapshot};
use protext_engine::recall::RecallEstimate;
use protext_engine::{Engine, EngineError, OpenCollection, Target};
use protext_index::{HnswParams, IndexDescription, IndexKind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::body::ReadBody;
use crate::error::{Problem, ProblemBody, ProblemKind};
use crate::openapi::schemas;
use crate::state::AppState;

/// A collection to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCollectionBody {
    /// 1 to 64 letters, digits, `-`, `_` or `.`, the first one a letter or digit.
    #[schema(
        min_length = 1,
        max_length = 64,
        pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$",
        example = "my-proteins"
    )]
    name: String,
    /// What it holds: proteins are embedded by sequence, texts and genes by their text.
    #[serde(default = "proteins")]
    #[schema(value_type = schemas::Target, default = "proteins")]
    holds: Target,
    /// Encoder (`GET /v1/models`); the one for what it holds unless one is named.
    #[serde(default)]
    encoder: Option<String>,
    /// Its index.
    #[serde(default)]
    index: IndexBody,
}

fn proteins() -> Target {
    Target::Proteins
}

/// An index to make.
#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct IndexBody {
    /// `auto` compares with every record up to 10,000 and builds a graph past it.
    #[serde(default)]
    kind: IndexKindBody,
    /// Links of a record in a graph.
    #[serde(default)]
    #[schema(example = 16, maximum = 256)]
    m: Option<u16>,
    /// Candidates kept while a graph is built.
    #[serde(default)]
    #[schema(example = 200, maximum = 10000)]
    ef_construction: Option<u16>,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum IndexKindBody {
    #[default]
    Auto,
    Exact,
    Hnsw,
}

impl IndexBody {
    fn kind(&self) -> Result<IndexKind, Problem> {
        let has_params = self.m.is_some() || self.ef_construction.is_some();
        if has_params && self.kind != IndexKindBody::Hnsw {
            let detail = "m and ef_construction belong to kind \"hnsw\"; name it, or leave them out";
            return Err(Problem::new(ProblemKind::Invalid, detail).in_field("index"));
        }
        let default = HnswParams::default();
        Ok(match self.kind {
            IndexKindBody::Auto => IndexKind::Auto,
            IndexKindBody::Exact => IndexKind::Exact,
            IndexKindBody::Hnsw => IndexKind::Hnsw(HnswParams {
                m: self.m.map_or(default.m, usize::from),
                ef_construction: self.ef_construction.map_or(default.ef_construction, usize::from),
                ..default
            }),
        })
    }
}

/// A collection.
#[derive(Serialize, ToSchema)]
pub(crate) struct CollectionBody {
    #[schema(example = "demo")]
    name: String,
    /// What it holds.
    #[schema(value_type = schemas::Target)]
    holds: Target,
    n_records: usize,
    /// Residues of all records.
    n_residues: u64,
    /// The main space.
    #[schema(value_type = schemas::Space)]
    space: Space,
    /// Every space, the main one first.
    #[schema(value_type = Vec<schemas::Space>)]
    spaces: Vec<Space>,
    #[schema(value_type = schemas::Index)]
    index: IndexDescription,
    /// Whether records can be written here.
    writable: bool,
    /// Changes since the snapshot below; past 20,000, or an eighth of the records, it is made anew in the background.
    n_changes: usize,
    recall: RecallBody,
}

/// How much of the true neighbours its searches find.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecallBody {
    /// True where every record is compared, so that nothing can be missed.
    exact: bool,
    /// Of a sampled share of the searches, with a 95% Wilson interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schemas::Recall)]
    estimate: Option<RecallEstimate>,
}

/// Every collection.
#[derive(Serialize, ToSchema)]
pub(crate) struct CollectionsBody {
    collections: Vec<CollectionBody>,
}

/// The copies of a collection.
#[derive(Serialize, ToSchema)]
pub(crate) struct SnapshotsBody {
    /// Oldest first.
    #[schema(value_type = Vec<schemas::Snapshot>)]
    snapshots: Vec<Snapshot>,
}

pub(super) fn describe(engine: &Engine, name: &str, open: &OpenCollection) -> CollectionBody {
    let view = open.view();
    let is_exact = view.is_exact(view.space()).unwrap_or(false);
    CollectionBody {
        name: name.to_owned(),
        holds: open.target,
        n_records: view.len(),
        n_residues: view.n_residues(),
        space: view.space().clone(),
        spaces: view.spaces().to_vec(),
        index: view.info().index,
        writable: open.writer().is_some(),
        n_changes: view.n_changes(),
        recall: RecallBody {
            exact: is_exact,
            estimate: engine.recall().and_then(|monitor| monitor.estimate(name)),
        },
    }
}

pub(super) fn describe_all(engine: &Engine) -> Vec<CollectionBody> {
    engine.collections().iter().map(|(name, open)| describe(engine, name, open)).collect()
}

/// Lists the collections.
#[utoipa::path(get, path = "/v1/collections", tag = "collections",
    responses((status = 200, description = "Every collection", body = CollectionsBody)))]
pub(crate) async fn list(state: web::Data<AppState>) -> HttpResponse {
    HttpResponse::Ok().json(CollectionsBody { collections: describe_all(&state.engine) })
}

/// Makes an empty collection.
///
/// Its records live in every space that its encoder leads to. It is kept in the service's data folder, or on the Qdrant server
/// of the service.
#[utoipa::path(post, path = "/v1/collections", tag = "collections",
    request_body(content = NewCollectionBody, example = json!({"name": "my-proteins", "holds": "proteins"})),
    responses((status = 201, description = "Made", body = CollectionBody, headers(("location" = String))),
        (status = 409, description = "The name is taken, or the service has no data folder", body = ProblemBody<'_>,
            content_type = "application/problem+json")))]
pub(crate) async fn create(state: web::Data<AppState>, body: ReadBody) -> Result<HttpResponse, Problem> {
    let body: NewCollectionBody = body.json()?;
    let index = body.index.kind()?;
    let new = NewCollection { name: body.name, holds: body.holds, encoder: body.encoder, index };
    let name = new.name.clone();
    match state.host.clone() {
        Some(host) => with_host(&state, move |engine| hosted::create(engine, &*host, &new)).await?,
        None => with_library(&state, move |library, engine| library.create(engine, &new)).await?,
    }
    let (name, open) = state.engine.collection(Some(&name), None)?;
    let location = format!("/v1/collections/{name}");
    let body = describe(&state.engine, &name, &open);
    Ok(HttpResponse::Created().insert_header((LOCATION, location)).json(body))
}

/// Describes a collection.
#[utoipa::path(get, path = "/v1/collections/{name}", tag = "collections",
    params(("name" = String, Path, example = "demo")),
    responses((status = 200, description = "The collection", body = CollectionBody)))]
pub(crate) async fn get(
    state: web::Data<AppState>,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let (name, open) = state.engine.collection(Some(&name), None)?;
    Ok(HttpResponse::Ok().json(describe(&state.engine, &name, &open)))
}

/// Deletes a collection with all of its records; its snapshots stay.
#[utoipa::path(delete, path = "/v1/collections/{name}", tag = "collections",
    params(("name" = String, Path, example = "my-proteins")),
    responses((status = 204, description = "Deleted"),
        (status = 409, description = "It was not made here, or is in use", body = ProblemBody<'_>,
            content_type = "application/problem+json")))]
pub(crate) async fn delete(
    state: web::Data<AppState>,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let (_, open) = state.engine.collection(Some(&name), None)?;
    match state.host.clone().filter(|_| open.is_elsewhere()) {
        Some(host) => with_host(&state, move |engine| hosted::delete(engine, &*host, &name)).await?,
        None => {
            drop(open);
            with_library(&state, move |library, engine| library.delete(engine, &name)).await?;
        }
    }
    Ok(HttpResponse::NoContent().finish())
}

/// Lists the snapshots of a collection.
#[utoipa::path(get, path = "/v1/collections/{name}/snapshots", tag = "collections",
    params(("name" = String, Path, example = "demo")),
    responses((status = 200, description = "Its snapshots", body = SnapshotsBody)))]
pub(crate) async fn snapshots(
    state: web::Data<AppState>,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let snapshots = with_library(&state, move |library, engine| {
        let snapshots = library.snapshots(&name)?;
        // Backups outlive their collection; a name that never was is not known.
        if snapshots.is_empty() {
            engine.collection(Some(&name), None)?;
        }
        Ok(snapshots)
    });
    Ok(HttpResponse::Ok().json(SnapshotsBody { snapshots: snapshots.await? }))
}

/// Copies a collection as it is now, verified, while it is searched and written to.
///
/// The copy lies in the service's data folder, in `backups/NAME/NUMBER`; `protext index copy` puts it back.
#[utoipa::path(post, path = "/v1/collections/{name}/snapshots", tag = "collections",
    params(("name" = String, Path, example = "my-proteins")),
    responses((status = 201, description = "Made", body = schemas::Snapshot),
        (status = 409, description = "The collection is open for reading only", body = ProblemBody<'_>,
            content_type = "application/problem+json")))]
pub(crate) async fn make_snapshot(
    state: web::Data<AppState>,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    state.engine.collection(Some(&name), None)?;
    let made = with_library(&state, move |library, engine| library.make_snapshot(engine, &name)).await?;
    Ok(HttpResponse::Created().json(made))
}

/// Runs `work` on the blocking pool; it waits for the server that keeps collections.
async fn with_host(
    state: &AppState,
    work: impl FnOnce(&Engine) -> Result<(), EngineError> + Send + 'static,
) -> Result<(), Problem> {
    let engine = Arc::clone(&state.engine);
    Ok(web::block(move || work(&engine)).await.map_err(|_| EngineError::WorkerLost)??)
}

/// Runs `work` on the blocking pool, with the service's own folder.
async fn with_library<T: Send + 'static>(
    state: &AppState,
    work: impl FnOnce(&Library, &Engine) -> Result<T, EngineError> + Send + 'static,
) -> Result<T, Problem> {
    let library = state.library.clone().ok_or(EngineError::NoLibrary)?;
    let engine = Arc::clone(&state.engine);
    let done = web::block(move || work(&library, &engine)).await;
    Ok(done.map_err(|_| EngineError::WorkerLost)??)
}
