//! Errors on the wire: `application/problem+json` (RFC 9457) that names record, field and rule.
//!
//! Policy: what the caller can mend is 4xx and says how; what the caller cannot is 5xx, is logged with its
//! causes, and shows neither path nor internals. [`Problem::from`] is the one exhaustive match.

use std::error::Error;
use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use protext_core::{EncodeError, HeadError, ParseError, ProjectionError, VectorError};
use protext_engine::perturbation::PerturbationError;
use protext_engine::records::MAX_BAD_RECORDS;
use protext_engine::variants::VariantError;
use protext_engine::{BadRecord, EngineError};
use protext_index::{IndexError, RemoteError, StoreError};
use serde::Serialize;
use utoipa::ToSchema;

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
    /// No key, or one that is not known.
    Unauthorized,
    /// The key does not allow this.
    Forbidden,
    /// What is asked for does not fit what is there.
    Conflict,
    /// The body came too slowly.
    SlowBody,
    /// No form of the answer that the caller takes.
    NotAcceptable,
    /// The body is too large.
    TooLarge,
    /// The body is of another type.
    UnsupportedMediaType,
    /// Come back later.
    Busy,
    /// The key has used up its share for now.
    OverQuota,
    /// The answer took longer than a request may take.
    Deadline,
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
            ProblemKind::Unauthorized => StatusCode::UNAUTHORIZED,
            ProblemKind::Forbidden => StatusCode::FORBIDDEN,
            ProblemKind::Conflict => StatusCode::CONFLICT,
            ProblemKind::SlowBody => StatusCode::REQUEST_TIMEOUT,
            ProblemKind::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            ProblemKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ProblemKind::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ProblemKind::Busy | ProblemKind::OverQuota => StatusCode::TOO_MANY_REQUESTS,
            ProblemKind::NotAvailable | ProblemKind::Deadline => StatusCode::SERVICE_UNAVAILABLE,
            ProblemKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn title(self) -> &'static str {
        match self {
            ProblemKind::Malformed => "The request cannot be read",
            ProblemKind::Invalid => "The request breaks a rule",
            ProblemKind::NotFound => "Not found",
            ProblemKind::MethodNotAllowed => "The route takes another method",
            ProblemKind::Unauthorized => "A key is needed",
            ProblemKind::Forbidden => "The key does not allow this",
            ProblemKind::Conflict => "The request does not fit what is there",
            ProblemKind::SlowBody => "The body came too slowly",
            ProblemKind::NotAcceptable => "No such form of the answer",
            ProblemKind::OverQuota => "The key has used up its share",
            ProblemKind::Deadline => "The answer took too long",
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
    errors: Vec<RecordProblem>,
    n_errors: usize,
    retry_after_s: Option<u64>,
}

/// What is wrong with one record of a request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecordProblem {
    /// 1-based position of the record in the request.
    #[schema(example = 3)]
    record: usize,
    /// Its id, where it has one.
    #[serde(skip_serializing_if = "String::is_empty")]
    id: String,
    /// The field at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'static str>,
    /// The rule that it breaks.
    #[schema(example = "position 5: '1' is no residue")]
    detail: String,
}

/// An error, as `application/problem+json` (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody<'a> {
    #[schema(example = "about:blank")]
    r#type: &'static str,
    /// The kind of problem.
    title: &'static str,
    /// The status code.
    status: u16,
    /// What is wrong and how to mend it.
    detail: &'a str,
    /// The field at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'static str>,
    /// 1-based position of the record in the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<usize>,
    /// The bad records one by one, the first 100 of them.
    #[serde(skip_serializing_if = "<[RecordProblem]>::is_empty")]
    errors: &'a [RecordProblem],
    /// All bad records, where they are told one by one.
    #[serde(skip_serializing_if = "is_zero")]
    n_errors: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

impl Problem {
    /// A problem with a sentence that says what is wrong and how to mend it.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            field: None,
            record: None,
            errors: Vec::new(),
            n_errors: 0,
            retry_after_s: None,
        }
    }

    /// Says when to come back.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds.max(1));
        self
    }

    /// Many bad records as one problem: of one alone its own, else a list of the first [`MAX_BAD_RECORDS`].
    #[must_use]
    pub fn of_records(bad: Vec<Problem>, n_records: usize) -> Self {
        let n_bad = bad.len();
        let mut bad = bad.into_iter();
        let Some(first) = bad.next() else {
            return Self::new(ProblemKind::Internal, "the service failed on this request; its log says why");
        };
        // Where some are our fault or a matter of time, the records are not to blame.
        if n_bad == 1 || first.kind != ProblemKind::Invalid {
            return first;
        }
        let (field, record) = (first.field, first.record);
        let told =
            std::iter::once(first).chain(bad).take(MAX_BAD_RECORDS).map(Problem::into_record).collect();
        let detail = format!("{n_bad} of {n_records} records break a rule; errors names each");
        Self { field, record, errors: told, n_errors: n_bad, ..Self::new(ProblemKind::Invalid, detail) }
    }

    fn into_record(self) -> RecordProblem {
        let Self { record, field, detail, .. } = self;
        RecordProblem { record: record.unwrap_or(0), id: String::new(), field, detail }
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

    /// What goes into the head of an answer.
    pub(crate) fn status(&self) -> StatusCode {
        self.kind.status()
    }

    /// Its kind, in words.
    pub(crate) fn title(&self) -> &'static str {
        self.kind.title()
    }

    /// What is wrong and how to mend it.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
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

