//! Cells as vectors: the mean of their genes' text vectors, weighted by expression, scaled to unit norm.
//!
//! Source: GenePT-w, Chen and Zou 2024. Genes that the table does not have, or that mean several, are left out and counted.
//! Called by `protext embed --cells`.

use ndarray::Array2;
use protext_core::{Fingerprint, JointVector, Space};

use crate::expression::Expression;
use crate::genes::{GeneError, GeneTable};

/// Vectors of cells.
#[derive(Debug, Clone, PartialEq)]
pub struct CellVectors {
    /// Where they live.
    pub space: Space,
    /// One of unit norm a cell, in the order of the file.
    pub vectors: Vec<JointVector>,
    /// Genes of the file that could not be used, as the file names them, with the reason.
    pub left_out: Vec<(String, GeneError)>,
    /// Genes that were used.
    pub n_genes: usize,
}

/// A cell that has no vector.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CellError {
    /// Expression below zero is no weight.
    #[error(
        "record {record} ({id}): {gene} is {value}, but expression is a weight and must be 0 or more; give counts or logarithms of them, not scaled values"
    )]
    Negative {
        /// 1-based.
        record: usize,
        /// Its id.
        id: String,
        /// The gene.
        gene: String,
        /// Its expression.
        value: f32,
    },
    /// Nothing is expressed that is known.
    #[error(
        "record {record} ({id}): no gene that the table knows is expressed; check that genes are named by symbols"
    )]
    Empty {
        /// 1-based.
        record: usize,
        /// Its id.
        id: String,
    },
}

/// The space of vectors of cells made with `table`.
#[must_use]
pub fn cell_space(table: &GeneTable) -> Space {
    let origin = table.origin();
    Space {
        name: format!("{}/text", origin.id),
        dim: origin.text_dim,
        fingerprint: Fingerprint::of(["text vectors of genes", &table.space().fingerprint.to_string()]),
    }
}

/// Vectors of all records.
///
/// # Errors
/// [`CellError`] naming the record and, where one is to blame, the gene.
pub fn embed_cells(table: &GeneTable, expression: &Expression) -> Result<CellVectors, CellError> {
    let (mut places, mut left_out) = (Vec::new(), Vec::new());
    for (column, name) in expression.genes.iter().enumerate() {
        match table.resolve(name) {
            Ok(found) => places.push((column, found.gene)),
            Err(error) => left_out.push((name.clone(), error)),
        }
    }
    let space = cell_space(table);
    let mut genes = Array2::zeros((places.len(), space.dim));
    for (mut row, (_, gene)) in genes.rows_mut().into_iter().zip(&places) {
        row.iter_mut().zip(table.text_vector(*gene)).for_each(|(to, from)| *to = from);
    }
    let mut vectors = Vec::with_capacity(expression.ids.len());
    for (at, (id, cell)) in expression.ids.iter().zip(expression.values.rows()).enumerate() {
        let (record, id) = (at + 1, id.clone());
        let mut weights = Vec::with_capacity(places.len());
        for (column, _) in &places {
            let value = cell[*column];
            if value < 0.0 {
                return Err(CellError::Negative {
                    record,
                    id,
                    gene: expression.genes[*column].clone(),
                    value,
                });
            }
            weights.push(value);
        }
        let sum = ndarray::ArrayView1::from(&weights).dot(&genes);
        vectors.push(JointVector::normalized(sum.to_vec()).map_err(|_| CellError::Empty { record, id })?);
    }
    Ok(CellVectors { space, vectors, left_out, n_genes: places.len() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genes::test_table;

    fn expression(values: [f32; 3]) -> Expression {
        Expression {
            ids: vec!["c1".to_owned()],
            genes: ["TP53", "aars", "NOPE"].map(str::to_owned).to_vec(),
            values: Array2::from_shape_vec((1, 3), values.to_vec()).unwrap(),
            conditions: None,
        }
    }

    #[test]
    fn a_cell_is_the_weighted_mean_of_its_genes() {
        let table = test_table();
        let found = embed_cells(&table, &expression([3.0, 4.0, 9.0])).unwrap();
        assert_eq!((found.n_genes, found.left_out.len(), found.left_out[0].0.as_str()), (2, 1, "NOPE"));
        let vector = found.vectors[0].as_slice();
        assert!((vector[0] - 0.6).abs() < 1e-6 && (vector[1] - 0.8).abs() < 1e-6, "{vector:?}");
        let negative = embed_cells(&table, &expression([-1.0, 4.0, 0.0])).unwrap_err().to_string();
        assert!(negative.contains("record 1 (c1): TP53 is -1"), "{negative}");
        assert!(matches!(
            embed_cells(&table, &expression([0.0, 0.0, 1.0])),
            Err(CellError::Empty { record: 1, .. })
        ));
    }
}
