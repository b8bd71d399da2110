//! Tables of texts and numbers to files: TSV, JSON lines and Parquet.
//!
//! [`TableWriter`] takes rows one by one; [`TableWriter::finish`] makes the file appear under its name, whole. TSV and
//! JSON lines may be gzip'd (`.tsv.gz`, `.jsonl.gz`). TSV has no quoting, so tabs and line breaks in a text become a
//! space. The same rows give the same bytes. Caller is `protext texts`; what it writes, `input` reads.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{Int64Builder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use parquet::basic::ZstdLevel;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::error::OutputError;
use super::partial::PartialFile;

/// Rows gather to batches of about so many bytes.
const BATCH_BYTES: usize = 4 << 20;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// Texts.
    Text,
    /// Whole numbers.
    Number,
}

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: ColumnKind,
}

impl Column {
    /// A column of texts.
    #[must_use]
    pub const fn text(name: &'static str) -> Self {
        Self { name, kind: ColumnKind::Text }
    }

    /// A column of whole numbers.
    #[must_use]
    pub const fn number(name: &'static str) -> Self {
        Self { name, kind: ColumnKind::Number }
    }
}

/// A value of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell<'a> {
    /// Nothing: empty in TSV, left out in JSON lines, null in Parquet.
    Missing,
    /// A text.
    Text(&'a str),
    /// A whole number.
    Number(u64),
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<Option<&'a str>> for Cell<'a> {
    fn from(text: Option<&'a str>) -> Self {
        text.map_or(Self::Missing, Self::Text)
    }
}

impl From<Option<u32>> for Cell<'_> {
    fn from(number: Option<u32>) -> Self {
        number.map_or(Self::Missing, |number| Self::Number(u64::from(number)))
    }
}

/// A table that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSummary {
    /// The file.
    pub path: PathBuf,
    /// Its rows.
    pub n_rows: u64,
    /// Its size.
    pub n_bytes: u64,
}

/// Writes one table. Dropped without [`TableWriter::finish`], it leaves nothing behind.
pub struct TableWriter {
    path: PathBuf,
    columns: &'static [Column],
    inner: Inner,
    n_rows: u64,
}

enum Inner {
    Lines { stream: Box<dyn LineStream>, is_json: bool },
    Parquet(Box<ParquetTable>),
}

impl TableWriter {
    /// Starts a table at `path`; its ending tells the format.
    ///
    /// # Errors
    /// An [`OutputError`] if the file exists and may not be replaced, its folder is not writable, or the ending is
    /// unknown.
    pub fn create(path: &Path, columns: &'static [Column], overwrite: bool) -> Result<Self, OutputError> {
        let unknown = || OutputError::UnknownTable { path: path.to_owned() };
        let name = path.file_name().ok_or_else(unknown)?.to_string_lossy().to_ascii_lowercase();
        let (stem, is_gzip) = name.strip_suffix(".gz").map_or((name.as_str(), false), |stem| (stem, true));
        let ending = stem.rsplit_once('.').map(|(_, ending)| ending);
        let is_json = match ending {
            Some("tsv" | "tab") => false,
            Some("jsonl" | "ndjson") => true,
            Some("parquet") if !is_gzip => {
                let table = ParquetTable::new(PartialFile::create(path, overwrite)?, columns)?;
                let inner = Inner::Parquet(Box::new(table));
                return Ok(Self { path: path.to_owned(), columns, inner, n_rows: 0 });
            }
            _ => return Err(unknown()),
        };
        let file = BufWriter::new(PartialFile::create(path, overwrite)?);
        let mut stream: Box<dyn LineStream> = match is_gzip {
            true => Box::new(GzEncoder::new(file, Compression::default())),
            false => Box::new(file),
        };
        if !is_json {
            let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
            let header = writeln!(stream, "{}", names.join("\t"));
            header.map_err(|error| OutputError::write(path, error))?;
        }
        let inner = Inner::Lines { stream, is_json };
        Ok(Self { path: path.to_owned(), columns, inner, n_rows: 0 })
    }

