//! One file a route; [`configure`] is the table of them all.

pub(crate) mod annotate;
pub(crate) mod collections;
mod docs;
pub(crate) mod embeddings;
pub(crate) mod health;
pub(crate) mod info;
pub(crate) mod jobs;
pub(crate) mod metrics;
pub(crate) mod perturbation;
pub(crate) mod ppi;
mod query;
pub(crate) mod records;
pub(crate) mod search;
mod streamed;
pub(crate) mod variants;

use actix_web::{HttpResponse, web};

use crate::error::{Problem, ProblemKind};
use crate::page;

pub(crate) use query::{all_or_problems, check_count};
pub(crate) use search::answers_as_json;

/// Mounts every route.
pub(crate) fn configure(config: &mut web::ServiceConfig) {
    config
        .configure(page::configure)
        .service(route("/healthz", web::get().to(health::alive)))
        .service(route("/readyz", web::get().to(health::ready)))
        .service(route("/metrics", web::get().to(metrics::get)))
        .service(route("/v1/info", web::get().to(info::get)))
        .service(route("/v1/models", web::get().to(info::models)))
        .service(route("/v1/embeddings", web::post().to(embeddings::post)))
        .service(route("/v1/annotate", web::post().to(annotate::post)))
        .service(route("/v1/predict/perturbation", web::post().to(perturbation::post)))
        .service(route("/v1/predict/ppi", web::post().to(ppi::post)))
        .service(route("/v1/predict/variants", web::post().to(variants::post)))
        .service(route("/v1/search", web::post().to(search::post)))
        .configure(of_collections)
        .configure(jobs::configure)
        .configure(docs::configure)
        .default_service(web::to(not_found));
}

/// Paths that the description of the API must have.
#[cfg(test)]
pub(crate) const DESCRIBED: &[&str] = &[
    "/v1/search",
    "/v1/embeddings",
    "/v1/annotate",
    "/v1/predict/ppi",
    "/v1/predict/perturbation",
    "/v1/predict/variants",
    "/v1/collections",
    "/v1/collections/{name}",
    "/v1/collections/{name}/records",
    "/v1/collections/{name}/records/{id}",
    "/v1/collections/{name}/snapshots",
    "/v1/collections/{name}/map",
    "/v1/jobs",
    "/v1/jobs/{id}",
    "/v1/jobs/{id}/cancel",
    "/v1/jobs/{id}/resume",
    "/v1/jobs/{id}/events",
    "/v1/jobs/{id}/results",
    "/v1/info",
    "/v1/models",
    "/healthz",
    "/readyz",
    "/metrics",
];

fn of_collections(config: &mut web::ServiceConfig) {
    let at = |path: &'static str| web::resource(path).default_service(web::to(wrong_method));
    config
        .service(
            at("/v1/collections")
                .route(web::get().to(collections::list))
                .route(web::post().to(collections::create)),
        )
        .service(
            at("/v1/collections/{name}")
                .route(web::get().to(collections::get))
                .route(web::delete().to(collections::delete)),
        )
        .service(
            at("/v1/collections/{name}/snapshots")
                .route(web::get().to(collections::snapshots))
                .route(web::post().to(collections::make_snapshot)),
        )
        .service(
            at("/v1/collections/{name}/records")
                .route(web::get().to(records::list))
                .route(web::post().to(records::post))
                .route(web::put().to(records::post))
                .route(web::delete().to(records::delete_many)),
        )
        .service(
            at("/v1/collections/{name}/records/{id:.+}")
                .route(web::get().to(records::get_one))
                .route(web::delete().to(records::delete_one)),
        );
}

/// One method on one path; any other method is told so.
pub(super) fn route(path: &'static str, handler: actix_web::Route) -> actix_web::Resource {
    web::resource(path).route(handler).default_service(web::to(wrong_method))
}

async fn not_found() -> Result<HttpResponse, Problem> {
    Err(Problem::new(ProblemKind::NotFound, "no such route; GET /docs/ shows them"))
}

async fn wrong_method() -> Result<HttpResponse, Problem> {
    Err(Problem::new(
        ProblemKind::MethodNotAllowed,
        "this route takes another method; GET /docs/ shows which",
    ))
}
