//! The vocabulary of Protext: sequences, texts, vectors, spaces, and the traits that models implement.
//!
//! Every other crate speaks in these types. Nothing here does I/O, spawns a thread or names a model
//! runtime, so the rules of the science (which residues are accepted, how a long protein is cut, which
//! vectors may be compared) can be read and tested in one place.

pub mod card;
mod encoder;
mod error;
mod homology;
mod join;
mod projection;
pub mod protein;
mod space;
mod text;
mod vector;
pub mod window;

pub use encoder::{
    Encoded, Encoder, EncoderInput, EncoderWorker, Packing, Piece, PieceOutput, Prepared, TextPiece,
};
pub use error::{EncodeError, ParseError, ProjectionError, SpaceMismatch, VectorError};
pub use homology::HomologyCalibration;
pub use join::join;
pub use projection::Projection;
pub use protein::{ProteinSequence, ResidueNotes, ResiduePolicy};
pub use space::{Fingerprint, Modality, RowKind, Space};
pub use text::Text;
pub use vector::{EncoderRow, JointVector};
pub use window::{LongPolicy, LongReport};
