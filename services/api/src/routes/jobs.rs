//! `/v1/jobs`: batch jobs of this service. They run on its own encoders, behind all interactive requests.
//!
//! A job comes as JSON (the same object that `protext jobs` writes), or as the records themselves with the job in the query.
//! Callers name no files of the machine, except below the folder that the service's settings open to them; results lie in
//! the job's own folder.

use std::convert::Infallible;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_TYPE, LOCATION};
use actix_web::{FromRequest as _, HttpRequest, HttpResponse, web};
use futures_util::StreamExt as _;
use protext_engine::Target;
use protext_engine::output::OutputFormat;
use protext_worker::spec::{
    DEFAULT_KEEP_HOURS, HitFormat, IndexChoice, ModelChoice, RecordRules, SpaceChoice,
};
use protext_worker::{
    JobError, JobService, JobSpec, JobStatus, Jobs, Resume, StoreFault, Task, upload_input,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::{IntoParams, ToSchema};

use crate::body::ReadBody;
use crate::error::{Problem, ProblemBody, ProblemKind};
use crate::openapi::schemas;
use crate::state::AppState;

/// Between two looks at a job that is followed.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Looks without a change after which a comment is sent, so that connections between stay open: 10 s.
const COMMENT_AFTER: u32 = 20;
/// Bytes of a result sent at a time.
const PART_BYTES: usize = 1 << 16;

/// The jobs of a service, and what callers may name.
#[derive(Clone)]
pub struct JobsAccess {
    /// Jobs and the thread that runs them.
    pub service: Arc<JobService>,
    /// Callers may name files below it; none otherwise.
    pub inputs: Option<PathBuf>,
    /// Largest upload, in bytes.
    pub max_upload_bytes: u64,
}

impl fmt::Debug for JobsAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobsAccess").field("inputs", &self.inputs).finish_non_exhaustive()
    }
}

/// Mounts the routes.
pub(super) fn configure(config: &mut web::ServiceConfig) {
    let at = |path: &'static str| web::resource(path).default_service(web::to(super::wrong_method));
    config
        .service(at("/v1/jobs").route(web::get().to(list)).route(web::post().to(submit)))
        .service(at("/v1/jobs/{id}").route(web::get().to(show)).route(web::delete().to(delete)))
        .service(at("/v1/jobs/{id}/cancel").route(web::post().to(cancel)))
        .service(at("/v1/jobs/{id}/resume").route(web::post().to(resume)))
        .service(at("/v1/jobs/{id}/events").route(web::get().to(events)))
        .service(at("/v1/jobs/{id}/results").route(web::get().to(results)));
}

/// What is asked of a job whose records are the body. With a body of JSON nothing of it may be said.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct UploadQuery {
    /// What is done with each record: `embed`, `index`, `search_all`, `annotate` or `ppi`.
    #[param(inline, value_type = Option<schemas::JobKind>, example = "embed")]
    kind: Option<String>,
    /// Its name, which is also its id: 1 to 64 letters, digits, `-`, `_` or `.`, the first one a letter or digit.
    #[param(example = "proteome")]
    name: Option<String>,
    /// Name of the file, whose ending tells its format; otherwise the first bytes do.
    #[param(example = "proteome.fasta.gz")]
    file: Option<String>,
    /// Of vectors `parquet`, `hdf5`, `npz`, `jsonl` or `anndata`; of hits `tsv`, `m8` or `json`.
    #[param(example = "hdf5")]
    format: Option<String>,
    /// Rows of the encoder, or unit vectors that collections are searched with; for `embed`.
    #[param(inline, value_type = Option<schemas::JobSpace>)]
    space: Option<SpaceChoice>,
    /// One row a residue; for `embed`.
    per_residue: Option<bool>,
    /// What the records are; for `index`.
    #[param(inline, value_type = Option<schemas::Target>)]
    target: Option<Target>,
    /// Which index; for `index`.
    #[param(inline, value_type = Option<schemas::JobIndex>)]
    index: Option<IndexChoice>,
    /// The collection that is searched, or the texts; for `search_all` and `annotate`.
    collection: Option<String>,
    /// Hits of each protein.
    #[param(minimum = 1, maximum = 10000)]
    k: Option<usize>,
    /// Compare with every record; for `search_all`.
    exact: Option<bool>,
    /// Least probability of a pair; for `ppi`.
    #[param(minimum = 0, maximum = 1)]
    min_probability: Option<f64>,
    /// Encoder (`GET /v1/models`).
    encoder: Option<String>,
    /// Text encoder, for texts and genes.
    text_encoder: Option<String>,
    /// What to do with inputs over the encoder's window.
    #[param(inline, value_type = Option<schemas::LongPolicy>)]
    long: Option<protext_core::LongPolicy>,
    /// Refuse every residue but the 20 standard ones in upper case.
    strict: Option<bool>,
    /// Pass over further records of an id instead of counting them as failures.
    keep_first: Option<bool>,
    /// Residues of a shard at most: what a killed worker can lose.
    #[param(minimum = 1)]
    shard_residues: Option<u64>,
    /// Hours that the finished job is kept.
    keep_hours: Option<u64>,
}

