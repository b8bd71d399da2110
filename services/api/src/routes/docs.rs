//! `GET /openapi.json` and `/docs`: the description of the API, and a page to read and try it.

use std::sync::LazyLock;

use actix_web::http::header::LOCATION;
use actix_web::{HttpResponse, web};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::openapi::document;

static OPENAPI: LazyLock<String> = LazyLock::new(|| document().to_json().unwrap_or_default());

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config
        .service(super::route("/openapi.json", web::get().to(openapi)))
        .service(super::route("/docs", web::get().to(to_docs)))
        .service(SwaggerUi::new("/docs/{_:.*}").config(Config::from("/openapi.json")));
}

async fn openapi() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(OPENAPI.as_str())
}

async fn to_docs() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((LOCATION, "/docs/")).finish()
}
