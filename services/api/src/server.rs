//! Binding, warming up and shutting down.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_cors::Cors;
use actix_web::middleware::{Compress, Condition, from_fn};
use actix_web::{App, HttpServer, web};
use protext_engine::Engine;

use crate::access::RELOAD_EVERY;
use crate::observe::observe;
use crate::routes;
use crate::state::{AppInfo, AppState};
use crate::tls::{self, TlsError, TlsFiles};
use crate::watch::watch;

/// How the service listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// Address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Largest body accepted, in bytes.
    pub max_body_bytes: usize,
    /// A client has this long to send its request head.
    pub request_timeout_s: u64,
    /// A client has this long to send its body.
    pub body_timeout_s: u64,
    /// An answer has this long; past it the work on it is dropped.
    pub deadline_s: u64,
    /// Connections of one HTTP thread; more wait to be taken up.
    pub max_connections: usize,
    /// Certificate and key, to serve HTTPS.
    pub tls: Option<TlsFiles>,
    /// Origins whose pages may call the service from a browser, such as `https://lab.example.org`.
    pub cors_origins: Vec<String>,
    /// Requests under way have this long to finish after a stop signal.
    pub shutdown_timeout_s: u64,
    /// HTTP threads.
    pub n_http_workers: usize,
    /// Time between two looks at whether the models answer.
    pub watch_interval: Duration,
}

impl Default for ServerSettings {
    /// Loopback only, 8 MiB bodies.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            max_body_bytes: 8 << 20,
            request_timeout_s: 10,
            body_timeout_s: 30,
            deadline_s: 60,
            max_connections: 4_096,
            tls: None,
            cors_origins: Vec::new(),
            shutdown_timeout_s: 20,
            n_http_workers: 2,
            watch_interval: Duration::from_secs(10),
        }
    }
}

/// The service cannot start, or ended in a failure.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Certificate and key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An address that cannot be bound, or a failure of the listener.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Serves until a stop signal, then lets requests under way finish. `on_bound` learns the real address.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(
    engine: Arc<Engine>,
    info: AppInfo,
    settings: ServerSettings,
    on_bound: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let tls = settings.tls.as_ref().map(tls::server_config).transpose()?;
    let state = web::Data::new(AppState::new(engine, info, &settings));
    let (warm, origins) = (state.clone(), settings.cors_origins.clone());
    let server = HttpServer::new(move || {
        App::new()
            .app_data(state.clone())
            .configure(routes::configure)
            .wrap(Compress::default())
            .wrap(from_fn(observe))
            .wrap(Condition::new(!origins.is_empty(), cors(&origins)))
    })
    .workers(settings.n_http_workers)
    .client_request_timeout(Duration::from_secs(settings.request_timeout_s))
    // A caller that closes its side has left: its work is dropped.
    .h1_allow_half_closed(false)
    .max_connections(settings.max_connections)
    .shutdown_timeout(settings.shutdown_timeout_s);
    let server = match tls {
        None => server.bind(settings.listen)?,
        Some(tls) => server.bind_rustls_0_23(settings.listen, tls)?,
    };
    for address in server.addrs() {
        tracing::info!(%address, "listening");
    }
    if let Some(&address) = server.addrs().first() {
        on_bound(address);
    }
    actix_web::rt::spawn(watch(warm.clone(), settings.watch_interval));
    actix_web::rt::spawn(reload_keys(warm));
    Ok(server.run().await?)
}

/// Pages of these origins may call the service with a key of their own; no cookies, so nothing is sent along unseen.
fn cors(origins: &[String]) -> Cors {
    let cors = Cors::default()
        .allowed_methods(["GET", "POST", "PUT", "DELETE"])
        .allowed_headers(["authorization", "x-api-key", "content-type", "accept", "x-request-id"])
        .expose_headers(["x-request-id", "retry-after"])
        .block_on_origin_mismatch(false)
        .max_age(600);
    origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin))
}

async fn reload_keys(state: web::Data<AppState>) {
    while state.access.needs_keys() {
        actix_web::rt::time::sleep(RELOAD_EVERY).await;
        let access = Arc::clone(&state.access);
        if let Err(error) = web::block(move || access.reload()).await {
            tracing::error!(%error, "the keys cannot be looked at");
        }
    }
}
