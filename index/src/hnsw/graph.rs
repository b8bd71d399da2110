//! The graph as it is searched: neighbour lists of one width, every link checked once.
//!
//! A [`Graph`] can only be made by [`Graph::new`], whether it comes from the builder or from disk. It refuses
//! links to rows that do not exist or are not on the link's layer, so a walk needs no checks of its own.

use rayon::prelude::*;

use crate::error::GraphFault;
use crate::slab::Slab;

/// Highest layer, counted from the base layer 0.
pub(crate) const MAX_LEVEL: u8 = 15;

/// What fills the rest of a list; no row has this number.
pub(crate) const NONE: u32 = u32::MAX;

/// A graph while it is still being changed.
#[derive(Debug)]
pub(super) struct Draft {
    /// Where walks start.
    pub(super) entry: u32,
    /// Highest layer of each row, `[n_rows]`.
    pub(super) levels: Vec<u8>,
    /// Base layer, one list a row.
    pub(super) base: Lists,
    /// Layers 1 and up: row by row, layer by layer.
    pub(super) upper: Lists,
}

/// Lists of at most `width` links, each in `width` places, the rest filled up with [`NONE`]: a list is where its
/// number says, without looking it up.
#[derive(Debug, Clone)]
pub(crate) struct Lists {
    width: usize,
    links: Slab<u32>,
}

impl Lists {
    /// Cuts `links`, `[n_lists][width]`, into lists.
    ///
    /// # Errors
    /// [`GraphFault::Count`] if they do not divide into lists of `width`.
    pub(crate) fn new(width: usize, links: Slab<u32>) -> Result<Self, GraphFault> {
        if width == 0 || !links.len().is_multiple_of(width) {
            let (expected, found) = (links.len() as u64 / width.max(1) as u64, links.len() as u64);
            return Err(GraphFault::Count { what: "links of whole lists", expected, found });
        }
        Ok(Self { width, links })
    }

    /// Spreads `packed`, lists of the lengths given end to end.
    ///
    /// # Errors
    /// [`GraphFault::Count`] if the lengths do not add up to the number of links.
    pub(crate) fn spread(lens: &[u16], packed: &[u32]) -> Result<Self, GraphFault> {
        let n_links = lens.iter().map(|&len| usize::from(len)).sum();
        ensure_count("links", n_links, packed.len())?;
        let width = lens.iter().map(|&len| usize::from(len)).max().unwrap_or(0).max(1);
        let mut links = vec![NONE; lens.len() * width];
        let mut start = 0;
        for (list, &len) in links.chunks_exact_mut(width).zip(lens) {
            let end = start + usize::from(len);
            list[..usize::from(len)].copy_from_slice(&packed[start..end]);
            start = end;
        }
        Self::new(width, links.into())
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn n_lists(&self) -> usize {
        self.links.len() / self.width
    }

    /// All places of all lists.
    pub(crate) fn links(&self) -> &[u32] {
        &self.links
    }

    /// All places of a list.
    #[inline]
    pub(super) fn places(&self, index: usize) -> &[u32] {
        &self.links[index * self.width..][..self.width]
    }

    /// The links of a list.
    pub(super) fn list(&self, index: usize) -> &[u32] {
        let places = self.places(index);
        &places[..len_of(places)]
    }

    /// Appends a link; false if the list is full.
    pub(super) fn push(&mut self, index: usize, to: u32) -> bool {
        let (len, width) = (self.list(index).len(), self.width);
        if len < width {
            self.links.to_mut()[index * width + len] = to;
        }
        len < width
    }

    /// Takes the last link of a list.
    pub(super) fn pop(&mut self, index: usize) -> Option<u32> {
        let last = (index * self.width + self.list(index).len()).checked_sub(1)?;
        (last >= index * self.width).then(|| std::mem::replace(&mut self.links.to_mut()[last], NONE))
    }
}

/// How many places of a list are taken.
fn len_of(places: &[u32]) -> usize {
    places.iter().position(|&to| to == NONE).unwrap_or(places.len())
}

/// A checked neighbour graph over the rows of one table.
#[derive(Debug, Clone)]
pub(crate) struct Graph {
    entry: u32,
    /// Highest layer of each row, `[n_rows]`.
    levels: Slab<u8>,
    /// Base layer, one list a row.
    base: Lists,
    /// Where the upper lists of a row start in `upper`, `[n_rows]`.
    upper_starts: Vec<u32>,
    /// Layers 1 and up: row by row, layer by layer.
    upper: Lists,
}

impl Graph {
    /// The graph of no rows.
    pub(crate) fn empty() -> Self {
        let none = Lists { width: 1, links: Slab::default() };
        Self { entry: 0, levels: Slab::default(), base: none.clone(), upper_starts: Vec::new(), upper: none }
    }