impl From<PerturbationError> for Problem {
    fn from(error: PerturbationError) -> Self {
        match &error {
            PerturbationError::Gene { source, .. } => {
                Problem::new(ProblemKind::NotFound, source.to_string()).in_field("genes")
            }
            PerturbationError::Count { .. } => {
                Problem::new(ProblemKind::Invalid, error.to_string()).in_field("genes")
            }
            PerturbationError::UnknownHead { .. } => {
                Problem::new(ProblemKind::NotFound, error.to_string()).in_field("head")
            }
            PerturbationError::Head(_)
            | PerturbationError::Read { .. }
            | PerturbationError::Details { .. }
            | PerturbationError::Open { .. } => Problem::internal(&error),
        }
    }
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
            EngineError::NothingAsked => {
                Problem::new(ProblemKind::Invalid, error.to_string()).in_field("query")
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
            EngineError::UnknownProtein { .. } => {
                Problem::new(ProblemKind::NotFound, error.to_string()).in_field("id")
            }
            EngineError::NoSequence { .. } => {
                Problem::new(ProblemKind::Invalid, error.to_string()).in_field("sequence")
            }
            EngineError::PairWithItself { .. } => {
                Problem::new(ProblemKind::Invalid, error.to_string()).in_field("pairs")
            }
            EngineError::Head(HeadError::Runtime { .. }) => Problem::internal(&error),
            EngineError::Head(head) => Problem::new(ProblemKind::Invalid, head.to_string()),
            EngineError::NotLoaded { .. } => Problem::new(ProblemKind::NotAvailable, error.to_string()),
            EngineError::Index(index) => index_problem(index),
            EngineError::BadRecords { .. } => bad_records_problem(error),
            EngineError::NothingToEmbed { .. } | EngineError::ForeignSpace { .. } => {
                Problem::new(ProblemKind::Invalid, error.to_string()).in_field("vectors")
            }
            EngineError::WrongEncoder { .. } => {
                Problem::new(ProblemKind::Invalid, error.to_string()).in_field("encoder")
            }
            EngineError::BadName { .. } => {
                Problem::new(ProblemKind::Invalid, error.to_string()).in_field("name")
            }
            EngineError::NameTaken { .. } => {
                Problem::new(ProblemKind::Conflict, error.to_string()).in_field("name")
            }
            EngineError::ReadOnly { .. }
            | EngineError::NoLibrary
            | EngineError::NotOurs { .. }
            | EngineError::InUse { .. } => Problem::new(ProblemKind::Conflict, error.to_string()),
            EngineError::Store(store) => store_problem(store),
            EngineError::Snapshot(_) => disk_problem(&error),
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

impl From<VariantError> for Problem {
    fn from(error: VariantError) -> Self {
        let invalid = |field| Problem::new(ProblemKind::Invalid, error.to_string()).in_field(field);
        match error {
            VariantError::Engine(error) => error.into(),
            VariantError::Mutants { ref bad, .. } => {
                let first = bad.first().and_then(|mutant| usize::try_from(mutant.number).ok());
                let problem = invalid("mutants");
                first.into_iter().fold(problem, Problem::in_record)
            }
            VariantError::NothingAsked | VariantError::CutOff { .. } => invalid("mutants"),
            VariantError::TooMany { .. } | VariantError::TooMuch { .. } => {
                Problem::new(ProblemKind::TooLarge, error.to_string()).in_field("mutants")
            }
            VariantError::NoSequence { .. } => invalid("id"),
            VariantError::NoLanguageHead { .. } => {
                Problem::new(ProblemKind::NotAvailable, error.to_string()).in_field("scores")
            }
            VariantError::Space(_)
            | VariantError::Head(_)
            | VariantError::Read { .. }
            | VariantError::Empty { .. }
            | VariantError::Stopped => Problem::internal(&error),
        }
    }
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

fn bad_records_problem(error: EngineError) -> Problem {
    let detail = format!("{error}; errors names each");
    let EngineError::BadRecords { bad, n_bad, .. } = error else { return Problem::internal(&error) };
    let errors = bad.into_iter().map(|bad| {
        let BadRecord { record, id, field, error } = bad;
        RecordProblem { record, id, field: Some(field), detail: Problem::from(error).detail }
    });
    let errors: Vec<RecordProblem> = errors.collect();
    let first = errors.first().map(|first| (first.record, first.field));
    let (record, field) = first.map_or((None, None), |(record, field)| (Some(record), field));
    Problem { errors, n_errors: n_bad, record, field, ..Problem::new(ProblemKind::Invalid, detail) }
}

/// What a store says of batches is for the caller; what it says of files stays in the log.
fn store_problem(error: &StoreError) -> Problem {
    match error {
        StoreError::Record { record, .. } | StoreError::VectorCount { record, .. } => {
            Problem::new(ProblemKind::Invalid, error.to_string()).in_record(*record)
        }
        StoreError::DuplicateId { second_record, .. } => {
            Problem::new(ProblemKind::Invalid, error.to_string()).in_field("id").in_record(*second_record)
        }
        StoreError::LargeBatch { .. } => Problem::new(ProblemKind::TooLarge, error.to_string()),
        StoreError::Rebuild(_)
        | StoreError::WriterLost { .. }
        | StoreError::DamagedLog { .. }
        | StoreError::NewerLog { .. }
        | StoreError::LogByteOrder { .. }
        | StoreError::LogSpace { .. }
        | StoreError::ForeignLog { .. }
        | StoreError::MissingLog { .. }
        | StoreError::NotEmpty { .. } => Problem::internal(error),
        StoreError::Remote(remote) => remote_problem(remote),
        StoreError::Io { .. } | StoreError::Snapshot(_) => disk_problem(error),
    }
}

fn disk_problem(error: &dyn Error) -> Problem {
    tracing::error!(causes = chain(error), "the disk refuses");
    let detail = "the disk of the service refuses this; nothing was written, searches go on, and it can be sent again \
                  once there is room (the log of the service says more)";
    Problem::new(ProblemKind::NotAvailable, detail)
}

fn index_problem(error: &IndexError) -> Problem {
    match error {
        IndexError::Space(mismatch) => Problem::new(ProblemKind::Invalid, mismatch.to_string()),
        IndexError::Parameter { .. } => {
            Problem::new(ProblemKind::Invalid, error.to_string()).in_field("index")
        }
        IndexError::EmptyId { .. } | IndexError::LongId { .. } | IndexError::DuplicateId { .. } => {
            Problem::new(ProblemKind::Invalid, error.to_string()).in_field("id")
        }
        IndexError::Filter(filter) => {
            Problem::new(ProblemKind::Invalid, filter.to_string()).in_field("filter")
        }
        IndexError::Remote(remote) => remote_problem(remote),
        other => Problem::internal(other),
    }
}

/// What a server of vectors says stays in the log: it may name addresses.
fn remote_problem(error: &RemoteError) -> Problem {
    match error {
        RemoteError::NotThere { .. } => Problem::new(ProblemKind::Invalid, error.to_string()),
        RemoteError::Unreachable { .. }
        | RemoteError::Slow { .. }
        | RemoteError::Busy { .. }
        | RemoteError::Denied { .. }
        | RemoteError::NoCollection { .. } => {
            tracing::error!(causes = chain(error), "the server of a collection does not do what is asked");
            let detail = "the server that keeps this collection does not answer as it should; try again in a moment \
                          (the log of the service says more)";
            Problem::new(ProblemKind::NotAvailable, detail)
        }
        RemoteError::Partial { n_written, n_records, .. } => {
            tracing::error!(causes = chain(error), "a batch was written in part");
            let detail = format!(
                "{n_written} of {n_records} records were written before the server that keeps them failed; send all again"
            );
            Problem::new(ProblemKind::NotAvailable, detail)
        }
        RemoteError::Address { .. }
        | RemoteError::Setting { .. }
        | RemoteError::PlainKey { .. }
        | RemoteError::Key { .. }
        | RemoteError::Refused { .. }
        | RemoteError::Foreign { .. }
        | RemoteError::Newer { .. }
        | RemoteError::Answer { .. } => Problem::internal(error),
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
            errors: &self.errors,
            n_errors: self.n_errors,
        };
        let mut response = HttpResponse::build(status);
        let comes_back =
            matches!(self.kind, ProblemKind::Busy | ProblemKind::OverQuota | ProblemKind::Deadline);
        if comes_back {
            response.insert_header((RETRY_AFTER, self.retry_after_s.unwrap_or(1).to_string()));
        }
        if self.kind == ProblemKind::Unauthorized {
            response.insert_header((WWW_AUTHENTICATE, "Bearer"));
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
