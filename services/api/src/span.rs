//! The span of a request, in the words of OpenTelemetry's conventions for HTTP servers.
//!
//! What a request does becomes spans below it ([`protext_engine::SPANS`]). A request whose caller sends `traceparent` (W3C
//! Trace Context) is part of the caller's trace.

use actix_web::http::StatusCode;
use actix_web::http::header::HeaderMap;
use tracing::Span;
use tracing::field::Empty;

/// Begins the span of a request; nothing is allocated where nobody collects spans.
pub(crate) fn begin(method: &str, route: &str, request_id: &str, headers: &HeaderMap) -> Span {
    let span = tracing::info_span!(
        target: protext_engine::SPANS,
        "request",
        otel.name = Empty,
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        request_id,
    );
    if !span.is_disabled() {
        span.record("otel.name", format!("{method} {route}"));
        join_caller(&span, headers);
    }
    span
}

/// Notes the answer. Faults of the service are errors of its span, faults of the caller are not.
pub(crate) fn end(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}

#[cfg(feature = "traces")]
fn join_caller(span: &Span, headers: &HeaderMap) {
    use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
    use opentelemetry::trace::TraceContextExt as _;
    use opentelemetry_sdk::propagation::TraceContextPropagator;
    use tracing_opentelemetry::OpenTelemetrySpanExt as _;

    struct Headers<'a>(&'a HeaderMap);

    impl Extractor for Headers<'_> {
        fn get(&self, key: &str) -> Option<&str> {
            self.0.get(key)?.to_str().ok()
        }

        fn keys(&self) -> Vec<&str> {
            self.0.keys().map(|name| name.as_str()).collect()
        }
    }

    let caller = TraceContextPropagator::new().extract(&Headers(headers));
    if caller.span().span_context().is_valid()
        && let Err(error) = span.set_parent(caller)
    {
        tracing::debug!(%error, "the caller's trace is not joined");
    }
}

#[cfg(not(feature = "traces"))]
fn join_caller(_: &Span, _: &HeaderMap) {}