    /// Puts the parts together.
    ///
    /// `upper` has one list for each row and layer above the base, row by row and from layer 1 up.
    ///
    /// # Errors
    /// [`GraphFault`] naming the rule that the parts break.
    pub(crate) fn new(entry: u32, levels: Slab<u8>, base: Lists, upper: Lists) -> Result<Self, GraphFault> {
        let n_rows = levels.len();
        if let Some(row) = levels.iter().position(|&level| level > MAX_LEVEL) {
            return Err(GraphFault::Level { row, level: levels[row], max: MAX_LEVEL });
        }
        ensure_count("base lists", n_rows, base.n_lists())?;
        let upper_starts = starts_of(&levels);
        let n_upper = levels.iter().map(|&level| usize::from(level)).sum();
        ensure_count("upper lists", n_upper, upper.n_lists())?;
        if n_upper > u32::MAX as usize {
            let (expected, found) = (u32::MAX.into(), n_upper as u64);
            return Err(GraphFault::Count { what: "upper lists at most", expected, found });
        }
        let top = levels.iter().copied().max().unwrap_or(0);
        if n_rows > 0 && levels.get(entry as usize) != Some(&top) {
            return Err(GraphFault::Entry { row: entry });
        }
        let graph = Self { entry, levels, base, upper_starts, upper };
        graph.ensure_links()?;
        Ok(graph)
    }

    fn ensure_links(&self) -> Result<(), GraphFault> {
        let n_rows = self.n_rows() as u32;
        let is_sound = |places: &[u32]| {
            let (links, rest) = places.split_at(len_of(places));
            links.iter().all(|&to| to < n_rows) && rest.iter().all(|&to| to == NONE)
        };
        let fault = |layer, row: usize, places: &[u32]| {
            let to = places.iter().copied().find(|&to| to >= n_rows && to != NONE);
            GraphFault::Link { layer, row, to: to.unwrap_or(NONE) }
        };
        // Most links are on the base layer, where any row will do.
        let unsound = self.base.links.par_chunks(self.base.width).position_first(|places| !is_sound(places));
        if let Some(row) = unsound {
            return Err(fault(0, row, self.base.places(row)));
        }
        for (row, &level) in self.levels.iter().enumerate().filter(|&(_, &level)| level > 0) {
            for layer in 1..=level {
                let places = self.places(row as u32, layer);
                if !is_sound(places) {
                    return Err(fault(layer, row, places));
                }
                let on_layer = |to: u32| self.levels.get(to as usize).is_some_and(|&level| level >= layer);
                if let Some(&to) = places[..len_of(places)].iter().find(|&&to| !on_layer(to)) {
                    return Err(GraphFault::Link { layer, row, to });
                }
            }
        }
        Ok(())
    }

    /// Where walks start; meaningless in an empty graph.
    pub(crate) fn entry(&self) -> u32 {
        self.entry
    }

    pub(crate) fn n_rows(&self) -> usize {
        self.levels.len()
    }

    pub(crate) fn levels(&self) -> &[u8] {
        &self.levels
    }

    pub(crate) fn base(&self) -> &Lists {
        &self.base
    }

    pub(crate) fn upper(&self) -> &Lists {
        &self.upper
    }

    /// Highest layer that has rows.
    pub(super) fn top_layer(&self) -> u8 {
        self.levels.get(self.entry as usize).copied().unwrap_or(0)
    }

    /// All places of a row's list on one of its layers.
    #[inline]
    pub(super) fn places(&self, row: u32, layer: u8) -> &[u32] {
        match layer {
            0 => self.base.places(row as usize),
            _ => self.upper.places(self.upper_starts[row as usize] as usize + usize::from(layer) - 1),
        }
    }
}

impl TryFrom<Draft> for Graph {
    type Error = GraphFault;