/// Every job, oldest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct JobsBody {
    #[schema(value_type = Vec<schemas::Job>)]
    jobs: Vec<JobStatus>,
}

fn access(state: &AppState) -> Result<JobsAccess, Problem> {
    let missing = "this service runs no jobs; start it with --jobs FOLDER";
    state.jobs.clone().ok_or_else(|| Problem::new(ProblemKind::NotAvailable, missing))
}

/// Looks at jobs on a thread that may block.
async fn with_jobs<T: Send + 'static>(
    state: &AppState,
    look: impl FnOnce(&Jobs) -> Result<T, JobError> + Send + 'static,
) -> Result<T, Problem> {
    let access = access(state)?;
    let looked = web::block(move || look(access.service.jobs())).await;
    looked.map_err(|_| internal())?.map_err(|error| problem(&error))
}

/// A job as callers see it: paths without the folders of this machine that they lie in.
fn shown(state: &AppState, found: &impl Serialize) -> Value {
    let mut value = serde_json::to_value(found).unwrap_or_default();
    if let Some(access) = &state.jobs {
        let inputs = access.inputs.as_ref().map(|folder| folder.to_string_lossy().into_owned());
        let folders: Vec<String> = [Some(access.service.jobs().place()), inputs]
            .into_iter()
            .flatten()
            .map(|folder| format!("{}/", folder.trim_end_matches('/')))
            .collect();
        hide(&mut value, &folders);
    }
    value
}

