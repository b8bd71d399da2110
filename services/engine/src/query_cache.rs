//! Rows of queries that came lately, so that a query asked twice is encoded once.
//!
//! Keyed by a digest of everything that decides on the rows, bounded in bytes; the one used longest ago goes first. A vector
//! from here is the vector that was computed, to the last bit.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use protext_core::{Encoded, EncoderInput, LongPolicy};
use sha2::{Digest as _, Sha256};

use crate::embedder::EmbedOptions;

/// Bytes of rows that are kept: about five thousand queries of the default encoder.
const MAX_BYTES: usize = 64 << 20;

/// What decides on the rows of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct QueryKey([u8; 32]);

impl QueryKey {
    /// `None` for inputs whose rows are too large to keep: those with a row a residue.
    pub(crate) fn of(input: &EncoderInput, options: EmbedOptions) -> Option<Self> {
        let EmbedOptions { long, per_residue, by_sentence } = options;
        if per_residue {
            return None;
        }
        let long = match long {
            LongPolicy::Window => 0,
            LongPolicy::Truncate => 1,
            LongPolicy::Reject => 2,
        };
        let (modality, content) = match input {
            EncoderInput::Protein(sequence) => (0, sequence.as_str()),
            EncoderInput::Text(text) => (1, text.as_str()),
        };
        let mut hasher = Sha256::new();
        hasher.update([modality, long, u8::from(by_sentence)]);
        hasher.update(content.as_bytes());
        Some(Self(hasher.finalize().into()))
    }

    /// The digest itself.
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// How often a cache had what was asked for, and how often not.
#[derive(Default)]
pub(crate) struct Lookups {
    n_hits: AtomicU64,
    n_misses: AtomicU64,
}

impl Lookups {
    /// Counts what was found, or not.
    pub(crate) fn count<T>(&self, found: Option<T>) -> Option<T> {
        let count = if found.is_some() { &self.n_hits } else { &self.n_misses };
        count.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Hits and misses.
    pub(crate) fn get(&self) -> (u64, u64) {
        (self.n_hits.load(Ordering::Relaxed), self.n_misses.load(Ordering::Relaxed))
    }
}

/// The rows that are kept.
pub(crate) struct QueryCache {
    kept: Mutex<Kept>,
    lookups: Lookups,
}

struct Kept {
    rows: LruCache<QueryKey, Encoded>,
    n_bytes: usize,
    max_bytes: usize,
}

impl Default for QueryCache {
    fn default() -> Self {
        Self::with_room(MAX_BYTES)
    }
}

impl QueryCache {
    fn with_room(max_bytes: usize) -> Self {
        let kept = Kept { rows: LruCache::unbounded(), n_bytes: 0, max_bytes };
        Self { kept: Mutex::new(kept), lookups: Lookups::default() }
    }

    pub(crate) fn get(&self, key: &QueryKey) -> Option<Encoded> {
        let found = self.lock().rows.get(key).cloned();
        self.lookups.count(found)
    }

    pub(crate) fn keep(&self, key: QueryKey, encoded: &Encoded) {
        let mut kept = self.lock();
        kept.n_bytes += bytes_of(encoded);
        if let Some(before) = kept.rows.put(key, encoded.clone()) {
            kept.n_bytes -= bytes_of(&before);
        }
        while kept.n_bytes > kept.max_bytes {
            let Some((_, oldest)) = kept.rows.pop_lru() else { break };
            kept.n_bytes -= bytes_of(&oldest);
        }
    }

    /// Hits and misses.
    pub(crate) fn counts(&self) -> (u64, u64) {
        self.lookups.get()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bytes_of(encoded: &Encoded) -> usize {
    let statistics = encoded.statistics.as_ref().map_or(0, |row| row.as_slice().len());
    (encoded.pooled.as_slice().len() + statistics) * size_of::<f32>() + size_of::<(QueryKey, Encoded)>()
}

#[cfg(test)]
mod tests {
    use protext_core::{EncoderRow, LongReport, Text};

    use super::*;

    fn encoded(value: f32) -> Encoded {
        Encoded {
            pooled: EncoderRow::new(vec![value; 256]).unwrap(),
            statistics: None,
            residues: None,
            report: LongReport::Whole,
            n_tokens: 1,
        }
    }

    fn key(text: &str) -> QueryKey {
        let options = EmbedOptions::new(LongPolicy::Window);
        QueryKey::of(&EncoderInput::Text(Text::parse(text).unwrap()), options).unwrap()
    }

    #[test]
    fn what_was_used_longest_ago_makes_room() {
        let cache = QueryCache::with_room(2 * bytes_of(&encoded(0.0)));
        cache.keep(key("a"), &encoded(1.0));
        cache.keep(key("b"), &encoded(2.0));
        assert_eq!(cache.get(&key("a")).unwrap().pooled.as_slice()[0], 1.0);
        cache.keep(key("c"), &encoded(3.0));
        cache.keep(key("c"), &encoded(3.0));
        assert!(
            cache.get(&key("b")).is_none()
                && cache.get(&key("a")).is_some()
                && cache.get(&key("c")).is_some()
        );
        assert_eq!(cache.counts(), (3, 1));
    }

    #[test]
    fn what_changes_the_rows_changes_the_key() {
        let text = EncoderInput::Text(Text::parse("MKT").unwrap());
        let options = EmbedOptions::new(LongPolicy::Window);
        let keys = [
            QueryKey::of(&text, options),
            QueryKey::of(&text, EmbedOptions::new(LongPolicy::Truncate)),
            QueryKey::of(&text, EmbedOptions::to_project(LongPolicy::Window)),
        ];
        assert!(keys[0] != keys[1] && keys[0] != keys[2] && keys[1] != keys[2]);
        assert_eq!(QueryKey::of(&text, EmbedOptions { per_residue: true, ..options }), None);
    }
}
