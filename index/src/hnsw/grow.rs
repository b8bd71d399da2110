//! Growing a graph row by row, on all cores at once.
//!
//! Insertion as in the paper (its algorithms 1, 3 and 4), on the flat lists that searches read. Links are single
//! atomic numbers, so a walk reads a list while it is rewritten: it sees old links, new ones or fewer, and all of
//! them are rows. A list is written under the lock of its row, no thread holds two locks, and a row is linked to
//! only after its own lists are complete.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use super::HnswParams;
use super::graph::{Draft, Lists, NONE, starts_of};
use super::walk::{FullScores, Links, Scores, Scratch, Walk, search_layer};
use crate::error::GraphFault;
use crate::kernel::prefetch;
use crate::ranking::Ranked;
use crate::vector_table::VectorTable;

/// Locks that the rows share; so many that two threads seldom meet.
const N_LOCKS: usize = 4_096;
/// Kept rows that a candidate is compared with at once.
const TILE: usize = 4;

/// A graph to which rows are being added.
pub(super) struct Growing<'a> {
    table: &'a VectorTable,
    params: HnswParams,
    entry: u32,
    levels: Vec<u8>,
    base: AtomicLists,
    upper_starts: Vec<u32>,
    upper: AtomicLists,
    locks: Vec<Mutex<()>>,
}

/// [`Lists`] that several threads write.
struct AtomicLists {
    width: usize,
    links: Vec<AtomicU32>,
}

impl AtomicLists {
    fn empty(n_lists: usize, width: usize) -> Self {
        Self { width, links: (0..n_lists * width).map(|_| AtomicU32::new(NONE)).collect() }
    }

    #[inline]
    fn places(&self, index: usize) -> &[AtomicU32] {
        &self.links[index * self.width..][..self.width]
    }

    fn into_lists(self) -> Result<Lists, GraphFault> {
        let links: Vec<u32> = self.links.into_iter().map(AtomicU32::into_inner).collect();
        Lists::new(self.width, links.into())
    }
}

fn read(places: &[AtomicU32]) -> impl Iterator<Item = u32> + '_ {
    places.iter().map(|place| place.load(Ordering::Relaxed)).take_while(|&to| to != NONE)
}

fn write(places: &[AtomicU32], links: impl Iterator<Item = u32>) {
    for (place, to) in places.iter().zip(links.chain(std::iter::repeat(NONE))) {
        place.store(to, Ordering::Relaxed);
    }
}

impl<'a> Growing<'a> {
    /// A graph without links over the rows of `table`, whose highest layers are `levels`.
    pub(super) fn new(table: &'a VectorTable, params: HnswParams, entry: u32, levels: Vec<u8>) -> Self {
        let upper_starts = starts_of(&levels);
        let n_upper = levels.iter().map(|&level| usize::from(level)).sum();
        Self {
            table,
            params,
            entry,
            base: AtomicLists::empty(levels.len(), 2 * params.m),
            upper: AtomicLists::empty(n_upper, params.m),
            levels,
            upper_starts,
            locks: (0..N_LOCKS).map(|_| Mutex::new(())).collect(),
        }
    }

    #[inline]
    fn places(&self, row: u32, layer: u8) -> &[AtomicU32] {
        match layer {
            0 => self.base.places(row as usize),
            _ => self.upper.places(self.upper_starts[row as usize] as usize + usize::from(layer) - 1),
        }
    }

    /// Sets the lists of a row that is already part of the graph; links past a list's width are left out.
    pub(super) fn seed(&self, row: u32, lists: &[Vec<u32>]) {
        for (layer, links) in (0..=self.levels[row as usize]).zip(lists) {
            write(self.places(row, layer), links.iter().copied());
        }
    }

