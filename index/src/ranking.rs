//! The order of hits, and keeping the best few.
//!
//! Cosine descending, then row ascending: one total order, packed into one integer so that heaps compare
//! fast and ties fall the same way everywhere.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::vector_index::Neighbour;

/// A cosine and its row; greater is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ranked(u64);

const SIGN: u32 = 1 << 31;

impl Ranked {
    /// Packs the pair.
    #[inline]
    pub(crate) fn new(cosine: f32, row: u32) -> Self {
        // Adding zero turns -0 into +0, so that the two compare equal.
        let bits = (cosine + 0.0).to_bits();
        let ordered = if bits & SIGN == 0 { bits | SIGN } else { !bits };
        Self((u64::from(ordered) << 32) | u64::from(!row))
    }

    /// The pair as one number, of which the greater is better. Its bit 31 is set, because rows are numbered
    /// below 2^31.
    #[inline]
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    /// The pair that [`Ranked::bits`] gave.
    #[inline]
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[inline]
    pub(crate) fn row(self) -> u32 {
        !(self.0 as u32)
    }

    #[inline]
    pub(crate) fn cosine(self) -> f32 {
        let ordered = (self.0 >> 32) as u32;
        f32::from_bits(if ordered & SIGN == 0 { !ordered } else { ordered ^ SIGN })
    }
}

impl From<Ranked> for Neighbour {
    fn from(ranked: Ranked) -> Self {
        Self { row: ranked.row(), cosine: ranked.cosine() }
    }
}

/// The best `k` seen so far.
#[derive(Debug, Clone)]
pub(crate) struct TopK {
    k: usize,
    worst_first: BinaryHeap<Reverse<Ranked>>,
}

impl TopK {
    /// Keeps `k`; about `n` will be offered, which bounds the memory taken at once.
    pub(crate) fn new(k: usize, n: usize) -> Self {
        Self { k, worst_first: BinaryHeap::with_capacity(k.min(n)) }
    }

    #[inline]
    pub(crate) fn offer(&mut self, candidate: Ranked) {
        if self.worst_first.len() < self.k {
            self.worst_first.push(Reverse(candidate));
        } else if let Some(mut worst) = self.worst_first.peek_mut()
            && candidate > worst.0
        {
            *worst = Reverse(candidate);
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.worst_first.len() >= self.k
    }

    /// The worst one kept.
    #[inline]
    pub(crate) fn worst(&self) -> Option<Ranked> {
        self.worst_first.peek().map(|worst| worst.0)
    }

    pub(crate) fn merge(mut self, other: Self) -> Self {
        other.worst_first.into_iter().for_each(|Reverse(candidate)| self.offer(candidate));
        self
    }

    /// Best first.
    pub(crate) fn into_ranked(self) -> Vec<Ranked> {
        self.worst_first.into_sorted_vec().into_iter().map(|Reverse(ranked)| ranked).collect()
    }

    /// Best first.
    pub(crate) fn into_neighbours(self) -> Vec<Neighbour> {
        self.into_ranked().into_iter().map(Neighbour::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_keeps_both_parts_and_the_order() {
        let cosines = [-1.0, -0.5, -f32::MIN_POSITIVE, 0.0, f32::MIN_POSITIVE, 0.25, 1.0];
        for pair in cosines.windows(2) {
            assert!(Ranked::new(pair[0], 0) < Ranked::new(pair[1], 9), "{pair:?}");
        }
        for cosine in cosines {
            for row in [0, 1, u32::MAX - 1] {
                let ranked = Ranked::new(cosine, row);
                assert_eq!((ranked.cosine(), ranked.row()), (cosine, row));
            }
        }
        assert_eq!(Ranked::new(-0.0, 3), Ranked::new(0.0, 3));
        assert!(Ranked::new(0.5, 1) > Ranked::new(0.5, 2), "equal cosines: the smaller row is better");
    }

    #[test]
    fn the_best_k_come_out_best_first() {
        let mut top = TopK::new(3, 100);
        for (row, cosine) in [0.1, 0.9, -0.2, 0.9, 0.5].into_iter().enumerate() {
            top.offer(Ranked::new(cosine, row as u32));
        }
        let rows: Vec<u32> = top.into_neighbours().iter().map(|n| n.row).collect();
        assert_eq!(rows, [1, 3, 4]);
    }
}