fn hide(value: &mut Value, folders: &[String]) {
    match value {
        Value::String(text) => {
            for folder in folders {
                if text.contains(folder.as_str()) {
                    *text = text.replace(folder.as_str(), "");
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| hide(value, folders)),
        Value::Object(fields) => fields.values_mut().for_each(|value| hide(value, folders)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn internal() -> Problem {
    Problem::new(ProblemKind::Internal, "the service failed on this request; its log says why")
}

/// What a caller is told of a job's error.
fn problem(error: &JobError) -> Problem {
    let of = |kind| Problem::new(kind, error.to_string());
    match error {
        // Where jobs lie is not for callers.
        JobError::Unknown { id, .. } => {
            Problem::new(ProblemKind::NotFound, format!("no job is called {id:?}")).in_field("id")
        }
        JobError::NameTaken { .. } => of(ProblemKind::Conflict).in_field("name"),
        JobError::WrongState { .. } | JobError::InUse { .. } => of(ProblemKind::Conflict),
        JobError::OutputExists { .. } => of(ProblemKind::Conflict).in_field("output"),
        JobError::BadName { .. } => of(ProblemKind::Invalid).in_field("name"),
        JobError::Field { field, .. } => of(ProblemKind::Invalid).in_field(field),
        JobError::Store(store) if store.fault == StoreFault::Missing => {
            Problem::new(ProblemKind::NotFound, "the job has no such result")
        }
        JobError::Store(store) if store.fault == StoreFault::NoSpace => {
            tracing::error!(%error, "jobs have no room");
            Problem::new(ProblemKind::NotAvailable, "no space is left for jobs; try again later")
        }
        _ => {
            tracing::error!(%error, "a job could not be looked at");
            internal()
        }
    }
}

/// Lists the jobs, oldest first.
#[utoipa::path(get, path = "/v1/jobs", tag = "jobs",
    responses((status = 200, description = "Every job", body = JobsBody),
        (status = 503, description = "The service runs no jobs", body = ProblemBody<'_>,
            content_type = "application/problem+json")))]
pub(crate) async fn list(state: web::Data<AppState>) -> Result<HttpResponse, Problem> {
    let jobs = with_jobs(&state, Jobs::list).await?;
    Ok(HttpResponse::Ok().json(shown(&state, &JobsBody { jobs })))
}

/// Tells what is known of a job.
#[utoipa::path(get, path = "/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path, example = "proteome")),
    responses((status = 200, description = "The job", body = schemas::Job),
        (status = 503, description = "The service runs no jobs", body = ProblemBody<'_>,
            content_type = "application/problem+json")))]
pub(crate) async fn show(state: web::Data<AppState>, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let status = with_jobs(&state, move |jobs| jobs.status(&id)).await?;
    Ok(HttpResponse::Ok().json(shown(&state, &status)))
}

/// Submits a job: the records as the body and the job in the query, or a job as JSON.
///
/// Paths in JSON are below the folder that the service opens to callers (`job_inputs`); results lie with the job.
#[utoipa::path(post, path = "/v1/jobs", tag = "jobs", params(UploadQuery),
    request_body(content(
        (schemas::NewJob = "application/json",
            example = json!({"task": {"kind": "embed", "format": "npz"}, "inputs": ["proteome.fasta.gz"]})),
        (String = "text/x-fasta", example = ">p1\nMKTAYIAKQR\n"),
        (Vec<u8> = "application/octet-stream"))),
    responses((status = 202, description = "Submitted", body = schemas::Job, headers(("location" = String))),
        (status = 409, description = "The name is taken", body = ProblemBody<'_>,
            content_type = "application/problem+json"),
        (status = 503, description = "The service runs no jobs", body = ProblemBody<'_>,
            content_type = "application/problem+json")))]
