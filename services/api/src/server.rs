//! Binding, warming up and shutting down.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use actix_web::{App, HttpServer, web};
use protext_core::{EncoderInput, Modality, ProteinSequence, ResiduePolicy, Text};
use protext_engine::{EmbedOptions, Embedder, Engine};
use serde::Serialize;

use crate::error::{Problem, ProblemKind};
use crate::routes;

/// How the service listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// Address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Largest body accepted, in bytes.
    pub max_body_bytes: usize,
    /// A client has this long to send its request head.
    pub request_timeout_s: u64,
    /// Requests under way have this long to finish after a stop signal.
    pub shutdown_timeout_s: u64,
    /// HTTP threads.
    pub n_http_workers: usize,
}

impl Default for ServerSettings {
    /// Loopback only, 8 MiB bodies.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            max_body_bytes: 8 << 20,
            request_timeout_s: 10,
            shutdown_timeout_s: 20,
            n_http_workers: 2,
        }
    }
}

/// What the binary knows of a running encoder and the engine does not.
#[derive(Debug, Clone, Serialize)]
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
    pub provider: &'static str,
    /// Sessions.
    pub n_workers: usize,
}

/// Facts for `GET /v1/info`.
#[derive(Debug, Clone, Default)]
pub struct AppInfo {
    /// One an encoder.
    pub encoders: Vec<EncoderInfo>,
}

/// What every route sees.
pub(crate) struct AppState {
    pub(crate) engine: Arc<Engine>,
    pub(crate) info: AppInfo,
    pub(crate) max_body_bytes: usize,
    pub(crate) is_ready: AtomicBool,
    pub(crate) started: Instant,
}

/// Serves until a stop signal, then lets requests under way finish. `on_bound` learns the real address.
///
/// # Errors
/// An address that cannot be bound, or a failure of the listener.
pub async fn serve(
    engine: Arc<Engine>,
    info: AppInfo,
    settings: ServerSettings,
    on_bound: impl FnOnce(SocketAddr),
) -> std::io::Result<()> {
    let max_body_bytes = settings.max_body_bytes;
    let state = web::Data::new(AppState {
        engine,
        info,
        max_body_bytes,
        is_ready: AtomicBool::new(false),
        started: Instant::now(),
    });
    let warm = state.clone();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(state.clone())
            .app_data(web::PayloadConfig::new(max_body_bytes))
            .app_data(json_config(max_body_bytes))
            .configure(routes::configure)
    })
    .workers(settings.n_http_workers)
    .client_request_timeout(Duration::from_secs(settings.request_timeout_s))
    .shutdown_timeout(settings.shutdown_timeout_s)
    .bind(settings.listen)?;
    for address in server.addrs() {
        tracing::info!(%address, "listening");
    }
    if let Some(&address) = server.addrs().first() {
        on_bound(address);
    }
    actix_web::rt::spawn(async move { warm_up(&warm).await });
    server.run().await
}

/// Each model answers once before the service calls itself ready.
async fn warm_up(state: &AppState) {
    for embedder in state.engine.embedders() {
        if let Err(error) = warm_up_one(embedder).await {
            tracing::error!(encoder = embedder.encoder().id(), %error, "the warm-up failed; the service stays unready");
            return;
        }
    }
    state.is_ready.store(true, Ordering::Release);
    tracing::info!("ready");
}

async fn warm_up_one(embedder: &Embedder) -> Result<(), Problem> {
    let modality = embedder.encoder().modality();
    let input = match modality {
        Modality::Protein => ProteinSequence::parse("MKTAYIAKQRQISFVKSHFSRQ", ResiduePolicy::default())
            .map(|(sequence, _)| EncoderInput::Protein(sequence)),
        Modality::Text => Text::parse("warm-up").map(EncoderInput::Text),
    };
    let input = input.map_err(protext_engine::EngineError::from)?;
    let options = EmbedOptions::new(Engine::default_long(modality));
    let encoded = embedder.embed(&input, options).await?;
    for space in embedder.joint_spaces() {
        embedder.project(&[&encoded], space)?;
    }
    Ok(())
}

fn json_config(max_body_bytes: usize) -> web::JsonConfig {
    web::JsonConfig::default().limit(max_body_bytes).error_handler(|error, _| {
        use actix_web::error::JsonPayloadError as E;
        let (kind, detail) = match &error {
            E::OverflowKnownLength { limit, .. } | E::Overflow { limit } => {
                (ProblemKind::TooLarge, format!("the body is larger than the limit of {limit} bytes"))
            }
            E::ContentType => (ProblemKind::UnsupportedMediaType, "send application/json".to_owned()),
            other => (ProblemKind::Malformed, format!("body: {other}")),
        };
        Problem::new(kind, detail).into()
    })
}
