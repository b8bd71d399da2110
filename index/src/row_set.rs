//! Sets of rows: what a filter allows.

use fixedbitset::FixedBitSet;

/// Rows of one index that a search may return, one bit a row.
///
/// Sets of the same index combine with [`RowSet::intersect`], [`RowSet::union`] and [`RowSet::complement`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowSet(FixedBitSet);

impl RowSet {
    /// No row of `n_rows`.
    #[must_use]
    pub fn none(n_rows: usize) -> Self {
        Self(FixedBitSet::with_capacity(n_rows))
    }

    /// Every row of `n_rows`.
    #[must_use]
    pub fn all(n_rows: usize) -> Self {
        let mut bits = FixedBitSet::with_capacity(n_rows);
        bits.insert_range(..);
        Self(bits)
    }

    /// The rows for which `allowed` says yes.
    #[must_use]
    pub fn where_true(n_rows: usize, mut allowed: impl FnMut(u32) -> bool) -> Self {
        let mut set = Self::none(n_rows);
        (0..n_rows).filter(|&row| allowed(row as u32)).for_each(|row| set.0.insert(row));
        set
    }

    /// Allows `row`; false if there is no such row.
    pub fn insert(&mut self, row: u32) -> bool {
        let row = row as usize;
        let exists = row < self.0.len();
        if exists {
            self.0.insert(row);
        }
        exists
    }

    /// Allows `row` no more.
    pub fn remove(&mut self, row: u32) {
        if (row as usize) < self.0.len() {
            self.0.set(row as usize, false);
        }
    }

    /// Whether `row` is allowed.
    #[inline]
    #[must_use]
    pub fn contains(&self, row: u32) -> bool {
        self.0.contains(row as usize)
    }

    /// Rows allowed.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.count_ones(..)
    }

    /// Rows of the index, allowed or not.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.0.len()
    }

    /// The allowed rows, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.ones().map(|row| row as u32)
    }

    /// Keeps what both allow.
    pub fn intersect(&mut self, other: &RowSet) {
        self.0.intersect_with(&other.0);
    }

    /// Adds what `other` allows; rows beyond this set's index are left out.
    pub fn union(&mut self, other: &RowSet) {
        let n_rows = self.0.len();
        other.0.ones().take_while(|&row| row < n_rows).for_each(|row| self.0.insert(row));
    }

    /// Allows exactly what was not allowed.
    pub fn complement(&mut self) {
        self.0.toggle_range(..);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_combine_within_their_rows() {
        let mut even = RowSet::where_true(130, |row| row % 2 == 0);
        assert_eq!((even.count(), even.n_rows()), (65, 130));
        let third = RowSet::where_true(130, |row| row % 3 == 0);
        even.intersect(&third);
        assert_eq!(even.iter().take(3).collect::<Vec<_>>(), [0, 6, 12]);
        even.complement();
        assert_eq!(even.count(), 130 - 22);
        let mut small = RowSet::none(3);
        small.union(&RowSet::all(500));
        assert_eq!(small, RowSet::all(3));
        assert!(!small.insert(3) && small.insert(2) && !small.contains(3));
        small.remove(2);
        small.remove(3);
        assert_eq!(small.iter().collect::<Vec<_>>(), [0, 1]);
    }
}
