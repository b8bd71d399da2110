//! What a device's numbers cost: its rows beside the CPU's in 32 bits.

use protext_core::Encoded;
use serde::Serialize;

/// How far rows are from those of the CPU provider in 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Price {
    /// Least cosine of a pooled row with its like.
    pub(super) cosine_min: f64,
    /// Their mean.
    pub(super) cosine_mean: f64,
    /// Share of proteins whose nearest other protein of the sample is the same, by the cosine of pooled rows.
    pub(super) top1_agreement: f64,
}

/// Compares rows with the reference, protein by protein; `None` of fewer than two.
pub(super) fn price(reference: &[Encoded], found: &[Encoded]) -> Option<Price> {
    let rows =
        |encoded: &[Encoded]| encoded.iter().map(|one| unit(one.pooled.as_slice())).collect::<Vec<_>>();
    let (reference, found) = (rows(reference), rows(found));
    if reference.len() < 2 || reference.len() != found.len() {
        return None;
    }
    let cosines: Vec<f64> = reference.iter().zip(&found).map(|(a, b)| dot(a, b)).collect();
    let n = reference.len();
    let n_agreeing = (0..n).filter(|&query| nearest(&reference, query) == nearest(&found, query)).count();
    Some(Price {
        cosine_min: cosines.iter().copied().fold(f64::INFINITY, f64::min),
        cosine_mean: cosines.iter().sum::<f64>() / n as f64,
        top1_agreement: n_agreeing as f64 / n as f64,
    })
}

fn nearest(rows: &[Vec<f64>], query: usize) -> Option<usize> {
    let others = (0..rows.len()).filter(|&other| other != query);
    others.max_by(|&a, &b| dot(&rows[query], &rows[a]).total_cmp(&dot(&rows[query], &rows[b])))
}

fn unit(row: &[f32]) -> Vec<f64> {
    let norm = row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    row.iter().map(|value| f64::from(*value) / norm).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use protext_core::{EncoderRow, LongReport};

    fn encoded(row: &[f32]) -> Encoded {
        let pooled = EncoderRow::new(row.to_vec()).unwrap();
        Encoded { pooled, statistics: None, residues: None, report: LongReport::Whole, n_tokens: 3 }
    }

    #[test]
    fn rows_are_compared_with_their_like() {
        let reference = [[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]].map(|row| encoded(&row));
        let same = price(&reference, &reference).unwrap();
        assert!(same.cosine_min > 1.0 - 1e-12 && same.top1_agreement == 1.0);
        let turned = [[1.0, 0.0], [0.1, 0.9], [0.0, 1.0]].map(|row| encoded(&row));
        let turned = price(&reference, &turned).unwrap();
        assert!(turned.cosine_min < 0.3 && turned.cosine_mean > 0.7);
        // The second protein is now nearer to the third than to the first.
        assert!((turned.top1_agreement - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(price(&reference[..1], &reference[..1]), None);
    }
}
