//! `graph.bin`: a header of 48 bytes, then levels and neighbour lists, all little-endian.
//!
//! | bytes | content |
//! |---|---|
//! | 8, 4 | `PTXGRAPH`, byte order mark 0x01020304 |
//! | 4 | entry row |
//! | 4 x 8 | rows `n`, base links `b`, upper lists `l`, upper links `u` |
//! | `n` | highest layer of each row |
//! | 2 `n`, 4 `b` | lengths of the base lists, their links |
//! | 2 `l`, 4 `u` | lengths of the upper lists (row by row, from layer 1 up), their links |

use std::io::{self, BufRead, Write};
use std::path::Path;

use super::binary::{BYTE_ORDER_MARK, ensure_agrees, read_magic, read_numbers, read_u32, read_u64};
use crate::error::{IndexError, SnapshotError};
use crate::hnsw::graph::{Graph, Lists, NONE};

const MAGIC: &[u8; 8] = b"PTXGRAPH";
const HEADER_BYTES: u64 = 48;

pub(super) fn write(graph: &Graph, to: &mut dyn Write) -> io::Result<()> {
    let (base, upper) = (graph.base(), graph.upper());
    to.write_all(MAGIC)?;
    to.write_all(&BYTE_ORDER_MARK.to_le_bytes())?;
    to.write_all(&graph.entry().to_le_bytes())?;
    let n_links = |lists: &Lists| lists.links().iter().filter(|&&to| to != NONE).count();
    for count in [graph.n_rows(), n_links(base), upper.n_lists(), n_links(upper)] {
        to.write_all(&(count as u64).to_le_bytes())?;
    }
    to.write_all(graph.levels())?;
    write_lists(base, to)?;
    write_lists(upper, to)
}

fn write_lists(lists: &Lists, to: &mut dyn Write) -> io::Result<()> {
    for list in lists.links().chunks(lists.width()) {
        let len = list.iter().filter(|&&to| to != NONE).count() as u16;
        to.write_all(&len.to_le_bytes())?;
    }
    lists.links().iter().filter(|&&to| to != NONE).try_for_each(|link| to.write_all(&link.to_le_bytes()))
}

/// Reads the graph of `n_rows` rows. The file has `n_bytes`.
pub(super) fn read(
    from: &mut dyn BufRead,
    path: &Path,
    n_bytes: u64,
    n_rows: u64,
) -> Result<Graph, SnapshotError> {
    read_magic(from, path, MAGIC)?;
    let entry = read_u32(from, path)?;
    ensure_agrees(path, "number of rows", n_rows, read_u64(from, path)?)?;
    let (n_base_links, n_upper_lists, n_upper_links) =
        (read_u64(from, path)?, read_u64(from, path)?, read_u64(from, path)?);
    // Only now are the counts believed, and memory taken for them.
    let sizes = [(n_rows, 3), (n_base_links, 4), (n_upper_lists, 2), (n_upper_links, 4)];
    let expected = sizes
        .iter()
        .fold(HEADER_BYTES, |sum, &(count, bytes)| sum.saturating_add(count.saturating_mul(bytes)));
    ensure_agrees(path, "length", expected, n_bytes)?;

    let levels = read_numbers(from, path, n_rows, u8::from_le_bytes)?;
    let base = read_lists(from, path, n_rows, n_base_links)?;
    let upper = read_lists(from, path, n_upper_lists, n_upper_links)?;
    let faulty = |fault| SnapshotError::Content { path: path.into(), source: IndexError::Graph(fault) };
    let spread = |(lens, links): (Vec<u16>, Vec<u32>)| Lists::spread(&lens, &links);
    let (base, upper) = (spread(base).map_err(faulty)?, spread(upper).map_err(faulty)?);
    Graph::new(entry, levels.into(), base, upper).map_err(faulty)
}

fn read_lists(
    from: &mut dyn BufRead,
    path: &Path,
    n_lists: u64,
    n_links: u64,
) -> Result<(Vec<u16>, Vec<u32>), SnapshotError> {
    let lens = read_numbers(from, path, n_lists, u16::from_le_bytes)?;
    Ok((lens, read_numbers(from, path, n_links, u32::from_le_bytes)?))
}
