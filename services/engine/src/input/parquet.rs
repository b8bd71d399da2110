//! Parquet: the columns that matter, in small batches, row group by row group.
//!
//! Only string columns carry ids, sequences and texts (ids and taxon ids may be whole numbers too). The Parquet
//! library is not proof against every damaged file, so a panic inside it is caught and told as damage.

use std::borrow::Cow;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int32Type, Int64Type, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Compression;
use parquet::errors::ParquetError;

use super::columns::{Fields, Found, ROLES, Role, Wanted};
use super::error::{InputError, RecordError, Rule};
use super::{InputOptions, InputRecord, Located};

/// Rows decoded at a time: few, because each may hold as much as a record may.
const BATCH_ROWS: usize = 64;

pub(super) struct ParquetReader {
    file: String,
    batches: ParquetRecordBatchReader,
    wanted: Wanted,
    /// Of the columns that are read.
    names: Vec<String>,
    found: Found,
    batch: Option<RecordBatch>,
    row: usize,
    n_records: u64,
    ended: bool,
}

impl ParquetReader {
    /// `file` is the input's name in messages; `path` may be a decompressed copy of it.
    pub(super) fn open(file: &str, path: &Path, options: &InputOptions) -> Result<Self, InputError> {
        let file = file.to_owned();
        let stream = File::open(path).map_err(|source| InputError::Open { path: path.to_owned(), source })?;
        let damaged = |source| InputError::Parquet { file: file.clone(), source };
        // The stored Arrow schema is left aside: without it every string column comes as plain strings.
        let reading = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = guarded(|| ParquetRecordBatchReaderBuilder::try_new_with_options(stream, reading))
            .map_err(damaged)?;
        let wanted = Wanted::new(options);
        let columns = builder.schema().fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>();
        let found = wanted.ensure_all(&file, &columns)?;
        check_types(&file, builder.schema(), &found)?;
        let mut used: Vec<usize> = ROLES
            .iter()
            .filter_map(|&role| found.get(role))
            .chain(found.metadata.iter().flatten().copied())
            .chain(
                found
                    .others
                    .iter()
                    .copied()
                    .filter(|&at| is_readable(builder.schema().field(at).data_type())),
            )
            .collect();
        used.sort_unstable();
        used.dedup();
        check_codecs(&file, &builder, &columns, &used)?;
        let mask = ProjectionMask::roots(builder.parquet_schema(), used.iter().copied());
        // Columns come in the file's order, so names and places are looked up anew among those that are read.
        let names: Vec<String> = used.iter().map(|&at| columns[at].to_owned()).collect();
        let found = wanted.find(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let batches =
            guarded(|| builder.with_projection(mask).with_batch_size(BATCH_ROWS).build()).map_err(damaged)?;
        Ok(Self { file, batches, wanted, names, found, batch: None, row: 0, n_records: 0, ended: false })
    }

    /// Makes sure that there is a row to read. `false`: the end.
    fn fill(&mut self) -> Result<bool, Rule> {
        while self.batch.as_ref().is_none_or(|batch| self.row >= batch.num_rows()) {
            let next = catch_unwind(AssertUnwindSafe(|| self.batches.next()));
            match next.map_err(|_| Rule::ParquetDamaged)? {
                None => return Ok(false),
                Some(batch) => self.batch = Some(batch.map_err(|source| Rule::Parquet { source })?),
            }
            self.row = 0;
        }
        Ok(true)
    }

    fn record(&self, batch: &RecordBatch) -> Result<InputRecord, (Option<String>, Rule)> {
        let value_at = |at: usize| value(batch.column(at), self.row);
        let mut fields = Fields { roles: Default::default(), metadata: Vec::new() };
        for (field, role) in fields.roles.iter_mut().zip(ROLES) {
            *field = self.found.get(role).and_then(value_at);
        }
        for (name, at) in self.wanted.metadata.iter().zip(&self.found.metadata) {
            if let Some(value) = at.and_then(value_at).filter(|value| !value.is_empty()) {
                fields.metadata.push((name.clone(), value.into_owned()));
            }
        }
        for &at in &self.found.others {
            let value = value_at(at).filter(|value| !value.is_empty());
            fields.metadata.extend(value.map(|value| (self.names[at].clone(), value.into_owned())));
        }
        let name_of = |role| self.found.get(role).map(|at| self.names[at].clone()).unwrap_or_default();
        fields.into_record(self.n_records, &self.wanted, name_of)
    }
}

impl Iterator for ParquetReader {
    type Item = Result<Located, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let filled = self.fill();
        self.n_records += 1;
        let outcome = match (filled, self.batch.take()) {
            (Ok(true), Some(batch)) => {
                let outcome = self.record(&batch);
                self.batch = Some(batch);
                self.row += 1;
                outcome
            }
            (Ok(_), _) => {
                self.ended = true;
                return None;
            }
            (Err(rule), _) => {
                self.ended = true;
                Err((None, rule))
            }
        };
        Some(match outcome {
            Ok(record) => Ok(Located { record, line: None }),
            Err((id, rule)) => {
                Err(RecordError { file: self.file.clone(), record: self.n_records, line: None, id, rule })
            }
        })
    }
}

