//! A live estimate of recall: a share of the searches is answered exactly, too, behind the callers' backs.
//!
//! Searches never wait for it: what is to be compared goes to a short queue, and past its end it is let go of and counted.
//! One thread of low priority compares. The estimate is the mean, over the latest sampled searches of a collection, of the
//! share of the true neighbours that the answer had, with a 95% Wilson interval.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protext_core::{JointVector, Space, SplitMix64};
use protext_index::{CollectionView, ViewHit, Wanted};
use serde::Serialize;

use crate::error::EngineError;
use crate::search::Located;

/// Searches that may wait to be compared. Each keeps its state of the collection in memory.
const MAX_WAITING: usize = 16;
/// Searches of a collection that the estimate looks back at.
const MAX_KEPT: usize = 1_000;
/// Rounding of the two kernels: a neighbour this much below the last true one is as near.
const SAME_COSINE: f32 = 1e-6;
/// Normal quantile of a 95% interval.
const Z: f64 = 1.959_964;

/// How much of the true neighbours the answers of a collection had.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RecallEstimate {
    /// Mean recall over the sampled searches, at each search's own `k`.
    pub recall: f64,
    /// Lower end of the 95% Wilson interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Sampled searches.
    pub n_searches: usize,
}

/// Samples searches and compares them with exact ones.
pub struct RecallMonitor {
    /// One search in this many is sampled.
    every: u64,
    n_seen: AtomicU64,
    shared: Arc<Shared>,
    to_compare: SyncSender<Sample>,
}

#[derive(Default)]
struct Shared {
    /// Recalls of the latest sampled searches, by collection.
    kept: Mutex<BTreeMap<String, VecDeque<f64>>>,
    n_dropped: AtomicU64,
    n_compared: AtomicU64,
}

/// A search to be answered again.
struct Sample {
    collection: String,
    view: Arc<dyn CollectionView>,
    space: Space,
    vector: JointVector,
    /// Cosines of the answer, best first.
    found: Vec<f32>,
}

impl RecallMonitor {
    /// Samples about `share` of the searches (0 < `share` <= 1) and starts the thread that compares.
    ///
    /// # Errors
    /// [`EngineError::Io`] if the thread cannot be started.
    pub fn start(share: f64) -> Result<Self, EngineError> {
        let (to_compare, samples) = sync_channel(MAX_WAITING);
        let shared = Arc::new(Shared::default());
        let mine = Arc::clone(&shared);
        let work = move || compare_all(&mine, &samples);
        let thread = std::thread::Builder::new().name("protext-recall".into()).spawn(work);
        thread
            .map_err(|source| EngineError::Io { what: "start the thread that estimates recall", source })?;
        let every = (1.0 / share.clamp(1e-9, 1.0)).round() as u64;
        Ok(Self { every: every.max(1), n_seen: AtomicU64::new(0), shared, to_compare })
    }

