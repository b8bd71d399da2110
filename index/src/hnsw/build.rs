//! Building: the only file that names `hnsw_rs`.
//!
//! `hnsw_rs` builds the graph over the first rows, the core that gives the layers and the entry point; the others
//! are inserted by [`Growing`], which reads flat lists (why: docs/decisions/graph-construction.md). What
//! `hnsw_rs` does badly when used as it comes, and where that is prevented:
//!
//! | trap | guard |
//! |---|---|
//! | `Hnsw::new` ends the process for M > 256 | `HnswParams::validate` |
//! | short, unnormalized or NaN vectors panic or enter | `VectorTable` holds none |
//! | `DistDot` asserts on norms a rounding above 1 | [`UnitDistance`] is never below 0 |
//! | parallel insertion can leave points without links, and with three threads deadlock | its rows go in serially |
//! | rows lose their last incoming link when lists are cut | `connect` |
//! | its iterator panics on an empty index | an empty table never gets here |

use std::collections::VecDeque;
use std::sync::Arc;

use hnsw_rs::anndists::dist::distances::Distance;
use hnsw_rs::hnsw::{Hnsw, Point};
use protext_core::SplitMix64;
use rayon::prelude::*;

use super::HnswParams;
use super::calibrate::{MIN_DEFAULT_EF, calibrate};
use super::codes::Codes;
use super::connect::connect;
use super::graph::{Graph, MAX_LEVEL};
use super::grow::Growing;
use crate::error::{GraphFault, IndexError};
use crate::kernel::{Kernel, Lanes};
use crate::vector_table::VectorTable;

/// Rows that `hnsw_rs` links, one after the other.
const N_CORE_ROWS: usize = 1_024;
/// Most rows that a thread takes at once.
const N_TASK_ROWS: usize = 16;
/// Rows that are searched for before they are inserted.
const N_HELD_OUT: usize = 128;
/// Rows between two reports of progress.
const N_CHUNK_ROWS: usize = 4_096;

/// 1 - cosine of unit vectors: 0 to 2, never negative, never NaN.
struct UnitDistance(Kernel);

impl Distance<Lanes> for UnitDistance {
    fn eval(&self, a: &[Lanes], b: &[Lanes]) -> f32 {
        (1.0 - self.0.cosine(a, b)).max(0.0)
    }
}

/// Builds the graph of `table` with parameters that have been validated, and says how many candidates a search
/// should keep in it.
pub(super) fn build(
    table: &Arc<VectorTable>,
    codes: &Codes,
    params: HnswParams,
    progress: &mut dyn FnMut(usize),
) -> Result<(Graph, usize), IndexError> {
    let n_rows = table.len();
    if n_rows == 0 {
        progress(0);
        return Ok((Graph::empty(), MIN_DEFAULT_EF));
    }
    let order = Order::of(n_rows);
    let n_core = n_rows.min(N_CORE_ROWS);
    let core = core(table, params, &order, n_core)?;

    let top = core.levels[core.entry];
    let mut levels = vec![0; n_rows];
    (0..n_core).for_each(|position| levels[order.row(position)] = core.levels[position]);
    (n_core..n_rows).for_each(|position| levels[order.row(position)] = level_of(position, params.m).min(top));
    let growing = Growing::new(table, params, order.row(core.entry) as u32, levels);
    for (position, lists) in core.lists.iter().enumerate() {
        let to_rows = |list: &Vec<u32>| list.iter().map(|&to| order.row(to as usize) as u32).collect();
        growing.seed(order.row(position) as u32, &lists.iter().map(to_rows).collect::<Vec<_>>());
    }
    drop(core);
    progress(n_core);

    let insert = |position: usize| growing.insert(order.row(position) as u32);
    // The last rows are queries first: the graph does not hold them yet.
    let n_held_out = N_HELD_OUT.min((n_rows - n_core) / 8);
    let mut default_ef = MIN_DEFAULT_EF;
    let starts = (n_core..n_rows - n_held_out).step_by(N_CHUNK_ROWS).chain([n_rows - n_held_out]);
    for start in starts {
        let end = if start < n_rows - n_held_out {
            (start + N_CHUNK_ROWS).min(n_rows - n_held_out)
        } else {
            let held_out: Vec<u32> = (start..n_rows).map(|position| order.row(position) as u32).collect();
            default_ef = calibrate(&growing, table, codes, &held_out)?;
            n_rows
        };
        let chunk = start..end;
        if params.parallel {
            chunk.into_par_iter().with_max_len(N_TASK_ROWS).for_each(insert);
        } else {
            chunk.for_each(insert);
        }
        progress(end);
    }
    let mut draft = growing.into_draft()?;
    let n_tied_in = connect(&mut draft, table);
    if n_tied_in > 0 {
        tracing::debug!(n_tied_in, n_rows, "rows without incoming links were tied in");
    }
    Ok((Graph::try_from(draft)?, default_ef))
}

