//! Symmetric InfoNCE with several positives: each protein is told apart from the batch's texts, and each text from its
//! proteins.
//!
//! The larger the batch, the better the towers, and all work but the matrix products grows with its square. So the
//! gradient is written out instead of left to autodiff, which would hold a dozen matrices of that size and walk through
//! each: one matrix is filled by all cores, and the products with it carry the gradient back into the graph.
//!
//! Source: Radford et al., "CLIP", 2021; where a text or a sequence repeats in a batch, all its partners share the target,
//! as in Khosla et al., "Supervised contrastive learning", 2020 (targets averaged outside the logarithm).

use std::collections::HashMap;

use candle_core::{Result, Tensor};
use rayon::prelude::*;

/// Rows of the matrix that one core takes at once. Sums run block by block in order, so that a run repeats bit for bit.
const BLOCK: usize = 128;

/// Which pairs of a batch belong together: of each pair, those with its sequence or its text, itself included.
pub(super) fn partners(proteins: &[u32], texts: &[u32]) -> Vec<Vec<u32>> {
    let by_key = |keys: &[u32]| {
        let mut pairs: HashMap<u32, Vec<u32>> = HashMap::new();
        keys.iter().zip(0..).for_each(|(key, pair)| pairs.entry(*key).or_default().push(pair));
        pairs
    };
    let (same_protein, same_text) = (by_key(proteins), by_key(texts));
    let of_pair = |(protein, text): (&u32, &u32)| {
        let mut all = [same_protein[protein].as_slice(), &same_text[text]].concat();
        all.sort_unstable();
        all.dedup();
        all
    };
    proteins.iter().zip(texts).map(of_pair).collect()
}

/// The loss in nats, and a scalar whose gradient is the loss's.
pub(super) struct Loss {
    pub(super) value: f64,
    pub(super) to_differentiate: Tensor,
}

/// Mean cross-entropy of both directions over unit rows `[batch, dim]`. The inverse temperature is `exp(log_scale)`, a
/// scalar, and at most `max_scale`.
pub(super) fn info_nce(
    proteins: &Tensor,
    texts: &Tensor,
    log_scale: &Tensor,
    max_scale: f32,
    partners: &[Vec<u32>],
) -> Result<Loss> {
    let free = log_scale.to_scalar::<f32>()?.exp();
    let scale = free.min(max_scale);
    let (fixed_proteins, fixed_texts) = (proteins.detach(), texts.detach());
    let cosines = fixed_proteins.matmul(&fixed_texts.t()?)?;
    let n = cosines.dim(0)?;
    let mut matrix = cosines.flatten_all()?.to_vec1::<f32>()?;
    let value = to_gradient(&mut matrix, n, scale, partners);
    let gradient = Tensor::from_vec(matrix, (n, n), texts.device())?;
    let of_proteins = (gradient.matmul(&fixed_texts)? * f64::from(scale))?;
    let of_texts = (gradient.t()?.contiguous()?.matmul(&fixed_proteins)? * f64::from(scale))?;
    // The scale multiplies every cosine, so its own derivative is what those of the proteins add up to.
    let of_log_scale = (&fixed_proteins * &of_proteins)?.sum_all()?;
    let carried = ((proteins * of_proteins)?.sum_all()? + (texts * of_texts)?.sum_all()?)?;
    let to_differentiate = if free < max_scale { (carried + (log_scale * of_log_scale)?)? } else { carried };
    Ok(Loss { value, to_differentiate })
}

/// Turns cosines `[n, n]` into the derivative of the loss by each cosine over `scale`, and returns the loss.
fn to_gradient(matrix: &mut [f32], n: usize, scale: f32, partners: &[Vec<u32>]) -> f64 {
    let right: Vec<Vec<f32>> = partners
        .par_iter()
        .enumerate()
        .map(|(row, partners)| partners.iter().map(|&column| matrix[row * n + column as usize]).collect())
        .collect();
    // No cosine is above 1, so no exponential is above 1.
    matrix.par_iter_mut().for_each(|value| *value = (scale * (*value - 1.0)).exp().max(f32::MIN_POSITIVE));
    let by_row: Vec<f64> =
        matrix.par_chunks(n).map(|row| row.iter().map(|&value| f64::from(value)).sum()).collect();
    let by_column = column_sums(matrix, n);
    let inverse = |sums: &[f64]| sums.iter().map(|sum| (0.5 / n as f64 / sum) as f32).collect::<Vec<_>>();
    let (row_factors, column_factors) = (inverse(&by_row), inverse(&by_column));
    // What one partner takes of the target of its row, or, the relation being symmetric, of its column.
    let shares: Vec<f32> = partners.iter().map(|all| 0.5 / n as f32 / all.len() as f32).collect();
    matrix.par_chunks_mut(n).enumerate().for_each(|(row, values)| {
        let factor = row_factors[row];
        values.iter_mut().zip(&column_factors).for_each(|(value, column)| *value *= factor + column);
        for &column in &partners[row] {
            values[column as usize] -= shares[row] + shares[column as usize];
        }
    });
    let mut loss = 0.0;
    for (row, (partners_of_row, cosines)) in partners.iter().zip(&right).enumerate() {
        for (&column, &cosine) in partners_of_row.iter().zip(cosines) {
            let column = column as usize;
            let logit = f64::from(scale) * (f64::from(cosine) - 1.0);
            loss -= f64::from(shares[row]) * (logit - by_row[row].ln());
            loss -= f64::from(shares[column]) * (logit - by_column[column].ln());
        }
    }
    loss
}

