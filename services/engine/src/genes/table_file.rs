//! The table of genes as a Parquet file: one row a gene, readable by any program; what it was made of is in the metadata.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use arrow_array::{ArrayRef, BinaryArray, Float32Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use sha2::{Digest as _, Sha256};

use super::error::GeneTableError;
use super::table::{Gene, GeneTable, GeneTableOrigin};

const ORIGIN_KEY: &str = "protext.genes";
const COLUMNS: [&str; 9] =
    ["entrez_id", "symbol", "name", "aliases", "go_terms", "text", "text_scale", "protein", "protein_scale"];
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
    let types = [
        DataType::Utf8,
        DataType::Utf8,
        DataType::Utf8,
        DataType::Utf8,
        DataType::Binary,
        DataType::Binary,
        DataType::Float32,
        DataType::Binary,
        DataType::Float32,
    ];
    let fields = COLUMNS.into_iter().zip(types).map(|(name, kind)| Field::new(name, kind, false));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let strings = |of: &dyn Fn(&Gene) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(genes.iter().map(of)))
    };
    let bytes = |of: &dyn Fn(&Gene) -> Vec<u8>| -> ArrayRef {
        Arc::new(BinaryArray::from_iter_values(genes.iter().map(of)))
    };
    let columns: Vec<ArrayRef> = vec![
        strings(&|gene| gene.entrez_id.clone()),
        strings(&|gene| gene.symbol.clone()),
        strings(&|gene| gene.name.clone()),
        strings(&|gene| gene.aliases.join(&SEPARATOR.to_string())),
        bytes(&|gene| gene.terms.iter().flat_map(|term| term.to_le_bytes()).collect()),
        bytes(&|gene| gene.text.iter().map(|value| value.cast_unsigned()).collect()),
        Arc::new(Float32Array::from_iter_values(genes.iter().map(|gene| gene.text_scale))),
        bytes(&|gene| gene.protein.iter().map(|value| value.cast_unsigned()).collect()),
        Arc::new(Float32Array::from_iter_values(genes.iter().map(|gene| gene.protein_scale))),
    ];
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

/// `None` where a column is missing, of another type or width.
fn decode(batch: &RecordBatch, origin: &GeneTableOrigin, genes: &mut Vec<Gene>) -> Option<()> {
    let column = |name: &str| batch.column_by_name(name);
    let strings = |name: &str| column(name)?.as_string_opt::<i32>();
    let bytes = |name: &str| column(name)?.as_binary_opt::<i32>();
    let [ids, symbols, names, aliases] = ["entrez_id", "symbol", "name", "aliases"].map(strings);
    let (ids, symbols, names, aliases) = (ids?, symbols?, names?, aliases?);
    let (terms, text, protein) = (bytes("go_terms")?, bytes("text")?, bytes("protein")?);
    let numbers = |name: &str| column(name)?.as_primitive_opt::<Float32Type>();
    let (text_scales, protein_scales) = (numbers("text_scale")?, numbers("protein_scale")?);
    let signed = |bytes: &[u8]| bytes.iter().map(|byte| byte.cast_signed()).collect::<Vec<i8>>();
    for row in 0..batch.num_rows() {
        let terms: Vec<u16> =
            terms.value(row).chunks_exact(2).map(|two| u16::from_le_bytes([two[0], two[1]])).collect();
        let (text, protein) = (signed(text.value(row)), signed(protein.value(row)));
        let is_rising = terms.windows(2).all(|two| two[0] < two[1]);
        let fits = terms.last().is_none_or(|last| usize::from(*last) < origin.terms.len());
        if !is_rising || !fits || text.len() != origin.text_dim || protein.len() != origin.protein_dim {
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
            text_scale: text_scales.value(row),
            protein,
            protein_scale: protein_scales.value(row),
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
