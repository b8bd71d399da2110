//! Errors of the vocabulary: what was wrong with a sequence, a text, a vector or a pair of spaces.

use crate::space::Space;

/// A sequence or text that cannot be accepted, with the rule it broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Nothing is left after white space, gaps and a final stop are removed.
    #[error("sequence is empty: at least one residue is needed")]
    EmptySequence,
    /// A character that is no residue code.
    #[error(
        "position {position}: {character:?} is not a residue code (allowed: the 20 standard letters and B J O U X Z * - .)"
    )]
    NotAResidue {
        /// 1-based position among the characters given, white space included.
        position: usize,
        /// The offending character.
        character: char,
    },
    /// A residue that strict mode does not accept although the default rules would.
    #[error(
        "position {position}: {character:?} is refused in strict mode, which takes only the 20 standard residues in upper case"
    )]
    NotStrict {
        /// 1-based position among the characters given, white space included.
        position: usize,
        /// The offending character.
        character: char,
    },
    /// More residues than the caller allows.
    #[error("sequence has more than {max_residues} residues, the limit for one record")]
    TooManyResidues {
        /// The limit in force.
        max_residues: usize,
    },
    /// More bytes of text than the caller allows.
    #[error("text has {n_bytes} bytes, more than the limit of {max_bytes}")]
    TextTooLong {
        /// Bytes given.
        n_bytes: usize,
        /// The limit in force.
        max_bytes: usize,
    },
}

/// A vector that may not enter a space.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum VectorError {
    /// The number of components is not the space's.
    #[error("vector has {found} components, the space has {expected}")]
    WrongDim {
        /// Components that the space has.
        expected: usize,
        /// Components that were given.
        found: usize,
    },
    /// A NaN or an infinity.
    #[error("component {index} of the vector is not a finite number")]
    NotFinite {
        /// 0-based component.
        index: usize,
    },
    /// A vector without direction.
    #[error("vector is zero, so it has no direction to compare")]
    Zero,
}

/// Two things from different spaces were brought together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "space mismatch: {left_role} lives in {left}, {right_role} in {right}; build both with the same encoder and projection"
)]
pub struct SpaceMismatch {
    /// What the first thing is ("the index", "the query").
    pub left_role: &'static str,
    /// Its space.
    pub left: Box<Space>,
    /// What the second thing is.
    pub right_role: &'static str,
    /// Its space.
    pub right: Box<Space>,
}

/// Encoding failed.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The input is longer than the window and the policy is to reject.
    #[error(
        "input has {length} {unit}, more than the encoder's window of {window}; use the window or truncate policy"
    )]
    TooLong {
        /// Residues or tokens given.
        length: usize,
        /// The encoder's window.
        window: usize,
        /// "residues" or "tokens".
        unit: &'static str,
    },
    /// A protein was given to a text encoder or the reverse.
    #[error("encoder {encoder} takes {expected}, but was given {found}")]
    WrongModality {
        /// Encoder id.
        encoder: String,
        /// What it takes.
        expected: crate::Modality,
        /// What came.
        found: crate::Modality,
    },
    /// The tokenizer failed.
    #[error("tokenizer failed")]
    Tokenizer(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The model runtime failed.
    #[error("model {encoder} failed while running")]
    Runtime {
        /// Encoder id.
        encoder: String,
        /// The runtime's own error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An encoder that runs elsewhere does not take the input.
    #[error("{encoder} refuses the input: {source}")]
    Refused {
        /// Encoder id.
        encoder: String,
        /// The rule it broke.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An encoder that runs elsewhere cannot be used now, whatever the input.
    #[error("{encoder} cannot be used: {source}")]
    Unavailable {
        /// Encoder id.
        encoder: String,
        /// What is in the way.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The model returned NaN or infinity.
    #[error("model {encoder} returned a value that is not finite")]
    NotFinite {
        /// Encoder id.
        encoder: String,
    },
}

/// Projecting encoder rows failed.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    /// Rows of another space.
    #[error(transparent)]
    Space(#[from] SpaceMismatch),
    /// A row that is not a usable vector.
    #[error("row {row}: {source}")]
    Vector {
        /// 0-based row of the batch.
        row: usize,
        /// What is wrong with it.
        #[source]
        source: VectorError,
    },
    /// The model runtime failed.
    #[error("projection {projection} failed while running")]
    Runtime {
        /// Projection id.
        projection: String,
        /// The runtime's own error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