pub(crate) async fn submit(
    state: web::Data<AppState>,
    request: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Problem> {
    let access = access(&state)?;
    let content_type =
        request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let status = if content_type.starts_with("application/json") {
        if !request.query_string().is_empty() {
            let detail = "a job as JSON says everything in its body; leave the query out";
            return Err(Problem::new(ProblemKind::Malformed, detail));
        }
        let body = ReadBody::from_request(&request, &mut body.into_inner()).await?;
        let mut spec: JobSpec = body.json()?;
        confine(&access, &mut spec)?;
        check(&access, &mut spec)?;
        with_jobs(&state, move |jobs| {
            let id = jobs.submit(&spec)?;
            jobs.status(&id)
        })
        .await?
    } else {
        let query = web::Query::<UploadQuery>::from_query(request.query_string())
            .map_err(|error| Problem::new(ProblemKind::Malformed, format!("query: {error}")))?;
        // Packed records are recognised when they are read, so the body is kept as it comes.
        crate::body::ensure_known_encoding(request.headers())?;
        upload(&state, &access, query.into_inner(), body).await?
    };
    let location = format!("/v1/jobs/{}", status.id);
    Ok(HttpResponse::Accepted().insert_header((LOCATION, location)).json(shown(&state, &status)))
}

/// Files are named below the folder that is open to callers, and outputs not at all.
fn confine(access: &JobsAccess, spec: &mut JobSpec) -> Result<(), Problem> {
    let refused = |field, detail: String| Err(Problem::new(ProblemKind::Invalid, detail).in_field(field));
    if spec.output.is_some() || spec.overwrite {
        return refused(
            "output",
            "results of a service's jobs lie with the job; leave output out".to_owned(),
        );
    }
    for input in &mut spec.inputs {
        let path = Path::new(input.as_str());
        let stays_below = path.components().all(|part| matches!(part, Component::Normal(_)));
        match &access.inputs {
            Some(folder) if stays_below && !input.contains(':') => {
                *input = folder.join(path).to_string_lossy().into_owned();
            }
            Some(_) => {
                return refused(
                    "inputs",
                    format!("{input:?} is not a path below the service's folder of inputs"),
                );
            }
            None => {
                let detail = "this service opens no folder to callers; send the records as the body";
                return refused("inputs", detail.to_owned());
            }
        }
    }
    Ok(())
}

/// Refuses what this service could not do.
fn check(access: &JobsAccess, spec: &mut JobSpec) -> Result<(), Problem> {
    access.service.check(spec).map_err(|error| match error {
        JobError::Engine(error) => error.into(),
        other => problem(&other),
    })
}

/// The body is written to the disk as it comes, whatever its size up to the limit.
async fn upload(
    state: &AppState,
    access: &JobsAccess,
    query: UploadQuery,
    mut body: web::Payload,
) -> Result<JobStatus, Problem> {
    let mut spec = spec_of(query)?;
    // Before the body is waited for.
    check(access, &mut spec)?;
    let failed = |error: std::io::Error| {
        tracing::error!(%error, "an upload could not be written");
        Problem::new(ProblemKind::NotAvailable, "the upload could not be written; try again later")
    };
    let file = tempfile::tempfile().map_err(failed)?;
    let mut to = tokio::fs::File::from_std(file.try_clone().map_err(failed)?);
    let mut n_bytes = 0;
    while let Some(part) = next_part(state, &mut body).await? {
        let part = part.map_err(|error| Problem::new(ProblemKind::Malformed, format!("body: {error}")))?;
        n_bytes += part.len() as u64;
        if n_bytes > access.max_upload_bytes {
            let limit = access.max_upload_bytes;
            let detail = format!("the upload is larger than the limit of {limit} bytes (max_upload_bytes)");
            return Err(Problem::new(ProblemKind::TooLarge, detail));
        }
        to.write_all(&part).await.map_err(failed)?;
    }
    to.flush().await.map_err(failed)?;
    if n_bytes == 0 {
        return Err(
            Problem::new(ProblemKind::Invalid, "the body is empty; send the records").in_field("body")
        );
    }
    with_jobs(state, move |jobs| {
        use std::io::Seek as _;
        let mut file = file;
        let name = spec.inputs[0].trim_start_matches(protext_worker::UPLOAD).to_owned();
        file.rewind().map_err(|error| JobError::Field { field: "body", rule: error.to_string() })?;
        let id = jobs.submit_with(&spec, vec![(name, &mut file)], None)?;
        jobs.status(&id)
    })
    .await
}

/// An upload may take long as a whole, but each part of it must come in time.
async fn next_part(
    state: &AppState,
    body: &mut web::Payload,
) -> Result<Option<Result<web::Bytes, actix_web::error::PayloadError>>, Problem> {
    tokio::time::timeout(state.body_timeout, body.next()).await.map_err(|_| {
        let detail = format!("no further part of the body came within {} s", state.body_timeout.as_secs());
        Problem::new(ProblemKind::SlowBody, detail)
    })
}

fn spec_of(query: UploadQuery) -> Result<JobSpec, Problem> {
    let invalid = |field, detail: String| Problem::new(ProblemKind::Invalid, detail).in_field(field);
    let vector_format = || match query.format.as_deref() {
        None => Ok(None),
        Some("parquet") => Ok(Some(OutputFormat::Parquet)),
        Some("hdf5") => Ok(Some(OutputFormat::Hdf5)),
        Some("npz") => Ok(Some(OutputFormat::Npz)),
        Some("jsonl") => Ok(Some(OutputFormat::JsonLines)),
        Some("anndata") => Ok(Some(OutputFormat::AnnData)),
        Some(other) => {
            Err(invalid("format", format!("{other:?} is not parquet, hdf5, npz, jsonl or anndata")))
        }
    };
    let hit_format = || match query.format.as_deref() {
        None | Some("tsv") => Ok(HitFormat::Tsv),
        Some("m8") => Ok(HitFormat::M8),
        Some("json") => Ok(HitFormat::Json),
        Some(other) => Err(invalid("format", format!("{other:?} is not tsv, m8 or json"))),
    };
    let kind = query
        .kind
        .as_deref()
        .ok_or_else(|| invalid("kind", "say what is to be done: kind=embed".to_owned()))?;
    let task = match kind {
        "embed" => Task::Embed {
            space: query.space.unwrap_or_default(),
            per_residue: query.per_residue.unwrap_or(false),
            format: vector_format()?,
        },
        "index" => Task::Index {
            target: query.target.unwrap_or(Target::Proteins),
            index: query.index.unwrap_or_default(),
        },
        "search_all" => Task::SearchAll {
            collection: query
                .collection
                .ok_or_else(|| invalid("collection", "name the collection to search".to_owned()))?,
            k: query.k.unwrap_or(10),
            exact: query.exact.unwrap_or(false),
            format: hit_format()?,
        },
        "annotate" => Task::Annotate {
            collection: query.collection.clone(),
            k: query.k.unwrap_or(5),
            format: hit_format()?,
        },
        "ppi" => Task::Ppi {
            k: query.k.unwrap_or(10),
            min_probability: query.min_probability,
            head: None,
            format: hit_format()?,
        },
        other => {
            let detail = format!("{other:?} is not embed, index, search_all, annotate or ppi");
            return Err(invalid("kind", detail));
        }
    };
    let file = query.file.as_deref().unwrap_or("records");
    let mut spec = JobSpec::new(task, vec![upload_input(file)]);
    spec.name = query.name;
    spec.model =
        ModelChoice { encoder: query.encoder, text_encoder: query.text_encoder, ..ModelChoice::default() };
    spec.records = RecordRules {
        long: query.long,
        strict: query.strict.unwrap_or(false),
        keep_first: query.keep_first.unwrap_or(false),
    };
    if let Some(n_residues) = query.shard_residues {
        spec.cutting.shard_residues = n_residues;
    }
    spec.keep_hours = query.keep_hours.unwrap_or(DEFAULT_KEEP_HOURS);
    Ok(spec)
}

/// Asks a job to stop. What is done is kept for a resume.
#[utoipa::path(post, path = "/v1/jobs/{id}/cancel", tag = "jobs", params(("id" = String, Path, example = "proteome")),
    responses((status = 200, description = "The job", body = schemas::Job),
        (status = 409, description = "It is over", body = ProblemBody<'_>,
            content_type = "application/problem+json"),
        (status = 503, description = "The service runs no jobs", body = ProblemBody<'_>,
            content_type = "application/problem+json")))]
