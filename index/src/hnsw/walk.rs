//! The walk: greedy descent through the upper layers, then a best-first search of the base layer.
//!
//! Searches and the builder walk alike: what a row is compared with comes through [`Scores`], where it leads
//! through [`Links`]. Shared state is read-only; what a walk writes lives in its thread. A filter decides what
//! may be returned, not where the walk may go, and a walk that has compared more rows than its budget gives up,
//! so that the caller can compare with every allowed row instead.

use std::cell::Cell;
use std::collections::BinaryHeap;

use super::codes::Codes;
use super::graph::{Graph, NONE};
use super::pool::Pool;
use crate::kernel::codes::QueryCode;
use crate::kernel::{Lanes, prefetch};
use crate::ranking::{Ranked, TopK};
use crate::row_set::RowSet;
use crate::vector_table::VectorTable;

/// Of the candidates of a search, one in so many is looked for on the first layer above the base. Source: of 1, 4 and 8
/// and none the fewest comparisons for a recall of 0.999 (docs/decisions/graph-construction.md).
const STARTS_SHARE: usize = 8;

/// Compares rows with one query.
pub(super) trait Scores {
    /// Writes the score of each row, as many as `to` has places for; greater is nearer.
    fn score(&self, rows: &[u32], to: &mut [f32]);

    fn rank(&self, row: u32) -> Ranked {
        let mut score = [0.0];
        self.score(&[row], &mut score);
        Ranked::new(score[0], row)
    }
}

/// Cosines with the stored vectors.
pub(super) struct FullScores<'a> {
    pub(super) table: &'a VectorTable,
    pub(super) query: &'a [Lanes],
}

impl Scores for FullScores<'_> {
    #[inline]
    fn score(&self, rows: &[u32], to: &mut [f32]) {
        self.table.kernel().cosines_at(self.table.lanes(), rows, self.query, to);
    }
}

/// Cosines to three digits, from eight-bit codes.
pub(super) struct CodeScores<'a> {
    pub(super) codes: &'a Codes,
    pub(super) query: &'a QueryCode,
}

impl Scores for CodeScores<'_> {
    #[inline]
    fn score(&self, rows: &[u32], to: &mut [f32]) {
        self.codes.scores_at(rows, self.query, to);
    }
}

/// Where rows lead.
pub(super) trait Links {
    fn n_rows(&self) -> usize;

    /// Places of a list on a layer: how many rows [`Links::each`] gives at most.
    fn width(&self, layer: u8) -> usize;

    /// Asks for the base list of a row that may be expanded soon.
    fn ask_for(&self, row: u32);

    /// Gives each row that `row` leads to on a layer.
    fn each(&self, row: u32, layer: u8, take: impl FnMut(u32));
}

impl Links for Graph {
    fn n_rows(&self) -> usize {
        Graph::n_rows(self)
    }

    fn width(&self, layer: u8) -> usize {
        if layer == 0 { self.base().width() } else { self.upper().width() }
    }

    #[inline]
    fn ask_for(&self, row: u32) {
        prefetch(self.base().places(row as usize));
    }

    #[inline]
    fn each(&self, row: u32, layer: u8, mut take: impl FnMut(u32)) {
        for &to in self.places(row, layer) {
            if to == NONE {
                break;
            }
            take(to);
        }
    }
}

/// The best row that uphill steps reach from `start` on the layers `layers`, top layer first.
pub(super) fn descend(
    scores: &impl Scores,
    links: &impl Links,
    start: Ranked,
    layers: impl Iterator<Item = u8>,
    scratch: &mut Scratch,
) -> Ranked {
    let mut best = start;
    for layer in layers {
        loop {
            scratch.visited.fresh.clear();
            links.each(best.row(), layer, |to| scratch.visited.fresh.push(to));
            let rows = &scratch.visited.fresh;
            scratch.scores.resize(rows.len(), 0.0);
            scores.score(rows, &mut scratch.scores);
            let ranked = rows.iter().zip(&scratch.scores).map(|(&row, &score)| Ranked::new(score, row));
            match ranked.max() {
                Some(better) if better > best => best = better,
                _ => break,
            }
        }
    }
    best
}

/// Leaves the best `ef` rows of a layer that a best-first search from `starts` finds in the scratch's pool.
pub(super) fn search_layer(
    scores: &impl Scores,
    links: &impl Links,
    layer: u8,
    starts: &[Ranked],
    ef: usize,
    scratch: &mut Scratch,
) {
    let Scratch { visited, pool, scores: to, .. } = scratch;
    visited.start(links.n_rows());
    pool.start(ef);
    for &start in starts {
        visited.mark(start.row());
        pool.offer(start);
    }
    while let Some(row) = pool.expand() {
        let fresh = visited.mark_fresh(links, row, layer);
        to.resize(fresh.len(), 0.0);
        scores.score(fresh, to);
        for (&row, &score) in fresh.iter().zip(&*to) {
            pool.offer(Ranked::new(score, row));
        }
        if let Some(next) = pool.peek() {
            links.ask_for(next);
        }
    }
    visited.clear();
}

