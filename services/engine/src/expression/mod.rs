//! Expression of named genes, record by record: cells, samples or conditions.
//!
//! TSV and CSV (plain or gzip), Parquet and AnnData's `.h5ad` are read alike, so that a perturbation screen can be learnt
//! from and cells can be embedded. [`Responses`] are what conditions change against their controls. Callers are
//! `protext train head --task perturbation` and `protext embed --cells`.

mod anndata;
mod error;
mod responses;
mod table;

use std::path::Path;

use ndarray::Array2;

pub use error::ExpressionError;
pub use responses::{ResponseOptions, Responses};

/// Names of the column of conditions that are looked for.
const CONDITION: [&str; 5] =
    ["condition", "perturbation", "guide_identity", "gene_perturbed", "perturbed_gene"];
/// Names of the column of ids that are looked for.
const ID: [&str; 6] = ["cell", "cell_id", "barcode", "id", "sample", "index"];

/// Expression of genes in records.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    /// Ids of the records.
    pub ids: Vec<String>,
    /// Genes, as the file names them.
    pub genes: Vec<String>,
    /// `[records, genes]`, all finite.
    pub values: Array2<f32>,
    /// The condition of each record, where the file has such a column.
    pub conditions: Option<Vec<String>>,
}

impl Expression {
    /// Reads a file; `condition` names the column of conditions, by default the usual names are looked for.
    ///
    /// # Errors
    /// [`ExpressionError`] naming file, record, gene and rule; a value that is no finite number is one.
    pub fn read(path: &Path, condition: Option<&str>) -> Result<Self, ExpressionError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let read = match () {
            () if name.ends_with(".h5ad") || name.ends_with(".h5") => anndata::read(path, condition),
            () if name.ends_with(".parquet") => table::read_parquet(path, condition),
            () => table::read_delimited(path, condition),
        }?;
        read.checked(path)
    }

    fn checked(self, path: &Path) -> Result<Self, ExpressionError> {
        if self.ids.is_empty() || self.genes.is_empty() {
            return Err(ExpressionError::Empty { path: path.to_owned() });
        }
        match self.values.indexed_iter().find(|(_, value)| !value.is_finite()) {
            None => Ok(self),
            Some(((record, gene), value)) => Err(ExpressionError::Value {
                path: path.to_owned(),
                record: record + 1,
                id: self.ids[record].clone(),
                gene: self.genes[gene].clone(),
                value: value.to_string(),
            }),
        }
    }
}

/// Place of the first of the wanted names, whatever its case.
fn find(names: &[String], wanted: &[&str]) -> Option<usize> {
    wanted.iter().find_map(|wanted| names.iter().position(|name| name.eq_ignore_ascii_case(wanted)))
}

/// Place of the column of conditions: the one named, which must be there, else one of the usual names.
fn condition_of(
    path: &Path,
    names: &[String],
    condition: Option<&str>,
) -> Result<Option<usize>, ExpressionError> {
    let Some(wanted) = condition else { return Ok(find(names, &CONDITION)) };
    let found = find(names, &[wanted]);
    found.map(Some).ok_or_else(|| ExpressionError::NoColumn {
        path: path.to_owned(),
        column: wanted.to_owned(),
        present: names.iter().take(12).cloned().collect::<Vec<_>>().join(", "),
    })
}
