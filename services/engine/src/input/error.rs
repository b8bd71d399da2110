//! What can be wrong with an input: with the whole of it ([`InputError`]) or with one record ([`RecordError`]).
//!
//! Opening gives an `InputError`. Iterating gives `RecordError`s, each with the file, the record's number and
//! the [`Rule`] that was broken; after one the iterator goes on, unless [`RecordError::is_fatal`] says that
//! nothing can follow.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::detect::Format;

/// An input that cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The file cannot be opened.
    #[error("{}: cannot open it: {source}; check the path and its permissions", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Not a taxonomy.
    #[error("{file}: {source}")]
    Taxonomy {
        /// The file.
        file: String,
        /// The rule that it breaks.
        #[source]
        source: protext_index::IndexError,
    },
    /// A folder was given.
    #[error("{}: is a folder; name the files in it", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// Reading the beginning failed.
    #[error(
        "{file}: cannot read it: {source}; if it is compressed it may be cut short or damaged, fetch it again"
    )]
    Read {
        /// The input's name.
        file: String,
        /// The system's or the decompressor's reason.
        #[source]
        source: io::Error,
    },
    /// No bytes at all.
    #[error("{file}: is empty; a file with at least one record is needed")]
    Empty {
        /// The input's name.
        file: String,
    },
    /// Compressed with something other than gzip.
    #[error("{file}: is compressed with {codec}; decompress it first, or compress it with gzip")]
    Compression {
        /// The input's name.
        file: String,
        /// Such as "zstd".
        codec: &'static str,
    },
    /// Neither the name nor the content tells the format.
    #[error(
        "{file}: is not recognised as FASTA, TSV, CSV, JSON lines or Parquet; name the format if it is one of them"
    )]
    UnknownFormat {
        /// The input's name.
        file: String,
    },
    /// Parquet is read from its end, which a pipe does not offer.
    #[error("{file}: Parquet can only be read from a file; save it to one first")]
    ParquetNeedsFile {
        /// The input's name.
        file: String,
    },
    /// Not a Parquet file, or its footer is damaged.
    #[error("{file}: cannot be read as Parquet: {source}; check that the file is whole")]
    Parquet {
        /// The input's name.
        file: String,
        /// The Parquet library's reason.
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// A column is compressed with a codec that is not built in.
    #[error(
        "{file}: column {column:?} is compressed with {codec}; write the file with zstd or snappy instead"
    )]
    ParquetCodec {
        /// The input's name.
        file: String,
        /// The column.
        column: String,
        /// Its codec.
        codec: String,
    },
    /// A column holds something other than strings.
    #[error("{file}: column {column:?} holds {found}; strings are needed")]
    ColumnType {
        /// The input's name.
        file: String,
        /// The column.
        column: String,
        /// The column's type.
        found: String,
    },
    /// A needed column is missing.
    #[error(
        "{file}: no column for the {role} (looked for {wanted}); its columns are: {present}. Rename one, or name the column to use"
    )]
    MissingColumn {
        /// The input's name.
        file: String,
        /// "id", "sequence" or "text".
        role: &'static str,
        /// Names looked for, separated by commas.
        wanted: String,
        /// Names that are there, separated by commas.
        present: String,
    },
    /// The first line of a table is no line of column names.
    #[error("{file}: line 1 is no line of column names: {rule}")]
    Header {
        /// The input's name.
        file: String,
        /// What is wrong with it.
        #[source]
        rule: Box<Rule>,
    },
    /// The format holds no records of the modality asked for.
    #[error("{file}: {format} holds sequences; texts come as TSV, CSV, JSON lines or Parquet")]
    NoTexts {
        /// The input's name.
        file: String,
        /// The format.
        format: Format,
    },
}

/// One record that cannot be taken, or the end of a broken input.
#[derive(Debug)]
pub struct RecordError {
    /// The input's name.
    pub file: String,
    /// 1-based number of the record in its file; 0 where the file as a whole is meant.
    pub record: u64,
    /// 1-based line where the record begins or the rule was broken, in formats that have lines.
    pub line: Option<u64>,
    /// The record's id, if it was read.
    pub id: Option<String>,
    /// The rule that was broken.
    pub rule: Rule,
}

impl RecordError {
    /// True if nothing can be read after it: the iterator ends.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(
            self.rule,
            Rule::Truncated { .. }
                | Rule::Unreadable { .. }
                | Rule::Parquet { .. }
                | Rule::ParquetDamaged
                | Rule::NotFasta { .. }
                | Rule::NoRecords
        )
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.record > 0 {
            write!(f, ": record {}", self.record)?;
        }
        match (self.line, &self.id) {
            (Some(line), Some(id)) => write!(f, " (line {line}, id {id:?})")?,
            (Some(line), None) => write!(f, " (line {line})")?,
            (None, Some(id)) => write!(f, " (id {id:?})")?,
            (None, None) => {}
        }
        write!(f, ": {}", self.rule)
    }
}