    /// Takes a finished search into account, if it is its turn. Searches that compared every record have nothing to tell.
    pub(crate) fn consider(
        &self,
        collection: &str,
        view: &Arc<dyn CollectionView>,
        located: &Located,
        found: &[ViewHit],
    ) {
        if view.is_exact(&located.space).unwrap_or(true) || !self.is_sampled() {
            return;
        }
        let sample = Sample {
            collection: collection.to_owned(),
            view: Arc::clone(view),
            space: located.space.clone(),
            vector: located.vector.clone(),
            found: found.iter().map(|hit| hit.cosine).collect(),
        };
        if let Err(TrySendError::Full(_)) = self.to_compare.try_send(sample) {
            self.shared.n_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One search in `every`, at places that no rhythm of the callers meets: the count is scattered by a hash.
    fn is_sampled(&self) -> bool {
        let count = self.n_seen.fetch_add(1, Ordering::Relaxed);
        SplitMix64::at(count).is_multiple_of(self.every)
    }

    /// The estimate for a collection; `None` before its first sampled search.
    #[must_use]
    pub fn estimate(&self, collection: &str) -> Option<RecallEstimate> {
        let kept = self.shared.lock();
        let recalls = kept.get(collection).filter(|recalls| !recalls.is_empty())?;
        let mean = recalls.iter().sum::<f64>() / recalls.len() as f64;
        let (low, high) = wilson(mean, recalls.len());
        Some(RecallEstimate { recall: mean, low, high, n_searches: recalls.len() })
    }

    /// Forgets a collection that is gone.
    pub(crate) fn forget(&self, collection: &str) {
        self.shared.lock().remove(collection);
    }

    /// Sampled searches that were not compared because too many waited.
    #[must_use]
    pub fn n_dropped(&self) -> u64 {
        self.shared.n_dropped.load(Ordering::Relaxed)
    }

    /// Sampled searches that were compared.
    #[must_use]
    pub fn n_compared(&self) -> u64 {
        self.shared.n_compared.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, VecDeque<f64>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn compare_all(shared: &Shared, samples: &Receiver<Sample>) {
    // Answers come first: this thread takes what time they leave.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(19) {
        tracing::debug!(%error, "the thread that estimates recall keeps its priority");
    }
    while let Ok(sample) = samples.recv() {
        let wanted = Wanted { exact: true, ..Wanted::new(sample.found.len().max(1)) };
        match sample.view.find(&sample.space, &sample.vector, &wanted) {
            Ok(hits) => {
                let truth: Vec<f32> = hits.iter().map(|hit| hit.cosine).collect();
                shared.n_compared.fetch_add(1, Ordering::Relaxed);
                let mut kept = shared.lock();
                let recalls = kept.entry(sample.collection).or_default();
                if recalls.len() == MAX_KEPT {
                    recalls.pop_front();
                }
                recalls.push_back(recall(&sample.found, &truth));
            }
            Err(error) => tracing::warn!(%error, "a sampled search could not be answered exactly"),
        }
    }
}

/// Share of the true neighbours that were found. Neighbours at the same cosine count for one another.
fn recall(found: &[f32], truth: &[f32]) -> f64 {
    let Some(last) = truth.last() else { return 1.0 };
    let n_found = found.iter().filter(|&&cosine| cosine >= last - SAME_COSINE).count();
    n_found.min(truth.len()) as f64 / truth.len() as f64
}

/// Wilson's 95% interval of a mean of `n` values in 0..=1. Of all values with that mean, those that are 0 or 1 vary most, so
/// an interval made for these is not too narrow for shares; neighbours of one search are not taken for independent.
/// Source: Wilson, J. Am. Stat. Assoc. 22, 209 (1927).
fn wilson(mean: f64, n: usize) -> (f64, f64) {
    let n = n as f64;
    let centre = (mean + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (mean * (1.0 - mean) / n + Z * Z / (4.0 * n * n)).sqrt();
    // Rounding must not leave the mean outside where it is 0 or 1.
    ((centre - half).clamp(0.0, mean), (centre + half).clamp(mean, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recall_counts_true_neighbours_and_their_equals() {
        assert_eq!(recall(&[0.9, 0.8, 0.5], &[0.9, 0.8, 0.7]), 2.0 / 3.0);
        assert_eq!(recall(&[0.9, 0.7], &[0.9, 0.7 + 5e-7]), 1.0);
        assert_eq!(recall(&[], &[0.9]), 0.0);
        assert_eq!(recall(&[], &[]), 1.0);
    }

    #[test]
    fn the_interval_is_wilsons() {
        let (low, high) = wilson(0.5, 100);
        assert!((low - 0.4038).abs() < 1e-4 && (high - 0.5962).abs() < 1e-4, "{low} {high}");
        let (low, high) = wilson(1.0, 100);
        assert!((low - 0.9630).abs() < 1e-4 && high == 1.0, "{low} {high}");
        for n in 1..1_000 {
            assert_eq!((wilson(0.0, n).0, wilson(1.0, n).1), (0.0, 1.0), "{n}");
        }
    }

    #[test]
    fn about_the_share_is_sampled() {
        let n = (0..100_000).filter(|&count| SplitMix64::at(count).is_multiple_of(100)).count();
        assert!((800..1_200).contains(&n), "{n}");
    }
}
