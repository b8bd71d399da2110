//! Hub correction: vectors that are near to everything are moved away from everything.
//!
//! In a space of many dimensions some texts are among the nearest of very many proteins, right or wrong. How much of a hub
//! a vector is shows in its mean cosine `r` with its nearest training vectors of the other side; cross-domain similarity
//! local scaling ranks by `cosine - (r_protein + r_text) / 2`. Source: Conneau et al. 2018, "Word translation without
//! parallel data". Here that is no separate step of a search: four further components carry it, so that the plain cosine of
//! two vectors of different sides is half of it, every vector has unit norm, and any index will do:
//!
//! | | vector | | | | |
//! |---|---|---|---|---|---|
//! | protein | `u / sqrt(2)` | `-r / 2` | `1 / 2` | `sqrt(1 - r^2) / 2` | `0` |
//! | text | `u / sqrt(2)` | `1 / 2` | `-r / 2` | `0` | `sqrt(1 - r^2) / 2` |

use half::f16;
use ndarray::{Array2, ArrayView2, Axis, s};
use protext_graph::{GraphBuilder, Value};

/// Components that carry the correction.
const N_COMPONENTS: usize = 4;

/// Which tower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Protein,
    Text,
}

/// The training vectors of the other side, and how many of them count.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HubCorrection {
    side: Side,
    /// `[dim, references]`, every value a float16.
    references: Array2<f32>,
    n_nearest: usize,
}

impl HubCorrection {
    /// `others` are unit vectors of the other side, `[references, dim]`.
    pub(super) fn new(side: Side, others: &Array2<f32>, n_nearest: usize) -> Self {
        let references = others.t().mapv(|value| f16::from_f32(value).to_f32());
        Self { side, references, n_nearest }
    }

    /// Components of a corrected vector of `dim` components.
    pub(super) fn corrected_dim(dim: usize) -> usize {
        dim + N_COMPONENTS
    }

    /// Unit rows `[n, dim]` with the correction.
    pub(super) fn apply(&self, rows: &ArrayView2<'_, f32>) -> Array2<f32> {
        let dim = rows.ncols();
        let mut corrected = Array2::zeros((rows.nrows(), Self::corrected_dim(dim)));
        corrected.slice_mut(s![.., ..dim]).assign(&(rows * std::f32::consts::FRAC_1_SQRT_2));
        let cosines = rows.dot(&self.references);
        for (mut row, cosines) in corrected.axis_iter_mut(Axis(0)).zip(cosines.rows()) {
            let mut nearest = cosines.to_vec();
            nearest.sort_unstable_by(|a, b| b.total_cmp(a));
            let r = nearest[..self.n_nearest].iter().sum::<f32>() / self.n_nearest as f32;
            let rest = (1.0 - r * r).max(0.0).sqrt() / 2.0;
            let further = match self.side {
                Side::Protein => [-r / 2.0, 0.5, rest, 0.0],
                Side::Text => [0.5, -r / 2.0, 0.0, rest],
            };
            row.iter_mut().skip(dim).zip(further).for_each(|(value, component)| *value = component);
        }
        corrected
    }

    /// Adds the correction's nodes over unit vectors.
    pub(super) fn build(&self, graph: &mut GraphBuilder<'_>, vectors: &Value) -> Value {
        graph.set_scope("hubs");
        let references = super::weights::halves(graph, "hubs.references", &self.references);
        let cosines = graph.matmul(vectors, &references);
        let n_nearest = graph.i64_list(&[self.n_nearest as i64]);
        let [nearest, _] = graph.node("TopK", [&cosines, &n_nearest]).attribute("axis", -1_i64).outputs();
        let sum = graph.reduce_sum(&nearest, &[-1]);
        let times = |graph: &mut GraphBuilder<'_>, value: &Value, factor: f32| {
            let factor = graph.f32_scalar(factor);
            graph.mul(value, &factor)
        };
        let r = times(graph, &sum, 1.0 / self.n_nearest as f32);
        let zero = times(graph, &r, 0.0);
        let half = graph.f32_scalar(0.5);
        let half = graph.add(&zero, &half);
        let hub = times(graph, &r, -0.5);
        let (one, square) = (graph.f32_scalar(1.0), graph.mul(&r, &r));
        let rest = graph.sub(&one, &square);
        let rest = graph.node("Relu", [&rest]).output();
        let rest = graph.node("Sqrt", [&rest]).output();
        let rest = times(graph, &rest, 0.5);
        let vectors = times(graph, vectors, std::f32::consts::FRAC_1_SQRT_2);
        let parts = match self.side {
            Side::Protein => [vectors, hub, half, rest, zero],
            Side::Text => [vectors, half, hub, zero, rest],
        };
        graph.concat(&parts, -1)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn the_cosine_of_two_sides_is_half_of_the_scaled_similarity() {
        let (proteins, texts) = (array![[1.0_f32, 0.0], [0.6, 0.8]], array![[0.8_f32, 0.6], [0.0, 1.0]]);
        let protein = HubCorrection::new(Side::Protein, &texts, 2).apply(&proteins.view());
        let text = HubCorrection::new(Side::Text, &proteins, 1).apply(&texts.view());
        for row in protein.rows().into_iter().chain(text.rows()) {
            assert!((row.dot(&row) - 1.0).abs() < 1e-5, "{row}");
        }
        let (r_protein, r_text) = ((0.8 + 0.0) / 2.0, (0.6_f32 * 0.8 + 0.8 * 0.6).max(0.8));
        let expected = (0.8 - (r_protein + r_text) / 2.0) / 2.0;
        let found = protein.row(0).dot(&text.row(0));
        assert!((found - expected).abs() < 1e-3, "{found} {expected}");
    }
}
