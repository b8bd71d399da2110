//! Approximate search on a hierarchical navigable small world graph.
//!
//! `hnsw_rs` builds the core of the graph ([`build`]), the other rows are inserted into flat lists ([`grow`]), rows
//! that no walk could reach are tied in ([`connect`]), and searches walk the checked graph ([`graph`], [`walk`])
//! without a lock, over eight-bit codes ([`codes`]) where they need not see the full vectors.
//! Nothing of `hnsw_rs` outlives the build, so neither its dump format nor its loader is ever used.
//! Source of the method: Malkov and Yashunin 2018, doi:10.1109/TPAMI.2018.2889473.

mod build;
pub(crate) mod calibrate;
pub(crate) mod codes;
mod connect;
pub(crate) mod graph;
mod grow;
mod pool;
mod walk;

use std::sync::Arc;

use protext_core::{JointVector, Space};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{GraphFault, IndexError};
use crate::exact::ExactIndex;
use crate::kernel::codes::QueryCode;
use crate::kernel::pack;
use crate::ranking::Ranked;
use crate::row_set::RowSet;
use crate::slab::ask_for_huge_pages;
use crate::vector_index::{Neighbour, Precision, SearchParams, VectorIndex, ensure_searchable};
use crate::vector_table::VectorTable;
use codes::{Codes, MARGIN_DEVIATIONS};
use graph::Graph;
use walk::{CodeScores, FullScores, Scores, Scratch, ScreenedScores, Walk, search_filtered, walk_together};

/// What one link of a walk costs beside its comparison, in components of a scan: it waits for memory where a scan streams.
/// Source: measured at 50,000 x 128, m = 16, one thread: 3 to 5 comparisons in all, with filters of 15% to 100%.
const WALK_LINK_COMPONENTS: usize = 3 * MIN_WIDTH;
/// Narrower vectors cost a scan about as much as these.
const MIN_WIDTH: usize = 128;

/// A walk under a filter gives up once it has cost this part of comparing with every allowed row: where a filter leaves
/// nothing near the query, that is what the attempt costs on top.
const GIVE_UP_SHARE: usize = 4;
/// Steps that a walk under a filter may take for each that is expected before it gives up.
const FILTER_SLACK: usize = 2;

/// Queries of a batch that one task answers.
const MAX_TASK_QUERIES: usize = 64;

/// How a graph is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HnswParams {
    /// Links of a row on upper layers, twice as many on the base layer: 2 to 256.
    pub m: usize,
    /// Candidates kept while a row is inserted: `m` to 4096. Greater gives a better graph, more slowly.
    pub ef_construction: usize,
    /// Insert on all cores. False inserts one row after the other, and the same rows give the same graph.
    pub parallel: bool,
}

impl Default for HnswParams {
    fn default() -> Self {
        Self { m: 16, ef_construction: 200, parallel: true }
    }
}

impl HnswParams {
    /// Refuses what the builder cannot take.
    ///
    /// # Errors
    /// [`IndexError::Parameter`].
    pub fn validate(&self) -> Result<(), IndexError> {
        let within = |name, value, min, max| {
            if (min..=max).contains(&value) {
                return Ok(());
            }
            Err(IndexError::Parameter { name, value, min, max })
        };
        within("m", self.m, 2, 256)?;
        within("ef_construction", self.ef_construction, self.m, 4096)
    }
}

/// Walks a neighbour graph, and goes exact where that is cheaper.
#[derive(Debug, Clone)]
pub struct HnswIndex {
    exact: ExactIndex,
    graph: Arc<Graph>,
    codes: Arc<Codes>,
    params: HnswParams,
    /// Candidates kept when the caller does not say.
    default_ef: usize,
}