fn column_sums(matrix: &[f32], n: usize) -> Vec<f64> {
    let of_block = |block: &[f32]| {
        let mut sums = vec![0.0_f64; n];
        for row in block.chunks_exact(n) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        sums
    };
    let blocks: Vec<Vec<f64>> = matrix.par_chunks(BLOCK * n).map(of_block).collect();
    let mut sums = vec![0.0; n];
    blocks.iter().for_each(|block| sums.iter_mut().zip(block).for_each(|(sum, value)| *sum += value));
    sums
}

#[cfg(test)]
mod tests {
    use candle_core::{D, Device, Var};

    use super::*;

    /// The same loss, left to autodiff.
    fn plain(proteins: &Tensor, texts: &Tensor, log_scale: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let logits = proteins.matmul(&texts.t()?)?.broadcast_mul(&log_scale.exp()?)?;
        let entropy = |logits: &Tensor| {
            let log_sum = logits.exp()?.sum_keepdim(D::Minus1)?.log()?;
            (logits.broadcast_sub(&log_sum)? * targets)?.sum_all()?.neg()? / logits.dim(0)? as f64
        };
        (entropy(&logits)? + entropy(&logits.t()?.contiguous()?)?)? * 0.5
    }

    #[test]
    fn partners_share_a_sequence_or_a_text() {
        assert_eq!(partners(&[1, 2, 1], &[7, 8, 9]), [vec![0, 2], vec![1], vec![0, 2]]);
        assert_eq!(partners(&[1, 2, 1], &[7, 7, 9]), [vec![0, 1, 2], vec![0, 1], vec![0, 2]]);
    }

    #[test]
    fn loss_and_gradients_are_those_of_autodiff() {
        let device = Device::Cpu;
        let unit = |rows: [[f32; 2]; 3]| Var::new(&rows, &device).unwrap();
        let proteins = unit([[0.6, 0.8], [1.0, 0.0], [0.0, 1.0]]);
        let texts = unit([[0.8, 0.6], [0.6, -0.8], [0.0, 1.0]]);
        let log_scale = Var::new(1.2_f32, &device).unwrap();
        let targets = Tensor::new(&[[0.5_f32, 0.0, 0.5], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]], &device).unwrap();
        let expected = plain(&proteins, &texts, &log_scale, &targets).unwrap();
        let partners = partners(&[1, 2, 1], &[7, 8, 9]);
        let found = info_nce(&proteins, &texts, &log_scale, 100.0, &partners).unwrap();
        assert!((found.value - f64::from(expected.to_scalar::<f32>().unwrap())).abs() < 1e-6);
        let (expected, found) = (expected.backward().unwrap(), found.to_differentiate.backward().unwrap());
        for var in [&proteins, &texts, &log_scale] {
            let difference = (expected.get(var).unwrap() - found.get(var).unwrap()).unwrap();
            let most = difference.abs().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(most.iter().all(|value| *value < 1e-6), "{most:?}");
        }
    }

    #[test]
    fn a_scale_at_its_bound_is_not_moved() {
        let rows = Var::new(&[[1.0_f32, 0.0], [0.0, 1.0]], &Device::Cpu).unwrap();
        let log_scale = Var::new(9.0_f32, &Device::Cpu).unwrap();
        let found = info_nce(&rows, &rows, &log_scale, 100.0, &partners(&[1, 2], &[3, 4])).unwrap();
        assert!(
            found.value.is_finite() && found.to_differentiate.backward().unwrap().get(&log_scale).is_none()
        );
    }
}
