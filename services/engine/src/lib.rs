//! The use cases of Protext, readable top to bottom: embed, search, evaluate.
//!
//! The engine knows traits, never a model runtime: binaries load encoders and collections and wire them in.
//! Callers are `services/api` (one request at a time) and `services/cli` (files of records).

pub mod align;
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
pub mod row_cache;
pub mod search;
pub mod split;

pub use batcher::{Batcher, BatcherSettings};
pub use embed_records::{
    EmbedRecordsSettings, EmbeddedRecord, FailedRecord, FailureReason, RecordsSummary, embed_records,
};
pub use embedder::{EmbedOptions, Embedder, Pending};
pub use engine::{Engine, Limits, OpenCollection};
pub use error::EngineError;
