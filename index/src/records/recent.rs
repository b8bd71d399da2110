//! The records that were read last, parsed, within a bound of memory: a record that many searches find is not read from
//! its table for each of them.

use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

use crate::collection::Record;

/// Memory for these records, 16 MiB: some ten thousand proteins with their sequences.
const MAX_BYTES: usize = 16 << 20;
/// Memory that a record takes beside its text.
const OVERHEAD: usize = 512;

/// Records by row, the least recently used of which go first.
pub(super) struct Recent(Mutex<Kept>);

struct Kept {
    records: LruCache<u32, (Arc<Record>, usize)>,
    n_bytes: usize,
}

impl Recent {
    pub(super) fn none() -> Self {
        Self(Mutex::new(Kept { records: LruCache::unbounded(), n_bytes: 0 }))
    }

    /// The record of each row, where it is here.
    pub(super) fn of(&self, rows: &[u32]) -> Vec<Option<Arc<Record>>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rows.iter().map(|row| kept.records.get(row).map(|(record, _)| Arc::clone(record))).collect()
    }

    /// Keeps a record whose text has `n_bytes`, if it is not larger than everything that may be kept.
    pub(super) fn keep(&self, row: u32, record: &Arc<Record>, n_bytes: usize) {
        let n_bytes = n_bytes + OVERHEAD;
        if n_bytes > MAX_BYTES {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = kept.records.put(row, (Arc::clone(record), n_bytes));
        kept.n_bytes += n_bytes - before.map_or(0, |(_, n_bytes)| n_bytes);
        while kept.n_bytes > MAX_BYTES
            && let Some((_, (_, n_bytes))) = kept.records.pop_lru()
        {
            kept.n_bytes -= n_bytes;
        }
    }
}

impl std::fmt::Debug for Recent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recent").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: u32) -> Arc<Record> {
        Arc::new(Record { id: id.to_string(), ..Record::default() })
    }

    #[test]
    fn what_was_read_longest_ago_goes_first_and_memory_is_bounded() {
        let recent = Recent::none();
        let quarter = MAX_BYTES / 4 - OVERHEAD;
        (0..4).for_each(|row| recent.keep(row, &record(row), quarter));
        assert!(recent.of(&[0, 1, 2, 3]).iter().all(Option::is_some), "four quarters fit");
        let ids = |rows: &[u32]| -> Vec<_> {
            recent.of(rows).into_iter().map(|found| found.map(|record| record.id.clone())).collect()
        };
        assert_eq!(ids(&[0]), [Some("0".into())], "row 0 is now the last that was read");
        recent.keep(4, &record(4), quarter);
        assert_eq!(ids(&[0, 1, 4]), [Some("0".into()), None, Some("4".into())]);
        recent.keep(4, &record(4), quarter);
        assert_eq!(ids(&[2]), [Some("2".into())], "the same record again takes no further memory");
        recent.keep(9, &record(9), MAX_BYTES);
        assert_eq!(
            ids(&[9, 2]),
            [None, Some("2".into())],
            "what is larger than the bound drives nothing out"
        );
    }
}
