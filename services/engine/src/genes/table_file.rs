//! The table of genes as a Parquet file: one row a gene, readable by any program; what it was made of is in the metadata.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use arrow_array::{ArrayRef, BinaryArray, Float32Array, RecordBatch, StringArray};
use arrow_schema::{Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use sha2::{Digest as _, Sha256};

use super::byte_vector::ByteVector;
use super::error::GeneTableError;
use super::table::{Gene, GeneTable, GeneTableOrigin};

const ORIGIN_KEY: &str = "protext.genes";
/// Columns of the vectors of a gene, in the order of [`vectors`]; beside each stands `<name>_scale`, the length of one step.
const VECTORS: [&str; 3] = ["text", "protein", "response"];
/// Between aliases; no symbol holds it.
const SEPARATOR: char = '\u{1f}';

impl GeneTable {
    /// Writes genes; the same genes give the same bytes.
    ///
    /// # Errors
    /// [`GeneTableError`].
    pub fn write(genes: &[Gene], origin: &GeneTableOrigin, path: &Path) -> Result<(), GeneTableError> {
        let failed = |source| GeneTableError::Write { path: path.to_owned(), source };
        let bytes = encode(genes, origin).map_err(|error| failed(std::io::Error::other(error)))?;
        std::fs::write(path, bytes).map_err(failed)
    }

    /// Reads a file that [`GeneTable::write`] wrote.
    ///
    /// # Errors
    /// [`GeneTableError`].
    pub fn open(path: &Path) -> Result<Self, GeneTableError> {
        let unreadable = |source| GeneTableError::Read { path: path.to_owned(), source };
        let sha256 = hex(&Sha256::digest(std::fs::read(path).map_err(unreadable)?));
        let file = File::open(path).map_err(unreadable)?;
        let damaged = |source| GeneTableError::Parquet { path: path.to_owned(), source };
        let layout = |rule: String| GeneTableError::Layout { path: path.to_owned(), rule };
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(damaged)?;
        let entries = builder.metadata().file_metadata().key_value_metadata().cloned().unwrap_or_default();
        let origin = entries.into_iter().find(|entry| entry.key == ORIGIN_KEY).and_then(|entry| entry.value);
        let origin = origin.ok_or_else(|| layout("it does not say what it was made of".to_owned()))?;
        let origin: GeneTableOrigin =
            serde_json::from_str(&origin).map_err(|error| layout(error.to_string()))?;
        let mut genes = Vec::new();
        for batch in builder.build().map_err(damaged)? {
            let batch = batch.map_err(|error| damaged(ParquetError::ArrowError(error.to_string())))?;
            decode(&batch, &origin, &mut genes)
                .ok_or_else(|| layout("a column is missing or damaged".to_owned()))?;
        }
        Ok(Self::new(genes, origin, &sha256))
    }
}

fn encode(genes: &[Gene], origin: &GeneTableOrigin) -> Result<Vec<u8>, ParquetError> {
    let strings = |of: &dyn Fn(&Gene) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(genes.iter().map(of)))
    };
    let bytes = |of: &dyn Fn(&Gene) -> Vec<u8>| -> ArrayRef {
        Arc::new(BinaryArray::from_iter_values(genes.iter().map(of)))
    };
    let mut columns: Vec<(String, ArrayRef)> = vec![
        ("entrez_id".to_owned(), strings(&|gene| gene.entrez_id.clone())),
        ("symbol".to_owned(), strings(&|gene| gene.symbol.clone())),
        ("name".to_owned(), strings(&|gene| gene.name.clone())),
        ("aliases".to_owned(), strings(&|gene| gene.aliases.join(&SEPARATOR.to_string()))),
        (
            "go_terms".to_owned(),
            bytes(&|gene| gene.terms.iter().flat_map(|term| term.to_le_bytes()).collect()),
        ),
    ];
    for (at, name) in VECTORS.into_iter().enumerate() {
        let values =
            bytes(&|gene| vectors(gene)[at].values.iter().map(|value| value.cast_unsigned()).collect());
        let steps = Float32Array::from_iter_values(genes.iter().map(|gene| vectors(gene)[at].step));
        columns.extend([(name.to_owned(), values), (format!("{name}_scale"), Arc::new(steps) as ArrayRef)]);
    }
    let field = |(name, column): &(String, ArrayRef)| Field::new(name, column.data_type().clone(), false);
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    let origin = serde_json::to_string(origin).map_err(|error| ParquetError::General(error.to_string()))?;
    let level = ZstdLevel::try_new(19)?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_dictionary_enabled(false)
        .set_key_value_metadata(Some(vec![KeyValue::new(ORIGIN_KEY.to_owned(), origin)]))
        .build();
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, Arc::clone(&schema), Some(properties))?;
    writer.write(&RecordBatch::try_new(schema, columns)?)?;
    writer.close()?;
    Ok(file)
}

