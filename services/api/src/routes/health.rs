//! `GET /healthz`: the process answers. `GET /readyz`: the models answer.

use actix_web::{HttpResponse, web};

use crate::error::{Problem, ProblemBody, ProblemKind};
use crate::state::AppState;
use crate::watch::Readiness;

/// The process answers.
#[utoipa::path(get, path = "/healthz", tag = "service",
    responses((status = 200, description = "Alive", body = String, content_type = "text/plain")))]
pub(crate) async fn alive() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("alive\n")
}

/// Each model has answered once, and still does.
#[utoipa::path(get, path = "/readyz", tag = "service",
    responses((status = 200, description = "Ready", body = String, content_type = "text/plain"),
        (status = 503, description = "Models are warming up, or one does not answer", body = ProblemBody<'_>,
            content_type = "application/problem+json")))]
pub(crate) async fn ready(state: web::Data<AppState>) -> Result<HttpResponse, Problem> {
    let readiness = state.watched.get();
    if *readiness == Readiness::Ready {
        return Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ready\n"));
    }
    Err(Problem::new(ProblemKind::NotAvailable, readiness.describe()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use actix_web::{App, test};
    use protext_engine::{Engine, Limits};

    use super::*;
    use crate::state::AppInfo;

    #[actix_web::test]
    async fn a_service_that_warms_up_is_alive_but_not_ready() {
        let engine = Arc::new(Engine::new(Vec::new(), BTreeMap::new(), Limits::default()));
        let settings = crate::ServerSettings::default();
        let state = web::Data::new(AppState::new(engine, AppInfo::default(), &settings));
        let app = App::new().app_data(state.clone()).configure(crate::routes::configure);
        let app = test::init_service(app).await;
        let status = async |path| {
            let request = test::TestRequest::get().uri(path).to_request();
            test::call_service(&app, request).await.status().as_u16()
        };
        assert_eq!((status("/healthz").await, status("/readyz").await), (200, 503));
        state.watched.set(Readiness::Ready);
        assert_eq!(status("/readyz").await, 200);
        state.watched.set(Readiness::Failing(vec!["esm2".to_owned()]));
        assert_eq!((status("/healthz").await, status("/readyz").await), (200, 503));
    }
}
