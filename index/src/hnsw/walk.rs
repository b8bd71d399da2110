//! The walk: greedy descent through the upper layers, then a best-first search of the base layer.
//!
//! Shared state is read-only; what a walk writes lives in its thread. A filter decides what may be returned,
//! not where the walk may go, and a walk that has compared more rows than its budget gives up, so that the
//! caller can compare with every allowed row instead.

use std::cell::Cell;
use std::collections::BinaryHeap;

use super::graph::Graph;
use crate::kernel::{Lanes, prefetch};
use crate::ranking::{Ranked, TopK};
use crate::row_set::RowSet;
use crate::vector_index::Neighbour;
use crate::vector_table::VectorTable;

/// One walk's surroundings.
pub(super) struct Walk<'a> {
    pub(super) table: &'a VectorTable,
    pub(super) graph: &'a Graph,
    /// Rows that may be returned; `None` allows all.
    pub(super) filter: Option<&'a RowSet>,
    /// Comparisons after which the walk gives up.
    pub(super) budget: usize,
}

impl Walk<'_> {
    /// The best `ef` rows found, best first, or `None` if the budget ran out.
    pub(super) fn nearest(&self, query: &[Lanes], ef: usize) -> Option<Vec<Neighbour>> {
        if self.graph.n_rows() == 0 {
            return Some(Vec::new());
        }
        let start = self.descend(query);
        let mut scratch = Scratch::take(self.graph.n_rows());
        let found = self.search_base(query, start, ef, &mut scratch);
        scratch.give_back();
        found.map(TopK::into_neighbours)
    }

    #[inline]
    fn rank(&self, row: u32, query: &[Lanes]) -> Ranked {
        Ranked::new(self.table.kernel().cosine(self.table.row(row), query), row)
    }

    /// The best row that steps uphill reach on the layers above the base.
    fn descend(&self, query: &[Lanes]) -> Ranked {
        let mut best = self.rank(self.graph.entry(), query);
        for layer in (1..=self.graph.top_layer()).rev() {
            loop {
                let links = self.graph.links(best.row(), layer);
                match links.iter().map(|&row| self.rank(row, query)).max() {
                    Some(better) if better > best => best = better,
                    _ => break,
                }
            }
        }
        best
    }

    fn search_base(&self, query: &[Lanes], start: Ranked, ef: usize, scratch: &mut Scratch) -> Option<TopK> {
        let allows = |row| self.filter.is_none_or(|filter| filter.contains(row));
        let mut found = TopK::new(ef, ef);
        let mut n_compared = 1;
        scratch.visited.insert(start.row());
        scratch.frontier.push(start);
        if allows(start.row()) {
            found.offer(start);
        }
        while let Some(nearest) = scratch.frontier.pop() {
            if found.is_full() && found.worst().is_some_and(|worst| nearest < worst) {
                break;
            }
            let Scratch { visited, frontier, unseen } = &mut *scratch;
            unseen.clear();
            unseen.extend(self.graph.base_links(nearest.row()).iter().filter(|&&row| visited.insert(row)));
            n_compared += unseen.len();
            if n_compared > self.budget {
                return None;
            }
            for &row in &*unseen {
                prefetch(self.table.row(row));
            }
            for &row in &*unseen {
                let candidate = self.rank(row, query);
                if !found.is_full() || found.worst().is_some_and(|worst| candidate > worst) {
                    frontier.push(candidate);
                    if allows(row) {
                        found.offer(candidate);
                    }
                }
            }
        }
        Some(found)
    }
}

/// What a walk writes, kept by its thread for the next one.
#[derive(Debug, Default)]
struct Scratch {
    visited: Visited,
    frontier: BinaryHeap<Ranked>,
    unseen: Vec<u32>,
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

impl Scratch {
    /// A clean scratch for `n_rows`.
    fn take(n_rows: usize) -> Box<Self> {
        let mut scratch = SCRATCH.take().unwrap_or_default();
        scratch.visited.grow(n_rows);
        scratch
    }

    /// Cleans up. A walk that does not get here leaves nothing behind: its scratch is dropped.
    fn give_back(mut self: Box<Self>) {
        self.visited.clear();
        self.frontier.clear();
        SCRATCH.set(Some(self));
    }
}

/// Rows seen, one bit each; clearing costs what was touched, not what there is.
#[derive(Debug, Default)]
struct Visited {
    words: Vec<u64>,
    touched: Vec<u32>,
}

impl Visited {
    fn grow(&mut self, n_rows: usize) {
        let n_words = n_rows.div_ceil(64);
        if self.words.len() < n_words {
            self.words.resize(n_words, 0);
        }
    }

    /// Marks a row; true if it was not marked before.
    #[inline]
    fn insert(&mut self, row: u32) -> bool {
        let (index, bit) = (row / 64, 1 << (row % 64));
        let word = &mut self.words[index as usize];
        if *word == 0 {
            self.touched.push(index);
        }
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    fn clear(&mut self) {
        for index in self.touched.drain(..) {
            self.words[index as usize] = 0;
        }
    }
}
