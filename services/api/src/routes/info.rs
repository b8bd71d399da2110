//! `GET /v1/info` and `GET /v1/models`: what is loaded, on which device it really runs, and the limits.

use actix_web::{HttpResponse, web};
use protext_core::Space;
use protext_engine::{Embedder, Engine, Limits};
use serde::Serialize;
use utoipa::ToSchema;

use super::collections::{CollectionBody, describe_all};
use crate::openapi::schemas;
use crate::state::{AppState, EncoderInfo};

/// The service.
#[derive(Serialize, ToSchema)]
pub(crate) struct Info<'a> {
    name: &'static str,
    version: &'static str,
    uptime_s: u64,
    encoders: Vec<Model<'a>>,
    collections: Vec<CollectionBody>,
    #[schema(value_type = schemas::Limits)]
    limits: Limits,
    max_body_bytes: usize,
    /// An answer takes no longer.
    deadline_s: u64,
    /// Whether a key is asked for.
    needs_keys: bool,
}

/// An encoder, in the shape of OpenAI's model list with our own fields beside.
#[derive(Serialize, ToSchema)]
pub(crate) struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    #[schema(value_type = schemas::Modality)]
    modality: protext_core::Modality,
    window: usize,
    #[schema(value_type = schemas::Space)]
    encoder_space: &'a Space,
    #[schema(value_type = Vec<schemas::Space>)]
    joint_spaces: Vec<&'a Space>,
    #[serde(flatten)]
    #[schema(value_type = EncoderInfo)]
    running: Option<&'a EncoderInfo>,
}

/// Encoders.
#[derive(Serialize, ToSchema)]
pub(crate) struct ModelList<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

/// What is loaded, on which device it really runs, and the limits.
#[utoipa::path(get, path = "/v1/info", tag = "service",
    responses((status = 200, description = "The service", body = Info<'_>)))]
pub(crate) async fn get(state: web::Data<AppState>) -> HttpResponse {
    let engine: &Engine = &state.engine;
    HttpResponse::Ok().json(Info {
        name: "protext",
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: state.started.elapsed().as_secs(),
        encoders: engine.embedders().map(|embedder| model(&state, embedder)).collect(),
        collections: describe_all(engine),
        limits: engine.limits(),
        max_body_bytes: state.max_body_bytes,
        deadline_s: state.deadline.as_secs(),
        needs_keys: state.access.needs_keys(),
    })
}

/// The encoders, in the shape of OpenAI's list.
#[utoipa::path(get, path = "/v1/models", tag = "service",
    responses((status = 200, description = "Encoders", body = ModelList<'_>)))]
pub(crate) async fn models(state: web::Data<AppState>) -> HttpResponse {
    let data = state.engine.embedders().map(|embedder| model(&state, embedder)).collect();
    HttpResponse::Ok().json(ModelList { object: "list", data })
}

fn model<'a>(state: &'a AppState, embedder: &'a Embedder) -> Model<'a> {
    let id = embedder.encoder().id();
    Model {
        id,
        object: "model",
        created: 0,
        owned_by: "protext",
        modality: embedder.encoder().modality(),
        window: embedder.encoder().window(),
        encoder_space: embedder.encoder_space(),
        joint_spaces: embedder.joint_spaces().collect(),
        running: state.encoders.iter().find(|encoder| encoder.id == id),
    }
}
