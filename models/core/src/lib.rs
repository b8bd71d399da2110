//! The vocabulary of Protext: sequences, texts, vectors, spaces, and the traits that models implement.
//!
//! Every other crate speaks in these types. Nothing here does I/O, spawns a thread or names a model
//! runtime, so the rules of the science (which residues are accepted, how a long protein is cut, which
//! vectors may be compared) can be read and tested in one place.

mod amino_acid;
mod calibration;
pub mod card;
mod encoder;
mod error;
pub mod head;
mod homology;
mod join;
pub mod language;
mod projection;
pub mod protein;
mod space;
mod split_mix;
mod text;
mod vector;
pub mod window;
mod words;

pub use amino_acid::AminoAcid;
pub use calibration::ProbabilityCalibration;
pub use encoder::{
    Encoded, Encoder, EncoderInput, EncoderWorker, Packing, Piece, PieceOutput, Prepared, Running, TextPiece,
};
pub use error::{EncodeError, ParseError, ProjectionError, SpaceMismatch, VectorError};
pub use head::{
    FeatureCard, FeatureKind, FeatureRows, Head, HeadCard, HeadError, HeadFigure, HeadTask, PairHead,
};
pub use homology::HomologyCalibration;
pub use join::join;
pub use language::{LanguageHead, LogProbabilities};
pub use projection::Projection;
pub use protein::{ProteinSequence, ResidueNotes, ResiduePolicy};
pub use space::{Fingerprint, Modality, RowKind, Space};
pub use split_mix::SplitMix64;
pub use text::Text;
pub use vector::{EncoderRow, JointVector};
pub use window::{LongPolicy, LongReport};
pub use words::{N_WORD_COMPONENTS, word_row};
