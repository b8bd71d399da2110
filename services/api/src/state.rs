//! What every route sees: the engine, what the binary knows beside it, limits, and what is counted.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protext_engine::Engine;
use protext_engine::library::Library;
use protext_index::CollectionHost;
use serde::Serialize;
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use crate::access::Access;
use crate::audit::Audit;
use crate::error::{Problem, ProblemKind};
use crate::metrics::Metrics;
use crate::page::Maps;
use crate::routes::jobs::JobsAccess;
use crate::watch::Watched;

/// What the binary knows of a running encoder and the engine does not.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EncoderInfo {
    /// Encoder id.
    #[serde(skip)]
    pub id: String,
    /// Honest title from the manifest.
    pub title: String,
    /// Licence of the weights.
    pub licence: String,
    /// Device asked for.
    pub device_asked: String,
    /// ONNX Runtime provider that runs the model.
    pub provider: String,
    /// Numbers that it computes with: `fp32`, `bf16x3`, `int16`, `bf16`, `fp16` or `int8`.
    pub precision: Option<String>,
    /// Nodes of the model's graph by the provider that really runs them, where the runtime tells.
    pub nodes: BTreeMap<String, usize>,
    /// Least cosine of the device's answers to fixed inputs with the CPU's, for devices that had to prove themselves.
    pub proof: Option<f32>,
    /// Sessions.
    pub n_workers: usize,
    /// What the memory of the process grew by when the model and its projections were opened, in bytes; where that is known.
    pub memory_bytes: Option<u64>,
}

/// What the binary hands over beside the engine.
#[derive(Default)]
pub struct AppInfo {
    /// One an encoder.
    pub encoders: Vec<EncoderInfo>,
    /// Collections that the service keeps by itself, if it has a folder for them.
    pub library: Option<Library>,
    /// Server in which collections are made instead, if the service has one.
    pub host: Option<Arc<dyn CollectionHost>>,
    /// Who may do what.
    pub access: Access,
    /// Where writes are noted.
    pub audit: Audit,
    /// Batch jobs, if the service runs any.
    pub jobs: Option<JobsAccess>,
}

/// Whole-collection answers that may stream at once; more are told to come back.
const MAX_STREAMS: usize = 4;
/// Callers that may follow jobs at once; each costs a connection and a look at the disk twice a second.
const MAX_FOLLOWERS: usize = 256;

/// What every route sees.
pub(crate) struct AppState {
    pub(crate) engine: Arc<Engine>,
    pub(crate) encoders: Vec<EncoderInfo>,
    pub(crate) library: Option<Arc<Library>>,
    pub(crate) host: Option<Arc<dyn CollectionHost>>,
    pub(crate) access: Arc<Access>,
    pub(crate) audit: Audit,
    pub(crate) jobs: Option<JobsAccess>,
    pub(crate) metrics: Metrics,
    pub(crate) max_body_bytes: usize,
    pub(crate) body_timeout: Duration,
    pub(crate) deadline: Duration,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) followers: Arc<Semaphore>,
    pub(crate) watched: Watched,
    pub(crate) has_tls: bool,
    pub(crate) started: Instant,
    pub(crate) maps: Maps,
}

impl AppState {
    pub(crate) fn new(engine: Arc<Engine>, info: AppInfo, settings: &crate::ServerSettings) -> Self {
        Self {
            engine,
            encoders: info.encoders,
            library: info.library.map(Arc::new),
            host: info.host,
            access: Arc::new(info.access),
            audit: info.audit,
            jobs: info.jobs,
            metrics: Metrics::default(),
            max_body_bytes: settings.max_body_bytes,
            body_timeout: Duration::from_secs(settings.body_timeout_s),
            deadline: Duration::from_secs(settings.deadline_s),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            followers: Arc::new(Semaphore::new(MAX_FOLLOWERS)),
            watched: Watched::default(),
            has_tls: settings.tls.is_some(),
            started: Instant::now(),
            maps: Maps::default(),
        }
    }

    /// Runs `work` within the deadline of a request; past it the work is dropped, with what it has queued.
    pub(crate) async fn within_deadline<T>(
        &self,
        work: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        tokio::time::timeout(self.deadline, work).await.map_err(|_| {
            let detail = format!(
                "the answer was not there after {} s, and the work on it was dropped; send less at once, or try later",
                self.deadline.as_secs()
            );
            Problem::new(ProblemKind::Deadline, detail).retry_after(5)
        })?
    }
}
