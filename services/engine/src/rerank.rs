//! Re-ranking by residues: the first hits are compared with the query residue by residue, and ordered anew.
//!
//! A mean over residues hides which of them agree. Here each residue's row (last layer, less the mean over both proteins,
//! unit norm) is compared with each of the other protein's; a cosine becomes a z-score among those of its row and of its
//! column, so that what counts is how much two residues stand out for each other; and the best local alignment over these
//! z-scores, divided by the length of the shorter protein, is added to the cosine of the whole proteins. Source of the
//! z-scores: Pantolini et al., "Embedding-based alignment", Bioinformatics 2024; ours is local and has a gap cost.

use ndarray::{Array2, ArrayView2, Axis};

/// z-scores below this count against an alignment. Source: chosen on CATH validation domains, docs/results/homology.md.
const THRESHOLD: f32 = 1.0;
/// Cost of a residue without a partner. Source: as above.
const GAP: f32 = 2.0;
/// Weight of the alignment beside the cosine. Source: as above.
const WEIGHT: f32 = 0.3;
/// Keeps a deviation of zero from dividing.
const SMALL: f32 = 1e-6;

/// Rows of the residues of one protein, centred and of unit norm, `[residues, dim]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ResidueRows(Array2<f32>);

impl ResidueRows {
    /// From encoder rows `[residues, dim]`, row-major; `mean` is what all proteins have in common, `[dim]`.
    ///
    /// # Panics
    /// If the values are no whole number of rows.
    #[must_use]
    pub fn new(values: &[f32], mean: &[f32]) -> Self {
        let shape = (values.len() / mean.len().max(1), mean.len());
        let mut rows = Array2::from_shape_vec(shape, values.to_vec()).expect("whole rows");
        for mut row in rows.rows_mut() {
            row.iter_mut().zip(mean).for_each(|(value, mean)| *value -= mean);
            let norm = row.dot(&row).sqrt().max(SMALL);
            row /= norm;
        }
        Self(rows)
    }

    /// Residues.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.nrows()
    }

    /// True without residues.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Mean over the rows of several proteins, `[dim]`.
#[must_use]
pub fn mean_of_residues<'a>(proteins: impl Iterator<Item = &'a [f32]>, dim: usize) -> Vec<f32> {
    let mut mean = vec![0.0_f64; dim];
    let mut n_rows = 0;
    for row in proteins.flat_map(|values| values.chunks_exact(dim)) {
        mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
        n_rows += 1;
    }
    mean.into_iter().map(|sum| (sum / f64::from(n_rows.max(1))) as f32).collect()
}

/// What the first hits are ordered by: the cosine of the whole proteins and the alignment of their residues.
#[must_use]
pub fn rerank_score(cosine: f32, query: &ResidueRows, target: &ResidueRows) -> f32 {
    cosine + WEIGHT * alignment_score(query, target)
}

/// Best local alignment over z-scores, per residue of the shorter protein; 0 or more.
#[must_use]
pub fn alignment_score(query: &ResidueRows, target: &ResidueRows) -> f32 {
    let n_shorter = query.len().min(target.len());
    if n_shorter == 0 {
        return 0.0;
    }
    best_local(&z_scores(&query.0.dot(&target.0.t())).view()) / n_shorter as f32
}

/// Mean of the z-scores of each cosine among its row and among its column.
fn z_scores(cosines: &Array2<f32>) -> Array2<f32> {
    let deviation = |axis: Axis| {
        let mean = cosines.mean_axis(axis).expect("there are residues");
        let deviation = cosines.std_axis(axis, 0.0).mapv(|value| value.max(SMALL));
        (mean.insert_axis(axis), deviation.insert_axis(axis))
    };
    let ((row_mean, row_deviation), (column_mean, column_deviation)) =
        (deviation(Axis(1)), deviation(Axis(0)));
    let by_row = (cosines - &row_mean) / row_deviation;
    let by_column = (cosines - &column_mean) / column_deviation;
    (by_row + by_column) / 2.0
}

/// Smith and Waterman's recursion with a linear gap cost; one row of it is kept.
fn best_local(scores: &ArrayView2<'_, f32>) -> f32 {
    let mut above = vec![0.0_f32; scores.ncols() + 1];
    let mut best = 0.0_f32;
    for row in scores.rows() {
        let mut diagonal = 0.0;
        let mut left = 0.0_f32;
        for (cell, &score) in above[1..].iter_mut().zip(row) {
            let here = (diagonal + score - THRESHOLD).max(*cell - GAP).max(left - GAP).max(0.0);
            (diagonal, left) = (*cell, here);
            *cell = here;
            best = best.max(here);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn the_best_path_is_found() {
        let scores = array![[3.0_f32, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 4.0]];
        // 3 - 1, a gap of 2 over the second row, then 3 - 1 and 4 - 1.
        assert!((best_local(&scores.view()) - 5.0).abs() < 1e-6);
        assert!(best_local(&array![[0.5_f32, 0.9]].view()).abs() < 1e-6);
    }

    #[test]
    fn a_protein_aligns_best_with_itself_and_order_matters() {
        let value = |residue: usize, at: usize| {
            (((residue * 31 + at * 17) * 2_654_435_761) % 1_000) as f32 / 500.0 - 1.0
        };
        let rows: Vec<f32> = (0..24).flat_map(|residue| (0..16).map(move |at| value(residue, at))).collect();
        let shuffled: Vec<f32> =
            (0..24).flat_map(|residue| (0..16).map(move |at| value((residue * 7) % 24, at))).collect();
        let mean = mean_of_residues([rows.as_slice(), &shuffled].into_iter(), 16);
        let (rows, shuffled) = (ResidueRows::new(&rows, &mean), ResidueRows::new(&shuffled, &mean));
        let (own, other) = (alignment_score(&rows, &rows), alignment_score(&rows, &shuffled));
        assert!(own > 2.0 * other, "{own} {other}");
        assert!((alignment_score(&shuffled, &rows) - other).abs() < 0.2);
        assert!(alignment_score(&rows, &ResidueRows::new(&[], &mean)).abs() < 1e-6);
    }
}
