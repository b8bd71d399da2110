//! `GET /status`: what is loaded, on which device it really runs, and the limits.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use maud::{Markup, html};

use super::frame::{self, View};
use crate::access::Scope;
use crate::state::AppState;

pub(super) async fn get(state: web::Data<AppState>, request: HttpRequest) -> HttpResponse {
    let readiness = state.watched.get();
    let limits = state.engine.limits();
    let content = html! {
        p { span.badge { (readiness.describe()) } ", up for " (duration(state.started.elapsed().as_secs())) }
        (models(&state))
        (collections(&state))
        h2 { "Limits of one request" }
        table {
            tr { th { "records" } td.number { (limits.max_records) } }
            tr { th { "residues of a sequence" } td.number { (limits.max_residues) } }
            tr { th { "hits of a query" } td.number { (limits.max_k) } }
            tr { th { "hits ordered anew" } td.number { (limits.max_rerank) } }
            tr { th { "bytes of a body" } td.number { (state.max_body_bytes) } }
        }
        p.hint { a href="/v1/info" { "The same as JSON" } }
    };
    if request.headers().contains_key("x-fragment") {
        return match state.access.admit(request.headers(), Scope::Read) {
            Ok(_) => frame::respond(StatusCode::OK, content),
            Err(problem) => frame::respond(problem.status(), frame::problem(&problem)),
        };
    }
    // With keys, the script brings the content once it has one.
    let content = if state.access.needs_keys() {
        html! { div data-fragment="/status" {} }
    } else {
        content
    };
    frame::respond(StatusCode::OK, frame::page(&state, View::Status, None, &content))
}

fn models(state: &AppState) -> Markup {
    html! {
        h2 { "Models" }
        table {
            tr { th { "encoder" } th { "reads" } th { "runs on" } th.number { "sessions open" } th.number { "memory" } th.number { "window" } }
            @for embedder in state.engine.embedders() {
                @let encoder = embedder.encoder();
                @let running = state.encoders.iter().find(|info| info.id == encoder.id());
                tr {
                    td { (encoder.id()) @if let Some(running) = running { br; span.hint { (running.title) } } }
                    td { (encoder.modality()) }
                    td { @if let Some(running) = running { (running.provider) @if let Some(numbers) = &running.precision { ", " (numbers) } " (asked: " (running.device_asked) ")" } }
                    td.number { (embedder.batcher().n_sessions()) " of " (embedder.batcher().settings().n_workers) }
                    td.number { @if let Some(bytes) = running.and_then(|running| running.memory_bytes) { (bytes >> 20) " MiB" } }
                    td.number { (encoder.window()) }
                }
            }
        }
    }
}

fn collections(state: &AppState) -> Markup {
    html! {
        h2 { "Collections" }
        table {
            tr { th { "collection" } th { "holds" } th.number { "records" } th { "spaces" } }
            @for (name, open) in &*state.engine.collections() {
                @let view = open.view();
                tr {
                    td { (name) }
                    td { (open.target) }
                    td.number { (view.len()) }
                    td { @for space in view.spaces() { (space.name) " (" (space.dim) ") " } }
                }
            }
        }
    }
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
