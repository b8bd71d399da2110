//! The HTTP face of Protext: routes, wire types and status codes over the engine, and nothing else.
//!
//! A route reads its wire type, calls one engine function and writes the answer. `error.rs` holds the one place
//! where engine errors become status codes; `page` is what a browser sees; `observe.rs` stands around every request;
//! `server.rs` binds, warms up and shuts down.

pub mod access;
mod audit;
mod body;
mod error;
mod fasta;
mod metrics;
mod negotiate;
mod observe;
mod openapi;
mod page;
mod routes;
mod server;
mod span;
mod state;
mod tls;
mod vectors;
mod watch;

pub use audit::Audit;
pub use error::{Problem, ProblemKind};
pub use metrics::resident_bytes;
pub use openapi::document;
pub use routes::jobs::JobsAccess;
pub use server::{ServeError, ServerSettings, serve};
pub use state::{AppInfo, EncoderInfo};
pub use tls::{TlsError, TlsFiles};
