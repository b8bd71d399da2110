//! Sizes and weights of a block, as its maker gives them.

/// Multiples that products are made of.
const STEP: usize = 32;
/// Widest head.
pub(crate) const MAX_HEAD_DIM: usize = 256;

/// What the products of a block's linear layers are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operands {
    /// Words of bfloat16.
    Bf16,
    /// Two words of bfloat16 a number, its nearest and what that leaves, with three products of one: 16 bits of 24.
    TwiceBf16,
    /// Bytes: weights with a scale for each column, and rows with a least number and a step of their own. Products of attention are those
    /// of bfloat16.
    Int8,
    /// Whole numbers of 16 bits, with a scale for each column of weights and for each row. Those of attention are, too.
    Int16,
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

/// Means of what goes into a block's layers, input by input: with them, what rounding to bytes takes from weights is given back where
/// inputs are not zero on average, as those of transformers are not.
#[derive(Debug, Clone, Default, PartialEq)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only recorded there"))]
pub struct InputMeans {
    n_rows: u64,
    sums: [Vec<f64>; 4],
}

/// A layer of a block, by what goes into it.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy)]
pub(crate) enum Input {
    Projections,
    Output,
    Widen,
    Narrow,
}

impl InputMeans {
    /// Of so many tokens.
    #[must_use]
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }
}

#[cfg(target_arch = "x86_64")]
impl InputMeans {
    pub(crate) fn count(&mut self, n_rows: usize) {
        self.n_rows += n_rows as u64;
    }

    /// Adds to the sums of a layer's inputs from `first` on.
    pub(crate) fn add(&mut self, input: Input, first: usize, values: impl ExactSizeIterator<Item = f32>) {
        let sums = &mut self.sums[input as usize];
        sums.resize(sums.len().max(first + values.len()), 0.0);
        sums[first..].iter_mut().zip(values).for_each(|(sum, value)| *sum += f64::from(value));
    }

    /// Means of a layer's inputs from `first` on; none if nothing was recorded.
    pub(crate) fn of(&self, input: Input, first: usize) -> impl Iterator<Item = f32> + '_ {
        self.sums[input as usize].iter().skip(first).map(|sum| (sum / self.n_rows as f64) as f32)
    }
}
