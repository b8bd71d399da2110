//! Parquet, zstd: `id` and `vector`, or a row for each residue with its `position`.
//!
//! Rows gather in a batch of about a megabyte; row groups close at about 32 MB of values, so memory does not
//! grow with the file. The vectors have no dictionary and no statistics: neither helps with embeddings.

use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, Int32Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::error::OutputError;
use super::partial::PartialFile;
use super::{CheckedRow, FormatWriter, Layout};

const BATCH_BYTES: usize = 1 << 20;
const ROW_GROUP_BYTES: usize = 32 << 20;

pub(super) struct ParquetWriter {
    writer: ArrowWriter<PartialFile>,
    path: PathBuf,
    schema: SchemaRef,
    element: FieldRef,
    dim: usize,
    batch_rows: usize,
    ids: Vec<String>,
    /// 1-based; empty in a file of pooled vectors.
    positions: Vec<i32>,
    values: Vec<f32>,
    per_residue: bool,
}

impl ParquetWriter {
    pub(super) fn new(file: PartialFile, layout: &Layout<'_>) -> Result<Self, OutputError> {
        let path = file.path().to_owned();
        let element = Arc::new(Field::new("element", DataType::Float32, false));
        let width = i32::try_from(layout.dim).expect("widths are checked against MAX_DIM");
        let vector = Field::new("vector", DataType::FixedSizeList(Arc::clone(&element), width), false);
        let mut fields = vec![Field::new("id", DataType::Utf8, false)];
        if layout.per_residue {
            fields.push(Field::new("position", DataType::Int32, false));
        }
        fields.push(vector);
        let schema = Arc::new(Schema::new(fields));
        let writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties(layout)))
            .map_err(|error| OutputError::write(&path, error))?;
        Ok(Self {
            writer,
            path,
            schema,
            element,
            dim: layout.dim,
            batch_rows: (BATCH_BYTES / (layout.dim * 4)).max(1),
            ids: Vec::new(),
            positions: Vec::new(),
            values: Vec::new(),
            per_residue: layout.per_residue,
        })
    }

    fn flush(&mut self) -> Result<(), OutputError> {
        if self.ids.is_empty() {
            return Ok(());
        }
        let written = self.batch().and_then(|batch| self.writer.write(&batch));
        written.map_err(|error| OutputError::write(&self.path, error))
    }

    fn batch(&mut self) -> Result<RecordBatch, ParquetError> {
        let width = i32::try_from(self.dim).expect("widths are checked against MAX_DIM");
        let values = Arc::new(Float32Array::from(std::mem::take(&mut self.values)));
        let vectors = FixedSizeListArray::try_new(Arc::clone(&self.element), width, values, None)?;
        let mut columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from(std::mem::take(&mut self.ids)))];
        if self.per_residue {
            columns.push(Arc::new(Int32Array::from(std::mem::take(&mut self.positions))));
        }
        columns.push(Arc::new(vectors));
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

fn properties(layout: &Layout<'_>) -> WriterProperties {
    let entry = |(key, value): (&str, &str)| KeyValue::new(format!("protext.{key}"), value.to_owned());
    let entries: Vec<KeyValue> = layout.metadata.entries().map(entry).collect();
    let values = || ColumnPath::new(["vector", "list", "element"].map(String::from).to_vec());
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some((ROW_GROUP_BYTES / (layout.dim * 4)).max(1)))
        .set_key_value_metadata((!entries.is_empty()).then_some(entries))
        .set_column_dictionary_enabled(values(), false)
        .set_column_statistics_enabled(values(), EnabledStatistics::None)
        .build()
}

impl FormatWriter for ParquetWriter {
    fn push(&mut self, row: &CheckedRow<'_>) -> Result<(), OutputError> {
        for (index, vector) in row.values.chunks_exact(self.dim).enumerate() {
            self.ids.push(row.id.to_owned());
            self.values.extend_from_slice(vector);
            if self.per_residue {
                self.positions.push(i32::try_from(index + 1).unwrap_or(i32::MAX));
            }
            if self.ids.len() >= self.batch_rows {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<PartialFile, OutputError> {
        self.flush()?;
        self.writer.into_inner().map_err(|error| OutputError::write(&self.path, error))
    }
}
