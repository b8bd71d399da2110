//! Blocks whose operands are whole numbers of 16 bits, on AVX2: what every processor of the last ten years has.

mod attention;
mod product;
mod rows;

use std::arch::x86_64::*;
use std::ops::Range;

use attention::{AttentionScratch, Projected, attend};
use product::{COLUMNS, Layer, Rows, multiply};
use rows::{gelu, normalize};

use crate::aligned::Aligned;
use crate::parts::{Norm, Parts, slice_width};
use crate::shape::{BlockShape, BlockWeights, Rotary};

/// Most rows that go through the layers together: their operands stay in the second cache.
const ROWS_TOGETHER: usize = 96;

/// A block with its weights packed.
pub(crate) struct Int16Block {
    shape: BlockShape,
    parts: Parts<Layer>,
}

/// Room for what is computed on the way.
#[derive(Default)]
pub(crate) struct Int16Scratch {
    /// What goes into the layers but the last.
    rows: Rows,
    normed: Aligned<f32>,
    /// `[3 * dim / 16, tokens, 16]`.
    projected: Aligned<f32>,
    /// `[tokens, dim]`.
    mixed: Aligned<f32>,
    /// A slice of the feed-forward width, and the same as it goes into its second layer.
    wide: Aligned<f32>,
    wide_rows: Rows,
    attention: AttentionScratch,
}

impl Int16Block {
    /// Of weights whose sizes are those of the shape.
    pub(crate) fn new(shape: BlockShape, weights: &BlockWeights<'_>) -> Self {
        Self { shape, parts: Parts::new(&shape, weights, |depth, parts, _| Layer::new(depth, parts)) }
    }

    /// Takes `sequences`, whose rows lie one behind the other in `hidden`, through the block.
    pub(crate) fn run(
        &self,
        scratch: &mut Int16Scratch,
        hidden: &mut [f32],
        n_tokens: usize,
        sequences: &[Range<usize>],
        rotary: Option<&Rotary<'_>>,
    ) {
        let BlockShape { dim, feed_forward_dim, .. } = self.shape;
        let (together, width) = (n_tokens.min(ROWS_TOGETHER), slice_width(feed_forward_dim));
        scratch.rows.make_room(together, dim);
        scratch.normed.at_least(dim);
        scratch.projected.at_least(n_tokens * 3 * dim);
        scratch.mixed.at_least(n_tokens * dim);
        scratch.wide.at_least(together * width);
        scratch.wide_rows.make_room(together, width);
        assert!(hidden.len() >= n_tokens * dim);
        // SAFETY: an `Isa` exists only where the processor has the instructions; all room is made.
        unsafe { self.run_packed(scratch, hidden.as_mut_ptr(), n_tokens, sequences, rotary) };
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn run_packed(
        &self,
        scratch: &mut Int16Scratch,
        hidden: *mut f32,
        n_tokens: usize,
        sequences: &[Range<usize>],
        rotary: Option<&Rotary<'_>>,
    ) {
        let BlockShape { dim, n_heads, feed_forward_dim, norm_first, .. } = self.shape;
        let width = slice_width(feed_forward_dim);
        let chunks =
            || (0..n_tokens).step_by(ROWS_TOGETHER).map(|start| start..(start + ROWS_TOGETHER).min(n_tokens));
        for chunk in chunks() {
            // SAFETY: by the caller; the room is made for all rows.
            unsafe {
                for (at, row) in chunk.clone().enumerate() {
                    let row = hidden.add(row * dim);
                    let row = match norm_first {
                        true => self.normalize(&self.parts.attention_norm, row, scratch.normed.as_mut_ptr()),
                        false => row,
                    };
                    scratch.rows.set(at, row);
                }
                let projected = scratch.projected.as_mut_ptr();
                multiply(&scratch.rows, chunk.len(), &self.parts.projections, |row, column, sums| {
                    store(sums, projected.add(column * n_tokens + (chunk.start + row) * COLUMNS));
                });
            }
        }
        let mut first = 0;
        for sequence in sequences.iter().filter(|sequence| !sequence.is_empty()) {
            let projected = Projected {
                panels: &scratch.projected[..n_tokens * 3 * dim],
                n_rows: n_tokens,
                first,
                n_tokens: sequence.len(),
                n_heads,
                head_dim: dim / n_heads,
            };
            let mixed = &mut scratch.mixed[first * dim..(first + sequence.len()) * dim];
            // SAFETY: likewise.
            unsafe { attend(&mut scratch.attention, &projected, rotary, mixed) };
            first += sequence.len();
        }
        for chunk in chunks() {
            // SAFETY: likewise.
            unsafe {
                let hidden = hidden.add(chunk.start * dim);
                for (at, row) in chunk.clone().enumerate() {
                    scratch.rows.set(at, scratch.mixed.as_ptr().add(row * dim));
                }
                let add_to_hidden =
                    |row: usize, column: usize, sums| add(sums, hidden.add(row * dim + column));
                multiply(&scratch.rows, chunk.len(), &self.parts.output, add_to_hidden);
                for at in 0..chunk.len() {
                    let row = hidden.add(at * dim);
                    let normed = match norm_first {
                        true => {
                            self.normalize(&self.parts.feed_forward_norm, row, scratch.normed.as_mut_ptr())
                        }
                        false => self.normalize(&self.parts.attention_norm, row, row),
                    };
                    scratch.rows.set(at, normed);
                }
                let wide = scratch.wide.as_mut_ptr();
                for slice in &self.parts.slices {
                    multiply(&scratch.rows, chunk.len(), &slice.widen, |row, column, sums| {
                        store([gelu(sums[0]), gelu(sums[1])], wide.add(row * width + column));
                    });
                    for row in 0..chunk.len() {
                        scratch.wide_rows.set(row, wide.add(row * width));
                    }
                    multiply(&scratch.wide_rows, chunk.len(), &slice.narrow, add_to_hidden);
                }
                if !norm_first {
                    for at in 0..chunk.len() {
                        let row = hidden.add(at * dim);
                        self.normalize(&self.parts.feed_forward_norm, row, row);
                    }
                }
            }
        }
    }

    /// Normalizes a row into `out`, and returns it.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn normalize(&self, norm: &Norm, row: *const f32, out: *mut f32) -> *const f32 {
        let BlockShape { dim, norm_epsilon, .. } = self.shape;
        // SAFETY: by the caller.
        unsafe { normalize(row, dim, (norm.scale.as_ptr(), norm.shift.as_ptr()), norm_epsilon, out) };
        out
    }
}

/// Writes 16 numbers.
///
/// # Safety
/// `out` takes them.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn store(sums: [__m256; 2], out: *mut f32) {
    // SAFETY: by the caller.
    unsafe {
        _mm256_storeu_ps(out, sums[0]);
        _mm256_storeu_ps(out.add(8), sums[1]);
    }
}

/// Adds 16 numbers to what is there.
///
/// # Safety
/// `out` holds them.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add(sums: [__m256; 2], out: *mut f32) {
    // SAFETY: by the caller.
    unsafe {
        let there = [_mm256_loadu_ps(out), _mm256_loadu_ps(out.add(8))];
        store([_mm256_add_ps(there[0], sums[0]), _mm256_add_ps(there[1], sums[1])], out);
    }
}
