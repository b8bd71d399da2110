//! The use cases of Protext, readable top to bottom: embed, search, evaluate.
//!
//! The engine knows traits, never a model runtime: binaries load encoders and collections and wire them in.
//! Callers are `services/api` (one request at a time) and `services/cli` (files of records).

pub mod align;
pub mod annotate;
pub mod batcher;
pub mod cached_rows;
mod embed_records;
mod embedder;
mod engine;
mod error;
pub mod eval;
pub mod input;
pub mod m8;
pub mod output;
mod program;
pub mod rerank;
pub mod search;
pub mod split;
mod target;

pub use batcher::{Batcher, BatcherSettings};
pub use embed_records::{
    EmbedRecordsSettings, EmbeddedRecord, FailedRecord, FailureReason, RecordsSummary, embed_records,
};
pub use embedder::{EmbedOptions, Embedder, Pending};
pub use engine::{Engine, Limits, OpenCollection};
pub use error::EngineError;
/// Rows kept on disk.
pub use protext_rows as row_cache;
pub use target::{Target, UnknownTarget};
