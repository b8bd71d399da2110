//! Files of the page, held in the program; a browser asks again only whether they changed.

use std::sync::LazyLock;

use actix_web::http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use actix_web::{HttpRequest, HttpResponse, web};

struct Asset {
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

const ASSETS: [Asset; 7] = [
    Asset { name: "style.css", content_type: "text/css; charset=utf-8", text: include_str!("style.css") },
    Asset { name: "session.js", content_type: SCRIPT, text: include_str!("session.js") },
    Asset { name: "search.js", content_type: SCRIPT, text: include_str!("search.js") },
    Asset { name: "map.js", content_type: SCRIPT, text: include_str!("map.js") },
    Asset { name: "batch.js", content_type: SCRIPT, text: include_str!("batch.js") },
    Asset { name: "predict.js", content_type: SCRIPT, text: include_str!("predict.js") },
    Asset { name: "icon.svg", content_type: "image/svg+xml", text: include_str!("icon.svg") },
];

/// One name for this build of each file.
static ETAGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let tag = |asset: &Asset| format!("\"{:016x}\"", fnv1a(asset.text.as_bytes()));
    ASSETS.iter().map(tag).collect()
});

pub(super) async fn get(name: web::Path<String>, request: HttpRequest) -> HttpResponse {
    let found = ASSETS.iter().zip(ETAGS.iter()).find(|(asset, _)| asset.name == name.as_str());
    let Some((asset, etag)) = found else { return HttpResponse::NotFound().finish() };
    let known = request.headers().get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    if known == Some(etag) {
        return HttpResponse::NotModified().insert_header((ETAG, etag.as_str())).finish();
    }
    HttpResponse::Ok()
        .content_type(asset.content_type)
        .insert_header((ETAG, etag.as_str()))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .body(asset.text)
}

/// Tells two versions of a file apart; nothing rests on it but a cache.
/// Source: Fowler, Noll and Vo's hash with 64 bits, variant 1a.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