pub(crate) async fn cancel(
    state: web::Data<AppState>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let status = with_jobs(&state, move |jobs| jobs.cancel(&id)).await?;
    Ok(HttpResponse::Ok().json(shown(&state, &status)))
}

/// How a job goes on.
#[derive(Deserialize, Default, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct ResumeQuery {
    /// Leave out shards that were given up, their records among the failures.
    #[param(required = false)]
    leave_out_failed: bool,
}

/// Lets a job go on that failed, was cancelled or interrupted.
#[utoipa::path(post, path = "/v1/jobs/{id}/resume", tag = "jobs",
    params(ResumeQuery, ("id" = String, Path, example = "proteome")),
    responses((status = 202, description = "The job", body = schemas::Job),
        (status = 409, description = "It is done", body = ProblemBody<'_>,
            content_type = "application/problem+json"),
        (status = 503, description = "The service runs no jobs", body = ProblemBody<'_>,
            content_type = "application/problem+json")))]
pub(crate) async fn resume(
    state: web::Data<AppState>,
    id: web::Path<String>,
    query: Result<web::Query<ResumeQuery>, actix_web::Error>,
) -> Result<HttpResponse, Problem> {
    let query = query.map_err(|error| Problem::new(ProblemKind::Malformed, format!("query: {error}")))?;
    let status = with_jobs(&state, move |jobs| {
        let how = Resume { leave_out_failed: query.leave_out_failed, ..Resume::default() };
        jobs.resume(&id, &how)?;
        jobs.status(&id)
    })
    .await?;
    Ok(HttpResponse::Accepted().json(shown(&state, &status)))
}