    /// Writes one row.
    ///
    /// # Errors
    /// An [`OutputError`]; nothing half-written remains.
    ///
    /// # Panics
    /// If the row has another number of cells than the table has columns.
    pub fn push(&mut self, row: &[Cell<'_>]) -> Result<(), OutputError> {
        assert_eq!(row.len(), self.columns.len(), "a row has one cell a column");
        let written = match &mut self.inner {
            Inner::Lines { stream, is_json: false } => write_tsv(stream, row),
            Inner::Lines { stream, is_json: true } => write_json(stream, self.columns, row),
            Inner::Parquet(table) => table.push(row).map_err(io::Error::other),
        };
        written.map_err(|error| OutputError::write(&self.path, error))?;
        self.n_rows += 1;
        Ok(())
    }

    /// Rows so far.
    #[must_use]
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// Completes the file and gives it its name.
    ///
    /// # Errors
    /// An [`OutputError`]; nothing half-written remains.
    pub fn finish(self) -> Result<TableSummary, OutputError> {
        let Self { path, inner, n_rows, .. } = self;
        let file = match inner {
            Inner::Lines { stream, .. } => stream.close().map_err(|error| OutputError::write(&path, error)),
            Inner::Parquet(table) => table.close().map_err(|error| OutputError::write(&path, error)),
        }?;
        Ok(TableSummary { n_bytes: file.finish()?, path, n_rows })
    }
}

impl std::fmt::Debug for TableWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TableWriter").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A stream of lines that becomes a file.
trait LineStream: Write + Send {
    fn close(self: Box<Self>) -> io::Result<PartialFile>;
}

impl LineStream for BufWriter<PartialFile> {
    fn close(self: Box<Self>) -> io::Result<PartialFile> {
        self.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

impl LineStream for GzEncoder<BufWriter<PartialFile>> {
    fn close(self: Box<Self>) -> io::Result<PartialFile> {
        self.finish()?.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

fn write_tsv(stream: &mut dyn Write, row: &[Cell<'_>]) -> io::Result<()> {
    let cells = row.iter().map(|cell| match cell {
        Cell::Missing => String::new(),
        Cell::Text(text) => text.replace("\r\n", " ").replace(['\t', '\n', '\r'], " "),
        Cell::Number(number) => number.to_string(),
    });
    writeln!(stream, "{}", cells.collect::<Vec<_>>().join("\t"))
}

fn write_json(stream: &mut dyn Write, columns: &[Column], row: &[Cell<'_>]) -> io::Result<()> {
    let mut is_first = true;
    stream.write_all(b"{")?;
    for (column, cell) in columns.iter().zip(row) {
        let value = match cell {
            Cell::Missing => continue,
            Cell::Text(text) => serde_json::to_string(text)?,
            Cell::Number(number) => number.to_string(),
        };
        let comma = if std::mem::take(&mut is_first) { "" } else { ", " };
        write!(stream, "{comma}\"{}\": {value}", column.name)?;
    }
    stream.write_all(b"}\n")
}

/// Rows of a batch, column by column.
struct ParquetTable {
    writer: ArrowWriter<PartialFile>,
    schema: SchemaRef,
    builders: Vec<Builder>,
    n_bytes: usize,
}

enum Builder {
    Text(StringBuilder),
    Number(Int64Builder),
}

impl ParquetTable {
    fn new(file: PartialFile, columns: &[Column]) -> Result<Self, OutputError> {
        let path = file.path().to_owned();
        let fields = columns.iter().map(|column| match column.kind {
            ColumnKind::Text => Field::new(column.name, DataType::Utf8, true),
            ColumnKind::Number => Field::new(column.name, DataType::Int64, true),
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let properties = WriterProperties::builder()
            .set_compression(parquet::basic::Compression::ZSTD(ZstdLevel::default()))
            .build();
        let writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties))
            .map_err(|error| OutputError::write(&path, error))?;
        let builders = columns.iter().map(|column| match column.kind {
            ColumnKind::Text => Builder::Text(StringBuilder::new()),
            ColumnKind::Number => Builder::Number(Int64Builder::new()),
        });
        Ok(Self { writer, schema, builders: builders.collect(), n_bytes: 0 })
    }

    fn push(&mut self, row: &[Cell<'_>]) -> Result<(), ParquetError> {
        for (builder, cell) in self.builders.iter_mut().zip(row) {
            match (builder, cell) {
                (Builder::Text(texts), Cell::Text(text)) => {
                    texts.append_value(text);
                    self.n_bytes += text.len();
                }
                (Builder::Text(texts), Cell::Number(number)) => texts.append_value(number.to_string()),
                (Builder::Text(texts), Cell::Missing) => texts.append_null(),
                (Builder::Number(numbers), Cell::Number(number)) => {
                    numbers.append_value(i64::try_from(*number).unwrap_or(i64::MAX));
                }
                (Builder::Number(numbers), Cell::Missing | Cell::Text(_)) => numbers.append_null(),
            }
        }
        self.n_bytes += 8 * row.len();
        if self.n_bytes >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), ParquetError> {
        let columns = self.builders.iter_mut().map(|builder| -> ArrayRef {
            match builder {
                Builder::Text(texts) => Arc::new(texts.finish()),
                Builder::Number(numbers) => Arc::new(numbers.finish()),
            }
        });
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns.collect())?;
        self.n_bytes = 0;
        self.writer.write(&batch)
    }

    fn close(mut self: Box<Self>) -> Result<PartialFile, ParquetError> {
        self.flush()?;
        self.writer.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use protext_core::Modality;

    use super::*;
    use crate::input::{InputOptions, Source, open};

    const COLUMNS: &[Column] = &[Column::text("id"), Column::number("length"), Column::text("text")];

    fn write(path: &Path, overwrite: bool) -> Result<TableSummary, OutputError> {
        let mut table = TableWriter::create(path, COLUMNS, overwrite)?;
        table.push(&["a".into(), Cell::Number(3), "Binds\t\"DNA\"\r\nand\nRNA.".into()])?;
        table.push(&["b".into(), Cell::Missing, "Cuts.".into()])?;
        table.finish()
    }

    #[test]
    fn every_format_is_read_back_and_the_same_rows_give_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["t.tsv", "t.tsv.gz", "t.jsonl", "t.jsonl.gz", "t.parquet"] {
            let path = folder.path().join(name);
            let summary = write(&path, false).unwrap();
            assert_eq!(summary.n_rows, 2);
            let options = InputOptions {
                metadata_columns: vec!["length".to_owned()],
                ..InputOptions::new(Modality::Text)
            };
            let records = open(&Source::Path(path.clone()), &options).unwrap();
            let records: Vec<_> = records.map(Result::unwrap).collect();
            assert_eq!(records.iter().map(|record| record.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
            let text = records[0].payload.as_str().split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(text, "Binds \"DNA\" and RNA.", "{name}");
            let lengths: Vec<_> = records.iter().map(|record| record.metadata.len()).collect();
            assert_eq!(lengths, [1, 0], "{name}");
            let bytes = std::fs::read(&path).unwrap();
            write(&path, true).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), bytes, "{name}");
        }
    }

    #[test]
    fn what_is_there_stays_and_an_unknown_ending_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.tsv");
        write(&path, false).unwrap();
        assert!(matches!(write(&path, false), Err(OutputError::Exists { .. })));
        for name in ["t", "t.xlsx", "t.gz", "t.parquet.gz"] {
            let error = write(&folder.path().join(name), false).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(".tsv"), "{error}");
        }
        drop(TableWriter::create(&folder.path().join("u.tsv.gz"), COLUMNS, false).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing half-written is left");
    }
}