impl HnswIndex {
    /// Builds the graph over `table`. `progress` is told how many rows are in, now and then and at the end.
    ///
    /// # Errors
    /// [`IndexError::Parameter`] for parameters out of range.
    pub fn build(
        table: Arc<VectorTable>,
        params: HnswParams,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Self, IndexError> {
        params.validate()?;
        let codes = Codes::of(&table);
        // Building walks, too.
        ask_for_huge_pages(codes.bytes());
        let (graph, default_ef) = build::build(&table, &codes, params, progress)?;
        let index = Self::from_parts(table, graph, codes, params, default_ef).map_err(IndexError::Graph)?;
        index.take_huge_pages();
        Ok(index)
    }

    /// Puts a graph, as built or as read from disk, on its table.
    pub(crate) fn from_parts(
        table: Arc<VectorTable>,
        graph: Graph,
        codes: Codes,
        params: HnswParams,
        default_ef: usize,
    ) -> Result<Self, GraphFault> {
        for (what, found) in [("rows of the graph", graph.n_rows()), ("scales", codes.scales().len())] {
            if found != table.len() {
                let (expected, found) = (table.len() as u64, found as u64);
                return Err(GraphFault::Count { what, expected, found });
            }
        }
        let (graph, codes) = (Arc::new(graph), Arc::new(codes));
        Ok(Self { exact: ExactIndex::new(table), graph, codes, params, default_ef })
    }

    /// Moves what walks read to huge pages, the busiest first.
    fn take_huge_pages(&self) {
        ask_for_huge_pages(self.codes.bytes());
        ask_for_huge_pages(self.graph.base().links());
        ask_for_huge_pages(self.exact.table().lanes());
    }

    /// As [`take_huge_pages`](Self::take_huge_pages), behind the first searches: opening a snapshot does not wait for it.
    pub(crate) fn take_huge_pages_later(&self) {
        let index = self.clone();
        // Without the thread, pages stay small.
        let _ = std::thread::Builder::new().name("huge-pages".into()).spawn(move || index.take_huge_pages());
    }

    /// Candidates that a search keeps when it is not told how many, measured when the graph was built: enough for
    /// 99% of the ten nearest rows, 64 at least and 1,024 at most.
    #[must_use]
    pub fn default_ef(&self) -> usize {
        self.default_ef
    }

    /// The exact index over the same vectors, for measuring recall.
    #[must_use]
    pub fn exact_twin(&self) -> &ExactIndex {
        &self.exact
    }

    /// How the graph was built.
    #[must_use]
    pub fn params(&self) -> HnswParams {
        self.params
    }

    pub(crate) fn codes(&self) -> &Codes {
        &self.codes
    }

    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }

    fn ef(&self, params: &SearchParams<'_>) -> usize {
        let asked = params.ef.unwrap_or_else(|| params.k.saturating_mul(2).max(self.default_ef));
        // Rows that a filter leaves may lie where few links lead; a short walk would end before it gets there.
        let least = if params.filter.is_some() { self.default_ef } else { 1 };
        asked.max(params.k).max(least).min(self.len())
    }

    /// Comparisons that a walk may take: none if comparing with every allowed row is estimated to be cheaper.
    fn walk_budget(&self, params: &SearchParams<'_>, n_allowed: usize) -> Option<usize> {
        // Each of the ef kept rows is expanded, and among n rows it takes n / n_allowed steps to meet an allowed one.
        let n_steps = self.ef(params).saturating_mul(self.len()) / n_allowed.max(1);
        let n_links = n_steps.saturating_mul(self.params.m);
        if params.exact || self.scan_cost(n_links) >= n_allowed {
            return None;
        }
        // Rows that are not allowed lead the walk on, but all of them together cost less than the scan.
        let n_led_on = (self.len() - n_allowed).saturating_add(n_links);
        if self.scan_cost(n_led_on) < n_allowed {
            return Some(n_allowed);
        }
        // The estimate takes a filter to be independent of the query. Where it is not, the walk gives up here.
        let width = self.space().dim.max(MIN_WIDTH);
        let budget = n_allowed.saturating_mul(width) / (width + WALK_LINK_COMPONENTS) / GIVE_UP_SHARE;
        (n_links.saturating_mul(FILTER_SLACK) <= budget).then_some(budget)
    }

