//! What heads are trained on and asked about: labelled tables, and vectors of several spaces side by side.
//!
//! [`LabelledTable`] reads one record a row, [`InteractionTable`] a pair a row; [`features_of`] assembles what a head reads
//! from an encoded record. Called by `protext train head`, `protext ppi`, `protext eval` and the service.

mod error;
mod features;
mod interactions;
mod table;

pub use error::HeadDataError;
pub use features::features_of;
pub use interactions::{Interaction, InteractionOptions, InteractionTable, PAIR_COLUMNS};
pub use table::{LabelledRow, LabelledTable, TableOptions};
