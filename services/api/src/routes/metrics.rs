//! `GET /metrics`: what the service counts, for Prometheus.

use actix_web::{HttpResponse, web};

use crate::state::AppState;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that is counted, as OpenMetrics text.
#[utoipa::path(get, path = "/metrics", tag = "service",
    responses((status = 200, description = "Counts", body = String,
        content_type = "application/openmetrics-text")))]
pub(crate) async fn get(state: web::Data<AppState>) -> HttpResponse {
    HttpResponse::Ok().content_type(OPENMETRICS).body(state.metrics.text(&state))
}
