//! Errors of the index: what a caller asked wrongly ([`IndexError`]), and what is wrong with a collection on
//! disk ([`SnapshotError`]). Every message names the way out.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use protext_core::{Space, SpaceMismatch, VectorError};

use crate::filter::FilterError;
use crate::remote::RemoteError;

/// An index could not be built or searched as asked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum IndexError {
    /// A query of another space.
    #[error(transparent)]
    Space(#[from] SpaceMismatch),
    /// A vector whose width is not the space's.
    #[error("vector has {found} components, but {space} has {}; embed it with that space's encoder", space.dim)]
    WrongDim {
        /// Components given.
        found: usize,
        /// The index's space.
        space: Box<Space>,
    },
    /// A matrix that is not a whole number of rows.
    #[error("matrix of {n_values} values is not a whole number of rows of {dim} components")]
    RaggedMatrix {
        /// Values given.
        n_values: usize,
        /// Components of a row.
        dim: usize,
    },
    /// A space without components.
    #[error("space {0} has no components, so nothing can be compared in it")]
    NoComponents(Box<Space>),
    /// A row of a matrix that is no unit vector.
    #[error("row {row}: {source}")]
    Vector {
        /// 0-based row.
        row: usize,
        /// What is wrong with it.
        #[source]
        source: VectorError,
    },
    /// A row of a matrix whose norm is not 1.
    #[error("row {row}: norm is {norm}, but stored vectors have norm 1; normalize them first")]
    NotUnit {
        /// 0-based row.
        row: usize,
        /// Its norm.
        norm: f64,
    },
    /// More rows than row numbers.
    #[error("{found} rows are more than the {max} that one index holds; split them into several collections")]
    TooManyRows {
        /// Rows given.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// A row that is not stored.
    #[error("row {row} is not in the index, which has {n_rows} rows, counted from 0")]
    UnknownRow {
        /// Row asked for.
        row: u32,
        /// Rows stored.
        n_rows: usize,
    },
    /// No hits were asked for.
    #[error("k is 0; ask for at least 1 hit")]
    ZeroK,
    /// A filter made for an index of another size.
    #[error("filter covers {found} rows, the index has {expected}; make the filter from this index")]
    FilterRows {
        /// Rows that the filter covers.
        found: usize,
        /// Rows of the index.
        expected: usize,
    },
    /// A build parameter out of range.
    #[error("{name} = {value} is out of range; use {min} to {max}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// The value given.
        value: usize,
        /// Least value accepted.
        min: usize,
        /// Greatest value accepted.
        max: usize,
    },
    /// The builder left a graph that breaks the rules of the flat layout.
    #[error("the graph that was built is unusable; report this with the build parameters")]
    Graph(#[from] GraphFault),
    /// A record without an id.
    #[error("record {record} has an empty id; give every record one")]
    EmptyId {
        /// 1-based record.
        record: usize,
    },
    /// A record with an over-long id.
    #[error("record {record} has an id of {n_bytes} bytes, more than the limit of {max_bytes}; shorten it")]
    LongId {
        /// 1-based record.
        record: usize,
        /// Bytes of the id.
        n_bytes: usize,
        /// The limit.
        max_bytes: usize,
    },
    /// Two records with one id.
    #[error("records {first_record} and {second_record} both have the id {id:?}; ids must be unique")]
    DuplicateId {
        /// The id.
        id: String,
        /// 1-based record that had it first.
        first_record: usize,
        /// 1-based record that repeats it.
        second_record: usize,
    },
    /// A field of a record that cannot be kept.
    #[error("record {record}, field {field:?}: {rule}")]
    RecordField {
        /// 1-based record.
        record: usize,
        /// The field.
        field: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// A filter that cannot be read, or that names what is not there.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// A taxonomy that is none.
    #[error("the taxonomy cannot be used: line {line}: {what}; give nodes.dmp of NCBI's taxdump archive")]
    Taxonomy {
        /// 1-based line; 0 where the whole is at fault.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// The records of a snapshot could not be read.
    #[error(
        "{} cannot be read; run `protext index verify`, then restore a backup or rebuild the collection with \
         `protext index build`",
        path.display()
    )]
    Records {
        /// The file.
        path: PathBuf,
        /// SQLite's own error.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// A file that holds no records, or those of another program.
    #[error(
        "{} does not hold records as this program writes them (application {application}, version {version}); rebuild \
         the collection with `protext index build`",
        path.display()
    )]
    RecordsKind {
        /// The file.
        path: PathBuf,
        /// What it says it belongs to.
        application: i64,
        /// Its version.
        version: i64,
    },
    /// One record of a snapshot that is none.
    #[error(
        "{}: record {record} is unreadable ({what}); restore a backup, or rebuild the collection with \
         `protext index build`",
        path.display()
    )]
    RecordContent {
        /// The file.
        path: PathBuf,
        /// 1-based record.
        record: usize,
        /// What the JSON reader says.
        what: String,
    },
    /// An index on another machine could not do it.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// An id that no record has.
    #[error("no record has the id {id:?}")]
    UnknownId {
        /// The id asked for.
        id: String,
    },
}

