//! The use cases of Protext, readable top to bottom: embed, search, evaluate.
//!
//! The engine knows traits, never a model runtime: binaries load encoders and collections and wire them in.
//! Callers are `services/api` (one request at a time) and `services/cli` (files of records).

pub mod align;
pub mod annotate;
pub mod batcher;
pub mod cached_rows;
pub mod cells;
mod collections;
mod embed_records;
mod embed_shard;
mod embedder;
mod engine;
mod error;
pub mod eval;
pub mod expression;
pub mod genes;
pub mod heads;
pub mod hosted;
pub mod input;
pub mod library;
pub mod m8;
pub mod map;
pub mod output;
mod packed;
pub mod perturbation;
pub mod ppi;
mod program;
mod query_cache;
pub mod recall;
pub mod records;
pub mod rerank;
pub mod search;
pub mod split;
mod target;
pub mod variants;

pub use batcher::{Batcher, BatcherCounts, BatcherSettings};
pub use collections::OpenCollection;
pub use embed_records::{
    EmbedRecordsSettings, EmbeddedRecord, FailedRecord, FailureReason, RecordsSummary, embed_records,
};
pub use embed_shard::{ShardRow, ShardSettings, embed_shard};
pub use embedder::{EmbedOptions, Embedder, Pending};
pub use engine::{Engine, Limits};
pub use error::{BadRecord, EngineError};
/// Rows kept on disk.
pub use protext_rows as row_cache;
pub use target::{Target, UnknownTarget};

/// Target of the spans that say where a request's time goes; collectors of traces take them, logs leave them out.
pub const SPANS: &str = "protext_span";
