//! The body of a request: read within the limits of size and time, unpacked (gzip, zstd), then parsed.
//!
//! Limits hold for the bytes after unpacking, chunk by chunk, so a small packed body cannot fill the memory.

use std::time::Duration;

use actix_web::dev::{Decompress, Payload};
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName};
use actix_web::{FromRequest, HttpRequest, web};
use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;

use crate::error::{Problem, ProblemKind};
use crate::state::AppState;

/// A body with its type.
pub(crate) struct ReadBody {
    pub(crate) bytes: web::Bytes,
    content_type: String,
}

/// Types of body that routes take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyType {
    Json,
    Fasta,
}

impl ReadBody {
    /// What the body is said to be; JSON where nothing is said.
    pub(crate) fn body_type(&self) -> Result<BodyType, Problem> {
        match self.content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase().as_str() {
            "" | "application/json" => Ok(BodyType::Json),
            "text/x-fasta" | "chemical/seq-aa-fasta" => Ok(BodyType::Fasta),
            other => {
                let detail = format!(
                    "content type {other:?} is not understood; send application/json or text/x-fasta"
                );
                Err(Problem::new(ProblemKind::UnsupportedMediaType, detail))
            }
        }
    }

    /// The body as JSON, for routes that take nothing else.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        if self.body_type()? != BodyType::Json {
            let detail = "this route takes application/json";
            return Err(Problem::new(ProblemKind::UnsupportedMediaType, detail));
        }
        self.parse()
    }

    /// The bytes as JSON.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_json::from_slice(&self.bytes)
            .map_err(|error| Problem::new(ProblemKind::Malformed, format!("body: {error}")))
    }
}

impl FromRequest for ReadBody {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let limits = request
            .app_data::<web::Data<AppState>>()
            .map(|state| (state.max_body_bytes, state.body_timeout))
            .unwrap_or((1 << 20, Duration::from_secs(10)));
        let header = |name: HeaderName| {
            request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned()
        };
        let content_type = header(CONTENT_TYPE);
        let refused = refuse_early(request.headers(), &header(CONTENT_LENGTH), limits.0);
        let payload = Decompress::from_headers(payload.take(), request.headers());
        Box::pin(async move {
            refused?;
            let (max_bytes, timeout) = limits;
            let bytes = tokio::time::timeout(timeout, read(payload, max_bytes)).await.map_err(|_| {
                let detail = format!("the body was not here whole after {} s", timeout.as_secs());
                Problem::new(ProblemKind::SlowBody, detail)
            })??;
            Ok(Self { bytes, content_type })
        })
    }
}

/// Refuses a packing of the body other than gzip and zstd.
pub(crate) fn ensure_known_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let encoding = headers.get(CONTENT_ENCODING).map_or(Ok(""), |value| value.to_str()).unwrap_or("?");
    if matches!(encoding.trim().to_ascii_lowercase().as_str(), "" | "identity" | "gzip" | "zstd") {
        return Ok(());
    }
    let detail = "this content encoding is not understood; send gzip, zstd or none";
    Err(Problem::new(ProblemKind::UnsupportedMediaType, detail))
}

/// What the head alone rules out.
fn refuse_early(headers: &HeaderMap, length: &str, max_bytes: usize) -> Result<(), Problem> {
    ensure_known_encoding(headers)?;
    match length.parse::<u64>() {
        Ok(n_bytes) if n_bytes > max_bytes as u64 => Err(Problem::body_too_large(max_bytes)),
        _ => Ok(()),
    }
}

async fn read(mut payload: Decompress<Payload>, max_bytes: usize) -> Result<web::Bytes, Problem> {
    let mut body = web::BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| broken(&error, max_bytes))?;
        if body.len() + chunk.len() > max_bytes {
            return Err(Problem::body_too_large(max_bytes));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn broken(error: &PayloadError, max_bytes: usize) -> Problem {
    match error {
        PayloadError::Overflow => Problem::body_too_large(max_bytes),
        PayloadError::EncodingCorrupted => {
            Problem::new(ProblemKind::Malformed, "the body is not packed as its content encoding says")
        }
        _ => Problem::new(ProblemKind::Malformed, "the body broke off or cannot be unpacked"),
    }
}
