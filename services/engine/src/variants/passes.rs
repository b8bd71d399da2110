//! Many sequences through the encoder, a bounded number at a time, answers in order.
//!
//! Scoring a protein takes up to one pass a position, each with a row for every residue: what is in flight is bounded in
//! residues, so that memory is too.

use std::collections::VecDeque;

use protext_core::{Encoded, EncoderInput, LongPolicy, ProteinSequence};

use super::error::VariantError;
use crate::embedder::{EmbedOptions, Embedder, Pending};

/// Residues in flight at most, unless a single sequence has more; their rows are what takes memory.
const MAX_RESIDUES_IN_FLIGHT: usize = 1 << 14;

/// Hears the residues of each pass that is done, and ends the run by answering false.
pub type OnPass<'a> = &'a mut dyn FnMut(usize) -> bool;

/// Runs every sequence and hands its rows to `take` with what came beside it. Not for async threads.
pub(super) fn run<T>(
    embedder: &Embedder,
    options: EmbedOptions,
    sequences: impl Iterator<Item = (T, ProteinSequence)>,
    on_pass: OnPass<'_>,
    mut take: impl FnMut(T, Encoded),
) -> Result<(), VariantError> {
    let mut in_flight: VecDeque<(T, usize, Pending)> = VecDeque::new();
    let mut n_residues = 0;
    let mut finish = |(beside, length, pending): (T, usize, Pending)| {
        take(beside, pending.wait()?);
        if on_pass(length) { Ok(length) } else { Err(VariantError::Stopped) }
    };
    for (beside, sequence) in sequences {
        let length = sequence.len();
        while n_residues + length > MAX_RESIDUES_IN_FLIGHT
            && let Some(first) = in_flight.pop_front()
        {
            n_residues -= finish(first)?;
        }
        let pending = embedder.submit(&EncoderInput::Protein(sequence), options)?;
        n_residues += length;
        in_flight.push_back((beside, length, pending));
    }
    in_flight.into_iter().try_for_each(|next| finish(next).map(|_| ()))
}

/// Encodes each sequence and hands `take` its number and the rows of its positions, row-major `[positions, dim]`: what a
/// language head is fitted on. Not for async threads.
///
/// # Errors
/// [`VariantError`].
pub fn rows_at<'a>(
    embedder: &Embedder,
    sequences: impl Iterator<Item = (ProteinSequence, &'a [usize])>,
    on_pass: OnPass<'_>,
    mut take: impl FnMut(usize, &[f32]),
) -> Result<(), VariantError> {
    let dim = embedder.encoder_space().dim;
    let options = EmbedOptions { per_residue: true, ..EmbedOptions::new(LongPolicy::Window) };
    let numbered = sequences.enumerate().map(|(index, (sequence, positions))| ((index, positions), sequence));
    let mut rows = Vec::new();
    run(embedder, options, numbered, on_pass, |(index, positions), encoded| {
        let residues = encoded.residues.unwrap_or_default();
        rows.clear();
        for position in positions {
            rows.extend_from_slice(&residues[position * dim..(position + 1) * dim]);
        }
        take(index, &rows);
    })
}
