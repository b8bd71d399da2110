//! Encoder rows on disk: [`RowCache`] keeps them, [`Claims`] sees to it that one row is made once.
//!
//! Used by training and evaluation (through `protext-engine`) and by encoders that are paid for (`protext-remote`).

mod claims;
mod row_cache;

pub use claims::{Claims, ClaimsError};
pub use row_cache::{ContentKey, RowCache, RowCacheError};
