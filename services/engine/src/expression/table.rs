//! Expression in tables: a record a row, a gene a column; perhaps a column of ids and one of conditions.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Float32Type, Float64Type, Int32Type, Int64Type};
use arrow_array::{Array as _, ArrayRef};
use arrow_schema::DataType;
use flate2::read::MultiGzDecoder;
use ndarray::Array2;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{Expression, ExpressionError, ID, condition_of, find};

pub(super) fn read_delimited(path: &Path, condition: Option<&str>) -> Result<Expression, ExpressionError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| ExpressionError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(|error| failed(error.into()))?;
    let mut file = BufReader::new(file);
    let is_gzip = file.fill_buf().map_err(|error| failed(error.into()))?.starts_with(&[0x1f, 0x8b]);
    let plain: Box<dyn Read> = if is_gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let is_csv = path.to_string_lossy().to_lowercase().trim_end_matches(".gz").ends_with(".csv");
    let mut table = csv::ReaderBuilder::new()
        .delimiter(if is_csv { b',' } else { b'\t' })
        .quoting(is_csv)
        .from_reader(plain);
    let names: Vec<String> = table
        .headers()
        .map_err(|error| failed(error.into()))?
        .iter()
        .map(|name| name.trim().to_owned())
        .collect();
    let columns = Columns::new(path, &names, condition)?;
    let (mut ids, mut conditions, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for row in table.records() {
        let row = row.map_err(|error| failed(error.into()))?;
        let id = columns.id.map_or_else(|| (ids.len() + 1).to_string(), |at| row[at].trim().to_owned());
        for &gene in &columns.genes {
            let cell = row[gene].trim();
            let value = cell.parse::<f32>().ok().filter(|value| value.is_finite());
            values.push(value.ok_or_else(|| ExpressionError::Value {
                path: path.to_owned(),
                record: ids.len() + 1,
                id: id.clone(),
                gene: names[gene].clone(),
                value: format!("{cell:?}"),
            })?);
        }
        conditions.extend(columns.condition.map(|at| row[at].trim().to_owned()));
        ids.push(id);
    }
    columns.finish(&names, ids, values, conditions)
}

pub(super) fn read_parquet(path: &Path, condition: Option<&str>) -> Result<Expression, ExpressionError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| ExpressionError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(|error| failed(error.into()))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| failed(error.into()))?;
    let names: Vec<String> = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
    let columns = Columns::new(path, &names, condition)?;
    let (mut ids, mut conditions, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for batch in builder.build().map_err(|error| failed(error.into()))? {
        let batch = batch.map_err(|error| failed(error.into()))?;
        let unreadable = |at: usize| ExpressionError::Layout {
            path: path.to_owned(),
            rule: format!(
                "column {:?} is {}, which is neither text nor numbers",
                names[at],
                batch.column(at).data_type()
            ),
        };
        let texts = |at: usize| as_texts(batch.column(at)).ok_or_else(|| unreadable(at));
        match columns.id {
            Some(at) => ids.extend(texts(at)?),
            None => ids
                .extend((1..=batch.num_rows()).map(|row| (ids.len() + row).to_string()).collect::<Vec<_>>()),
        }
        if let Some(at) = columns.condition {
            conditions.extend(texts(at)?);
        }
        let genes =
            columns.genes.iter().map(|&at| as_numbers(batch.column(at)).ok_or_else(|| unreadable(at)));
        let genes = genes.collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            values.extend(genes.iter().map(|column| column[row]));
        }
    }
    columns.finish(&names, ids, values, conditions)
}

/// A column as text; `None` where it is none.
fn as_texts(column: &ArrayRef) -> Option<Vec<String>> {
    match column.data_type() {
        DataType::Utf8 => {
            Some(column.as_string::<i32>().iter().map(|text| text.unwrap_or_default().to_owned()).collect())
        }
        DataType::LargeUtf8 => {
            Some(column.as_string::<i64>().iter().map(|text| text.unwrap_or_default().to_owned()).collect())
        }
        _ => Some(as_numbers(column)?.into_iter().map(|value| value.to_string()).collect()),
    }
}

/// A column as numbers, NaN where there is none; `None` where it is no column of numbers.
fn as_numbers(column: &ArrayRef) -> Option<Vec<f32>> {
    let present = |row: usize, value: f64| if column.is_null(row) { f32::NAN } else { value as f32 };
    let numbers: Vec<f64> = match column.data_type() {
        DataType::Float32 => {
            column.as_primitive::<Float32Type>().values().iter().map(|v| f64::from(*v)).collect()
        }
        DataType::Float64 => column.as_primitive::<Float64Type>().values().to_vec(),
        DataType::Int32 => {
            column.as_primitive::<Int32Type>().values().iter().map(|v| f64::from(*v)).collect()
        }
        DataType::Int64 => column.as_primitive::<Int64Type>().values().iter().map(|v| *v as f64).collect(),
        _ => return None,
    };
    Some(numbers.into_iter().enumerate().map(|(row, value)| present(row, value)).collect())
}

/// Where ids, conditions and genes stand.
struct Columns {
    id: Option<usize>,
    condition: Option<usize>,
    genes: Vec<usize>,
}

impl Columns {
    fn new(path: &Path, names: &[String], condition: Option<&str>) -> Result<Self, ExpressionError> {
        let condition = condition_of(path, names, condition)?;
        let id = find(names, &ID).or_else(|| names.first().filter(|name| name.is_empty()).map(|_| 0));
        let id = id.filter(|id| Some(*id) != condition);
        let genes = (0..names.len()).filter(|at| Some(*at) != condition && Some(*at) != id).collect();
        Ok(Self { id, condition, genes })
    }

    fn finish(
        &self,
        names: &[String],
        ids: Vec<String>,
        values: Vec<f32>,
        conditions: Vec<String>,
    ) -> Result<Expression, ExpressionError> {
        let values = Array2::from_shape_vec((ids.len(), self.genes.len()), values);
        Ok(Expression {
            values: values.expect("each record has a value for each gene"),
            genes: self.genes.iter().map(|&at| names[at].clone()).collect(),
            conditions: self.condition.map(|_| conditions),
            ids,
        })
    }
}
