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

/// Queries of a batch that a thread answers in turns.
const WALKS_TOGETHER: usize = 4;

/// Rows screened at once.
const MAX_SCREENED: usize = 32;

/// Compares rows with one query.
pub(super) trait Scores {
    /// Compares on this layer from now on; true if earlier scores do not compare with those to come.
    fn go_to(&mut self, _layer: u8) -> bool {
        false
    }

    /// Asks for what [`Scores::score`] will read of a row.
    fn ask_for(&self, row: u32);

    /// Writes the score of each row, as many as `to` has places for; greater is nearer.
    fn score(&self, rows: &[u32], to: &mut [f32]);

    /// As [`Scores::score`], but a row whose score is below `floor` may get any other score below it.
    #[inline]
    fn score_above(&self, rows: &[u32], _floor: f32, to: &mut [f32]) {
        self.score(rows, to);
    }

    /// As [`Scores::score`], for rows that nobody has asked for.
    fn fetch_and_score(&self, rows: &[u32], to: &mut [f32]) {
        rows.iter().for_each(|&row| self.ask_for(row));
        self.score(rows, to);
    }

    fn rank(&self, row: u32) -> Ranked {
        let mut score = [0.0];
        self.score(&[row], &mut score);
        Ranked::new(score[0], row)
    }
}

/// Cosines with the stored vectors.
#[derive(Clone, Copy)]
pub(super) struct FullScores<'a> {
    pub(super) table: &'a VectorTable,
    pub(super) query: &'a [Lanes],
}

impl Scores for FullScores<'_> {
    #[inline]
    fn ask_for(&self, row: u32) {
        prefetch(self.table.row(row));
    }

    #[inline]
    fn score(&self, rows: &[u32], to: &mut [f32]) {
        self.table.kernel().cosines_at(self.table.lanes(), rows, self.query, to);
    }
}

/// Cosines to three digits, from eight-bit codes.
#[derive(Clone, Copy)]
pub(super) struct CodeScores<'a> {
    pub(super) codes: &'a Codes,
    pub(super) query: &'a QueryCode,
}

impl Scores for CodeScores<'_> {
    #[inline]
    fn ask_for(&self, row: u32) {
        self.codes.ask_for(row);
    }

    #[inline]
    fn score(&self, rows: &[u32], to: &mut [f32]) {
        self.codes.scores_at(rows, self.query, to);
    }
}

/// Full vectors count, but are read only where codes say that they may: on the base layer codes pass over rows that are too
/// far, above it they lead the way alone.
#[derive(Clone, Copy)]
pub(super) struct ScreenedScores<'a> {
    codes: CodeScores<'a>,
    full: FullScores<'a>,
    is_on_base: bool,
}

impl<'a> ScreenedScores<'a> {
    pub(super) fn new(codes: CodeScores<'a>, full: FullScores<'a>) -> Self {
        Self { codes, full, is_on_base: false }
    }
}

impl Scores for ScreenedScores<'_> {
    fn go_to(&mut self, layer: u8) -> bool {
        let was_on_base = std::mem::replace(&mut self.is_on_base, layer == 0);
        self.is_on_base != was_on_base
    }

    #[inline]
    fn ask_for(&self, row: u32) {
        self.codes.ask_for(row);
    }

    #[inline]
    fn score(&self, rows: &[u32], to: &mut [f32]) {
        self.score_above(rows, f32::NEG_INFINITY, to);
    }

    #[inline]
    fn score_above(&self, rows: &[u32], floor: f32, to: &mut [f32]) {
        self.codes.score(rows, to);
        if !self.is_on_base {
            return;
        }
        for (rows, to) in rows.chunks(MAX_SCREENED).zip(to.chunks_mut(MAX_SCREENED)) {
            let (mut near, mut places, mut n_near) = ([0; MAX_SCREENED], [0; MAX_SCREENED], 0);
            for (place, (&row, &score)) in rows.iter().zip(&*to).enumerate() {
                (near[n_near], places[n_near]) = (row, place);
                n_near += usize::from(self.codes.codes.may_reach(row, self.codes.query, score, floor));
            }
            let mut cosines = [0.0; MAX_SCREENED];
            self.full.fetch_and_score(&near[..n_near], &mut cosines[..n_near]);
            places[..n_near].iter().zip(cosines).for_each(|(&place, cosine)| to[place] = cosine);
        }
    }
}

