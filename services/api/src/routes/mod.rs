//! One file a route; [`configure`] is the table of them all.

mod annotate;
mod embeddings;
mod health;
mod info;
mod page;
mod query;
mod search;

use actix_web::{HttpResponse, web};

use crate::error::{Problem, ProblemKind};

/// Mounts every route.
pub(crate) fn configure(config: &mut web::ServiceConfig) {
    config
        .service(route("/", web::get().to(page::get)))
        .service(route("/healthz", web::get().to(health::alive)))
        .service(route("/readyz", web::get().to(health::ready)))
        .service(route("/v1/info", web::get().to(info::get)))
        .service(route("/v1/models", web::get().to(info::models)))
        .service(route("/v1/embeddings", web::post().to(embeddings::post)))
        .service(route("/v1/annotate", web::post().to(annotate::post)))
        .service(route("/v1/search", web::post().to(search::post)))
        .default_service(web::to(not_found));
}

/// One method on one path; any other method is told so.
fn route(path: &'static str, handler: actix_web::Route) -> actix_web::Resource {
    web::resource(path).route(handler).default_service(web::to(wrong_method))
}

async fn not_found() -> Result<HttpResponse, Problem> {
    Err(Problem::new(ProblemKind::NotFound, "no such route; GET / lists them"))
}

async fn wrong_method() -> Result<HttpResponse, Problem> {
    Err(Problem::new(ProblemKind::MethodNotAllowed, "this route takes another method; GET / lists them"))
}
