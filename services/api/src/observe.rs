//! Around every request: its id, the gate of keys, security headers, one line in the log, and the counts.
//!
//! The id comes back in `X-Request-Id`; a caller's own is kept if it is short and plain.

use std::time::Instant;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::middleware::Next;
use actix_web::{Error, ResponseError as _, web};
use rand::Rng as _;
use tracing::Instrument as _;

use crate::access::{Scope, scope_of};
use crate::audit::AuditEntry;
use crate::span;
use crate::state::AppState;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken over from a caller.
const MAX_REQUEST_ID_CHARS: usize = 64;
/// Answers hold data and never documents; pages say for themselves what they load.
const NOTHING_LOADS: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// The description of the API: its own scripts and styles, and requests to this service.
const DOCS_LOAD: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; form-action 'self'; \
     frame-ancestors 'none'",
);

/// Counts a request as under way until it is dropped, also when its caller leaves.
struct UnderWay(web::Data<AppState>);

impl UnderWay {
    fn new(state: &web::Data<AppState>) -> Self {
        state.metrics.began();
        Self(web::Data::clone(state))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.metrics.ended();
    }
}

/// What is known of a request before it is answered.
struct Seen {
    request_id: String,
    method: String,
    path: String,
    route: String,
    client: Option<String>,
    scope: Option<Scope>,
    started: Instant,
}

impl Seen {
    fn of(request: &ServiceRequest) -> Self {
        let pattern = request.match_pattern();
        Self {
            request_id: request_id(request.headers()),
            method: request.method().to_string(),
            path: request.path().to_owned(),
            scope: scope_of(request.method(), pattern.as_deref()),
            // Paths that no route has would be labels without end.
            route: pattern.unwrap_or_else(|| "none".to_owned()),
            client: request.peer_addr().map(|address| address.ip().to_string()),
            started: Instant::now(),
        }
    }

    /// What is told and counted of the answer.
    fn tell(&self, state: &AppState, status: u16, key_id: Option<&str>) {
        let took = self.started.elapsed();
        // Methods are any word that a caller likes; those that no route has are one label.
        let is_known =
            matches!(self.method.as_str(), "GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "OPTIONS" | "PATCH");
        let method = if is_known { self.method.as_str() } else { "other" };
        state.metrics.answered(&self.route, method, status, took);
        let Self { request_id, path, .. } = self;
        let ms = took.as_secs_f64() * 1e3;
        tracing::info!(request_id, key_id, method, path, status, ms, "answered");
        if self.scope.is_some_and(|scope| scope > Scope::Read) {
            let client = self.client.clone();
            state.audit.note(&AuditEntry { request_id, key_id, client, method, path, status });
        }
    }
}

/// The middleware.
pub(crate) async fn observe<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let Some(state) = request.app_data::<web::Data<AppState>>().cloned() else {
        return next.call(request).await.map(ServiceResponse::map_into_left_body);
    };
    let seen = Seen::of(&request);
    let _under_way = UnderWay::new(&state);
    let span = span::begin(&seen.method, &seen.route, &seen.request_id, request.headers());
    let admitted = seen.scope.map_or(Ok(None), |scope| state.access.admit(request.headers(), scope));
    let (mut response, key_id) = match admitted {
        Ok(key_id) => match next.call(request).instrument(span.clone()).await {
            Ok(response) => (response.map_into_left_body(), key_id),
            Err(error) => {
                let status = error.as_response_error().status_code();
                span::end(&span, status);
                seen.tell(&state, status.as_u16(), key_id.as_deref());
                return Err(error);
            }
        },
        Err(problem) => (request.into_response(problem.error_response()).map_into_right_body(), None),
    };
    span::end(&span, response.status());
    set_headers(response.headers_mut(), &seen, state.has_tls);
    seen.tell(&state, response.status().as_u16(), key_id.as_deref());
    Ok(response)
}

fn set_headers(headers: &mut HeaderMap, seen: &Seen, has_tls: bool) {
    if let Ok(value) = HeaderValue::from_str(&seen.request_id) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if has_tls {
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    let loads = if seen.route.starts_with("/docs/") { DOCS_LOAD } else { NOTHING_LOADS };
    let not_kept = HeaderValue::from_static("no-store");
    for (name, value) in [(CONTENT_SECURITY_POLICY, loads), (CACHE_CONTROL, not_kept)] {
        if !headers.contains_key(&name) {
            headers.insert(name, value);
        }
    }
}

/// The caller's id, or a new one: 16 hexadecimal digits.
fn request_id(headers: &HeaderMap) -> String {
    let is_plain = |id: &&str| {
        (1..=MAX_REQUEST_ID_CHARS).contains(&id.len())
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':'))
    };
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(is_plain);
    given.map_or_else(|| format!("{:016x}", rand::rng().random::<u64>()), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_id_is_kept_and_any_other_replaced() {
        let id = |given: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(given.as_bytes()).unwrap());
            request_id(&headers)
        };
        assert_eq!(id("run-7.a:b_c"), "run-7.a:b_c");
        for bad in ["", "two words", "\u{e9}", &"x".repeat(65)] {
            let new = id(bad);
            assert!(new.len() == 16 && new.bytes().all(|byte| byte.is_ascii_hexdigit()), "{bad:?} -> {new}");
        }
    }
}
