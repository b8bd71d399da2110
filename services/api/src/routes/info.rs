//! `GET /v1/info` and `GET /v1/models`: what is loaded, on which device it really runs, and the limits.

use actix_web::{HttpResponse, web};
use protext_core::Space;
use protext_engine::{Embedder, Engine, Limits, Target};
use serde::Serialize;

use crate::server::{AppState, EncoderInfo};

#[derive(Serialize)]
struct Info<'a> {
    name: &'static str,
    version: &'static str,
    uptime_s: u64,
    encoders: Vec<Model<'a>>,
    collections: Vec<CollectionInfo<'a>>,
    limits: Limits,
    max_body_bytes: usize,
}

/// An encoder, in the shape of OpenAI's model list with our own fields beside.
#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    modality: protext_core::Modality,
    window: usize,
    encoder_space: &'a Space,
    joint_spaces: Vec<&'a Space>,
    #[serde(flatten)]
    running: Option<&'a EncoderInfo>,
}

#[derive(Serialize)]
struct CollectionInfo<'a> {
    name: &'a str,
    holds: Target,
    n_records: usize,
    n_residues: u64,
    /// The main space.
    space: Space,
    spaces: Vec<Space>,
    index: protext_index::IndexDescription,
}

#[derive(Serialize)]
struct ModelList<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

pub(super) async fn get(state: web::Data<AppState>) -> HttpResponse {
    let engine: &Engine = &state.engine;
    let collections = engine.collections().iter().map(|(name, open)| {
        let view = open.view();
        CollectionInfo {
            name,
            holds: open.target,
            n_records: view.len(),
            n_residues: view.n_residues(),
            space: view.space().clone(),
            spaces: view.spaces().to_vec(),
            index: view.info().index,
        }
    });
    HttpResponse::Ok().json(Info {
        name: "protext",
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: state.started.elapsed().as_secs(),
        encoders: engine.embedders().map(|embedder| model(&state, embedder)).collect(),
        collections: collections.collect(),
        limits: engine.limits(),
        max_body_bytes: state.max_body_bytes,
    })
}

pub(super) async fn models(state: web::Data<AppState>) -> HttpResponse {
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
        running: state.info.encoders.iter().find(|encoder| encoder.id == id),
    }
}
