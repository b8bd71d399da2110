//! Symmetric InfoNCE with several positives: each protein is told apart from the batch's texts, and each text from its
//! proteins.
//!
//! Source: Radford et al., "CLIP", 2021; where a text or a sequence repeats in a batch, all its partners share the target,
//! as in Khosla et al., "Supervised contrastive learning", 2020 (targets averaged outside the logarithm).

use candle_core::{D, Device, Result, Tensor};

/// Which pairs of a batch belong together, `[batch, batch]`, each row summing to one; proteins down, texts across.
pub(super) fn targets(proteins: &[u32], texts: &[u32], device: &Device) -> Result<Tensor> {
    let n = proteins.len();
    let mut values = vec![0_f32; n * n];
    for (i, row) in values.chunks_exact_mut(n).enumerate() {
        let mut n_positive = 0.0;
        for (j, value) in row.iter_mut().enumerate() {
            if proteins[i] == proteins[j] || texts[i] == texts[j] {
                *value = 1.0;
                n_positive += 1.0;
            }
        }
        row.iter_mut().for_each(|value| *value /= n_positive);
    }
    Tensor::from_vec(values, (n, n), device)
}

/// Mean cross-entropy of both directions. `scale` is the inverse temperature, a scalar.
pub(super) fn info_nce(
    proteins: &Tensor,
    texts: &Tensor,
    scale: &Tensor,
    targets: &Tensor,
) -> Result<Tensor> {
    let logits = proteins.matmul(&texts.t()?)?.broadcast_mul(scale)?;
    // Belonging together is symmetric and rows of both directions count the same partners.
    let by_protein = cross_entropy(&logits, targets)?;
    let by_text = cross_entropy(&logits.t()?.contiguous()?, targets)?;
    (by_protein + by_text)? * 0.5
}

fn cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    let log_probabilities = shifted.broadcast_sub(&log_sum)?;
    (log_probabilities * targets)?.sum_all()?.neg()? / logits.dim(0)? as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partners_share_the_target() {
        let found = targets(&[1, 2, 1], &[7, 8, 9], &Device::Cpu).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(found, [[0.5, 0.0, 0.5], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]]);
    }

    #[test]
    fn the_loss_is_that_of_a_plain_loop() {
        let proteins = [[0.6_f32, 0.8], [1.0, 0.0], [0.0, 1.0]];
        let texts = [[0.8_f32, 0.6], [0.6, -0.8], [0.0, 1.0]];
        let (sequence_keys, text_keys) = ([0, 1, 2], [0, 1, 0]);
        let (scale, n) = (5.0_f64, 3);
        let dot = |i: usize, j: usize| {
            scale * (0..2).map(|d| f64::from(proteins[i][d]) * f64::from(texts[j][d])).sum::<f64>()
        };
        let is_pair =
            |i: usize, j: usize| sequence_keys[i] == sequence_keys[j] || text_keys[i] == text_keys[j];
        let mut expected = 0.0;
        for i in 0..n {
            let n_positive = (0..n).filter(|&j| is_pair(i, j)).count() as f64;
            let rows = (0..n).map(|j| dot(i, j).exp()).sum::<f64>().ln();
            let columns = (0..n).map(|j| dot(j, i).exp()).sum::<f64>().ln();
            for j in (0..n).filter(|&j| is_pair(i, j)) {
                expected += ((rows - dot(i, j)) + (columns - dot(j, i))) / n_positive / 2.0 / n as f64;
            }
        }
        let tensor = |rows: [[f32; 2]; 3]| Tensor::new(&rows, &Device::Cpu).unwrap();
        let scale = Tensor::new(scale as f32, &Device::Cpu).unwrap();
        let targets = targets(&sequence_keys, &text_keys, &Device::Cpu).unwrap();
        let found = info_nce(&tensor(proteins), &tensor(texts), &scale, &targets).unwrap();
        assert!((f64::from(found.to_scalar::<f32>().unwrap()) - expected).abs() < 1e-4);
    }
}
