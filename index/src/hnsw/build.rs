//! Building: the only file that names `hnsw_rs`.
//!
//! What it does badly when used as it comes, and where that is prevented:
//!
//! | trap | guard |
//! |---|---|
//! | `Hnsw::new` ends the process for M > 256 | `HnswParams::validate` |
//! | short, unnormalized or NaN vectors panic or enter | `VectorTable` holds none |
//! | `DistDot` asserts on norms a rounding above 1 | [`UnitDistance`] is never below 0 |
//! | points that enter before the first has become the entry point stay without links | the first rows go in serially |
//! | rows lose their last incoming link when lists are cut | `connect` |
//! | its iterator panics on an empty index | an empty table never gets here |

use std::collections::VecDeque;

use hnsw_rs::anndists::dist::distances::Distance;
use hnsw_rs::hnsw::{Hnsw, Point};
use rayon::prelude::*;

use super::HnswParams;
use super::connect::connect;
use super::graph::{Draft, Graph, MAX_LEVEL};
use crate::error::{GraphFault, IndexError};
use crate::kernel::{Kernel, Lanes};
use crate::vector_table::VectorTable;

/// Rows that go in one after the other before insertion is parallel: until then all threads would
/// meet at the same few points.
const N_SERIAL_ROWS: usize = 1_024;
/// Rows between two reports of progress.
const N_CHUNK_ROWS: usize = 4_096;

/// 1 - cosine of unit vectors: 0 to 2, never negative, never NaN.
struct UnitDistance(Kernel);

impl Distance<Lanes> for UnitDistance {
    fn eval(&self, a: &[Lanes], b: &[Lanes]) -> f32 {
        (1.0 - self.0.cosine(a, b)).max(0.0)
    }
}

/// Builds the graph of `table` with parameters that have been validated.
pub(super) fn build(
    table: &VectorTable,
    params: HnswParams,
    progress: &mut dyn FnMut(usize),
) -> Result<Graph, IndexError> {
    let n_rows = table.len();
    if n_rows == 0 {
        progress(0);
        return Ok(Graph::empty());
    }
    let distance = UnitDistance(table.kernel());
    let n_layers = usize::from(MAX_LEVEL) + 1;
    let hnsw = Hnsw::<Lanes, UnitDistance>::new(params.m, n_rows, n_layers, params.ef_construction, distance);
    let insert = |row: usize| hnsw.insert_slice((table.row(row as u32), row));

    for start in (0..n_rows).step_by(N_CHUNK_ROWS) {
        let end = n_rows.min(start + N_CHUNK_ROWS);
        let n_serial = if params.parallel { N_SERIAL_ROWS } else { n_rows };
        (start..end.min(n_serial)).for_each(insert);
        (start.max(n_serial)..end).into_par_iter().for_each(insert);
        progress(end);
    }
    let mut draft = flatten(&hnsw, n_rows)?;
    drop(hnsw);
    let n_tied_in = connect(&mut draft, table, params.m);
    if n_tied_in > 0 {
        tracing::debug!(n_tied_in, n_rows, "rows without incoming links were tied in");
    }
    Ok(Graph::try_from(draft)?)
}

/// Takes levels, neighbour lists and the entry point out of `hnsw_rs`.
fn flatten(hnsw: &Hnsw<'_, Lanes, UnitDistance>, n_rows: usize) -> Result<Draft, GraphFault> {
    let mut lists: Vec<Vec<Vec<u32>>> = vec![Vec::new(); n_rows];
    let mut levels = vec![0_u8; n_rows];
    let (mut entry, mut n_points) = (0, 0_usize);
    let points = hnsw.get_point_indexation();
    for level in 0..=MAX_LEVEL {
        for point in points.get_layer_iterator(usize::from(level)) {
            let row = point.get_origin_id();
            lists[row] = links_of(&point);
            levels[row] = level;
            n_points += 1;
            // Its own entry point is the first one on the top layer, which is not public; any one there will do.
            if level > levels[entry] {
                entry = row;
            }
        }
    }
    if n_points != n_rows {
        let (expected, found) = (n_rows as u64, n_points as u64);
        return Err(GraphFault::Count { what: "points of the builder", expected, found });
    }
    raise_levels(&mut levels, &lists);
    for (lists, &level) in lists.iter_mut().zip(&levels) {
        lists.resize_with(usize::from(level) + 1, Vec::new);
    }
    Ok(Draft { entry: entry as u32, levels, lists })
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

    fn table(n_rows: usize, angle: impl Fn(usize) -> f32) -> VectorTable {
        let space = Space { name: "s".into(), dim: 2, fingerprint: Fingerprint::of(["s"]) };
        let mut table = VectorTable::new(space).unwrap();
        for row in 0..n_rows {
            let (sin, cos) = angle(row).sin_cos();
            table.push(&JointVector::normalized(vec![sin, cos]).unwrap()).unwrap();
        }
        table
    }

    fn n_reachable(graph: &Graph) -> usize {
        let mut seen = vec![false; graph.n_rows()];
        let mut stack = vec![graph.entry()];
        while let Some(row) = stack.pop() {
            if !std::mem::replace(&mut seen[row as usize], true) {
                stack.extend(graph.base_links(row));
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
                let graph = build(&table(2_000, angle), params, &mut |_| {}).unwrap();
                assert_eq!(n_reachable(&graph), 2_000);
                assert!(graph.base().lens().all(|len| len <= 8), "no list grows without bound");
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
        build(&table(5_000, |row| row as f32), ONE_BY_ONE, &mut |n_rows| reports.push(n_rows)).unwrap();
        assert_eq!(reports, [4_096, 5_000]);
    }
}
