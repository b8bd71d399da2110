//! Pieces as a graph takes them: side by side, padded to the longest, or one behind the other without padding.
//!
//! Which of the two is the graph's own affair (`protext-registry`, `convert`); its inputs tell.

use std::borrow::Cow;
use std::ops::Range;

use ort::session::{Session, SessionInputValue};
use ort::value::TensorRef;
use protext_core::Piece;

/// How a graph takes pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `[batch, tokens]`.
    Padded,
    /// `[tokens]`.
    Packed,
}

impl Layout {
    /// As the graph of a session says.
    pub(crate) fn of(session: &Session) -> Self {
        let is_packed = session.inputs().iter().any(|input| input.name() == "token_offset");
        if is_packed { Self::Packed } else { Self::Padded }
    }

    /// What the graph has to take.
    pub(crate) fn inputs(self) -> &'static [&'static str] {
        match self {
            Self::Padded => &["token_ids", "lengths", "weights"],
            Self::Packed => {
                &["token_ids", "positions", "sequences", "weights", "token_offset", "cumulative_lengths"]
            }
        }
    }
}

/// Pieces in one batch.
#[derive(Debug, PartialEq)]
pub(crate) enum Batch {
    /// Row-major.
    Padded { n_tokens: usize, token_ids: Vec<i64>, lengths: Vec<i64>, weights: Vec<f32> },
    Packed {
        token_ids: Vec<i64>,
        /// Of each token in its sequence.
        positions: Vec<i64>,
        /// Which sequence each token is of.
        sequences: Vec<i64>,
        weights: Vec<f32>,
        /// Where tokens would be in a padded batch, all in order, and after them where padding would: `[batch, longest]`.
        token_offset: Vec<i32>,
        /// Where sequences begin, and where the last one ends.
        cumulative_lengths: Vec<i32>,
    },
}

impl Batch {
    /// `pad_token` fills up what is padded.
    pub(crate) fn new(pieces: &[&Piece], layout: Layout, pad_token: i64) -> Self {
        match layout {
            Layout::Padded => Self::padded(pieces, pad_token),
            Layout::Packed => Self::packed(pieces),
        }
    }

    fn padded(pieces: &[&Piece], pad_token: i64) -> Self {
        let n_tokens = longest(pieces);
        let mut token_ids = Vec::with_capacity(pieces.len() * n_tokens);
        let mut weights = Vec::with_capacity(pieces.len() * n_tokens);
        for (index, piece) in pieces.iter().enumerate() {
            token_ids.extend_from_slice(&piece.token_ids);
            token_ids.resize((index + 1) * n_tokens, pad_token);
            weights.extend_from_slice(&piece.weights);
            weights.resize((index + 1) * n_tokens, 0.0);
        }
        let lengths = pieces.iter().map(|piece| piece.n_tokens() as i64).collect();
        Self::Padded { n_tokens, token_ids, lengths, weights }
    }

    fn packed(pieces: &[&Piece]) -> Self {
        let longest = longest(pieces);
        let n_tokens = pieces.iter().map(|piece| piece.n_tokens()).sum();
        let (mut token_ids, mut weights) = (Vec::with_capacity(n_tokens), Vec::with_capacity(n_tokens));
        let (mut positions, mut sequences) = (Vec::with_capacity(n_tokens), Vec::with_capacity(n_tokens));
        let mut token_offset = Vec::with_capacity(pieces.len() * longest);
        let mut cumulative_lengths = vec![0];
        for (sequence, piece) in pieces.iter().enumerate() {
            let start = sequence * longest;
            token_ids.extend_from_slice(&piece.token_ids);
            weights.extend_from_slice(&piece.weights);
            positions.extend(0..piece.n_tokens() as i64);
            sequences.resize(token_ids.len(), sequence as i64);
            token_offset.extend((start..start + piece.n_tokens()).map(|at| at as i32));
            cumulative_lengths.push(token_ids.len() as i32);
        }
        for (sequence, piece) in pieces.iter().enumerate() {
            let start = sequence * longest;
            token_offset.extend((start + piece.n_tokens()..start + longest).map(|at| at as i32));
        }
        Self::Packed { token_ids, positions, sequences, weights, token_offset, cumulative_lengths }
    }

