//! Vectors in forms for programs: plain little-endian floats, or Parquet.
//!
//! Plain floats are rows one after another; the headers `X-Rows` and `X-Dim` say how many and how wide.

use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use half::f16;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use protext_core::Space;

use crate::error::{Problem, ProblemKind};

/// Rows one after another, 4 bytes a component.
pub(crate) fn as_f32(vectors: &[Vec<f32>]) -> Vec<u8> {
    vectors.iter().flatten().flat_map(|value| value.to_le_bytes()).collect()
}

/// Rows one after another, 2 bytes a component (IEEE 754 half precision, rounded to nearest).
pub(crate) fn as_f16(vectors: &[Vec<f32>]) -> Vec<u8> {
    vectors.iter().flatten().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect()
}

/// A Parquet file with the columns `id` and `embedding`, as `protext embed` writes it.
pub(crate) fn as_parquet(ids: Vec<String>, vectors: &[Vec<f32>], space: &Space) -> Result<Vec<u8>, Problem> {
    write_parquet(ids, vectors, space).map_err(|error| {
        tracing::error!(%error, "a Parquet answer cannot be written");
        Problem::new(ProblemKind::Internal, "the service failed on this request; its log says why")
    })
}

fn write_parquet(
    ids: Vec<String>,
    vectors: &[Vec<f32>],
    space: &Space,
) -> Result<Vec<u8>, parquet::errors::ParquetError> {
    let dim =
        i32::try_from(space.dim).map_err(|error| parquet::errors::ParquetError::External(Box::new(error)))?;
    let item = Arc::new(Field::new_list_field(DataType::Float32, false));
    let values: ArrayRef = Arc::new(Float32Array::from_iter_values(vectors.iter().flatten().copied()));
    let list = FixedSizeListArray::try_new(Arc::clone(&item), dim, values, None)?;
    let metadata = [
        ("protext.space".to_owned(), space.name.clone()),
        ("protext.fingerprint".to_owned(), space.fingerprint.to_string()),
    ];
    let schema = Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("embedding", DataType::FixedSizeList(item, dim), false),
    ]);
    let schema = Arc::new(schema.with_metadata(metadata));
    let batch =
        RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(StringArray::from(ids)), Arc::new(list)])?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties))?;
    writer.write(&batch)?;
    writer.into_inner()
}

#[cfg(test)]
mod tests {
    use protext_core::Fingerprint;

    use super::*;

    #[test]
    fn floats_are_little_endian_rows() {
        let vectors = [vec![1.0, -0.5], vec![65504.0, 0.1]];
        assert_eq!(as_f32(&vectors)[4..8], (-0.5_f32).to_le_bytes());
        assert_eq!(as_f16(&vectors).len(), 8);
        assert_eq!(as_f16(&vectors)[2..4], f16::from_f32(-0.5).to_le_bytes());
    }

    #[test]
    fn parquet_begins_and_ends_as_parquet() {
        let space = Space { name: "s".into(), dim: 2, fingerprint: Fingerprint::of(["s"]) };
        let file =
            as_parquet(vec!["a".into(), "b".into()], &[vec![1.0, 0.0], vec![0.0, 1.0]], &space).unwrap();
        assert!(file.starts_with(b"PAR1") && file.ends_with(b"PAR1"));
    }
}
