//! Symmetric InfoNCE with several positives: each protein is told apart from the batch's texts, and each text from its
//! proteins.
//!
//! The larger the batch, the better the towers, and all work but the matrix products grows with its square. So on a CPU the
//! gradient is written out instead of left to autodiff, which would hold a dozen matrices of that size and walk through
//! each: one matrix is filled and walked through twice, and the products with it carry the gradient back into the graph.
//!
//! Source: Radford et al., "CLIP", 2021; where a text or a sequence repeats in a batch, all its partners share the target,
//! as in Khosla et al., "Supervised contrastive learning", 2020 (targets averaged outside the logarithm).

use std::collections::HashMap;

use candle_core::{D, Result, Tensor};
use faer::MatRef;
use rayon::prelude::*;

use super::products::multiply;
use super::simd::{exp, sum, widest};

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

/// A batch to learn from.
#[derive(Clone, Copy)]
pub(super) struct Batch<'a> {
    /// Unit rows, `[batch, dim]`.
    pub(super) proteins: &'a Tensor,
    /// Unit rows, `[batch, dim]`.
    pub(super) texts: &'a Tensor,
    /// A scalar: the inverse temperature is `exp(log_scale)`, and at most `max_scale`.
    pub(super) log_scale: &'a Tensor,
    pub(super) max_scale: f32,
    /// What [`partners`] gives.
    pub(super) partners: &'a [Vec<u32>],
}

impl Batch<'_> {
    /// Mean cross-entropy of both directions.
    pub(super) fn info_nce(self) -> Result<Loss> {
        if self.proteins.device().is_cpu() { self.written_out() } else { self.by_autodiff() }
    }

    fn written_out(self) -> Result<Loss> {
        let Self { proteins, texts, log_scale, max_scale, partners } = self;
        let free = log_scale.to_scalar::<f32>()?.exp();
        let scale = free.min(max_scale);
        let (n, dim) = proteins.dims2()?;
        let rows = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f32>();
        let (fixed_proteins, fixed_texts) = (rows(proteins)?, rows(texts)?);
        let of_proteins = MatRef::from_row_major_slice(&fixed_proteins, n, dim);
        let of_texts = MatRef::from_row_major_slice(&fixed_texts, n, dim);
        let mut matrix = multiply(of_proteins, of_texts.transpose(), 1.0);
        let value = to_gradient(&mut matrix, n, scale, partners);
        let gradient = MatRef::from_row_major_slice(&matrix, n, n);
        let by_protein = multiply(gradient, of_texts, scale);
        let by_text = multiply(gradient.transpose(), of_proteins, scale);
        // The scale multiplies every cosine, so its own derivative is what those of the proteins add up to.
        let by_log_scale: f64 =
            fixed_proteins.iter().zip(&by_protein).map(|(value, by)| f64::from(value * by)).sum();
        let carry = |tensor: &Tensor, by: Vec<f32>| {
            (tensor * Tensor::from_vec(by, (n, dim), tensor.device())?)?.sum_all()
        };
        let carried = (carry(proteins, by_protein)? + carry(texts, by_text)?)?;
        let to_differentiate =
            if free < max_scale { (carried + (log_scale * by_log_scale)?)? } else { carried };
        Ok(Loss { value, to_differentiate })
    }

    /// The same, left to autodiff: for devices on which the matrices of a batch are small change.
    fn by_autodiff(self) -> Result<Loss> {
        let Self { proteins, texts, log_scale, max_scale, partners } = self;
        let n = partners.len();
        let mut targets = vec![0.0_f32; n * n];
        for (row, partners) in partners.iter().enumerate() {
            partners
                .iter()
                .for_each(|&column| targets[row * n + column as usize] = 1.0 / partners.len() as f32);
        }
        let targets = Tensor::from_vec(targets, (n, n), proteins.device())?;
        let scale = log_scale.exp()?.minimum(&Tensor::new(max_scale, log_scale.device())?)?;
        let logits = proteins.matmul(&texts.t()?)?.broadcast_mul(&scale)?;
        let entropy = |logits: &Tensor| {
            let highest = logits.max_keepdim(D::Minus1)?.detach();
            let logits = logits.broadcast_sub(&highest)?;
            let log_sum = logits.exp()?.sum_keepdim(D::Minus1)?.log()?;
            (logits.broadcast_sub(&log_sum)? * &targets)?.sum_all()?.neg()? / n as f64
        };
        let loss = ((entropy(&logits)? + entropy(&logits.t()?.contiguous()?)?)? * 0.5)?;
        Ok(Loss { value: f64::from(loss.to_scalar::<f32>()?), to_differentiate: loss })
    }
}

