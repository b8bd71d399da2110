//! Parquet: a column of strings and a column of lists of floating-point numbers.

use std::fs::File;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};

use super::{ID_NAMES, Rows, VECTOR_NAMES, damaged, layout, position_of};
use crate::output::error::VectorFileError;
use crate::output::{OutputFormat, VectorFile, VectorMetadata};

const LAYOUT: &str = "a column of strings called id and a column of lists of float or double called vector";

pub(super) fn read(path: &Path) -> Result<VectorFile, VectorFileError> {
    let file = File::open(path).map_err(|source| VectorFileError::Read { path: path.to_owned(), source })?;
    // Without the stored Arrow schema every list of numbers comes as a plain list, whoever wrote it.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)
        .map_err(|error| damaged(path, OutputFormat::Parquet, error))?;
    let (id, vector) = columns(path, builder.schema())?;
    let entries = builder.metadata().file_metadata().key_value_metadata().cloned().unwrap_or_default();
    let metadata = VectorMetadata::from_entries(|key| {
        let is_ours = |entry: &str| entry.strip_prefix("protext.") == Some(key);
        entries.iter().find(|entry| is_ours(&entry.key)).and_then(|entry| entry.value.clone())
    });
    let mask = ProjectionMask::roots(builder.parquet_schema(), [id, vector]);
    let batches = builder.with_projection(mask).with_batch_size(1024).build();
    let mut rows = Rows::new(path);
    for batch in batches.map_err(|error| damaged(path, OutputFormat::Parquet, error))? {
        let batch = batch.map_err(|error| damaged(path, OutputFormat::Parquet, error))?;
        // Columns keep the file's order when some are left out.
        push_batch(path, &batch, usize::from(id > vector), &mut rows)?;
    }
    rows.finish(metadata)
}

/// Positions of the ids and of the vectors.
fn columns(path: &Path, schema: &Schema) -> Result<(usize, usize), VectorFileError> {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let found = (position_of(&names, ID_NAMES), position_of(&names, VECTOR_NAMES));
    let (Some(id), Some(vector)) = found else {
        return Err(layout(path, "schema", format!("columns {}", names.join(", ")), LAYOUT));
    };
    if position_of(&names, &["position"]).is_some() {
        return Err(VectorFileError::PerResidue {
            path: path.to_owned(),
            place: "column \"position\"".into(),
        });
    }
    let fits = |at: usize| match (at == id, schema.field(at).data_type()) {
        (true, kind) => matches!(kind, DataType::Utf8 | DataType::LargeUtf8),
        (false, DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)) => {
            matches!(item.data_type(), DataType::Float32 | DataType::Float64)
        }
        (false, _) => false,
    };
    match [id, vector].into_iter().find(|&at| !fits(at)) {
        Some(at) => {
            let found = schema.field(at).data_type().to_string();
            Err(layout(path, &format!("column {:?}", names[at]), found, LAYOUT))
        }
        None => Ok((id, vector)),
    }
}

fn push_batch(
    path: &Path,
    batch: &RecordBatch,
    id_at: usize,
    rows: &mut Rows,
) -> Result<(), VectorFileError> {
    let (ids, vectors) = (batch.column(id_at), batch.column(1 - id_at));
    for row in 0..batch.num_rows() {
        if ids.is_null(row) || vectors.is_null(row) {
            let place = format!("row {}", rows.file.ids.len() + 1);
            return Err(layout(path, &place, "a null", "an id and a vector in every row"));
        }
        let id = match ids.data_type() {
            DataType::LargeUtf8 => ids.as_string::<i64>().value(row),
            _ => ids.as_string::<i32>().value(row),
        };
        let values = match vectors.data_type() {
            DataType::LargeList(_) => vectors.as_list::<i64>().value(row),
            DataType::FixedSizeList(..) => vectors.as_fixed_size_list().value(row),
            _ => vectors.as_list::<i32>().value(row),
        };
        if values.null_count() > 0 {
            return Err(layout(
                path,
                &format!("id {id:?}"),
                "a null component",
                "a number for each component",
            ));
        }
        rows.push(id, &floats(&values))?;
    }
    Ok(())
}

fn floats(values: &ArrayRef) -> Vec<f32> {
    match values.data_type() {
        DataType::Float64 => {
            values.as_primitive::<Float64Type>().values().iter().map(|&v| v as f32).collect()
        }
        _ => values.as_primitive::<Float32Type>().values().to_vec(),
    }
}