    /// Links a row in. Several rows may be inserted at once.
    pub(super) fn insert(&self, row: u32) {
        let scores = FullScores { table: self.table, query: self.table.row(row) };
        let (level, top) = (self.levels[row as usize], self.levels[self.entry as usize]);
        let chosen = Scratch::with(|scratch| {
            let mut start = match level < top {
                true => Walk::new(scores, self, (self.entry, top), level + 1, 1, scratch).run()[0],
                false => scores.rank(self.entry),
            };
            let choose = |layer| {
                search_layer(&scores, self, layer, &[start], self.params.ef_construction, scratch);
                let found = scratch.pool.best();
                start = found[0];
                (layer, self.choose(&found, self.params.m))
            };
            (0..=level.min(top)).rev().map(choose).collect::<Vec<_>>()
        });
        for (layer, links) in &chosen {
            write(self.places(row, *layer), links.iter().map(|link| link.row()));
        }
        for (layer, links) in chosen.iter().rev() {
            links.iter().for_each(|link| self.link_back(link.row(), *layer, Ranked::new(link.cosine(), row)));
        }
    }

    /// The best `ef` rows that a search of the graph as it is now finds.
    pub(super) fn search(&self, scores: impl Scores + Copy, ef: usize, scratch: &mut Scratch) -> Vec<u32> {
        let top = self.levels[self.entry as usize];
        let found = Walk::new(scores, self, (self.entry, top), 0, ef, scratch).run();
        found.iter().map(|found| found.row()).collect()
    }

    /// Links `from` to a new row. A full list keeps those that lead in different directions.
    fn link_back(&self, from: u32, layer: u8, to: Ranked) {
        // A lock guards no data of its own, so one that a panic poisoned is as good as any.
        let lock = self.locks[from as usize % N_LOCKS].lock();
        let _lock = lock.unwrap_or_else(PoisonError::into_inner);
        let places = self.places(from, layer);
        let mut rows: Vec<u32> = read(places).collect();
        if let Some(place) = places.get(rows.len()) {
            place.store(to.row(), Ordering::Relaxed);
            return;
        }
        let mut cosines = vec![0.0; rows.len()];
        let scores = FullScores { table: self.table, query: self.table.row(from) };
        scores.fetch_and_score(&rows, &mut cosines);
        let mut candidates: Vec<Ranked> =
            rows.drain(..).zip(cosines).map(|(row, cosine)| Ranked::new(cosine, row)).collect();
        candidates.push(to);
        candidates.sort_unstable_by(|a, b| b.cmp(a));
        write(places, self.choose(&candidates, places.len()).iter().map(|link| link.row()));
    }

    /// At most `n` of `candidates`, best first: each is nearer to the row that they are ranked for than to any
    /// that was chosen before it.
    fn choose(&self, candidates: &[Ranked], n: usize) -> Vec<Ranked> {
        let mut chosen = Vec::with_capacity(n);
        let mut rows = Vec::with_capacity(n);
        for (i, &candidate) in candidates.iter().enumerate() {
            if chosen.len() == n {
                break;
            }
            if let Some(next) = candidates.get(i + 2) {
                prefetch(self.table.row(next.row()));
            }
            let scores = FullScores { table: self.table, query: self.table.row(candidate.row()) };
            let is_far = |rows: &[u32]| {
                let mut cosines = [0.0; TILE];
                let cosines = &mut cosines[..rows.len()];
                scores.score(rows, cosines);
                cosines.iter().all(|&cosine| cosine < candidate.cosine())
            };
            if rows.chunks(TILE).all(is_far) {
                chosen.push(candidate);
                rows.push(candidate.row());
            }
        }
        chosen
    }

    /// The graph as it is now, for the last touches.
    pub(super) fn into_draft(self) -> Result<Draft, GraphFault> {
        Ok(Draft {
            entry: self.entry,
            levels: self.levels,
            base: self.base.into_lists()?,
            upper: self.upper.into_lists()?,
        })
    }
}

impl Links for Growing<'_> {
    fn n_rows(&self) -> usize {
        self.levels.len()
    }

    fn width(&self, layer: u8) -> usize {
        if layer == 0 { self.base.width } else { self.upper.width }
    }

    #[inline]
    fn ask_for(&self, row: u32, layer: u8) {
        prefetch(self.places(row, layer));
    }

    #[inline]
    fn each(&self, row: u32, layer: u8, mut take: impl FnMut(u32)) {
        read(self.places(row, layer)).for_each(&mut take);
    }
}
