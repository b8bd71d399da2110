//! Tying in rows that no walk could reach.
//!
//! `hnsw_rs` cuts a full list by dropping its farthest link, which may be the only one leading to a row, and
//! among many equal vectors it drops links at random. A row without a path from the entry point would never be
//! found. Such rows get a link from their nearest reachable neighbour; no list grows past a fixed length.

use std::collections::HashMap;

use super::graph::Draft;
use crate::ranking::Ranked;
use crate::vector_table::VectorTable;

/// Candidates looked at on the way to a reachable neighbour, for rows whose own links lead nowhere.
const MAX_STEPS: usize = 64;

/// Links every unreachable row in; says how many there were.
pub(super) fn connect(draft: &mut Draft, table: &VectorTable, m: usize) -> usize {
    let n_rows = draft.levels.len();
    let mut connector = Connector {
        reached: vec![false; n_rows],
        stack: Vec::new(),
        delegates: HashMap::new(),
        max_links: 4 * m,
        draft,
        table,
    };
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
    /// For a row whose list is full, the row that takes its next links.
    delegates: HashMap<u32, u32>,
    max_links: usize,
}

impl Connector<'_> {
    fn base(&mut self, row: u32) -> &mut Vec<u32> {
        &mut self.draft.lists[row as usize][0]
    }

    fn rank(&self, row: u32, other: u32) -> Ranked {
        Ranked::new(self.table.kernel().cosine(self.table.row(row), self.table.row(other)), row)
    }

    /// Marks everything that can be reached from `row`.
    fn reach(&mut self, row: u32) {
        self.stack.push(row);
        self.reached[row as usize] = true;
        while let Some(row) = self.stack.pop() {
            for &to in &self.draft.lists[row as usize][0] {
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
        let own = &self.draft.lists[row as usize][0];
        let reached = own.iter().filter(|&&to| self.reached[to as usize]);
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
            let links = &self.draft.lists[best.row() as usize][0];
            match links.iter().map(|&to| self.rank(to, row)).max() {
                Some(better) if better > best => best = better,
                _ => break,
            }
        }
        self.base(row).push(best.row());
        self.tie(best.row(), row);
        true
    }

    /// Links `from` to `row`, or where that list is full, the row that stands in for it.
    fn tie(&mut self, mut from: u32, row: u32) {
        while self.base(from).len() >= self.max_links {
            // Built lists are half as long at most, so the last link of a full one was tied here. Its target
            // was reached later than `from`, which is why following delegates comes to an end.
            let Some(&last) = self.base(from).last() else { break };
            from = *self.delegates.entry(from).or_insert(last);
        }
        self.base(from).push(row);
        self.reach(row);
    }
}

#[cfg(test)]
mod tests {
    use protext_core::{Fingerprint, JointVector, Space};

    use super::*;
    use crate::hnsw::graph::Graph;

    fn table(n_rows: usize) -> VectorTable {
        let space = Space { name: "s".into(), dim: 2, fingerprint: Fingerprint::of(["s"]) };
        let mut table = VectorTable::new(space).unwrap();
        for row in 0..n_rows {
            table.push(&JointVector::normalized(vec![1.0, row as f32]).unwrap()).unwrap();
        }
        table
    }

    fn connected(lists: Vec<Vec<u32>>, m: usize) -> (usize, Graph) {
        let n_rows = lists.len();
        let lists = lists.into_iter().map(|base| vec![base]).collect();
        let mut draft = Draft { entry: 0, levels: vec![0; n_rows], lists };
        let n_tied_in = connect(&mut draft, &table(n_rows), m);
        (n_tied_in, Graph::try_from(draft).unwrap())
    }

    #[test]
    fn a_connected_graph_is_left_alone() {
        let (n_tied_in, graph) = connected(vec![vec![1], vec![2], vec![0]], 2);
        assert_eq!((n_tied_in, graph.base_links(0)), (0, &[1][..]));
    }

    #[test]
    fn rows_are_tied_to_the_neighbour_they_know_and_islands_where_climbing_ends() {
        // 3 knows 1; 4 and 5 know only each other.
        let (n_tied_in, graph) = connected(vec![vec![1, 2], vec![0], vec![0], vec![1], vec![5], vec![4]], 2);
        assert_eq!(n_tied_in, 2);
        assert_eq!(graph.base_links(1), [0, 3]);
        assert_eq!(graph.base_links(2), [0, 4], "climbing towards the island ends at 2");
        assert_eq!(graph.base_links(4), [5, 2]);
    }

    #[test]
    fn a_thousand_rows_that_know_one_row_do_not_make_one_long_list() {
        let mut lists = vec![vec![]];
        lists.extend(vec![vec![0]; 1_000]);
        let (n_tied_in, graph) = connected(lists, 2);
        assert_eq!(n_tied_in, 1_000);
        assert!(graph.base().lens().all(|len| len <= 8));
    }
}