/// Where a search of the base layer for `ef` rows starts, best first: from several places, since what one climb of the
/// layers above misses is most of what is missed at all.
pub(super) fn starts(
    scores: &impl Scores,
    links: &impl Links,
    (entry, top): (u32, u8),
    ef: usize,
    scratch: &mut Scratch,
) -> Vec<Ranked> {
    let start = descend(scores, links, scores.rank(entry), (2..=top).rev(), scratch);
    if top == 0 {
        return vec![start];
    }
    search_layer(scores, links, 1, &[start], (ef / STARTS_SHARE).max(1), scratch);
    scratch.pool.best()
}

/// The best `ef` rows of the base layer that `filter` allows, best first, or `None` if the walk would have to
/// compare more than `budget` rows. The waiting rows have no bound: under a filter the way leads through many.
pub(super) fn search_filtered(
    scores: &impl Scores,
    links: &impl Links,
    starts: &[Ranked],
    ef: usize,
    (filter, budget): (&RowSet, usize),
    scratch: &mut Scratch,
) -> Option<Vec<Ranked>> {
    let Scratch { visited, frontier, scores: to, .. } = scratch;
    let mut found = TopK::new(ef, ef);
    visited.start(links.n_rows());
    frontier.clear();
    for &start in starts {
        visited.mark(start.row());
        frontier.push(start);
        if filter.contains(start.row()) {
            found.offer(start);
        }
    }
    let mut n_compared = starts.len();
    while let Some(nearest) = frontier.pop() {
        if found.is_full() && found.worst().is_some_and(|worst| nearest < worst) {
            break;
        }
        let fresh = visited.mark_fresh(links, nearest.row(), 0);
        n_compared += fresh.len();
        if n_compared > budget {
            break;
        }
        to.resize(fresh.len(), 0.0);
        scores.score(fresh, to);
        for (&row, &score) in fresh.iter().zip(&*to) {
            let candidate = Ranked::new(score, row);
            if !found.is_full() || found.worst().is_some_and(|worst| candidate > worst) {
                frontier.push(candidate);
                if filter.contains(row) {
                    found.offer(candidate);
                }
            }
        }
    }
    visited.clear();
    (n_compared <= budget).then(|| found.into_ranked())
}

/// What a walk writes, kept by its thread for the next one.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    visited: Visited,
    pub(super) pool: Pool,
    frontier: BinaryHeap<Ranked>,
    scores: Vec<f32>,
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

impl Scratch {
    /// Runs `walk` with the thread's scratch. A walk that panics leaves nothing behind: its scratch is dropped.
    pub(super) fn with<T>(walk: impl FnOnce(&mut Scratch) -> T) -> T {
        let mut scratch = SCRATCH.take().unwrap_or_default();
        let done = walk(&mut scratch);
        SCRATCH.set(Some(scratch));
        done
    }
}

/// Rows seen, one bit each, and a list of them; clearing costs what was touched, not what there is.
#[derive(Debug, Default)]
struct Visited {
    words: Vec<u64>,
    /// The first `n_seen` are the rows that are marked.
    seen: Vec<u32>,
    n_seen: usize,
    /// Rows of one list of the descent.
    fresh: Vec<u32>,
}

impl Visited {
    fn start(&mut self, n_rows: usize) {
        let n_words = n_rows.div_ceil(64);
        if self.words.len() < n_words {
            self.words.resize(n_words, 0);
        }
    }

    fn mark(&mut self, row: u32) {
        self.words[row as usize / 64] |= 1 << (row % 64);
        self.seen.resize(self.seen.len().max(self.n_seen + 1), 0);
        self.seen[self.n_seen] = row;
        self.n_seen += 1;
    }

    /// Marks the rows that `row` leads to and gives those that were not marked before.
    #[inline]
    fn mark_fresh(&mut self, links: &impl Links, row: u32, layer: u8) -> &[u32] {
        let first = self.n_seen;
        let needed = first + links.width(layer);
        if self.seen.len() < needed {
            self.seen.resize(2 * needed, 0);
        }
        let (words, places, mut n_fresh) = (&mut self.words[..], &mut self.seen[first..needed], 0);
        links.each(row, layer, |to| {
            let (word, bit) = (&mut words[to as usize / 64], 1 << (to % 64));
            // Written whether new or not: whether it is cannot be foretold, and a wrong guess costs more.
            places[n_fresh] = to;
            n_fresh += usize::from(*word & bit == 0);
            *word |= bit;
        });
        self.n_seen += n_fresh;
        &self.seen[first..self.n_seen]
    }

    fn clear(&mut self) {
        for &row in &self.seen[..self.n_seen] {
            self.words[row as usize / 64] = 0;
        }
        self.n_seen = 0;
    }
}
