//! Sets that are joined: which numbers belong together.

/// Disjoint sets of `0..n`; the smallest member stands for its set, whatever the order of joining.
pub(super) struct UnionFind(Vec<u32>);

impl UnionFind {
    pub(super) fn new(n: usize) -> Self {
        Self((0..n).map(|index| u32::try_from(index).expect("fewer than 2^32 rows fit in memory")).collect())
    }

    pub(super) fn root(&mut self, index: usize) -> usize {
        let mut index = index as u32;
        while self.0[index as usize] != index {
            let above = self.0[self.0[index as usize] as usize];
            self.0[index as usize] = above;
            index = above;
        }
        index as usize
    }

    pub(super) fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b)] = a.min(b) as u32;
    }

    /// The root of each.
    pub(super) fn roots(mut self) -> Vec<u32> {
        (0..self.0.len()).map(|index| self.root(index) as u32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_sets_have_one_root_whatever_the_order() {
        let joins = [(0, 3), (5, 4), (3, 4)];
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let mut sets = UnionFind::new(7);
            order.iter().for_each(|&at: &usize| sets.join(joins[at].0, joins[at].1));
            assert_eq!(sets.roots(), [0, 1, 2, 0, 0, 0, 6]);
        }
    }
}