/// Where rows lead.
pub(super) trait Links {
    fn n_rows(&self) -> usize;

    /// Places of a list on a layer: how many rows [`Links::each`] gives at most.
    fn width(&self, layer: u8) -> usize;

    /// Asks for the list of a row that may be expanded soon.
    fn ask_for(&self, row: u32, layer: u8);

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
    fn ask_for(&self, row: u32, layer: u8) {
        prefetch(self.places(row, layer));
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

/// Leaves the best `ef` rows of a layer that a best-first search from `starts` finds in the scratch's pool.
pub(super) fn search_layer(
    scores: &impl Scores,
    links: &impl Links,
    layer: u8,
    starts: &[Ranked],
    ef: usize,
    scratch: &mut Scratch,
) {
    scratch.start(links.n_rows(), starts, ef);
    while scratch.reach(scores, links, layer) {
        scratch.compare(scores, links, layer);
    }
}

/// A search for `ef` rows from the entry down, in steps between which memory comes: [`Walk::reach`] asks for it,
/// [`Walk::compare`] reads it. In between others may go on.
///
/// The base layer is searched from several places, since what one climb of the layers above misses is most of what is missed
/// at all.
pub(super) struct Walk<'a, S, L> {
    scores: S,
    links: &'a L,
    /// A row, and its highest layer.
    entry: (u32, u8),
    /// The last layer to search.
    bottom: u8,
    ef: usize,
    layer: u8,
    scratch: &'a mut Scratch,
}

impl<'a, S: Scores + Copy, L: Links> Walk<'a, S, L> {
    /// A walk from `entry` to layer `bottom`, which is not above it.
    pub(super) fn new(
        scores: S,
        links: &'a L,
        entry: (u32, u8),
        bottom: u8,
        ef: usize,
        scratch: &'a mut Scratch,
    ) -> Self {
        let mut walk = Self { scores, links, entry, bottom, ef, layer: entry.1, scratch };
        walk.restart(scores);
        walk
    }

    /// The same walk for another query.
    pub(super) fn restart(&mut self, scores: S) {
        (self.scores, self.layer) = (scores, self.entry.1);
        self.scores.go_to(self.layer);
        let start = self.scores.rank(self.entry.0);
        self.scratch.start(self.links.n_rows(), &[start], candidates_on(self.layer, self.ef));
    }

    /// Asks for the rows that the best candidate leads to; false when the walk is over.
    #[inline]
    pub(super) fn reach(&mut self) -> bool {
        while !self.scratch.reach(&self.scores, self.links, self.layer) {
            if self.layer == self.bottom {
                return false;
            }
            self.layer -= 1;
            let mut starts = self.scratch.pool.best();
            if self.scores.go_to(self.layer) {
                starts = starts.iter().map(|start| self.scores.rank(start.row())).collect();
            }
            self.scratch.start(self.links.n_rows(), &starts, candidates_on(self.layer, self.ef));
        }
        true
    }

    /// Compares the rows that were asked for.
    #[inline]
    pub(super) fn compare(&mut self) {
        self.scratch.compare(&self.scores, self.links, self.layer);
    }

    /// What was found so far, best first.
    pub(super) fn found(&self) -> Vec<Ranked> {
        self.scratch.pool.best()
    }

