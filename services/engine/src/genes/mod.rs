//! Genes by symbol, and what heads read of them: GO terms and the vector of a text.
//!
//! A [`GeneTable`] is one Parquet file that ships, or that `protext train genes` makes; [`GeneTable::resolve`] is the rule by
//! which a symbol means a gene, and [`SparseRows`] are the rows that heads are trained on. Called by everything that is
//! asked about a gene: perturbation, gene tasks, cells.

mod byte_vector;
mod error;
mod resolve;
mod rows;
mod table;
mod table_file;

pub use byte_vector::ByteVector;
pub use error::{Candidate, GeneError, GeneTableError};
pub use resolve::{Resolved, ResolvedBy};
pub use rows::SparseRows;
pub use table::{Gene, GeneTable, GeneTableOrigin};

#[cfg(test)]
pub(crate) use table::tests::table as test_table;
