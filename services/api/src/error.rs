//! Errors on the wire: `application/problem+json` (RFC 9457) that names record, field and rule.
//!
//! Policy: what the caller can mend is 4xx and says how; what the caller cannot is 5xx, is logged with its
//! causes, and shows neither path nor internals. [`Problem::from`] is the one exhaustive match.

use std::error::Error;
use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::{HttpResponse, ResponseError};
use protext_core::{EncodeError, ParseError, ProjectionError, VectorError};
use protext_engine::EngineError;
use protext_index::IndexError;
use serde::Serialize;

/// Kinds of problems; each has one status code and one title.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// The body is not the JSON that the route takes.
    Malformed,
    /// The body is well-formed but breaks a rule.
    Invalid,
    /// Nothing has that name.
    NotFound,
    /// The route takes another method.
    MethodNotAllowed,
    /// The body is too large.
    TooLarge,
    /// The body is of another type.
    UnsupportedMediaType,
    /// Come back later.
    Busy,
    /// What is needed is not loaded here.
    NotAvailable,
    /// Our fault.
    Internal,
}

impl ProblemKind {
    fn status(self) -> StatusCode {
        match self {
            ProblemKind::Malformed => StatusCode::BAD_REQUEST,
            ProblemKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            ProblemKind::NotFound => StatusCode::NOT_FOUND,
            ProblemKind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            ProblemKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ProblemKind::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ProblemKind::Busy => StatusCode::TOO_MANY_REQUESTS,
            ProblemKind::NotAvailable => StatusCode::SERVICE_UNAVAILABLE,
            ProblemKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn title(self) -> &'static str {
        match self {
            ProblemKind::Malformed => "The request cannot be read",
            ProblemKind::Invalid => "The request breaks a rule",
            ProblemKind::NotFound => "Not found",
            ProblemKind::MethodNotAllowed => "The route takes another method",
            ProblemKind::TooLarge => "The request is too large",
            ProblemKind::UnsupportedMediaType => "The content type is not understood",
            ProblemKind::Busy => "The service is busy",
            ProblemKind::NotAvailable => "Not available here",
            ProblemKind::Internal => "The service failed",
        }
    }
}

/// One problem, as it goes over the wire.
#[derive(Debug)]
pub struct Problem {
    kind: ProblemKind,
    detail: String,
    field: Option<&'static str>,
    record: Option<usize>,
}

#[derive(Serialize)]
struct ProblemBody<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'static str>,
    /// 1-based position of the record in the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<usize>,
}

impl Problem {
    /// A problem with a sentence that says what is wrong and how to mend it.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), field: None, record: None }
    }

    /// Names the field.
    #[must_use]
    pub fn in_field(mut self, field: &'static str) -> Self {
        self.field = Some(field);
        self
    }

    /// Names the record, 1-based.
    #[must_use]
    pub fn in_record(mut self, record: usize) -> Self {
        self.record = Some(record);
        self
    }

    /// The body passes the limit, or broke off.
    #[must_use]
    pub fn body_too_large(max_body_bytes: usize) -> Self {
        Self::new(
            ProblemKind::TooLarge,
            format!("the body broke off or is larger than the limit of {max_body_bytes} bytes"),
        )
    }

    fn internal(error: &dyn Error) -> Self {
        tracing::error!(causes = chain(error), "request failed");
        Self::new(ProblemKind::Internal, "the service failed on this request; its log says why")
    }
}

fn chain(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    message
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        match &error {
            EngineError::Parse(parse) => parse_problem(parse),
            EngineError::Encode(encode) => encode_problem(encode),
            EngineError::Worker(encode) => encode_problem(encode),
            EngineError::Projection(ProjectionError::Space(mismatch)) | EngineError::Space(mismatch) => {
                Problem::new(ProblemKind::Invalid, mismatch.to_string())
            }
            EngineError::Vector(vector) => vector_problem(vector),
            EngineError::Busy { .. } => Problem::new(ProblemKind::Busy, error.to_string()),
            EngineError::UnknownCollection { .. } => {
                Problem::new(ProblemKind::NotFound, error.to_string()).in_field("collection")
            }
            EngineError::NoSuchTarget { .. } => {
                Problem::new(ProblemKind::NotFound, error.to_string()).in_field("target")
            }
            EngineError::OtherTarget { .. } => {
                Problem::new(ProblemKind::Invalid, error.to_string()).in_field("target")
            }
            EngineError::CannotRerank { .. } => {
                Problem::new(ProblemKind::Invalid, error.to_string()).in_field("rerank")
            }
            EngineError::NameACollection { .. } => {
                Problem::new(ProblemKind::Invalid, error.to_string()).in_field("collection")
            }
            EngineError::UnknownEncoder { .. } => {
                Problem::new(ProblemKind::NotFound, error.to_string()).in_field("model")
            }
            EngineError::UnknownRecord { .. } => {
                Problem::new(ProblemKind::NotFound, error.to_string()).in_field("id")
            }
            EngineError::UnknownGene { .. } => {
                Problem::new(ProblemKind::NotFound, error.to_string()).in_field("gene")
            }
            EngineError::NotLoaded { .. } => Problem::new(ProblemKind::NotAvailable, error.to_string()),
            EngineError::Index(index) => index_problem(index),
            EngineError::Projection(ProjectionError::Vector { .. } | ProjectionError::Runtime { .. })
            | EngineError::WorkerLost
            | EngineError::Io { .. } => Problem::internal(&error),
        }
    }
}

