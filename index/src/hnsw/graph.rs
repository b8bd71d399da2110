//! The graph as it is searched: packed neighbour lists, every link checked once.
//!
//! A [`Graph`] can only be made by [`Graph::new`], whether it comes from the builder or from disk. It refuses
//! links to rows that do not exist or are not on the link's layer, so a walk needs no checks of its own.

use crate::error::GraphFault;

/// Highest layer, counted from the base layer 0.
pub(crate) const MAX_LEVEL: u8 = 15;

/// Neighbour lists while they are still being changed.
#[derive(Debug)]
pub(super) struct Draft {
    /// Where walks start.
    pub(super) entry: u32,
    /// Highest layer of each row, `[n_rows]`.
    pub(super) levels: Vec<u8>,
    /// Links by row and layer, `[n_rows][level + 1]`.
    pub(super) lists: Vec<Vec<Vec<u32>>>,
}

/// Lists end to end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PackedLists {
    /// Where each list starts, and the end of the last: `[n_lists + 1]`.
    starts: Vec<usize>,
    links: Vec<u32>,
}

impl PackedLists {
    /// Cuts `links` into lists of the lengths given.
    pub(crate) fn new(lens: impl IntoIterator<Item = usize>, links: Vec<u32>) -> Result<Self, GraphFault> {
        let mut starts = vec![0];
        let mut end = 0_usize;
        for len in lens {
            end = end.saturating_add(len);
            starts.push(end);
        }
        if end != links.len() {
            let (expected, found) = (end as u64, links.len() as u64);
            return Err(GraphFault::Count { what: "links", expected, found });
        }
        Ok(Self { starts, links })
    }

    fn pack<'a>(lists: impl Iterator<Item = &'a Vec<u32>> + Clone) -> Result<Self, GraphFault> {
        Self::new(lists.clone().map(Vec::len), lists.flatten().copied().collect())
    }

    #[inline]
    fn list(&self, index: usize) -> &[u32] {
        &self.links[self.starts[index]..self.starts[index + 1]]
    }

    pub(crate) fn n_lists(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    pub(crate) fn links(&self) -> &[u32] {
        &self.links
    }

    pub(crate) fn lens(&self) -> impl Iterator<Item = usize> + '_ {
        self.starts.windows(2).map(|pair| pair[1] - pair[0])
    }
}

/// A checked neighbour graph over the rows of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Graph {
    entry: u32,
    /// Highest layer of each row, `[n_rows]`.
    levels: Vec<u8>,
    /// Base layer, one list a row.
    base: PackedLists,
    /// Where the upper lists of a row start in `upper`, `[n_rows]`.
    upper_starts: Vec<usize>,
    /// Layers 1 and up: row by row, layer by layer.
    upper: PackedLists,
}

impl Graph {
    /// The graph of no rows.
    pub(crate) fn empty() -> Self {
        Self {
            entry: 0,
            levels: Vec::new(),
            base: PackedLists::default(),
            upper_starts: Vec::new(),
            upper: PackedLists::default(),
        }
    }

    /// Puts the parts together.
    ///
    /// `upper` has one list for each row and layer above the base, row by row and from layer 1 up.
    ///
    /// # Errors
    /// [`GraphFault`] naming the rule that the parts break.
    pub(crate) fn new(
        entry: u32,
        levels: Vec<u8>,
        base: PackedLists,
        upper: PackedLists,
    ) -> Result<Self, GraphFault> {
        let n_rows = levels.len();
        if let Some(row) = levels.iter().position(|&level| level > MAX_LEVEL) {
            return Err(GraphFault::Level { row, level: levels[row], max: MAX_LEVEL });
        }
        ensure_count("base lists", n_rows, base.n_lists())?;
        let mut n_upper = 0;
        let mut upper_starts = Vec::with_capacity(n_rows);
        for &level in &levels {
            upper_starts.push(n_upper);
            n_upper += usize::from(level);
        }
        ensure_count("upper lists", n_upper, upper.n_lists())?;
        let top = levels.iter().copied().max().unwrap_or(0);
        if n_rows > 0 && levels.get(entry as usize) != Some(&top) {
            return Err(GraphFault::Entry { row: entry });
        }
        let graph = Self { entry, levels, base, upper_starts, upper };
        graph.ensure_links()?;
        Ok(graph)
    }