    /// Comparisons of a scan that cost as much as so many links of a walk.
    fn scan_cost(&self, n_links: usize) -> usize {
        let width = self.space().dim.max(MIN_WIDTH);
        n_links.saturating_mul(width + WALK_LINK_COMPONENTS) / width
    }

    /// Answers queries without a filter, on this thread.
    fn search_together(
        &self,
        queries: &[JointVector],
        params: &SearchParams<'_>,
    ) -> Result<Vec<Vec<Neighbour>>, IndexError> {
        if self.is_empty() {
            return Ok(vec![Vec::new(); queries.len()]);
        }
        let (graph, ef) = (&*self.graph, self.ef(params));
        let entry = (graph.entry(), graph.top_layer());
        let packed: Vec<_> = queries.iter().map(|query| pack(query.as_slice())).collect();
        let table = self.exact.table();
        let full: Vec<_> = packed.iter().map(|query| FullScores { table, query }).collect();
        let coded: Vec<_> = queries.iter().map(|query| QueryCode::new(query.as_slice())).collect();
        let codes = |query| CodeScores { codes: &self.codes, query };
        let found = match params.precision {
            Precision::Full => {
                let scores =
                    coded.iter().zip(&full).map(|(code, &full)| ScreenedScores::new(codes(code), full));
                walk_together(&scores.collect::<Vec<_>>(), graph, entry, ef)
            }
            Precision::Codes => {
                let scores: Vec<_> = coded.iter().map(codes).collect();
                let found = walk_together(&scores, graph, entry, ef);
                let again = |((full, query), found): ((&_, &_), Vec<_>)| {
                    self.score_again(full, query, &found, params.k)
                };
                full.iter().zip(&coded).zip(found).map(again).collect()
            }
        };
        let n_wanted = params.k.min(self.len());
        let best = |(query, found): (&JointVector, Vec<Ranked>)| match found.len() >= n_wanted {
            true => Ok(found.into_iter().take(n_wanted).map(Neighbour::from).collect()),
            false => self.exact.search(query, params),
        };
        queries.iter().zip(found).map(best).collect()
    }

    /// Answers a query with a filter, or `None` if the walk would have to compare more than `budget` rows.
    fn search_filtered(
        &self,
        query: &JointVector,
        params: &SearchParams<'_>,
        (filter, budget): (&RowSet, usize),
    ) -> Option<Vec<Neighbour>> {
        if self.is_empty() {
            return Some(Vec::new());
        }
        let full = FullScores { table: self.exact.table(), query: &pack(query.as_slice()) };
        let found = match params.precision {
            Precision::Full => self.walk_filtered(full, params, (filter, budget))?,
            Precision::Codes => {
                let query = QueryCode::new(query.as_slice());
                let scores = CodeScores { codes: &self.codes, query: &query };
                let found = self.walk_filtered(scores, params, (filter, budget))?;
                self.score_again(&full, &query, &found, params.k)
            }
        };
        let n_wanted = params.k.min(params.n_allowed(self.len()));
        (found.len() >= n_wanted).then(|| found.into_iter().take(n_wanted).map(Neighbour::from).collect())
    }

    fn walk_filtered(
        &self,
        scores: impl Scores + Copy,
        params: &SearchParams<'_>,
        within: (&RowSet, usize),
    ) -> Option<Vec<Ranked>> {
        let (graph, ef) = (&*self.graph, self.ef(params));
        let top = graph.top_layer();
        Scratch::with(|scratch| {
            let starts = Walk::new(scores, graph, (graph.entry(), top), top.min(1), ef, scratch).run();
            search_filtered(&scores, graph, &starts, ef, within, scratch)
        })
    }

