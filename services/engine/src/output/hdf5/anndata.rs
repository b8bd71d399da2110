//! AnnData's `.h5ad`: the matrix `X`, a name for each row (`obs`) and column (`var`), and what made it (`uns`).
//!
//! Rows go to disk as they come; names and structure follow. Read by `anndata.read_h5ad`, and so by scanpy.
//! Source: AnnData's on-disk format, <https://anndata.readthedocs.io/en/stable/fileformat-prose.html>.

use super::super::error::OutputError;
use super::super::partial::PartialFile;
use super::super::{CheckedRow, FormatWriter, Layout};
use super::encode::{self, Kind};
use super::{Appender, GroupAt};

pub(in crate::output) struct AnnDataWriter {
    file: Appender,
    dim: usize,
    /// Where the matrix begins.
    matrix: u64,
    ids: Vec<Box<str>>,
    metadata: Vec<(&'static str, String)>,
}

/// Texts of the global heap, each by its 1-based index.
struct Texts {
    values: Vec<String>,
    heap: u64,
}

impl Texts {
    fn attribute(&self, name: &str, value: &str) -> Vec<u8> {
        encode::text_attribute(name, value, self.heap, self.index(value))
    }

    fn index(&self, value: &str) -> u32 {
        let at = self.values.iter().position(|known| known == value);
        at.expect("every text was gathered before") as u32 + 1
    }

    /// What AnnData reads first of every part.
    fn encoding(&self, kind: &str, version: &str) -> Vec<Vec<u8>> {
        vec![self.attribute("encoding-type", kind), self.attribute("encoding-version", version)]
    }
}

/// Every text that attributes of the format hold.
const FORMAT_TEXTS: [&str; 9] =
    ["anndata", "0.1.0", "array", "0.2.0", "dataframe", "string-array", "string", "dict", "_index"];

impl AnnDataWriter {
    pub(in crate::output) fn new(file: PartialFile, layout: &Layout<'_>) -> Result<Self, OutputError> {
        let metadata = layout.metadata.entries().map(|(key, value)| (key, value.to_owned())).collect();
        let file = Appender::new(file)?;
        Ok(Self { matrix: file.at, file, dim: layout.dim, ids: Vec::new(), metadata })
    }

    /// A table of names without columns.
    fn names(&mut self, names: &[Box<str>], texts: &Texts) -> Result<GroupAt, OutputError> {
        let width = names.iter().map(|name| name.len()).max().unwrap_or(0).max(1);
        let values = self.file.at;
        for name in names {
            let mut bytes = name.as_bytes().to_vec();
            bytes.resize(width, 0);
            self.file.append(&bytes)?;
        }
        self.file.align()?;
        let kind = Kind::FixedText(u32::try_from(width).expect("ids are short"));
        let encoding = texts.encoding("string-array", "0.2.0");
        let index = self.file.append(&encode::dataset(kind, &[names.len() as u64], values, &encoding))?;
        let mut attributes = texts.encoding("dataframe", "0.2.0");
        attributes.push(texts.attribute("_index", "_index"));
        attributes.push(encode::no_texts_attribute("column-order"));
        self.file.group(vec![("_index".into(), index)], &attributes)
    }

    /// What made the vectors, as a dictionary of texts.
    fn unstructured(&mut self, texts: &Texts) -> Result<GroupAt, OutputError> {
        let mut entries = Vec::new();
        for (key, value) in std::mem::take(&mut self.metadata) {
            let values =
                self.file.append(&encode::text_reference(&value, texts.heap, texts.index(&value)))?;
            let encoding = texts.encoding("string", "0.2.0");
            let dataset = self.file.append(&encode::dataset(Kind::Text, &[], values, &encoding))?;
            entries.push((format!("protext_{}", key.trim_start_matches("protext_")).into(), dataset));
        }
        self.file.group(entries, &texts.encoding("dict", "0.1.0"))
    }
}

impl FormatWriter for AnnDataWriter {
    fn push(&mut self, row: &CheckedRow<'_>) -> Result<(), OutputError> {
        let mut bytes = Vec::with_capacity(row.values.len() * 4);
        row.values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
        self.file.append(&bytes)?;
        self.ids.push(row.id.into());
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<PartialFile, OutputError> {
        self.file.align()?;
        let mut values: Vec<String> = FORMAT_TEXTS.map(str::to_owned).into();
        for (_, value) in &self.metadata {
            if !values.contains(value) {
                values.push(value.clone());
            }
        }
        let heap =
            self.file.append(&encode::global_heap(&values.iter().map(String::as_str).collect::<Vec<_>>()))?;
        let texts = Texts { values, heap };
        let shape = [self.ids.len() as u64, self.dim as u64];
        let matrix = encode::dataset(Kind::Float32, &shape, self.matrix, &texts.encoding("array", "0.2.0"));
        let matrix = self.file.append(&matrix)?;
        let ids = std::mem::take(&mut self.ids);
        let rows = self.names(&ids, &texts)?;
        let columns: Vec<Box<str>> = (0..self.dim).map(|column| column.to_string().into()).collect();
        let columns = self.names(&columns, &texts)?;
        let unstructured = self.unstructured(&texts)?;
        let entries = vec![
            ("X".into(), matrix),
            ("obs".into(), rows.header),
            ("var".into(), columns.header),
            ("uns".into(), unstructured.header),
        ];
        let root = self.file.group(entries, &texts.encoding("anndata", "0.1.0"))?;
        self.file.finish(root)
    }
}