    fn ensure_links(&self) -> Result<(), GraphFault> {
        for (row, &level) in self.levels.iter().enumerate() {
            for layer in 0..=level {
                let on_layer = |to: u32| self.levels.get(to as usize).is_some_and(|&level| level >= layer);
                if let Some(&to) = self.links(row as u32, layer).iter().find(|&&to| !on_layer(to)) {
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

    pub(crate) fn base(&self) -> &PackedLists {
        &self.base
    }

    pub(crate) fn upper(&self) -> &PackedLists {
        &self.upper
    }

    /// Highest layer that has rows.
    pub(super) fn top_layer(&self) -> u8 {
        self.levels.get(self.entry as usize).copied().unwrap_or(0)
    }

    /// Neighbours on the base layer.
    #[inline]
    pub(super) fn base_links(&self, row: u32) -> &[u32] {
        self.base.list(row as usize)
    }

    /// Neighbours of a row on one of its layers.
    #[inline]
    pub(super) fn links(&self, row: u32, layer: u8) -> &[u32] {
        match layer {
            0 => self.base_links(row),
            _ => self.upper.list(self.upper_starts[row as usize] + usize::from(layer) - 1),
        }
    }
}

impl TryFrom<Draft> for Graph {
    type Error = GraphFault;

    fn try_from(draft: Draft) -> Result<Self, GraphFault> {
        let base = PackedLists::pack(draft.lists.iter().flat_map(|layers| layers.first()))?;
        let upper = PackedLists::pack(draft.lists.iter().flat_map(|layers| layers.iter().skip(1)))?;
        Self::new(draft.entry, draft.levels, base, upper)
    }
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

    fn lists(lists: &[&[u32]]) -> PackedLists {
        PackedLists::new(lists.iter().map(|l| l.len()), lists.concat()).unwrap()
    }

    #[test]
    fn a_sound_graph_answers_by_row_and_layer() {
        let graph =
            Graph::new(1, vec![0, 2, 1], lists(&[&[1], &[0, 2], &[1]]), lists(&[&[2], &[], &[1]])).unwrap();
        assert_eq!(graph.links(1, 0), [0, 2]);
        assert_eq!(graph.links(1, 1), [2]);
        assert_eq!(graph.links(1, 2), [0_u32; 0]);
        assert_eq!(graph.links(2, 1), [1]);
        assert_eq!(graph.top_layer(), 2);
    }

    #[test]
    fn every_broken_rule_is_named() {
        let base = || lists(&[&[1], &[0]]);
        let none = || lists(&[]);
        let refuse =
            |entry, levels: &[u8], base, upper| Graph::new(entry, levels.to_vec(), base, upper).unwrap_err();
        assert_eq!(refuse(2, &[0, 0], base(), none()), GraphFault::Entry { row: 2 });
        assert_eq!(refuse(0, &[0, 1], base(), lists(&[&[]])), GraphFault::Entry { row: 0 });
        assert!(matches!(refuse(0, &[16, 0], base(), none()), GraphFault::Level { row: 0, level: 16, .. }));
        assert!(matches!(refuse(0, &[0], base(), none()), GraphFault::Count { expected: 1, found: 2, .. }));
        assert!(matches!(refuse(0, &[1, 0], base(), none()), GraphFault::Count { what: "upper lists", .. }));
        let stray = lists(&[&[1], &[2]]);
        assert_eq!(refuse(0, &[0, 0], stray, none()), GraphFault::Link { layer: 0, row: 1, to: 2 });
        let above = refuse(0, &[1, 0], base(), lists(&[&[1]]));
        assert_eq!(above, GraphFault::Link { layer: 1, row: 0, to: 1 });
        assert!(PackedLists::new([2, 2], vec![0; 3]).is_err());
        assert!(PackedLists::new([usize::MAX, 2], vec![0; 3]).is_err());
    }
}
