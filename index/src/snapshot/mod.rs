//! Collections on disk: which files there are, and what survives a crash.
//!
//! ```text
//! DIR/CURRENT              "snapshot-000003 <sha256 of its manifest>"
//! DIR/LOCK                 held by the one process that writes
//! DIR/snapshot-000003/     manifest.json, records.sqlite, vectors.bin, graph.bin (not for exact indexes)
//! DIR/log-000003           writes since, see [`crate::store`]
//! ```
//!
//! A snapshot is written under the name `snapshot-N.partial`, every file is synced, the folder gets its name,
//! and only then does a rename of `CURRENT` make it count. Whatever a crash leaves behind that `CURRENT` does
//! not name is ignored, and removed by the next save. `CURRENT` carries the digest of the manifest and the
//! manifest carries the length and digest of every other file, so no flipped byte goes unseen.
//!
//! A reader that verifies in full takes vectors, links and codes into memory; one that verifies lengths alone maps
//! them and starts at once. Records are looked up where they lie, one by one (`index/src/records`). If the snapshot that it is opening is replaced and removed under its hands,
//! it starts over with the new one; what it has mapped stays readable after that.

mod binary;
mod checked_file;
#[cfg(test)]
mod crash_tests;
mod current;
mod digest;
mod generation;
mod graph_file;
mod manifest;
mod mapped_file;
mod open;
mod records_file;
mod records_lines;
mod save;
mod vectors_file;
mod verify;

use protext_core::Space;

pub(crate) use current::{DirEntry, list, log_name, partial_log_name, sync_folder};
pub use digest::Digest;
pub(crate) use generation::Generation;
pub use open::inspect;
pub(crate) use open::open;
pub(crate) use save::{Successor, WriteLock, lock, save, save_locked};
pub(crate) use verify::explain;
pub use verify::{FileReport, VerifyReport, verify};

const RECORDS: &str = "records.sqlite";
/// Of snapshots before version 3.
const RECORDS_2: &str = "records.jsonl";
const VECTORS: &str = "vectors.bin";
const GRAPH: &str = "graph.bin";
const MANIFEST: &str = "manifest.json";

/// What is compared with the manifest while a collection is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Verify {
    /// Length and digest of every file, and that every vector is a unit vector.
    #[default]
    Full,
    /// Lengths, heads, and that every link leads to a row. For collections so large that reading them takes too
    /// long at every start: all files are mapped and read when they are needed. A damaged file gives wrong hits or
    /// an error at worst.
    Lengths,
}

/// How to open a collection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// What is verified.
    pub verify: Verify,
    /// Refuse collections of another space than this one.
    pub expected_space: Option<Space>,
}