/// Runs a step of the Parquet library; a panic in it becomes an error.
fn guarded<T>(step: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    catch_unwind(AssertUnwindSafe(step))
        .unwrap_or_else(|_| Err(ParquetError::General("the footer is damaged".into())))
}

fn check_types(file: &str, schema: &Schema, found: &Found) -> Result<(), InputError> {
    for role in ROLES {
        let Some(field) = found.get(role).map(|at| schema.field(at)) else { continue };
        let numbers = matches!(role, Role::Id | Role::TaxonId);
        let fits = match field.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
            DataType::Int32 | DataType::Int64 | DataType::UInt32 | DataType::UInt64 => numbers,
            _ => false,
        };
        if !fits {
            let (column, found) = (field.name().clone(), field.data_type().to_string());
            return Err(InputError::ColumnType { file: file.to_owned(), column, found });
        }
    }
    Ok(())
}

/// Refuses codecs that are not built in before the first record rather than at it.
fn check_codecs(
    file: &str,
    builder: &ParquetRecordBatchReaderBuilder<File>,
    columns: &[&str],
    used: &[usize],
) -> Result<(), InputError> {
    for column in builder.metadata().row_groups().iter().flat_map(|group| group.columns()) {
        let root = column.column_path().parts().first().map_or("", String::as_str);
        let is_used = used.iter().any(|&at| columns[at] == root);
        let codec = column.compression();
        let built_in =
            matches!(codec, Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::ZSTD(_));
        if is_used && !built_in {
            let (file, column) = (file.to_owned(), root.to_owned());
            return Err(InputError::ParquetCodec { file, column, codec: codec.to_string() });
        }
    }
    Ok(())
}

/// Whether [`value`] gives values of this type.
fn is_readable(kind: &DataType) -> bool {
    let text = matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Boolean);
    let whole = matches!(kind, DataType::Int32 | DataType::Int64 | DataType::UInt32 | DataType::UInt64);
    text || whole || matches!(kind, DataType::Float32 | DataType::Float64)
}

/// One value as text; `None` for null and for types that are no text and no number.
fn value(column: &ArrayRef, row: usize) -> Option<Cow<'_, str>> {
    if column.is_null(row) {
        return None;
    }
    Some(match column.data_type() {
        DataType::Utf8 => Cow::Borrowed(column.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => Cow::Borrowed(column.as_string::<i64>().value(row)),
        DataType::Utf8View => Cow::Borrowed(column.as_string_view().value(row)),
        DataType::Int32 => Cow::Owned(column.as_primitive::<Int32Type>().value(row).to_string()),
        DataType::Int64 => Cow::Owned(column.as_primitive::<Int64Type>().value(row).to_string()),
        DataType::UInt32 => Cow::Owned(column.as_primitive::<UInt32Type>().value(row).to_string()),
        DataType::UInt64 => Cow::Owned(column.as_primitive::<UInt64Type>().value(row).to_string()),
        DataType::Float32 => Cow::Owned(column.as_primitive::<Float32Type>().value(row).to_string()),
        DataType::Float64 => Cow::Owned(column.as_primitive::<Float64Type>().value(row).to_string()),
        DataType::Boolean => Cow::Owned(column.as_boolean().value(row).to_string()),
        _ => return None,
    })
}
