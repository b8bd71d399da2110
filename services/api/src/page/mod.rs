//! The page: HTML made here, one module a view, with files of its own and nothing fetched from elsewhere.
//!
//! Everything that can be asked by a form is answered without JavaScript; scripts put the same answers into the page without
//! loading it anew, and draw what HTML cannot. Markup is escaped by `maud`. Callers are browsers, by [`configure`].

mod answers;
mod assets;
pub(crate) mod collection_map;
mod download;
mod frame;
mod search_form;
mod status;
mod views;
mod why;

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::web;
use protext_engine::OpenCollection;

use crate::state::AppState;

pub(crate) use collection_map::Maps;

/// The collections that pages may name: all, unless keys are asked for; then the script asks for them with its key.
fn shown_collections(state: &AppState) -> Arc<BTreeMap<String, OpenCollection>> {
    if state.access.needs_keys() { Arc::default() } else { state.engine.collections() }
}

/// Mounts every view.
pub(crate) fn configure(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/").get(answers::get).post(answers::post))
        .service(web::resource("/why").post(why::post))
        .service(web::resource("/download").post(download::post))
        .service(web::resource("/map").get(views::map))
        .service(web::resource("/batch").get(views::batch))
        .service(web::resource("/predict").get(views::predict))
        .service(web::resource("/status").get(status::get))
        .service(web::resource("/assets/{name}").get(assets::get))
        .service(web::resource("/v1/collections/{name}/map").get(collection_map::get));
}