    /// Walks to the end.
    pub(super) fn run(mut self) -> Vec<Ranked> {
        while self.reach() {
            self.compare();
        }
        self.found()
    }
}

/// The best `ef` rows for each of some queries. Walks take turns, so that while memory comes for one others go on.
pub(super) fn walk_together<S: Scores + Copy>(
    scores: &[S],
    links: &impl Links,
    entry: (u32, u8),
    ef: usize,
) -> Vec<Vec<Ranked>> {
    Scratch::with_some(WALKS_TOGETHER.min(scores.len()), |scratches| {
        let mut found = vec![Vec::new(); scores.len()];
        let mut waiting = scores.iter().copied().enumerate();
        let begin = |(scratch, (at, scores))| (at, Walk::new(scores, links, entry, 0, ef, scratch));
        let mut walks: Vec<(usize, _)> = scratches.iter_mut().zip(waiting.by_ref()).map(begin).collect();
        while !walks.is_empty() {
            walks.retain_mut(|(at, walk)| {
                while !walk.reach() {
                    found[*at] = walk.found();
                    let Some((next, scores)) = waiting.next() else { return false };
                    *at = next;
                    walk.restart(scores);
                }
                true
            });
            walks.iter_mut().for_each(|(_, walk)| walk.compare());
        }
        found
    })
}

/// Candidates that a search for `ef` rows keeps on a layer.
fn candidates_on(layer: u8, ef: usize) -> usize {
    match layer {
        0 => ef,
        1 => (ef / STARTS_SHARE).max(1),
        _ => 1,
    }
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
        scores.fetch_and_score(fresh, to);
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
    /// The first of the rows seen that are still to be compared.
    first_fresh: usize,
    frontier: BinaryHeap<Ranked>,
    scores: Vec<f32>,
}

thread_local! {
    static SCRATCHES: Cell<Vec<Scratch>> = const { Cell::new(Vec::new()) };
}

impl Scratch {
    /// Runs `walk` with a scratch of the thread.
    pub(super) fn with<T>(walk: impl FnOnce(&mut Scratch) -> T) -> T {
        Self::with_some(1, |scratches| walk(&mut scratches[0]))
    }

    /// Runs `walk` with `n` scratches of the thread. A walk that panics leaves nothing behind: they are dropped.
    pub(super) fn with_some<T>(n: usize, walk: impl FnOnce(&mut [Scratch]) -> T) -> T {
        let mut scratches = SCRATCHES.take();
        scratches.resize_with(scratches.len().max(n), Scratch::default);
        let done = walk(&mut scratches[..n]);
        SCRATCHES.set(scratches);
        done
    }

    /// Begins a search among `n_rows` from `starts` for `ef` candidates.
    fn start(&mut self, n_rows: usize, starts: &[Ranked], ef: usize) {
        self.visited.start(n_rows);
        self.pool.start(ef);
        for &start in starts {
            self.visited.mark(start.row());
            self.pool.offer(start);
        }
    }

    /// Expands the best candidate that waits: asks for the rows that it leads to and that were not seen before. False if none
    /// waits.
    #[inline]
    fn reach(&mut self, scores: &impl Scores, links: &impl Links, layer: u8) -> bool {
        let Some(row) = self.pool.expand() else {
            self.visited.clear();
            return false;
        };
        self.first_fresh = self.visited.n_seen;
        self.visited.mark_fresh(links, row, layer).iter().for_each(|&row| scores.ask_for(row));
        true
    }

    /// Compares the rows that were reached, and keeps the best.
    #[inline]
    fn compare(&mut self, scores: &impl Scores, links: &impl Links, layer: u8) {
        let fresh = &self.visited.seen[self.first_fresh..self.visited.n_seen];
        self.scores.resize(fresh.len(), 0.0);
        scores.score_above(fresh, self.pool.floor(), &mut self.scores);
        for (&row, &score) in fresh.iter().zip(&self.scores) {
            if self.pool.offer(Ranked::new(score, row)) {
                links.ask_for(row, layer);
            }
        }
    }
}

/// Rows seen, one bit each, and a list of them; clearing costs what was touched, not what there is.
#[derive(Debug, Default)]
struct Visited {
    words: Vec<u64>,
    /// The first `n_seen` are the rows that are marked.
    seen: Vec<u32>,
    n_seen: usize,
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
