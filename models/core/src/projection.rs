//! Projections: trained heads that take encoder rows into a joint space.

use crate::error::ProjectionError;
use crate::space::{RowKind, Space};
use crate::vector::{EncoderRow, JointVector};

/// One tower of a joint space.
pub trait Projection: Send + Sync {
    /// The card's id.
    fn id(&self) -> &str;

    /// Which encoder row it reads.
    fn row_kind(&self) -> RowKind;

    /// The encoder space it was trained on.
    fn input_space(&self) -> &Space;

    /// The joint space it leads to.
    fn space(&self) -> &Space;

    /// Projects rows of [`Projection::input_space`], one vector a row.
    ///
    /// # Errors
    /// [`ProjectionError`] naming the row.
    fn project(&self, rows: &[&EncoderRow]) -> Result<Vec<JointVector>, ProjectionError>;
}
