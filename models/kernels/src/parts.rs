//! The parts of a block, with layers of one kind or another.

use crate::shape::{BlockShape, BlockWeights, Input, Pair};

/// Most of the feed-forward width that is computed at once: it stays in the second cache.
const SLICE: usize = 512;
/// Multiple of a slice's width.
const STEP: usize = 32;

pub(crate) struct Norm {
    pub(crate) scale: Vec<f32>,
    pub(crate) shift: Vec<f32>,
}

/// A slice of the feed-forward width: into it and out of it again.
pub(crate) struct FeedForward<Layer> {
    pub(crate) widen: Layer,
    pub(crate) narrow: Layer,
}

pub(crate) struct Parts<Layer> {
    pub(crate) attention_norm: Norm,
    /// Of queries, keys and values, side by side.
    pub(crate) projections: Layer,
    pub(crate) output: Layer,
    pub(crate) feed_forward_norm: Norm,
    /// The feed-forward part, slice by slice of its width.
    pub(crate) slices: Vec<FeedForward<Layer>>,
}

impl<Layer> Parts<Layer> {
    /// Of weights whose sizes are those of the shape. `layer` makes one of its depth, of matrices side by side with their biases, and of
    /// what goes into it, from which number on.
    pub(crate) fn new(
        shape: &BlockShape,
        weights: &BlockWeights<'_>,
        layer: impl Fn(usize, &[Pair<'_>], (Input, usize)) -> Layer,
    ) -> Self {
        let &BlockShape { dim, feed_forward_dim: wide, .. } = shape;
        let norm = |(scale, shift): Pair<'_>| Norm { scale: scale.to_vec(), shift: shift.to_vec() };
        let width = slice_width(wide);
        let slice = |first: usize| {
            let (weight, bias) = weights.widen;
            let columns: Vec<f32> =
                weight.chunks_exact(wide).flat_map(|row| &row[first..first + width]).copied().collect();
            let widen = layer(dim, &[(&columns, &bias[first..first + width])], (Input::Widen, 0));
            let (weight, bias) = weights.narrow;
            // The bias is added once.
            let bias = if first == 0 { bias.to_vec() } else { vec![0.0; dim] };
            let rows = &weight[first * dim..(first + width) * dim];
            FeedForward { widen, narrow: layer(width, &[(rows, &bias)], (Input::Narrow, first)) }
        };
        Self {
            attention_norm: norm(weights.attention_norm),
            projections: layer(dim, &[weights.query, weights.key, weights.value], (Input::Projections, 0)),
            output: layer(dim, &[weights.output], (Input::Output, 0)),
            feed_forward_norm: norm(weights.feed_forward_norm),
            slices: (0..wide).step_by(width).map(slice).collect(),
        }
    }
}

/// The widest part of the feed-forward width that divides it and is a multiple of 32.
pub(crate) fn slice_width(feed_forward_dim: usize) -> usize {
    let mut parts = (STEP..=SLICE.min(feed_forward_dim)).rev();
    let fits = |width: &usize| width.is_multiple_of(STEP) && feed_forward_dim.is_multiple_of(*width);
    parts.find(fits).unwrap_or(STEP)
}

/// Rows in one go, `most` or not many more, so that all goes are of like size: a multiple of `step`.
pub(crate) fn rows_together(n_rows: usize, most: usize, step: usize) -> usize {
    n_rows.div_ceil(n_rows.div_ceil(most).max(1)).next_multiple_of(step).max(step)
}

/// Where a sequence's projections lie. Their columns are those of query, key and value, one behind the other, in panels, as products make
/// them: a head's numbers of neighbouring tokens are neighbours.
#[derive(Clone, Copy)]
pub(crate) struct Projected<'a, const PANEL: usize> {
    /// `[3 * dim / PANEL, n_rows, PANEL]`.
    pub(crate) panels: &'a [f32],
    pub(crate) n_rows: usize,
    /// Row of the sequence's first token.
    pub(crate) first: usize,
    pub(crate) n_tokens: usize,
    pub(crate) n_heads: usize,
    pub(crate) head_dim: usize,
}

impl<const PANEL: usize> Projected<'_, PANEL> {
    /// The place of a token's number in the panels.
    #[inline]
    pub(crate) fn place(&self, token: usize, column: usize) -> usize {
        (column / PANEL * self.n_rows + self.first + token) * PANEL + column % PANEL
    }
}
