//! Reading a snapshot, whole or not at all.

use std::path::Path;
use std::sync::Arc;

use super::current::Current;
use super::graph_file::GraphParts;
use super::manifest::{Manifest, numbered};
use super::{
    GRAPH, OpenOptions, VECTORS, Verify, checked_file, graph_file, records_file, records_lines, vectors_file,
};
use crate::collection::{Collection, CollectionInfo, IndexDescription, StoredIndex};
use crate::error::{IndexError, SnapshotError};
use crate::exact::ExactIndex;
use crate::hnsw::calibrate::MIN_DEFAULT_EF;
use crate::hnsw::codes::Codes;
use crate::hnsw::{HnswIndex, HnswParams};
use crate::records::Records;
use crate::vector_table::VectorTable;

/// How often a reader starts over because the snapshot was replaced while it read.
const MAX_ATTEMPTS: usize = 16;

/// Describes the collection in `dir` from its manifest alone, in no time.
///
/// # Errors
/// [`SnapshotError`] naming the file and what to do.
pub fn inspect(dir: impl AsRef<Path>) -> Result<CollectionInfo, SnapshotError> {
    let dir = dir.as_ref();
    with_current(dir, |current| Ok(Manifest::read(dir, current)?.info()))
}

/// Reads the collection in `dir`.
pub(crate) fn open(dir: &Path, options: &OpenOptions) -> Result<Collection, SnapshotError> {
    with_current(dir, |current| {
        let manifest = Manifest::read(dir, current)?;
        if let Some(expected) = &options.expected_space {
            manifest.space.ensure_same("the collection", expected, "what it is opened for")?;
        }
        load(&current.folder(dir), manifest, options.verify)
    })
}

/// Runs `read` on the current snapshot, again if that was replaced and removed meanwhile.
pub(super) fn with_current<T>(
    dir: &Path,
    read: impl Fn(&Current) -> Result<T, SnapshotError>,
) -> Result<T, SnapshotError> {
    let mut current = Current::read(dir)?;
    for _ in 1..MAX_ATTEMPTS {
        match read(&current) {
            Err(SnapshotError::MissingFile { path }) => {
                let now = Current::read(dir)?;
                if now == current {
                    return Err(SnapshotError::MissingFile { path });
                }
                current = now;
            }
            other => return other,
        }
    }
    read(&current)
}

fn load(folder: &Path, manifest: Manifest, verify: Verify) -> Result<Collection, SnapshotError> {
    let n_records = manifest.n_records;
    let file = |name: &str| {
        let invalid = |source| SnapshotError::Manifest { path: folder.join(super::MANIFEST), source };
        manifest.file(name).map_err(invalid)
    };
    let unusable = |source| SnapshotError::Content { path: folder.join(super::MANIFEST), source };

    let entry = file(manifest.records_name())?;
    let records = match manifest.version {
        1 | 2 => Records::Held(Arc::new(checked_file::read(folder, entry, verify, |from, path| {
            records_lines::read(from, path, n_records)
        })?)),
        _ => Records::Stored(Arc::new(records_file::open(folder, entry, verify, n_records)?)),
    };
    let mut indexes = Vec::new();
    for (number, (space, index)) in manifest.indexes().enumerate() {
        let table = VectorTable::new(space.clone()).map_err(unusable)?;
        let entry = file(&numbered(VECTORS, number))?;
        let table = match manifest.version {
            1 => checked_file::read(folder, entry, verify, |from, path| {
                vectors_file::read_1(from, path, entry.n_bytes, n_records, table)
            })?,
            _ => vectors_file::read(folder, entry, verify, n_records, table)?,
        };
        let table = Arc::new(table);
        indexes.push(match index {
            IndexDescription::Exact => StoredIndex::Exact(ExactIndex::new(table)),
            IndexDescription::Qdrant { .. } => {
                let (path, found) = (folder.join(super::MANIFEST), "qdrant".to_owned());
                return Err(SnapshotError::Format { path, found });
            }
            IndexDescription::Hnsw { m, ef_construction } => {
                let params = HnswParams { m, ef_construction, ..HnswParams::default() };
                params.validate().map_err(unusable)?;
                let entry = file(&numbered(GRAPH, number))?;
                let parts = match manifest.version {
                    1 => {
                        let graph = checked_file::read(folder, entry, verify, |from, path| {
                            graph_file::read_1(from, path, entry.n_bytes, n_records)
                        })?;
                        GraphParts { graph, codes: Codes::of(&table), default_ef: MIN_DEFAULT_EF }
                    }
                    _ => graph_file::read(folder, entry, verify, n_records, space.dim)?,
                };
                let GraphParts { graph, codes, default_ef } = parts;
                let index = HnswIndex::from_parts(table, graph, codes, params, default_ef)
                    .map_err(|fault| unusable(IndexError::Graph(fault)))?;
                index.take_huge_pages_later();
                StoredIndex::Hnsw(index)
            }
        });
    }
    let Manifest { created_unix_s, metadata, .. } = manifest;
    Ok(Collection { records, indexes, created_unix_s, metadata })
}
