//! `GET /healthz`: the process answers. `GET /readyz`: each model has answered once.

use std::sync::atomic::Ordering;

use actix_web::{HttpResponse, web};

use crate::error::{Problem, ProblemKind};
use crate::server::AppState;

pub(super) async fn alive() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("alive\n")
}

pub(super) async fn ready(state: web::Data<AppState>) -> Result<HttpResponse, Problem> {
    if state.is_ready.load(Ordering::Acquire) {
        return Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ready\n"));
    }
    Err(Problem::new(ProblemKind::NotAvailable, "models are warming up"))
}