/// In the order of [`VECTORS`].
fn vectors(gene: &Gene) -> [&ByteVector; 3] {
    [&gene.text, &gene.protein, &gene.response]
}

/// `None` where a column is missing, of another type or width.
fn decode(batch: &RecordBatch, origin: &GeneTableOrigin, genes: &mut Vec<Gene>) -> Option<()> {
    let column = |name: &str| batch.column_by_name(name);
    let strings = |name: &str| column(name)?.as_string_opt::<i32>();
    let bytes = |name: &str| column(name)?.as_binary_opt::<i32>();
    let [ids, symbols, names, aliases] = ["entrez_id", "symbol", "name", "aliases"].map(strings);
    let (ids, symbols, names, aliases) = (ids?, symbols?, names?, aliases?);
    let terms = bytes("go_terms")?;
    let [text, protein, response] = VECTORS.map(|name| {
        let steps = column(&format!("{name}_scale"))?.as_primitive_opt::<Float32Type>()?;
        Some((bytes(name)?, steps))
    });
    let (text, protein, response) = (text?, protein?, response?);
    let dims = [origin.text_dim, origin.protein_dim, origin.response_dim];
    for row in 0..batch.num_rows() {
        let terms: Vec<u16> =
            terms.value(row).chunks_exact(2).map(|two| u16::from_le_bytes([two[0], two[1]])).collect();
        let [text, protein, response] = [text, protein, response].map(|(values, steps)| ByteVector {
            values: values.value(row).iter().map(|byte| byte.cast_signed()).collect(),
            step: steps.value(row),
        });
        let is_rising = terms.windows(2).all(|two| two[0] < two[1]);
        let fits = terms.last().is_none_or(|last| usize::from(*last) < origin.terms.len());
        if !is_rising || !fits || [text.dim(), protein.dim(), response.dim()] != dims {
            return None;
        }
        let aliases = aliases.value(row).split(SEPARATOR).filter(|alias| !alias.is_empty());
        genes.push(Gene {
            entrez_id: ids.value(row).to_owned(),
            symbol: symbols.value(row).to_owned(),
            name: names.value(row).to_owned(),
            aliases: aliases.map(str::to_owned).collect(),
            terms,
            text,
            protein,
            response,
        });
    }
    Some(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::table;
    use super::*;

    #[test]
    fn a_table_comes_back_and_its_space_follows_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("genes.parquet");
        let made = table();
        GeneTable::write(made.genes(), made.origin(), &path).unwrap();
        let read = GeneTable::open(&path).unwrap();
        assert_eq!((read.genes(), read.origin()), (made.genes(), made.origin()));
        let mut fewer = made.genes().to_vec();
        fewer.pop();
        GeneTable::write(&fewer, made.origin(), &path).unwrap();
        assert_ne!(GeneTable::open(&path).unwrap().space(), read.space());
        std::fs::write(&path, b"PAR1").unwrap();
        assert!(GeneTable::open(&path).unwrap_err().to_string().contains("protext train genes"));
    }
}
