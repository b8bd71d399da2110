//! Long inputs: how a sequence past the encoder's window is cut, weighted and put together again.
//!
//! With the `window` policy the sequence is covered by overlapping windows. Every residue counts once: where
//! two windows cover it, each contributes half. The pooled row is therefore the mean over residues of the
//! residue's mean over the windows that saw it.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::error::EncodeError;

/// What to do with an input longer than the encoder's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LongPolicy {
    /// Cover it with overlapping windows and average by residues.
    Window,
    /// Keep the first window.
    Truncate,
    /// Refuse it.
    Reject,
}

/// What the policy did to one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "policy", rename_all = "snake_case")]
pub enum LongReport {
    /// It fitted; no policy applied.
    Whole,
    /// Covered by several windows.
    Windowed {
        /// How many.
        n_windows: usize,
    },
    /// Cut off.
    Truncated {
        /// Residues or tokens used.
        kept: usize,
        /// Residues or tokens given.
        length: usize,
    },
}

/// One window: the residues it covers, and each one's share in the whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// 0-based, end-exclusive range of residues.
    pub range: Range<usize>,
    /// Per residue of the range, 1 divided by the number of windows that cover it.
    pub weights: Vec<f32>,
}

/// Cuts `length` residues for an encoder that takes `window` at once.
///
/// Windows start `window - overlap` apart; the last one is moved back so that it is full.
///
/// # Errors
/// [`EncodeError::TooLong`] under [`LongPolicy::Reject`].
///
/// # Panics
/// If `overlap >= window`; manifests are checked for that when they are read.
pub fn cut(
    length: usize,
    window: usize,
    overlap: usize,
    policy: LongPolicy,
    unit: &'static str,
) -> Result<(Vec<Window>, LongReport), EncodeError> {
    assert!(overlap < window, "the overlap is smaller than the window");
    if length <= window {
        return Ok((vec![Window { range: 0..length, weights: vec![1.0; length] }], LongReport::Whole));
    }
    match policy {
        LongPolicy::Reject => Err(EncodeError::TooLong { length, window, unit }),
        LongPolicy::Truncate => {
            let kept = Window { range: 0..window, weights: vec![1.0; window] };
            Ok((vec![kept], LongReport::Truncated { kept: window, length }))
        }
        LongPolicy::Window => {
            let windows = cover(length, window, overlap);
            let report = LongReport::Windowed { n_windows: windows.len() };
            Ok((windows, report))
        }
    }
}

fn cover(length: usize, window: usize, overlap: usize) -> Vec<Window> {
    let stride = window - overlap;
    let mut starts: Vec<usize> = (0..length - window).step_by(stride).collect();
    starts.push(length - window);
    let mut n_covering = vec![0_u32; length];
    for &start in &starts {
        n_covering[start..start + window].iter_mut().for_each(|n| *n += 1);
    }
    let weight = |&n: &u32| 1.0 / n as f32;
    starts
        .into_iter()
        .map(|start| start..start + window)
        .map(|range| Window { weights: n_covering[range.clone()].iter().map(weight).collect(), range })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(length: usize, window: usize, overlap: usize) -> Vec<Window> {
        cut(length, window, overlap, LongPolicy::Window, "residues").unwrap().0
    }

    #[test]
    fn every_residue_counts_exactly_once() {
        for length in [1, 9, 10, 11, 14, 17, 18, 19, 100, 1001] {
            let mut total = vec![0.0; length];
            for window in windows(length, 10, 4) {
                assert!(window.range.len() <= 10 && window.range.len() == window.weights.len());
                for (position, weight) in window.range.zip(window.weights) {
                    total[position] += weight;
                }
            }
            assert!(total.iter().all(|t: &f32| (t - 1.0).abs() < 1e-6), "{length}: {total:?}");
        }
    }

    #[test]
    fn windows_overlap_by_at_least_what_was_asked() {
        for pair in windows(5000, 1022, 256).windows(2) {
            assert!(pair[0].range.end >= pair[1].range.start + 256);
        }
    }

    #[test]
    fn the_policy_that_applied_is_reported() {
        let report = |length, policy| cut(length, 10, 4, policy, "residues").unwrap().1;
        assert_eq!(report(10, LongPolicy::Window), LongReport::Whole);
        assert_eq!(report(16, LongPolicy::Window), LongReport::Windowed { n_windows: 2 });
        assert_eq!(report(17, LongPolicy::Window), LongReport::Windowed { n_windows: 3 });
        assert_eq!(report(11, LongPolicy::Truncate), LongReport::Truncated { kept: 10, length: 11 });
        let refused = cut(11, 10, 4, LongPolicy::Reject, "residues").unwrap_err();
        assert!(matches!(refused, EncodeError::TooLong { length: 11, window: 10, .. }));
    }
}