/// A rule of the neighbour graph that was broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphFault {
    /// Counts that do not belong together.
    #[error("{what}: {found} found where {expected} belong")]
    Count {
        /// What was counted.
        what: &'static str,
        /// Number that belongs there.
        expected: u64,
        /// Number found.
        found: u64,
    },
    /// An entry point that is not a row of the top layer.
    #[error("entry row {row} is not in the top layer")]
    Entry {
        /// The row.
        row: u32,
    },
    /// A row above the highest layer that graphs have.
    #[error("row {row} is on layer {level}, above the highest possible one, {max}")]
    Level {
        /// The row.
        row: usize,
        /// Its layer.
        level: u8,
        /// The highest layer possible.
        max: u8,
    },
    /// A link to a row that is not stored, or is not on the link's layer.
    #[error("layer {layer}: row {row} links to row {to}, which is not on that layer")]
    Link {
        /// Layer of the link.
        layer: u8,
        /// Row that it leaves.
        row: usize,
        /// Row that it names.
        to: u32,
    },
}

/// A collection on disk could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The directory holds no collection.
    #[error("{} holds no collection (no file CURRENT); build one with `protext index build`", dir.display())]
    NotACollection {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory to write holds something else.
    #[error(
        "{} is no collection and not empty (it holds {entry:?}); choose an empty or new directory",
        dir.display()
    )]
    ForeignFiles {
        /// The directory.
        dir: PathBuf,
        /// One thing found in it.
        entry: String,
    },
    /// Another process is writing.
    #[error("{} is being written by another process; try again when it is done", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {action} {}; check that the disk has room and that the path may be used", path.display())]
    Io {
        /// What was tried, a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's own error.
        #[source]
        source: io::Error,
    },
    /// A file that the snapshot needs is gone.
    #[error("{} is missing; rebuild the collection with `protext index build`", path.display())]
    MissingFile {
        /// The file.
        path: PathBuf,
    },
    /// `CURRENT` does not say which snapshot counts.
    #[error("{} is damaged; rebuild the collection with `protext index build`", path.display())]
    Current {
        /// The file.
        path: PathBuf,
    },
    /// A manifest that is no manifest.
    #[error("{} is not a manifest; rebuild the collection with `protext index build`", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What the JSON reader says.
        #[source]
        source: serde_json::Error,
    },
    /// A manifest of another kind of thing.
    #[error("{} describes {found:?}, not a collection; rebuild it with `protext index build`", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The format that it names.
        found: String,
    },
    /// A snapshot of a later program.
    #[error(
        "{} was written by a newer version (format {found}, this program reads up to {supported}); \
         update Protext or rebuild the collection with `protext index build`",
        path.display()
    )]
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// Its format version.
        found: u64,
        /// The latest one that this program reads.
        supported: u64,
    },
    /// A snapshot with the bytes of each number the other way round.
    #[error(
        "{} says byte order {found:?}, this program reads \"little\"; \
         rebuild the collection with `protext index build`",
        path.display()
    )]
    ByteOrder {
        /// The file.
        path: PathBuf,
        /// The order that it names.
        found: String,
    },
    /// The snapshot is not in the space that the caller needs.
    #[error("the collection does not fit; rebuild it with `protext index build`")]
    Space(#[from] SpaceMismatch),
    /// A file is shorter or longer than when it was written.
    #[error(
        "{} has {found} bytes instead of {expected}; rebuild the collection with `protext index build`",
        path.display()
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes when it was written.
        expected: u64,
        /// Bytes now.
        found: u64,
    },
    /// A file's content changed since it was written.
    #[error(
        "{} is damaged: its digest is {found} instead of {expected}; \
         rebuild the collection with `protext index build`",
        path.display()
    )]
    Checksum {
        /// The file.
        path: PathBuf,
        /// Digest when it was written.
        expected: String,
        /// Digest now.
        found: String,
    },
    /// A file whose header or count disagrees with the manifest.
    #[error(
        "{}: {field} is {found}, the manifest says {expected}; \
         rebuild the collection with `protext index build`",
        path.display()
    )]
    Disagrees {
        /// The file.
        path: PathBuf,
        /// What disagrees.
        field: &'static str,
        /// The manifest's value.
        expected: u64,
        /// The file's value.
        found: u64,
    },
    /// A line of the records file that is no record.
    #[error("{}, line {line}: not a record; rebuild the collection with `protext index build`", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// 1-based line.
        line: usize,
        /// What the JSON reader says.
        #[source]
        source: serde_json::Error,
    },
    /// Content that no collection may have.
    #[error("{} is unusable; rebuild the collection with `protext index build`", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The rule that it breaks.
        #[source]
        source: IndexError,
    },
}
