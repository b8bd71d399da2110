//! Puts the pieces of one record together: exact pooled moments over windows.
//!
//! Each piece reports weighted means and variances with its total weight; the record's are the moments of the
//! union, in f64: mean = sum(W m) / sum(W), variance = sum(W (v + (m - mean)^2)) / sum(W).

use crate::encoder::{Encoded, Piece, PieceOutput, Prepared};
use crate::error::EncodeError;
use crate::vector::EncoderRow;

/// Joins `outputs`, in the order of `prepared.pieces`. `residues_of` is the width of a protein encoder whose
/// residues are wanted; the rows of BOS and EOS are left out.
///
/// # Errors
/// [`EncodeError::NotFinite`].
pub fn join(
    encoder: &str,
    prepared: &Prepared,
    mut outputs: Vec<PieceOutput>,
    normalize: bool,
    residues_of: Option<usize>,
) -> Result<Encoded, EncodeError> {
    debug_assert_eq!(prepared.pieces.len(), outputs.len(), "one output a piece");
    let not_finite = |_| EncodeError::NotFinite { encoder: encoder.to_owned() };
    let residues = residues_of.and_then(|dim| join_residues(&prepared.pieces, &mut outputs, dim));
    let weights: Vec<f64> = prepared.pieces.iter().map(total_weight).collect();
    let mut pooled = weighted_mean(&outputs, &weights, |output| &output.mean);
    if normalize {
        scale_to_unit(&mut pooled);
    }
    let statistics = join_statistics(&outputs, &weights);
    Ok(Encoded {
        pooled: EncoderRow::new(pooled).map_err(not_finite)?,
        statistics: statistics.map(EncoderRow::new).transpose().map_err(not_finite)?,
        residues,
        report: prepared.report,
        n_tokens: prepared.pieces.iter().map(Piece::n_tokens).sum(),
    })
}

fn total_weight(piece: &Piece) -> f64 {
    piece.weights.iter().map(|&w| f64::from(w)).sum()
}

fn weighted_mean(
    outputs: &[PieceOutput],
    weights: &[f64],
    field: impl Fn(&PieceOutput) -> &Vec<f32>,
) -> Vec<f32> {
    if let [only] = outputs {
        return field(only).clone();
    }
    let total: f64 = weights.iter().sum();
    let mut mean = vec![0.0_f64; field(&outputs[0]).len()];
    for (output, weight) in outputs.iter().zip(weights) {
        for (sum, &value) in mean.iter_mut().zip(field(output)) {
            *sum += weight * f64::from(value);
        }
    }
    mean.into_iter().map(|sum| (sum / total) as f32).collect()
}

/// All means, then all standard deviations.
fn join_statistics(outputs: &[PieceOutput], weights: &[f64]) -> Option<Vec<f32>> {
    if outputs[0].layer_means.is_empty() {
        return None;
    }
    let means = weighted_mean(outputs, weights, |output| &output.layer_means);
    let total: f64 = weights.iter().sum();
    let mut variances = vec![0.0_f64; means.len()];
    for (output, weight) in outputs.iter().zip(weights) {
        let moments = output.layer_means.iter().zip(&output.layer_variances).zip(&means);
        for (sum, ((&piece_mean, &piece_variance), &mean)) in variances.iter_mut().zip(moments) {
            let shift = f64::from(piece_mean) - f64::from(mean);
            *sum += weight * (f64::from(piece_variance) + shift * shift);
        }
    }
    let deviations = variances.into_iter().map(|sum| (sum / total).max(0.0).sqrt() as f32);
    Some(means.iter().copied().chain(deviations).collect())
}

/// `[residues, dim]`: each residue is the weighted sum over the windows that cover it.
fn join_residues(pieces: &[Piece], outputs: &mut [PieceOutput], dim: usize) -> Option<Vec<f32>> {
    if let ([piece], [output]) = (pieces, &mut *outputs) {
        let mut hidden = output.hidden.take()?;
        hidden.truncate((piece.n_tokens() - 1) * dim);
        hidden.drain(..dim);
        return Some(hidden);
    }
    let n_residues = pieces.iter().map(|piece| piece.start + piece.n_tokens() - 2).max()?;
    let mut residues = vec![0.0; n_residues * dim];
    for (piece, output) in pieces.iter().zip(outputs) {
        let hidden = output.hidden.take()?;
        for index in 0..piece.n_tokens() - 2 {
            let weight = piece.weights[index + 1];
            let position = piece.start + index;
            let target = &mut residues[position * dim..(position + 1) * dim];
            let source = &hidden[(index + 1) * dim..(index + 2) * dim];
            target.iter_mut().zip(source).for_each(|(sum, &value)| *sum += weight * value);
        }
    }
    Some(residues)
}

fn scale_to_unit(values: &mut [f32]) {
    let norm = values.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
    if norm > 0.0 {
        values.iter_mut().for_each(|v| *v = (f64::from(*v) / norm) as f32);
    }
}
