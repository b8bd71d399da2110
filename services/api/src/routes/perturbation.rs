//! `POST /v1/predict/perturbation`: what perturbing genes changes, named output by named output.
//!
//! A body with `gene` or `genes` (perturbed together) is answered by one prediction; one with `requests`, by
//! `{"results": [...]}` in order. A symbol that means no gene, or several, is refused with close spellings.

use actix_web::{HttpResponse, web};
use protext_engine::perturbation::PerturbationAnswer;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::body::ReadBody;
use crate::error::{Problem, ProblemKind};
use crate::openapi::schemas;
use crate::state::AppState;

/// One of `gene`, `genes` and `requests`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PerturbationBody)]
pub(crate) struct Body {
    #[serde(default)]
    gene: Option<String>,
    /// Perturbed together.
    #[serde(default)]
    genes: Option<Vec<String>>,
    /// Sets of genes, a prediction each.
    #[serde(default)]
    requests: Option<Vec<Vec<String>>>,
    /// Head, where another than the first is meant.
    #[serde(default)]
    head: Option<String>,
    /// Largest predicted changes that come back.
    #[serde(default = "default_top")]
    top: usize,
}

#[derive(Serialize)]
struct Answers {
    results: Vec<PerturbationAnswer>,
}

fn default_top() -> usize {
    20
}

/// What does perturbing genes change, named output by named output?
#[utoipa::path(post, path = "/v1/predict/perturbation", tag = "predict",
    request_body(content = Body, example = json!({"gene": "POLR2A", "top": 5})),
    responses((status = 200, description = "A prediction, or `results` for `requests`",
        body = schemas::PerturbationAnswerOrAnswers)))]
pub(crate) async fn post(state: web::Data<AppState>, body: ReadBody) -> Result<HttpResponse, Problem> {
    let body: Body = body.json()?;
    let invalid = |field, said: String| Problem::new(ProblemKind::Invalid, said).in_field(field);
    let (requests, is_single) = match (body.gene, body.genes, body.requests) {
        (Some(gene), None, None) => (vec![vec![gene]], true),
        (None, Some(genes), None) => (vec![genes], true),
        (None, None, Some(requests)) => (requests, false),
        _ => return Err(invalid("genes", "give one of gene, genes and requests".to_owned())),
    };
    let most = state.engine.limits().max_records;
    if requests.is_empty() || requests.len() > most {
        return Err(invalid("requests", format!("{} requests, but 1 to {most} are allowed", requests.len())));
    }
    if body.top == 0 {
        return Err(invalid("top", "top is 0, but must be at least 1".to_owned()));
    }
    if state.engine.perturbation().is_empty() {
        return Err(Problem::new(ProblemKind::NotAvailable, "no head for perturbations is loaded here"));
    }
    let (engine, head, top) = (std::sync::Arc::clone(&state.engine), body.head, body.top);
    let predicted = web::block(move || {
        let predictor = engine.perturbation().get(head.as_deref()).map_err(|error| (0, error))?;
        let predict =
            |(at, genes): (usize, &Vec<String>)| predictor.predict(genes, top).map_err(|error| (at, error));
        requests.iter().enumerate().map(predict).collect::<Result<Vec<_>, _>>()
    });
    let predicted =
        predicted.await.map_err(|_| Problem::new(ProblemKind::Internal, "the service is shutting down"))?;
    let mut results = predicted.map_err(|(at, error)| {
        let problem = Problem::from(error);
        if is_single { problem } else { problem.in_record(at + 1) }
    })?;
    Ok(if is_single {
        HttpResponse::Ok().json(results.swap_remove(0))
    } else {
        HttpResponse::Ok().json(Answers { results })
    })
}
