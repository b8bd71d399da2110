//! The candidates of a walk: the best `ef` rows seen, in order, each expanded once.
//!
//! One sorted array does the work of the two heaps of the paper: what falls off its end is worse than `ef`
//! others and would never be expanded.

use crate::ranking::Ranked;

/// Set while a candidate waits for its expansion; rows are numbered below 2^31, so the bit is free.
const WAITING: u64 = 1 << 31;

/// The best `ef` rows seen.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// Best first.
    entries: Vec<u64>,
    ef: usize,
    /// No candidate before this one waits.
    next: usize,
}

impl Pool {
    /// Empties the pool and lets it keep `ef`.
    pub(super) fn start(&mut self, ef: usize) {
        self.entries.clear();
        self.entries.reserve(ef + 1);
        (self.ef, self.next) = (ef, 0);
    }

    /// What a row has to reach to be taken in.
    #[inline]
    pub(super) fn floor(&self) -> f32 {
        match self.entries.last() {
            Some(&worst) if self.entries.len() >= self.ef => Ranked::from_bits(worst | WAITING).cosine(),
            _ => f32::NEG_INFINITY,
        }
    }

    /// Takes a row in if it is among the best; true if it is expanded next unless better ones come.
    #[inline]
    pub(super) fn offer(&mut self, candidate: Ranked) -> bool {
        let entry = candidate.bits();
        if self.entries.len() >= self.ef {
            match self.entries.last() {
                Some(&worst) if entry > worst => self.entries.pop(),
                _ => return false,
            };
        }
        let at = self.entries.partition_point(|&other| other > entry);
        self.entries.insert(at, entry);
        let is_next = at <= self.next;
        self.next = self.next.min(at);
        is_next
    }

    /// The best row that has not been expanded, which it is from now on.
    #[inline]
    pub(super) fn expand(&mut self) -> Option<u32> {
        let at = self.waiting()?;
        self.entries[at] &= !WAITING;
        self.next = at + 1;
        Some(row_of(self.entries[at]))
    }

    #[inline]
    fn waiting(&self) -> Option<usize> {
        let rest = self.entries.get(self.next..)?;
        rest.iter().position(|&entry| entry & WAITING != 0).map(|at| self.next + at)
    }

    /// What is kept, best first.
    pub(super) fn best(&self) -> Vec<Ranked> {
        let mut best: Vec<_> = self.entries.iter().map(|&entry| Ranked::from_bits(entry | WAITING)).collect();
        // Among equal cosines, expanded rows stood last.
        best.sort_unstable_by(|a, b| b.cmp(a));
        best
    }
}

fn row_of(entry: u64) -> u32 {
    Ranked::from_bits(entry | WAITING).row()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_are_kept_and_each_is_expanded_once() {
        let mut pool = Pool::default();
        pool.start(3);
        assert_eq!(pool.expand(), None);
        for (row, cosine) in [(0, 0.5), (1, 0.1), (2, 0.9), (3, 0.05)] {
            pool.offer(Ranked::new(cosine, row));
        }
        assert_eq!((pool.expand(), pool.expand()), (Some(2), Some(0)));
        pool.offer(Ranked::new(0.95, 7));
        assert_eq!((pool.expand(), pool.expand()), (Some(7), None), "1 has fallen off the end");
        assert_eq!(pool.best().iter().map(|r| r.row()).collect::<Vec<_>>(), [7, 2, 0]);
        assert_eq!(pool.best()[0].cosine(), 0.95);
    }

    #[test]
    fn equal_cosines_come_out_row_by_row() {
        let mut pool = Pool::default();
        pool.start(4);
        for row in [3, 1, 2, 0] {
            pool.offer(Ranked::new(0.5, row));
            pool.expand();
        }
        assert_eq!(pool.best().iter().map(|r| r.row()).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }
}