    /// By name, as the graph takes them.
    pub(crate) fn inputs(&self) -> ort::Result<Vec<(Cow<'static, str>, SessionInputValue<'_>)>> {
        Ok(match self {
            Self::Padded { n_tokens, token_ids, lengths, weights } => {
                let shape = [lengths.len(), *n_tokens];
                ort::inputs! {
                    "token_ids" => TensorRef::from_array_view((shape, token_ids.as_slice()))?,
                    "lengths" => TensorRef::from_array_view(([lengths.len()], lengths.as_slice()))?,
                    "weights" => TensorRef::from_array_view((shape, weights.as_slice()))?,
                }
            }
            Self::Packed { token_ids, positions, sequences, weights, token_offset, cumulative_lengths } => {
                let (n_tokens, n_sequences) = ([token_ids.len()], cumulative_lengths.len() - 1);
                let padded = [n_sequences, token_offset.len() / n_sequences];
                ort::inputs! {
                    "token_ids" => TensorRef::from_array_view((n_tokens, token_ids.as_slice()))?,
                    "positions" => TensorRef::from_array_view((n_tokens, positions.as_slice()))?,
                    "sequences" => TensorRef::from_array_view((n_tokens, sequences.as_slice()))?,
                    "weights" => TensorRef::from_array_view((n_tokens, weights.as_slice()))?,
                    "token_offset" => TensorRef::from_array_view((padded, token_offset.as_slice()))?,
                    "cumulative_lengths" => {
                        TensorRef::from_array_view(([n_sequences + 1], cumulative_lengths.as_slice()))?
                    },
                }
            }
        })
    }

    /// Rows of a piece among the rows of all tokens.
    pub(crate) fn rows_of(&self, piece: usize) -> Range<usize> {
        match self {
            Self::Padded { n_tokens, lengths, .. } => {
                let start = piece * n_tokens;
                start..start + lengths[piece] as usize
            }
            Self::Packed { cumulative_lengths, .. } => {
                cumulative_lengths[piece] as usize..cumulative_lengths[piece + 1] as usize
            }
        }
    }
}

fn longest(pieces: &[&Piece]) -> usize {
    pieces.iter().map(|piece| piece.n_tokens()).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(token_ids: &[i64]) -> Piece {
        let weights = (0..token_ids.len()).map(|at| at as f32).collect();
        Piece { start: 0, token_ids: token_ids.to_vec(), weights, text: None }
    }

    #[test]
    fn pieces_lie_side_by_side_or_one_behind_the_other() {
        let pieces = [piece(&[0, 5, 2]), piece(&[0, 6, 7, 8, 2]), piece(&[0, 2])];
        let pieces: Vec<&Piece> = pieces.iter().collect();
        let padded = Batch::new(&pieces, Layout::Padded, 1);
        let expected = Batch::Padded {
            n_tokens: 5,
            token_ids: vec![0, 5, 2, 1, 1, 0, 6, 7, 8, 2, 0, 2, 1, 1, 1],
            lengths: vec![3, 5, 2],
            weights: vec![0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 0.0, 1.0, 0.0, 0.0, 0.0],
        };
        assert_eq!(padded, expected);
        let packed = Batch::new(&pieces, Layout::Packed, 1);
        let expected = Batch::Packed {
            token_ids: vec![0, 5, 2, 0, 6, 7, 8, 2, 0, 2],
            positions: vec![0, 1, 2, 0, 1, 2, 3, 4, 0, 1],
            sequences: vec![0, 0, 0, 1, 1, 1, 1, 1, 2, 2],
            weights: vec![0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 3.0, 4.0, 0.0, 1.0],
            token_offset: vec![0, 1, 2, 5, 6, 7, 8, 9, 10, 11, 3, 4, 12, 13, 14],
            cumulative_lengths: vec![0, 3, 8, 10],
        };
        assert_eq!(packed, expected);
        assert_eq!([0, 1, 2].map(|index| padded.rows_of(index)), [0..3, 5..10, 10..12]);
        assert_eq!([0, 1, 2].map(|index| packed.rows_of(index)), [0..3, 3..8, 8..10]);
    }
}