    fn try_from(draft: Draft) -> Result<Self, GraphFault> {
        Self::new(draft.entry, draft.levels.into(), draft.base, draft.upper)
    }
}

/// Number of the first upper list of each row.
pub(super) fn starts_of(levels: &[u8]) -> Vec<u32> {
    let start = |next: &mut u32, &level: &u8| {
        let start = *next;
        *next = next.wrapping_add(level.into());
        Some(start)
    };
    levels.iter().scan(0, start).collect()
}

fn ensure_count(what: &'static str, expected: usize, found: usize) -> Result<(), GraphFault> {
    if expected == found {
        return Ok(());
    }
    Err(GraphFault::Count { what, expected: expected as u64, found: found as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lists of two places.
    fn lists(lists: &[&[u32]]) -> Lists {
        let links = lists.iter().flat_map(|list| (0..2).map(|i| list.get(i).copied().unwrap_or(NONE)));
        Lists::new(2, links.collect::<Vec<_>>().into()).unwrap()
    }

    #[test]
    fn a_sound_graph_answers_by_row_and_layer() {
        let levels = vec![0, 2, 1].into();
        let graph = Graph::new(1, levels, lists(&[&[1], &[0, 2], &[1]]), lists(&[&[2], &[], &[1]])).unwrap();
        assert_eq!(graph.places(1, 0), [0, 2]);
        assert_eq!(graph.places(1, 1), [2, NONE]);
        assert_eq!(graph.places(1, 2), [NONE; 2]);
        assert_eq!(graph.places(2, 1), [1, NONE]);
        assert_eq!(graph.top_layer(), 2);
    }

    #[test]
    fn every_broken_rule_is_named() {
        let base = || lists(&[&[1], &[0]]);
        let none = || lists(&[]);
        let refuse = |entry, levels: &[u8], base, upper| {
            Graph::new(entry, levels.to_vec().into(), base, upper).unwrap_err()
        };
        assert_eq!(refuse(2, &[0, 0], base(), none()), GraphFault::Entry { row: 2 });
        assert_eq!(refuse(0, &[0, 1], base(), lists(&[&[]])), GraphFault::Entry { row: 0 });
        assert!(matches!(refuse(0, &[16, 0], base(), none()), GraphFault::Level { row: 0, level: 16, .. }));
        assert!(matches!(refuse(0, &[0], base(), none()), GraphFault::Count { expected: 1, found: 2, .. }));
        assert!(matches!(refuse(0, &[1, 0], base(), none()), GraphFault::Count { what: "upper lists", .. }));
        let stray = lists(&[&[1], &[2]]);
        assert_eq!(refuse(0, &[0, 0], stray, none()), GraphFault::Link { layer: 0, row: 1, to: 2 });
        let gap = lists(&[&[1], &[NONE, 0]]);
        assert_eq!(refuse(0, &[0, 0], gap, none()), GraphFault::Link { layer: 0, row: 1, to: NONE });
        let above = refuse(0, &[1, 0], base(), lists(&[&[1]]));
        assert_eq!(above, GraphFault::Link { layer: 1, row: 0, to: 1 });
        let stray = refuse(0, &[1, 0], base(), lists(&[&[7]]));
        assert_eq!(stray, GraphFault::Link { layer: 1, row: 0, to: 7 });
        assert!(Lists::new(2, vec![0; 3].into()).is_err() && Lists::new(0, vec![0; 3].into()).is_err());
    }

    #[test]
    fn lists_spread_grow_and_shrink() {
        let mut lists = Lists::spread(&[2, 0, 1], &[5, 6, 7]).unwrap();
        assert_eq!((lists.width(), lists.n_lists()), (2, 3));
        assert_eq!((lists.list(0), lists.list(1), lists.list(2)), (&[5, 6][..], &[][..], &[7][..]));
        assert!(lists.push(1, 8) && lists.push(1, 9) && !lists.push(1, 10));
        assert_eq!((lists.pop(1), lists.pop(1), lists.pop(1)), (Some(9), Some(8), None));
        assert!(Lists::spread(&[2, 2], &[0; 3]).is_err());
    }
}
