//! Tying in rows that no walk could reach.
//!
//! `hnsw_rs` cuts a full list by dropping its farthest link, which may be the only one leading to a row, and
//! among many equal vectors it drops links at random. A row without a path from the entry point would never be
//! found. Such rows get a link from their nearest reachable neighbour. Where that one's list is full, they take
//! the place of its last link and lead on to it themselves, so no list grows past its width.

use super::graph::Draft;
use crate::ranking::Ranked;
use crate::vector_table::VectorTable;

/// Candidates looked at on the way to a reachable neighbour, for rows whose own links lead nowhere.
const MAX_STEPS: usize = 64;

/// Links every unreachable row in; says how many there were.
pub(super) fn connect(draft: &mut Draft, table: &VectorTable) -> usize {
    let n_rows = draft.levels.len();
    let mut connector = Connector { reached: vec![false; n_rows], stack: Vec::new(), draft, table };
    connector.reach(connector.draft.entry);
    // Rows that know a reachable neighbour first: each may open the way to others.
    let mut n_tied_in = 0;
    loop {
        let before = n_tied_in;
        for row in 0..n_rows as u32 {
            n_tied_in += usize::from(connector.tie_to_own_neighbour(row));
        }
        if n_tied_in == before {
            break;
        }
    }
    for row in 0..n_rows as u32 {
        n_tied_in += usize::from(connector.tie_by_climbing(row));
    }
    n_tied_in
}

struct Connector<'a> {
    draft: &'a mut Draft,
    table: &'a VectorTable,
    reached: Vec<bool>,
    stack: Vec<u32>,
}

impl Connector<'_> {
    fn links(&self, row: u32) -> &[u32] {
        self.draft.base.list(row as usize)
    }

    fn rank(&self, row: u32, other: u32) -> Ranked {
        Ranked::new(self.table.kernel().cosine(self.table.row(row), self.table.row(other)), row)
    }

    /// Marks everything that can be reached from `row`.
    fn reach(&mut self, row: u32) {
        self.stack.push(row);
        self.reached[row as usize] = true;
        while let Some(row) = self.stack.pop() {
            for &to in self.draft.base.list(row as usize) {
                if !std::mem::replace(&mut self.reached[to as usize], true) {
                    self.stack.push(to);
                }
            }
        }
    }

    fn tie_to_own_neighbour(&mut self, row: u32) -> bool {
        if self.reached[row as usize] {
            return false;
        }
        let reached = self.links(row).iter().filter(|&&to| self.reached[to as usize]);
        let Some(nearest) = reached.map(|&to| self.rank(to, row)).max() else { return false };
        self.tie(nearest.row(), row);
        true
    }

    /// For rows that know no reachable one: climbs from the entry point and links both ways.
    fn tie_by_climbing(&mut self, row: u32) -> bool {
        if self.reached[row as usize] {
            return false;
        }
        let mut best = self.rank(self.draft.entry, row);
        for _ in 0..MAX_STEPS {
            match self.links(best.row()).iter().map(|&to| self.rank(to, row)).max() {
                Some(better) if better > best => best = better,
                _ => break,
            }
        }
        self.lead(row, best.row());
        self.tie(best.row(), row);
        true
    }

    /// Links `from`, which is reached, to `row`, which is not.
    fn tie(&mut self, from: u32, row: u32) {
        if !self.draft.base.push(from as usize, row) {
            // What the last link led to stays reached, by way of `row`.
            if let Some(last) = self.draft.base.pop(from as usize) {
                self.lead(row, last);
            }
            self.draft.base.push(from as usize, row);
        }
        self.reach(row);
    }

    /// Links `row`, which is not reached, to another; nothing depends on the link that may have to go for it.
    fn lead(&mut self, row: u32, to: u32) {
        if !self.draft.base.push(row as usize, to) {
            self.draft.base.pop(row as usize);
            self.draft.base.push(row as usize, to);
        }
    }
}

#[cfg(test)]
mod tests {
    use protext_core::{Fingerprint, JointVector, Space};

    use super::*;
    use crate::hnsw::graph::{Lists, NONE};

    fn table(n_rows: usize) -> VectorTable {
        let space = Space { name: "s".into(), dim: 2, fingerprint: Fingerprint::of(["s"]) };
        let mut table = VectorTable::new(space).unwrap();
        for row in 0..n_rows {
            table.push(&JointVector::normalized(vec![1.0, row as f32]).unwrap()).unwrap();
        }
        table
    }

    /// Ties in the rows of lists of `width` places.
    fn connected(lists: &[&[u32]], width: usize) -> (usize, Draft) {
        let places = lists.iter().flat_map(|list| (0..width).map(|i| list.get(i).copied().unwrap_or(NONE)));
        let base = Lists::new(width, places.collect::<Vec<_>>().into()).unwrap();
        let upper = Lists::new(1, Vec::new().into()).unwrap();
        let mut draft = Draft { entry: 0, levels: vec![0; lists.len()], base, upper };
        (connect(&mut draft, &table(lists.len())), draft)
    }

    #[test]
    fn a_connected_graph_is_left_alone() {
        let (n_tied_in, draft) = connected(&[&[1], &[2], &[0]], 2);
        assert_eq!((n_tied_in, draft.base.list(0)), (0, &[1][..]));
    }

    #[test]
    fn rows_are_tied_to_the_neighbour_they_know_and_islands_where_climbing_ends() {
        // 3 knows 1; 4 and 5 know only each other.
        let (n_tied_in, draft) = connected(&[&[1, 2], &[0], &[0], &[1], &[5], &[4]], 4);
        assert_eq!(n_tied_in, 2);
        assert_eq!(draft.base.list(1), [0, 3]);
        assert_eq!(draft.base.list(2), [0, 4], "climbing towards the island ends at 2");
        assert_eq!(draft.base.list(4), [5, 2]);
    }

    #[test]
    fn a_thousand_rows_that_know_one_row_are_all_reached_and_its_list_stays_short() {
        let mut lists: Vec<&[u32]> = vec![&[]];
        lists.extend([&[0][..]; 1_000]);
        for width in [1, 2, 8] {
            let (n_tied_in, draft) = connected(&lists, width);
            assert_eq!(n_tied_in, 1_000);
            let mut connector = Connector {
                reached: vec![false; 1_001],
                stack: vec![],
                draft: &mut { draft },
                table: &table(1_001),
            };
            connector.reach(0);
            assert!(connector.reached.iter().all(|&reached| reached), "lists of {width}");
        }
    }
}