/// Turns cosines `[n, n]` into the derivative of the loss by each cosine over `scale`, and returns the loss.
fn to_gradient(matrix: &mut [f32], n: usize, scale: f32, partners: &[Vec<u32>]) -> f64 {
    let right: Vec<Vec<f32>> = partners
        .iter()
        .enumerate()
        .map(|(row, partners)| partners.iter().map(|&column| matrix[row * n + column as usize]).collect())
        .collect();
    let (by_row, by_column) = exponentials(matrix, n, scale);
    let inverse = |sums: &[f64]| sums.iter().map(|sum| (0.5 / n as f64 / sum) as f32).collect::<Vec<_>>();
    let (row_factors, column_factors) = (inverse(&by_row), inverse(&by_column));
    // What one partner takes of the target of its row, or, the relation being symmetric, of its column.
    let shares: Vec<f32> = partners.iter().map(|all| 0.5 / n as f32 / all.len() as f32).collect();
    matrix.par_chunks_mut(n).enumerate().for_each(|(row, values)| {
        let factor = row_factors[row];
        widest(|| {
            values.iter_mut().zip(&column_factors).for_each(|(value, column)| *value *= factor + column);
        });
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

/// Turns cosines `[n, n]` into `exp(scale * (cosine - 1))`, none of which is above 1, and returns their sums: of each row, of
/// each column.
fn exponentials(matrix: &mut [f32], n: usize, scale: f32) -> (Vec<f64>, Vec<f64>) {
    let of_block = |block: &mut [f32]| {
        let (mut rows, mut columns) = (Vec::with_capacity(BLOCK), vec![0.0_f32; n]);
        for row in block.chunks_exact_mut(n) {
            widest(|| {
                for (value, column) in row.iter_mut().zip(&mut columns) {
                    *value = exp(scale * (*value - 1.0));
                    *column += *value;
                }
                rows.push(f64::from(sum(n, |i| row[i])));
            });
        }
        (rows, columns)
    };
    let blocks: Vec<_> = matrix.par_chunks_mut(BLOCK * n).map(of_block).collect();
    let mut by_column = vec![0.0; n];
    for (_, columns) in &blocks {
        by_column.iter_mut().zip(columns).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    (blocks.into_iter().flat_map(|(rows, _)| rows).collect(), by_column)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

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
        let partners = partners(&[1, 2, 1], &[7, 8, 9]);
        let batch = Batch {
            proteins: &proteins,
            texts: &texts,
            log_scale: &log_scale,
            max_scale: 100.0,
            partners: &partners,
        };
        let (expected, found) = (batch.by_autodiff().unwrap(), batch.written_out().unwrap());
        assert!((found.value - expected.value).abs() < 1e-6);
        let gradients = |loss: Loss| loss.to_differentiate.backward().unwrap();
        let (expected, found) = (gradients(expected), gradients(found));
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
        let partners = partners(&[1, 2], &[3, 4]);
        let batch = Batch {
            proteins: &rows,
            texts: &rows,
            log_scale: &log_scale,
            max_scale: 100.0,
            partners: &partners,
        };
        let found = batch.info_nce().unwrap();
        assert!(
            found.value.is_finite() && found.to_differentiate.backward().unwrap().get(&log_scale).is_none()
        );
    }
}
