//! `GET /v1/collections/{name}/map`: a place in the plane for every record, with the fields that a map is coloured by.
//!
//! The first request starts the work on a thread of its own and is told to come back; what was worked out is kept until
//! the collection changes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::{HttpResponse, web};
use protext_engine::map::{CollectionMap, map_of};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::Problem;
use crate::openapi::schemas;
use crate::state::AppState;

/// Records of a map; of more, so many are drawn, evenly spread.
const MAX_POINTS: usize = 50_000;

/// Maps by collection.
#[derive(Default)]
pub(crate) struct Maps(Arc<Mutex<HashMap<String, Entry>>>);

enum Entry {
    Working,
    /// Of a collection with so many records and changes.
    Done((usize, usize), Arc<CollectionMap>),
}

/// The map is being worked out.
#[derive(Serialize, ToSchema)]
pub(crate) struct NotYet {
    status: &'static str,
}

/// A place in the plane for each record, so that near vectors lie near each other.
///
/// Worked out by the first request, which is told to come back; kept until the collection changes.
#[utoipa::path(get, path = "/v1/collections/{name}/map", tag = "collections",
    params(("name" = String, Path, description = "Collection", example = "demo")),
    responses((status = 200, description = "The map", body = schemas::CollectionMap),
        (status = 202, description = "Not yet; Retry-After says when to ask again", body = NotYet)))]
pub(crate) async fn get(
    state: web::Data<AppState>,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let (name, open) = state.engine.collection(Some(&name), None)?;
    let view = open.view();
    let version = (view.len(), view.n_changes());
    let mut maps = state.maps.0.lock().unwrap_or_else(PoisonError::into_inner);
    match maps.get(&name) {
        Some(Entry::Done(of, map)) if *of == version => return Ok(HttpResponse::Ok().json(map.as_ref())),
        Some(Entry::Working) => {}
        _ => {
            maps.insert(name.clone(), Entry::Working);
            let shared = Arc::clone(&state.maps.0);
            std::thread::spawn(move || {
                let made = map_of(&*view, MAX_POINTS);
                let mut maps = shared.lock().unwrap_or_else(PoisonError::into_inner);
                match made {
                    Ok(map) => drop(maps.insert(name, Entry::Done(version, Arc::new(map)))),
                    Err(error) => {
                        tracing::error!(collection = name, %error, "the map could not be made");
                        maps.remove(&name);
                    }
                }
            });
        }
    }
    Ok(HttpResponse::build(StatusCode::ACCEPTED)
        .insert_header((RETRY_AFTER, "1"))
        .json(NotYet { status: "working" }))
}