/// The order of insertion: one that takes rows from everywhere from the start, whatever order they came in.
struct Order {
    n_rows: usize,
    step: usize,
}

impl Order {
    fn of(n_rows: usize) -> Self {
        // Steps of the golden ratio spread any number of first rows evenly.
        let golden = (n_rows as f64 * 0.618_033_988_749_895) as usize;
        let is_coprime = |step: &usize| gcd(*step, n_rows) == 1;
        Self { n_rows, step: (golden.max(1)..).find(is_coprime).unwrap_or(1) }
    }

    fn row(&self, position: usize) -> usize {
        // Below 2^31 each, so the product fits.
        (position as u64 * self.step as u64 % self.n_rows as u64) as usize
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The highest layer of the row at a position: `l` or more with probability `m^-l`. Source: the paper's formula,
/// with the position's hash in place of a random number.
fn level_of(position: usize, m: usize) -> u8 {
    let uniform = (SplitMix64::at(position as u64) >> 11) as f64 / (1_u64 << 53) as f64;
    (-(1.0 - uniform).ln() / (m as f64).ln()).min(MAX_LEVEL.into()) as u8
}

/// What `hnsw_rs` built, by position in the order.
struct Core {
    entry: usize,
    levels: Vec<u8>,
    /// `[n_core][level + 1]` lists.
    lists: Vec<Vec<Vec<u32>>>,
}

fn core(table: &VectorTable, params: HnswParams, order: &Order, n_core: usize) -> Result<Core, GraphFault> {
    let distance = UnitDistance(table.kernel());
    let n_layers = usize::from(MAX_LEVEL) + 1;
    let hnsw = Hnsw::<Lanes, UnitDistance>::new(params.m, n_core, n_layers, params.ef_construction, distance);
    for position in 0..n_core {
        hnsw.insert_slice((table.row(order.row(position) as u32), position));
    }
    flatten(&hnsw, n_core)
}

/// Takes levels, neighbour lists and the entry point out of `hnsw_rs`.
fn flatten(hnsw: &Hnsw<'_, Lanes, UnitDistance>, n_core: usize) -> Result<Core, GraphFault> {
    let mut lists: Vec<Vec<Vec<u32>>> = vec![Vec::new(); n_core];
    let mut levels = vec![0_u8; n_core];
    let (mut entry, mut n_points) = (0, 0_usize);
    let points = hnsw.get_point_indexation();
    for level in 0..=MAX_LEVEL {
        for point in points.get_layer_iterator(usize::from(level)) {
            let position = point.get_origin_id();
            lists[position] = links_of(&point);
            levels[position] = level;
            n_points += 1;
            // Its own entry point is the first one on the top layer, which is not public; any one there will do.
            if level > levels[entry] {
                entry = position;
            }
        }
    }
    if n_points != n_core {
        let (expected, found) = (n_core as u64, n_points as u64);
        return Err(GraphFault::Count { what: "points of the builder", expected, found });
    }
    raise_levels(&mut levels, &lists);
    for (lists, &level) in lists.iter_mut().zip(&levels) {
        lists.resize_with(usize::from(level) + 1, Vec::new);
    }
    Ok(Core { entry, levels, lists })
}

/// A point's links, layer by layer, without links to itself.
fn links_of(point: &Point<'_, Lanes>) -> Vec<Vec<u32>> {
    let own = point.get_origin_id();
    let layers = point.get_neighborhood_id();
    let to_rows = |layer: &Vec<hnsw_rs::hnsw::Neighbour>| {
        let rows = layer.iter().map(|neighbour| neighbour.d_id).filter(|&row| row != own);
        rows.map(|row| row as u32).collect()
    };
    layers.iter().map(to_rows).collect()
}

/// Raises each row to the highest layer on which it is linked to.
///
/// A point that opens a new layer is linked there to the entry point of its time, which was drawn for a
/// lower layer; later points of the layer may be reachable through it alone.
fn raise_levels(levels: &mut [u8], lists: &[Vec<Vec<u32>>]) {
    let mut queue: VecDeque<usize> = (0..levels.len()).filter(|&row| levels[row] > 0).collect();
    while let Some(row) = queue.pop_front() {
        for layer in (1..=levels[row]).rev() {
            for &to in lists[row].get(usize::from(layer)).into_iter().flatten() {
                if levels[to as usize] < layer {
                    levels[to as usize] = layer;
                    queue.push_back(to as usize);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use protext_core::{Fingerprint, JointVector, Space};

    use super::*;

    const ONE_BY_ONE: HnswParams = HnswParams { m: 2, ef_construction: 2, parallel: false };

    fn table(n_rows: usize, angle: impl Fn(usize) -> f32) -> Arc<VectorTable> {
        let space = Space { name: "s".into(), dim: 2, fingerprint: Fingerprint::of(["s"]) };
        let mut table = VectorTable::new(space).unwrap();
        for row in 0..n_rows {
            let (sin, cos) = angle(row).sin_cos();
            table.push(&JointVector::normalized(vec![sin, cos]).unwrap()).unwrap();
        }
        Arc::new(table)
    }

    fn n_reachable(graph: &Graph) -> usize {
        let mut seen = vec![false; graph.n_rows()];
        let mut stack = vec![graph.entry()];
        while let Some(row) = stack.pop() {
            if !std::mem::replace(&mut seen[row as usize], true) {
                stack.extend(graph.base().list(row as usize));
            }
        }
        seen.into_iter().filter(|&seen| seen).count()
    }

    #[test]
    fn every_row_can_be_reached_even_in_the_poorest_graph() {
        let spread = |row: usize| row as f32 * 2.4;
        let equal = |_| 0.5;
        let two_heaps = |row: usize| (row % 2) as f32;
        for parallel in [false, true] {
            for angle in [&spread as &dyn Fn(usize) -> f32, &equal, &two_heaps] {
                let params = HnswParams { parallel, ..ONE_BY_ONE };
                let table = table(4_000, angle);
                let (graph, _) = build(&table, &Codes::of(&table), params, &mut |_| {}).unwrap();
                assert_eq!(n_reachable(&graph), 4_000);
                assert_eq!(graph.base().width(), 4, "no list grows past twice m");
            }
        }
    }

    #[test]
    fn the_distance_is_never_negative_and_never_nan() {
        let distance = UnitDistance(Kernel::detect());
        let lanes = |value| [Lanes([value; 16])];
        assert_eq!(distance.eval(&lanes(0.25), &lanes(0.25)), 0.0);
        assert_eq!(distance.eval(&lanes(0.250_001), &lanes(0.250_001)), 0.0);
        assert_eq!(distance.eval(&lanes(0.25), &lanes(-0.25)), 2.0);
        assert!(distance.eval(&lanes(f32::NAN), &lanes(0.25)) >= 0.0);
        assert_eq!(distance.eval(&lanes(0.25), &[]), 1.0, "widths that differ do not panic");
    }

    #[test]
    fn progress_counts_up_to_all_rows() {
        let mut reports = Vec::new();
        let table = table(6_000, |row| row as f32);
        build(&table, &Codes::of(&table), ONE_BY_ONE, &mut |n_rows| reports.push(n_rows)).unwrap();
        assert_eq!(reports, [1_024, 5_120, 5_872, 6_000], "the last 128 are searched for first");
    }
}