    /// Ranks by their full vectors what a walk over codes found: the best `k`, and what may belong to them.
    fn score_again(
        &self,
        full: &FullScores<'_>,
        query: &QueryCode,
        found: &[Ranked],
        k: usize,
    ) -> Vec<Ranked> {
        let Some(last) = found.get(k.saturating_sub(1)).or(found.last()) else { return Vec::new() };
        let margin = MARGIN_DEVIATIONS * self.codes.deviation(last.row(), query);
        let n_near = found.partition_point(|candidate| candidate.cosine() >= last.cosine() - margin);
        let rows: Vec<u32> = found[..n_near].iter().map(|candidate| candidate.row()).collect();
        let mut cosines = vec![0.0; n_near];
        full.fetch_and_score(&rows, &mut cosines);
        let mut again: Vec<_> = rows.iter().zip(cosines).map(|(&row, c)| Ranked::new(c, row)).collect();
        again.sort_unstable_by(|a, b| b.cmp(a));
        again
    }
}

impl VectorIndex for HnswIndex {
    fn space(&self) -> &Space {
        self.exact.space()
    }

    fn len(&self) -> usize {
        self.exact.len()
    }

    fn vector(&self, row: u32) -> Result<JointVector, IndexError> {
        self.exact.vector(row)
    }

    fn search(&self, query: &JointVector, params: &SearchParams<'_>) -> Result<Vec<Neighbour>, IndexError> {
        ensure_searchable(self, query, params)?;
        let Some(budget) = self.walk_budget(params, params.n_allowed(self.len())) else {
            return self.exact.search(query, params);
        };
        match params.filter {
            None => Ok(self.search_together(std::slice::from_ref(query), params)?.swap_remove(0)),
            Some(filter) => match self.search_filtered(query, params, (filter, budget)) {
                Some(found) => Ok(found),
                None => self.exact.search(query, params),
            },
        }
    }

    fn search_batch(
        &self,
        queries: &[JointVector],
        params: &SearchParams<'_>,
    ) -> Result<Vec<Vec<Neighbour>>, IndexError> {
        if self.walk_budget(params, params.n_allowed(self.len())).is_none() {
            return self.exact.search_batch(queries, params);
        }
        if params.filter.is_some() {
            return queries.par_iter().map(|query| self.search(query, params)).collect();
        }
        queries.iter().try_for_each(|query| ensure_searchable(self, query, params))?;
        let n_task = queries.len().div_ceil(rayon::current_num_threads()).clamp(1, MAX_TASK_QUERIES);
        let tasks = queries.par_chunks(n_task).map(|queries| self.search_together(queries, params));
        Ok(tasks.collect::<Result<Vec<_>, _>>()?.concat())
    }
}

#[cfg(test)]
mod tests {
    use protext_core::Fingerprint;

    use super::*;
    use crate::row_set::RowSet;

    #[test]
    fn the_cheaper_way_is_taken() {
        let space = Space { name: "s".into(), dim: 2, fingerprint: Fingerprint::of(["s"]) };
        let mut table = VectorTable::new(space).unwrap();
        for row in 0..2_000 {
            let (sin, cos) = (row as f32).sin_cos();
            table.push(&JointVector::normalized(vec![sin, cos]).unwrap()).unwrap();
        }
        let params = HnswParams { m: 4, ef_construction: 10, parallel: false };
        let index = HnswIndex::build(Arc::new(table), params, &mut |_| {}).unwrap();
        let walks = |params: SearchParams<'_>| index.walk_budget(&params, params.n_allowed(2_000)).is_some();

        // The estimate is ef * m * 4 links, times the rows for each allowed one.
        let search = SearchParams::new(10).with_ef(64);
        assert!(walks(search) && walks(search.with_ef(124)), "64 and 124 candidates");
        assert!(!walks(search.with_ef(125)) && !walks(search.exactly()));
        assert!(!walks(SearchParams::new(63)), "twice as many candidates as hits");
        let half = RowSet::where_true(2_000, |row| row % 2 == 0);
        assert!(!walks(search.with_filter(&half).with_ef(31)), "64 candidates at least under a filter");
        assert!(!walks(search.with_filter(&RowSet::none(2_000))));
    }
}