/// Cancels a job under way; removes one that is over.
#[utoipa::path(delete, path = "/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path, example = "proteome")),
    responses((status = 200, description = "It was under way and is cancelled", body = schemas::Job),
        (status = 204, description = "It was over and is removed"),
        (status = 409, description = "It has just come to its end", body = ProblemBody<'_>,
            content_type = "application/problem+json"),
        (status = 503, description = "The service runs no jobs", body = ProblemBody<'_>,
            content_type = "application/problem+json")))]
pub(crate) async fn delete(
    state: web::Data<AppState>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let status = with_jobs(&state, move |jobs| {
        let status = jobs.status(&id)?;
        if !status.state.is_final() {
            return jobs.cancel(&id).map(Some);
        }
        jobs.remove(&id).map(|()| None)
    })
    .await?;
    Ok(match status {
        Some(status) => HttpResponse::Ok().json(shown(&state, &status)),
        None => HttpResponse::NoContent().finish(),
    })
}

/// Tells a job's status whenever it changes: server-sent events `progress`, at last `end`, or `gone` if it is removed.
#[utoipa::path(get, path = "/v1/jobs/{id}/events", tag = "jobs", params(("id" = String, Path, example = "proteome")),
    responses((status = 200, description = "Events, until the job is over", body = schemas::JobEvent,
            content_type = "text/event-stream"),
        (status = 503, description = "The service runs no jobs", body = ProblemBody<'_>,
            content_type = "application/problem+json")))]
pub(crate) async fn events(
    state: web::Data<AppState>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let id = id.into_inner();
    let first = {
        let id = id.clone();
        with_jobs(&state, move |jobs| jobs.status(&id)).await?
    };
    let permit = Arc::clone(&state.followers).try_acquire_owned().map_err(|_| {
        let detail =
            "as many callers follow jobs as may; come back later, or look at /v1/jobs/{id} now and then";
        Problem::new(ProblemKind::Busy, detail).retry_after(10)
    })?;
    let follower = Follower { state, id, next: Some(first), last: String::new(), n_same: 0, _permit: permit };
    let stream = futures_util::stream::unfold(Some(follower), |follower| async move {
        let mut follower = follower?;
        let (event, is_last) = follower.next_event().await;
        Some((Ok::<_, Infallible>(web::Bytes::from(event)), (!is_last).then_some(follower)))
    });
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-store"))
        // Events go out one by one, so nothing may gather them to compress them.
        .insert_header((CONTENT_ENCODING, "identity"))
        .streaming(stream))
}

/// Follows a job for one connection; dropped with it.
struct Follower {
    state: web::Data<AppState>,
    id: String,
    next: Option<JobStatus>,
    last: String,
    n_same: u32,
    _permit: OwnedSemaphorePermit,
}

impl Follower {
    /// The next event, and whether it is the last.
    async fn next_event(&mut self) -> (String, bool) {
        loop {
            let status = match self.next.take() {
                Some(status) => status,
                None => {
                    tokio::time::sleep(LOOK_EVERY).await;
                    let id = self.id.clone();
                    match with_jobs(&self.state, move |jobs| jobs.status(&id)).await {
                        Ok(status) => status,
                        // It expired or was removed.
                        Err(problem) => {
                            return (format!("event: gone\ndata: {}\n\n", one_line(&problem)), true);
                        }
                    }
                }
            };
            let is_last = status.state.is_final();
            let data = shown(&self.state, &status).to_string();
            if data == self.last && !is_last {
                self.n_same += 1;
                if self.n_same >= COMMENT_AFTER {
                    self.n_same = 0;
                    return (": still there\n\n".to_owned(), false);
                }
                continue;
            }
            self.n_same = 0;
            let event = if is_last { "end" } else { "progress" };
            let text = format!("event: {event}\ndata: {data}\n\n");
            self.last = data;
            return (text, is_last);
        }
    }
}

