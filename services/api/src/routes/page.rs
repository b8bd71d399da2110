//! `GET /`: what this service answers, for a person who opened it in a browser.

use actix_web::{HttpResponse, web};

use crate::server::AppState;

const HEAD: &str = include_str!("page.html");

pub(super) async fn get(state: web::Data<AppState>) -> HttpResponse {
    let collections = state
        .engine
        .collections()
        .iter()
        .map(|(name, open)| format!("<li><b>{}</b>: {} proteins</li>", escape(name), open.view().len()));
    let body = HEAD
        .replace("{{version}}", env!("CARGO_PKG_VERSION"))
        .replace("{{collections}}", &collections.collect::<String>());
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(body)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
