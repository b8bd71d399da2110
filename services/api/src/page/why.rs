//! `POST /why`: what a query and one of its hits are both said to be, by the texts that lie nearest to each.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use maud::{Markup, html};
use protext_engine::annotate::{AnnotateRequest, Annotation, annotate};
use protext_engine::search::Query;

use super::frame::{self, View};
use super::search_form::SearchForm;
use crate::body::ReadBody;
use crate::error::{Problem, ProblemKind};
use crate::state::AppState;

/// Texts of each that are compared.
const N_TEXTS: usize = 25;
/// Shared texts that are shown.
const N_SHOWN: usize = 5;

pub(super) async fn post(
    state: web::Data<AppState>,
    request: HttpRequest,
    body: Result<ReadBody, Problem>,
) -> HttpResponse {
    let explained = match SearchForm::of(body) {
        Ok(form) => state.within_deadline(explain(&state, &form)).await,
        Err(problem) => Err(problem),
    };
    let (status, markup) = match explained {
        Ok(markup) => (StatusCode::OK, markup),
        Err(problem) => (problem.status(), frame::problem(&problem)),
    };
    if request.headers().contains_key("x-fragment") {
        return frame::respond(status, markup);
    }
    frame::respond(status, frame::page(&state, View::Search, None, &markup))
}

async fn explain(state: &AppState, form: &SearchForm) -> Result<Markup, Problem> {
    let mut queries = form.queries(state)?;
    let (_, query) = queries.swap_remove(0);
    if let Query::Text(text) = &query {
        let of_hit = nearest(state, Query::Id(form.hit.clone())).await?;
        return Ok(html! {
            p { "You asked for \u{201c}" (text) "\u{201d}. What is written about proteins like " b { (form.hit) } ":" }
            (list(of_hit.iter().take(N_SHOWN).map(|text| (text, text))))
        });
    }
    if form.hit.is_empty() {
        return Err(Problem::new(ProblemKind::Invalid, "hit is empty; name the record that was found")
            .in_field("hit"));
    }
    let (of_query, of_hit) =
        (nearest(state, query).await?, nearest(state, Query::Id(form.hit.clone())).await?);
    let both = of_query.iter().filter_map(|text| {
        let other = of_hit.iter().find(|other| other.record.id == text.record.id)?;
        Some((text, other))
    });
    let both: Vec<_> = both.take(N_SHOWN).collect();
    Ok(html! {
        @if both.is_empty() {
            p { "None of the " (N_TEXTS) " texts nearest to the query is among the " (N_TEXTS) " nearest to the hit; they are near to each other by sequence alone." }
        } @else {
            p { "Both lie near to these texts:" }
            (list(both.into_iter()))
        }
    })
}

/// Texts near to both, with the lesser of the two cosines.
fn list<'a>(texts: impl Iterator<Item = (&'a Annotation, &'a Annotation)>) -> Markup {
    html! {
        ul {
            @for (of_query, of_hit) in texts {
                li {
                    (of_query.record.description)
                    @if let Some(source) = &of_query.record.source { " " span.hint { (source) } }
                    span.hint { (format!(" cosine {:.2}", of_query.cosine.min(of_hit.cosine))) }
                }
            }
        }
    }
}

async fn nearest(state: &AppState, query: Query) -> Result<Vec<Annotation>, Problem> {
    let request = AnnotateRequest { query, collection: None, k: N_TEXTS };
    Ok(annotate(&state.engine, request).await?.annotations)
}
