//! What a fetcher tells while it works.

use std::sync::Arc;
use std::time::Duration;

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchEvent {
    /// A page is there.
    Page {
        /// `UniProt`, `NCBI Gene` or `GO`.
        source: &'static str,
        /// Pages so far, this one included.
        n_pages: u64,
        /// Records so far.
        n_records: u64,
        /// Records in all, where the source says so.
        total_records: Option<u64>,
        /// Bytes of this page.
        n_bytes: u64,
        /// Whether it came from the disk.
        is_cached: bool,
    },
    /// A try failed, and another one follows.
    Waiting {
        /// What was asked, without the API key.
        url: String,
        /// Tries so far.
        n_tries: u32,
        /// Time until the next.
        wait: Duration,
        /// What failed.
        reason: String,
    },
}

/// Who listens.
#[derive(Clone)]
pub(super) struct Listener(pub(super) Arc<dyn Fn(&FetchEvent) + Send + Sync>);

impl std::fmt::Debug for Listener {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Listener")
    }
}
