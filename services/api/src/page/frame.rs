//! What every view shares: the head, the way between views, and how a problem looks.

use actix_web::HttpResponse;
use actix_web::http::header::CONTENT_SECURITY_POLICY;
use maud::{DOCTYPE, Markup, html};

use crate::error::Problem;
use crate::state::AppState;

/// Files of ours, and nothing from elsewhere.
const LOADS: &str = "default-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// A view, as the navigation names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Search,
    Map,
    Batch,
    Predict,
    Status,
}

impl View {
    const ALL: [Self; 5] = [Self::Search, Self::Predict, Self::Batch, Self::Map, Self::Status];

    fn link(self) -> (&'static str, &'static str) {
        match self {
            Self::Search => ("/", "Search"),
            Self::Map => ("/map", "Map"),
            Self::Batch => ("/batch", "Many at once"),
            Self::Predict => ("/predict", "Predict"),
            Self::Status => ("/status", "Status"),
        }
    }
}

/// The page of one view; `script` is a file of ours that works on it.
pub(super) fn page(state: &AppState, view: View, script: Option<&str>, content: &Markup) -> Markup {
    let (_, title) = view.link();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · Protext" }
                link rel="stylesheet" href="/assets/style.css";
                link rel="icon" href="/assets/icon.svg";
                script type="module" src="/assets/session.js" {}
                @if let Some(script) = script { script type="module" src={ "/assets/" (script) } {} }
            }
            body data-keys[state.access.needs_keys()] {
                a.skip href="#content" { "To the content" }
                header.top {
                    div {
                        h1 { a href="/" { "Protext" } }
                        p { "Proteins and what is written about them, in one space" }
                        nav aria-label="Views" {
                            @for other in View::ALL {
                                @let (href, name) = other.link();
                                a href=(href) aria-current=[(other == view).then_some("page")] { (name) }
                            }
                            a href="/docs" { "API" }
                        }
                    }
                }
                main #content { (content) }
                footer { "Protext " (env!("CARGO_PKG_VERSION")) }
            }
        }
    }
}

/// A page or a part of one.
pub(super) fn respond(status: actix_web::http::StatusCode, markup: Markup) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header((CONTENT_SECURITY_POLICY, LOADS))
        .content_type("text/html; charset=utf-8")
        .body(markup.into_string())
}

/// A problem, for people.
pub(super) fn problem(problem: &Problem) -> Markup {
    html! {
        div.problem role="alert" {
            strong { (problem.title()) }
            p { (problem.detail()) }
        }
    }
}