fn parse_problem(error: &ParseError) -> Problem {
    let field = if matches!(error, ParseError::TextTooLong { .. }) { "text" } else { "sequence" };
    Problem::new(ProblemKind::Invalid, error.to_string()).in_field(field)
}

fn vector_problem(error: &VectorError) -> Problem {
    Problem::new(ProblemKind::Invalid, error.to_string()).in_field("vector")
}

fn encode_problem(error: &EncodeError) -> Problem {
    match error {
        EncodeError::TooLong { .. } | EncodeError::WrongModality { .. } => {
            Problem::new(ProblemKind::Invalid, error.to_string()).in_field("input")
        }
        // What the service said stays in the log: it may name addresses.
        EncodeError::Refused { encoder, .. } => {
            tracing::warn!(causes = chain(error), "an input was refused");
            Problem::new(ProblemKind::Invalid, format!("{encoder} refuses the input; the log says why"))
                .in_field("input")
        }
        EncodeError::Unavailable { encoder, .. } => {
            tracing::error!(causes = chain(error), "an encoder cannot be used");
            Problem::new(ProblemKind::NotAvailable, format!("{encoder} cannot be used now; the log says why"))
        }
        EncodeError::Tokenizer(_) | EncodeError::Runtime { .. } | EncodeError::NotFinite { .. } => {
            Problem::internal(error)
        }
    }
}

fn index_problem(error: &IndexError) -> Problem {
    match error {
        IndexError::Space(mismatch) => Problem::new(ProblemKind::Invalid, mismatch.to_string()),
        other => Problem::internal(other),
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.title(), self.detail)
    }
}

impl Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.kind.status()
    }

    fn error_response(&self) -> HttpResponse {
        let status = self.status_code();
        let body = ProblemBody {
            r#type: "about:blank",
            title: self.kind.title(),
            status: status.as_u16(),
            detail: &self.detail,
            field: self.field,
            record: self.record,
        };
        let mut response = HttpResponse::build(status);
        if self.kind == ProblemKind::Busy {
            response.insert_header((RETRY_AFTER, "1"));
        }
        let body = serde_json::to_string(&body).unwrap_or_default();
        response.content_type("application/problem+json").body(body)
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;
    use protext_core::VectorError;

    use super::*;

    #[actix_web::test]
    async fn each_kind_of_error_has_its_status() {
        let (name, known) = ("other".to_owned(), "demo".to_owned());
        let table = [
            (EngineError::Busy { n_queued_tokens: 9 }, 429),
            (EngineError::UnknownCollection { name, known }, 404),
            (EngineError::NotLoaded { what: "projection", instead: "a vector" }, 503),
            (EngineError::Vector(VectorError::WrongDim { expected: 2, found: 3 }), 422),
            (EngineError::WorkerLost, 500),
        ];
        for (error, status) in table {
            let said = error.to_string();
            assert_eq!(Problem::from(error).status_code().as_u16(), status, "{said}");
        }
    }

    #[actix_web::test]
    async fn our_own_fault_shows_no_path_and_no_cause() {
        let source = std::io::Error::other("/secret/place is gone");
        let error = EngineError::Io { what: "open /secret/place", source };
        let response = Problem::from(error).error_response();
        assert_eq!(response.status().as_u16(), 500);
        let body = to_bytes(response.into_body()).await.unwrap();
        let body = std::str::from_utf8(&body).unwrap();
        assert!(body.contains("its log says why") && !body.contains("secret"), "{body}");
    }
}
