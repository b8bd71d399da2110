//! Ranks of the right partner among all candidates, both ways: what retrieval is measured by.

use ndarray::{ArrayView2, Axis};

/// Rank of each query's best right candidate, 0 for the best.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranks {
    /// Texts found by each protein.
    pub by_protein: Vec<usize>,
    /// Proteins found by each text.
    pub by_text: Vec<usize>,
}

/// Ranks over unit rows `[n, dim]`; row `i` of both belong together. A tie counts against us.
#[must_use]
pub fn ranks(proteins: &ArrayView2<'_, f32>, texts: &ArrayView2<'_, f32>) -> Ranks {
    let mut by_protein = Vec::with_capacity(proteins.nrows());
    let mut n_better = vec![0; texts.nrows()];
    let own: Vec<f32> = proteins.rows().into_iter().zip(texts.rows()).map(|(p, t)| p.dot(&t)).collect();
    // In blocks, so that memory stays small for long lists.
    for (block, first) in proteins.axis_chunks_iter(Axis(0), 256).zip((0..).step_by(256)) {
        let cosines = block.dot(&texts.t());
        for (offset, row) in cosines.rows().into_iter().enumerate() {
            let query = first + offset;
            let mut rank = 0;
            for (candidate, &cosine) in row.iter().enumerate() {
                if candidate != query {
                    rank += usize::from(cosine >= own[query]);
                    n_better[candidate] += usize::from(cosine >= own[candidate]);
                }
            }
            by_protein.push(rank);
        }
    }
    Ranks { by_protein, by_text: n_better }
}

/// Mean of `1 / (rank + 1)`; 0 without ranks.
#[must_use]
pub fn mean_reciprocal_rank(ranks: &[usize]) -> f64 {
    ranks.iter().map(|&rank| 1.0 / (rank + 1) as f64).sum::<f64>() / ranks.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn ranks_count_what_is_at_least_as_near() {
        let proteins = array![[1.0_f32, 0.0], [0.0, 1.0], [0.6, 0.8]];
        let texts = array![[1.0_f32, 0.0], [1.0, 0.0], [0.0, 1.0]];
        let found = ranks(&proteins.view(), &texts.view());
        // Protein 0 ties with text 1; protein 1 finds text 2 first, then the two others alike.
        assert_eq!(found.by_protein, [1, 2, 0]);
        assert_eq!(found.by_text, [0, 2, 1]);
        assert!((mean_reciprocal_rank(&found.by_protein) - (0.5 + 1.0 / 3.0 + 1.0) / 3.0).abs() < 1e-12);
        assert!(mean_reciprocal_rank(&[]).abs() < 1e-12);
    }
}