fn one_line(problem: &Problem) -> String {
    problem.to_string().replace('\n', " ")
}

/// Which part of a job's results.
#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Part {
    /// The file that it wrote.
    #[default]
    File,
    /// Records that came to nothing.
    Failures,
    /// Model, space, inputs, counts, hashes.
    Manifest,
}

/// What is fetched.
#[derive(Deserialize, Default, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct ResultsQuery {
    /// The file that the job wrote, the records that came to nothing (JSON lines), or the manifest.
    #[param(inline, required = false)]
    part: Part,
}

/// Sends what came of a job.
#[utoipa::path(get, path = "/v1/jobs/{id}/results", tag = "jobs",
    params(ResultsQuery, ("id" = String, Path, example = "proteome")),
    responses((status = 200, description = "The file, the failures or the manifest",
            content((Vec<u8> = "application/octet-stream"), (String = "application/x-ndjson"),
                (schemas::JobManifest = "application/json"))),
        (status = 409, description = "It is not done", body = ProblemBody<'_>,
            content_type = "application/problem+json"),
        (status = 503, description = "The service runs no jobs", body = ProblemBody<'_>,
            content_type = "application/problem+json")))]
pub(crate) async fn results(
    state: web::Data<AppState>,
    id: web::Path<String>,
    query: Result<web::Query<ResultsQuery>, actix_web::Error>,
) -> Result<HttpResponse, Problem> {
    let query = query.map_err(|error| Problem::new(ProblemKind::Malformed, format!("query: {error}")))?;
    let id = id.into_inner();
    let status = {
        let id = id.clone();
        with_jobs(&state, move |jobs| jobs.status(&id)).await?
    };
    let Some(manifest) = status.manifest else {
        let detail = format!("job {id:?} is {}; it has no results yet", status.state);
        return Err(Problem::new(ProblemKind::Conflict, detail));
    };
    match query.part {
        Part::Manifest => return Ok(HttpResponse::Ok().json(shown(&state, &manifest))),
        Part::Failures => {
            let failures = with_jobs(&state, move |jobs| jobs.failures(&id)).await?;
            let body: String =
                failures.iter().map(|failure| format!("{}\n", shown(&state, failure))).collect();
            return Ok(HttpResponse::Ok().content_type("application/x-ndjson").body(body));
        }
        Part::File => {}
    }
    let in_job = manifest.results.into_iter().find(|result| result.in_job && result.format != "collection");
    let Some(result) = in_job else {
        let detail = "the job's result is no single file; ?part=manifest says where it lies";
        return Err(Problem::new(ProblemKind::Conflict, detail));
    };
    let name = result.place.rsplit('/').next().unwrap_or("results").to_owned();
    let file_name = name.clone();
    let file = with_jobs(&state, move |jobs| {
        let scratch = tempfile::tempdir()
            .map_err(|error| JobError::Field { field: "results", rule: error.to_string() })?;
        let path = jobs.fetch_result(&id, &file_name, scratch.path())?;
        // Open, it can be read to its end although its name may go.
        std::fs::File::open(path)
            .map_err(|error| JobError::Field { field: "results", rule: error.to_string() })
    })
    .await?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/octet-stream"))
        .insert_header((CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")))
        .insert_header((CONTENT_ENCODING, "identity"))
        .no_chunking(result.n_bytes)
        .streaming(parts(file)))
}

/// A file in parts, read on threads that may block.
fn parts(file: std::fs::File) -> impl futures_util::Stream<Item = std::io::Result<web::Bytes>> {
    futures_util::stream::unfold(Some(tokio::fs::File::from_std(file)), |file| async move {
        use tokio::io::AsyncReadExt as _;
        let mut file = file?;
        let mut part = vec![0; PART_BYTES];
        match file.read(&mut part).await {
            Ok(0) => None,
            Ok(n) => {
                part.truncate(n);
                Some((Ok(web::Bytes::from(part)), Some(file)))
            }
            Err(error) => Some((Err(error), None)),
        }
    })
}
