//! The HTTP face of Protext: routes, wire types and status codes over the engine, and nothing else.
//!
//! A route reads its wire type, calls one engine function and writes the answer. `error.rs` holds the one place
//! where engine errors become status codes; `server.rs` binds, warms up and shuts down.

mod error;
mod fasta;
mod routes;
mod server;

pub use error::{Problem, ProblemKind};
pub use server::{AppInfo, EncoderInfo, ServerSettings, serve};
