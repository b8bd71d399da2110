//! What encoders gave, on disk.
//!
//! | | keeps | for |
//! |---|---|---|
//! | [`RowCache`] | rows of one space, all of them | training and evaluation (through `protext-engine`), encoders that are paid for (`protext-remote`) |
//! | [`EmbeddingCache`] | whole embeddings, as many as fit | the service and jobs |
//!
//! [`Claims`] sees to it that a row that is paid for is made once.

mod claims;
mod embedding_cache;
mod row_cache;

pub use claims::{Claims, ClaimsError};
pub use embedding_cache::{EmbeddingCache, EmbeddingCacheError, EmbeddingKey};
pub use row_cache::{ContentKey, RowCache, RowCacheError};
