//! `graph.bin`: what a walk reads, as it lies in memory.
//!
//! | bytes | content |
//! |---|---|
//! | 8, 4 | `PTXGRAF2`, byte order mark 0x01020304 |
//! | 4 | entry row |
//! | 8, 8 | rows `n`, upper lists `l` |
//! | 4, 4 | places of a base list `b`, places of an upper list `u` |
//! | 4, 20 | candidates that a search keeps by default, zeros |
//! | 4 `n` `b` | base lists, free places filled with 0xffffffff |
//! | 4 `l` `u` | upper lists (row by row, from layer 1 up), likewise |
//! | 4 `n`, `n` | f32 scale of each row's codes; highest layer of each row |
//! | `n` rows | codes in eight bits, each row filled up to a multiple of 64 bytes |
//!
//! Every part starts at a multiple of 64 bytes. The first version had the magic `PTXGRAPH`, lists end to end with
//! their lengths, and neither codes nor a default.

use std::io::{self, BufRead, Write};
use std::path::Path;

use super::Verify;
use super::binary::{ensure_agrees, read_magic, read_numbers, read_u32, read_u64};
use super::checked_file::FileEntry;
use super::mapped_file::{MappedFile, write_head, write_section};
use crate::error::{GraphFault, IndexError, SnapshotError};
use crate::hnsw::HnswIndex;
use crate::hnsw::calibrate::{MAX_DEFAULT_EF, MIN_DEFAULT_EF};
use crate::hnsw::codes::Codes;
use crate::hnsw::graph::{Graph, Lists};
use crate::kernel::codes::n_bytes_of;

const MAGIC: &[u8; 8] = b"PTXGRAF2";
const MAGIC_1: &[u8; 8] = b"PTXGRAPH";
const HEADER_BYTES_1: u64 = 48;

/// What the file holds.
pub(super) struct GraphParts {
    pub(super) graph: Graph,
    pub(super) codes: Codes,
    pub(super) default_ef: usize,
}

pub(super) fn write(index: &HnswIndex, to: &mut dyn Write) -> io::Result<()> {
    let (graph, codes) = (index.graph(), index.codes());
    let mut numbers = Vec::new();
    numbers.extend(graph.entry().to_le_bytes());
    numbers.extend([graph.n_rows() as u64, graph.upper().n_lists() as u64].map(u64::to_le_bytes).concat());
    let widths = [graph.base().width(), graph.upper().width(), index.default_ef()];
    numbers.extend(widths.map(|number| (number as u32).to_le_bytes()).concat());
    write_head(to, MAGIC, &numbers)?;
    write_section(to, graph.base().links(), false)?;
    write_section(to, graph.upper().links(), false)?;
    write_section(to, codes.scales(), false)?;
    write_section(to, graph.levels(), false)?;
    write_section(to, codes.bytes(), true)
}

/// Reads the graph of `n_rows` rows of `dim` components.
pub(super) fn read(
    folder: &Path,
    entry: &FileEntry,
    verify: Verify,
    n_rows: u64,
    dim: usize,
) -> Result<GraphParts, SnapshotError> {
    let mut file = MappedFile::open(folder, entry, verify)?;
    file.ensure_magic(MAGIC)?;
    let entry_row = file.u32()?;
    let found = file.u64()?;
    ensure_agrees(file.path(), "number of rows", n_rows, found)?;
    let n_upper = file.u64()?;
    let (base_width, upper_width, default_ef) = (file.u32()?, file.u32()?, file.u32()? as usize);
    file.skip_head();
    let base = file.section(n_rows.saturating_mul(base_width.into()))?;
    let upper = file.section(n_upper.saturating_mul(upper_width.into()))?;
    let scales = file.section(n_rows)?;
    let levels = file.section(n_rows)?;
    let bytes = file.section(n_rows.saturating_mul(n_bytes_of(dim) as u64))?;
    file.ensure_end()?;
    let put_together = || {
        let (base, upper) =
            (Lists::new(base_width as usize, base)?, Lists::new(upper_width as usize, upper)?);
        let graph = Graph::new(entry_row, levels, base, upper)?;
        let codes = Codes::new(bytes, scales, n_rows as usize, dim)?;
        if !(MIN_DEFAULT_EF..=MAX_DEFAULT_EF).contains(&default_ef) {
            let (expected, found) = (MIN_DEFAULT_EF as u64, default_ef as u64);
            return Err(GraphFault::Count { what: "candidates at least", expected, found });
        }
        Ok(GraphParts { graph, codes, default_ef })
    };
    put_together().map_err(|fault| SnapshotError::Content {
        path: file.path().into(),
        source: IndexError::Graph(fault),
    })
}

/// Reads a graph of the first version. The file has `n_bytes`.
pub(super) fn read_1(
    from: &mut dyn BufRead,
    path: &Path,
    n_bytes: u64,
    n_rows: u64,
) -> Result<Graph, SnapshotError> {
    read_magic(from, path, MAGIC_1)?;
    let entry = read_u32(from, path)?;
    ensure_agrees(path, "number of rows", n_rows, read_u64(from, path)?)?;
    let (n_base_links, n_upper_lists, n_upper_links) =
        (read_u64(from, path)?, read_u64(from, path)?, read_u64(from, path)?);
    // Only now are the counts believed, and memory taken for them.
    let sizes = [(n_rows, 3), (n_base_links, 4), (n_upper_lists, 2), (n_upper_links, 4)];
    let expected = sizes
        .iter()
        .fold(HEADER_BYTES_1, |sum, &(count, bytes)| sum.saturating_add(count.saturating_mul(bytes)));
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