impl std::error::Error for RecordError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The message holds the rule's own, so the chain goes on behind it.
        std::error::Error::source(&self.rule)
    }
}

/// What a record must obey to be read. Residues are judged later, by `protext-core`.
#[derive(Debug, thiserror::Error)]
pub enum Rule {
    /// More bytes than one record may have.
    #[error("has more than {max_bytes} bytes, the limit for one {what}; cut it, or raise the limit")]
    TooLong {
        /// "record", "sequence", "header line" or "line".
        what: &'static str,
        /// The limit in force.
        max_bytes: usize,
    },
    /// A quoted field was not closed before the limit.
    #[error("has more than {max_bytes} bytes, the limit for one record; is a quotation mark left open?")]
    TooLongQuoted {
        /// The limit in force.
        max_bytes: usize,
    },
    /// A row with too many fields.
    #[error("has more than {max_fields} fields, the limit for one row")]
    TooManyFields {
        /// The limit in force.
        max_fields: usize,
    },
    /// No id.
    #[error("has no id; give every record one")]
    EmptyId,
    /// A very long id.
    #[error("id has {n_bytes} bytes, more than the limit of {max_bytes}; is the id column the right one?")]
    IdTooLong {
        /// Bytes given.
        n_bytes: usize,
        /// The limit.
        max_bytes: usize,
    },
    /// A tab, line end or other control character in an id.
    #[error("id holds the control character {character:?} at position {position}; remove it")]
    ControlInId {
        /// 1-based, in characters.
        position: usize,
        /// The offending character.
        character: char,
    },
    /// An id that an earlier record has.
    #[error("id was already used by an earlier record; make ids unique, or ask to keep the first of each")]
    DuplicateId,
    /// A header without residues.
    #[error("header without a sequence; add the residues or remove the header")]
    NoSequence,
    /// A field that must not be empty.
    #[error("field {field:?} is empty; fill it or remove the record")]
    EmptyField {
        /// Column or JSON key.
        field: String,
    },
    /// A JSON object without a needed key.
    #[error("no field for the {role} (looked for {wanted})")]
    MissingField {
        /// "id", "sequence" or "text".
        role: &'static str,
        /// Names looked for, separated by commas.
        wanted: String,
    },
    /// A field of another type.
    #[error("field {field:?} is {found}; a string is needed")]
    FieldType {
        /// Column or JSON key.
        field: String,
        /// What came.
        found: &'static str,
    },
    /// A field whose number cannot be one.
    #[error("field {field:?} is {value:?}; a taxon id is a whole number such as 9606")]
    TaxonId {
        /// Column or JSON key.
        field: String,
        /// What came.
        value: String,
    },
    /// A row with another number of fields than the header.
    #[error("has {found} fields, the header has {expected}; check for a missing or extra delimiter")]
    Ragged {
        /// Fields in the header.
        expected: usize,
        /// Fields in the row.
        found: usize,
    },
    /// A line that is not a JSON object.
    #[error("is not a JSON object: {source}; write one object on each line")]
    Json {
        /// The parser's reason, with its column.
        #[source]
        source: serde_json::Error,
    },
    /// Bytes that are not UTF-8.
    #[error("{field} is not UTF-8 at byte {position}; convert the file to UTF-8")]
    NotUtf8 {
        /// "header", "sequence", or the column.
        field: String,
        /// 1-based byte within the field.
        position: usize,
    },
    /// A zero byte.
    #[error("{field} holds a NUL byte at byte {position}; the file is damaged or not text")]
    Nul {
        /// "header", "sequence", or the column.
        field: String,
        /// 1-based byte within the field.
        position: usize,
    },
    /// Something before the first header.
    #[error("not FASTA: expected '>' but found {found:?}; give the right file or name its format")]
    NotFasta {
        /// The beginning of what is there.
        found: String,
    },
    /// The input has no records.
    #[error("no records; at least one is needed")]
    NoRecords,
    /// A compressed stream that stops in the middle.
    #[error(
        "the compressed stream ends too early: the file was cut short; the records before this one are good, fetch it again"
    )]
    Truncated {
        /// The decompressor's reason.
        #[source]
        source: io::Error,
    },
    /// Reading failed.
    #[error("cannot read on: {source}; the records before this one are good")]
    Unreadable {
        /// The system's or the decompressor's reason.
        #[source]
        source: io::Error,
    },
    /// A Parquet file is damaged inside.
    #[error(
        "cannot read on: {source}; the file is damaged or uses a codec that is not built in (zstd and snappy are)"
    )]
    Parquet {
        /// The Parquet library's reason.
        #[source]
        source: arrow_schema::ArrowError,
    },
    /// A Parquet file is damaged in a way that its reader does not catch.
    #[error("cannot read on: the Parquet pages are damaged; write or fetch the file again")]
    ParquetDamaged,
}

impl Rule {
    /// Why reading failed: a stream that ends too early is told apart.
    pub(super) fn from_io(source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::UnexpectedEof => Self::Truncated { source },
            _ => Self::Unreadable { source },
        }
    }
}
