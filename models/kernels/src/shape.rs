//! Sizes and weights of a block, as its maker gives them.

/// Multiples that products are made of.
const STEP: usize = 32;
/// Widest head.
pub(crate) const MAX_HEAD_DIM: usize = 256;

/// What the products of a block's linear layers are made of; those of attention are bfloat16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operands {
    /// Words of bfloat16.
    Bf16,
    /// Bytes: weights with a scale for each column, and rows with a least number and a step of their own.
    Int8,
}

/// Sizes of a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlockShape {
    /// Width of the hidden state.
    pub dim: usize,
    /// Heads; each has `dim / n_heads`.
    pub n_heads: usize,
    /// Width between the two layers of the feed-forward part.
    pub feed_forward_dim: usize,
    /// Added to variances.
    pub norm_epsilon: f32,
    /// Normalize what goes into each part; else the sum that comes out of it.
    pub norm_first: bool,
}

impl BlockShape {
    /// Whether the kernels take it, else the rule that it breaks.
    ///
    /// # Errors
    /// The rule.
    pub fn check(&self) -> Result<(), String> {
        let Self { dim, n_heads, feed_forward_dim, .. } = *self;
        let rules = [
            (dim > 0 && dim.is_multiple_of(STEP), "the width is a multiple of 32"),
            (
                feed_forward_dim > 0 && feed_forward_dim.is_multiple_of(STEP),
                "the feed-forward width is a multiple of 32",
            ),
            (n_heads > 0 && dim.is_multiple_of(n_heads.max(1)), "the width is a multiple of the heads"),
            (
                n_heads > 0
                    && (dim / n_heads.max(1)).is_multiple_of(8)
                    && dim / n_heads.max(1) <= MAX_HEAD_DIM,
                "a head's width is a multiple of 8 and at most 256",
            ),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(format!("{rule}: {self:?}")),
            None => Ok(()),
        }
    }
}

/// A linear layer, `[inputs, outputs]` row-major with its bias; or a normalization's scale and shift.
pub type Pair<'a> = (&'a [f32], &'a [f32]);

/// Weights of a block, in 32 bits. The query's are already divided by the root of the head's width.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the parts of a transformer block by their usual names")]
pub struct BlockWeights<'a> {
    pub attention_norm: Pair<'a>,
    pub query: Pair<'a>,
    pub key: Pair<'a>,
    pub value: Pair<'a>,
    pub output: Pair<'a>,
    pub feed_forward_norm: Pair<'a>,
    pub widen: Pair<'a>,
    pub narrow: Pair<'a>,
}

/// Tables of rotary positions, each `[positions, head_dim / 2]`.
#[derive(Debug, Clone, Copy)]
pub struct Rotary<'a> {
    /// Cosines.
    pub cos: &'a [f32],
    /// Sines.
    pub sin: &'a [f32],
}
