//! Blocks whose operands are whole numbers of 16 bits, on AVX2, which every processor of the last ten years has, or on AVX-512.

mod attention;
mod product;
mod rows;
mod vectors;

use std::ops::Range;

use attention::{AttentionScratch, PANEL, Projected, attend};
use product::{Layer, Rows, multiply};
use rows::{gelu, normalize};
use vectors::{Avx2, Avx512, Vectors};

use crate::aligned::Aligned;
use crate::parts::{Norm, Parts, rows_together, slice_width};
use crate::shape::{BlockShape, BlockWeights, Rotary};

/// A block with its weights packed.
pub(crate) struct Int16Block {
    /// Computed with AVX-512.
    is_wide: bool,
    shape: BlockShape,
    parts: Parts<Layer>,
}

/// Rows of one product with AVX2, whose sums are in twelve of sixteen registers, and with AVX-512, where they are in sixteen of 32.
const ROWS_AVX2: usize = 6;
const ROWS_AVX512: usize = 8;

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
    /// Of weights whose sizes are those of the shape. The processor has AVX2, and AVX-512 with VNNI if that is wanted.
    pub(crate) fn new(is_wide: bool, shape: BlockShape, weights: &BlockWeights<'_>) -> Self {
        let columns = if is_wide { Avx512::COLUMNS } else { Avx2::COLUMNS };
        let parts = Parts::new(&shape, weights, |depth, parts, _| Layer::new(depth, parts, columns));
        Self { is_wide, shape, parts }
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
        assert!(hidden.len() >= n_tokens * self.shape.dim);
        // SAFETY: an `Isa` exists only where the processor has the instructions; the rows are there.
        unsafe {
            let hidden = hidden.as_mut_ptr();
            match self.is_wide {
                true => self.run_avx512(scratch, hidden, n_tokens, sequences, rotary),
                false => self.run_avx2(scratch, hidden, n_tokens, sequences, rotary),
            }
        }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn run_avx2(
        &self,
        scratch: &mut Int16Scratch,
        hidden: *mut f32,
        n_tokens: usize,
        sequences: &[Range<usize>],
        rotary: Option<&Rotary<'_>>,
    ) {
        // SAFETY: by the caller.
        unsafe { self.run_packed::<Avx2, ROWS_AVX2>(scratch, hidden, n_tokens, sequences, rotary) }
    }

    #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn run_avx512(
        &self,
        scratch: &mut Int16Scratch,
        hidden: *mut f32,
        n_tokens: usize,
        sequences: &[Range<usize>],
        rotary: Option<&Rotary<'_>>,
    ) {
        // SAFETY: by the caller.
        unsafe { self.run_packed::<Avx512, ROWS_AVX512>(scratch, hidden, n_tokens, sequences, rotary) }
    }

    #[inline(always)]
    unsafe fn run_packed<V: Vectors, const ROWS: usize>(
        &self,
        scratch: &mut Int16Scratch,
        hidden: *mut f32,
        n_tokens: usize,
        sequences: &[Range<usize>],
        rotary: Option<&Rotary<'_>>,
    ) {
        let BlockShape { dim, n_heads, feed_forward_dim, norm_first, .. } = self.shape;
        let width = slice_width(feed_forward_dim);
        let together = rows_together(n_tokens, V::ROWS_TOGETHER, ROWS);
        scratch.rows.make_room(together, dim);
        scratch.normed.at_least(dim);
        scratch.projected.at_least(n_tokens * 3 * dim);
        scratch.mixed.at_least(n_tokens * dim);
        scratch.wide.at_least(together * width);
        scratch.wide_rows.make_room(together, width);
        let chunks = || (0..n_tokens).step_by(together).map(|start| start..(start + together).min(n_tokens));
        for chunk in chunks() {
            // SAFETY: by the caller; the room is made for all rows.
            unsafe {
                for (at, row) in chunk.clone().enumerate() {
                    let row = hidden.add(row * dim);
                    let row = match norm_first {
                        true => {
                            self.normalize::<V>(&self.parts.attention_norm, row, scratch.normed.as_mut_ptr())
                        }
                        false => row,
                    };
                    scratch.rows.set::<V>(at, row);
                }
                let projected = scratch.projected.as_mut_ptr();
                multiply::<V, ROWS>(
                    &scratch.rows,
                    chunk.len(),
                    &self.parts.projections,
                    |row, column, sums| {
                        for (at, sum) in sums.into_iter().enumerate() {
                            let (panel, column) =
                                ((column + at * V::LANES) / PANEL, (column + at * V::LANES) % PANEL);
                            V::store(
                                projected.add((panel * n_tokens + chunk.start + row) * PANEL + column),
                                sum,
                            );
                        }
                    },
                );
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
            unsafe { attend::<V, ROWS>(&mut scratch.attention, &projected, rotary, mixed) };
            first += sequence.len();
        }
        for chunk in chunks() {
            // SAFETY: likewise.
            unsafe {
                let hidden = hidden.add(chunk.start * dim);
                for (at, row) in chunk.clone().enumerate() {
                    scratch.rows.set::<V>(at, scratch.mixed.as_ptr().add(row * dim));
                }
                let add_to_hidden =
                    |row: usize, column: usize, sums| add::<V>(sums, hidden.add(row * dim + column));
                multiply::<V, ROWS>(&scratch.rows, chunk.len(), &self.parts.output, add_to_hidden);
                for at in 0..chunk.len() {
                    let row = hidden.add(at * dim);
                    let normed = match norm_first {
                        true => self.normalize::<V>(
                            &self.parts.feed_forward_norm,
                            row,
                            scratch.normed.as_mut_ptr(),
                        ),
                        false => self.normalize::<V>(&self.parts.attention_norm, row, row),
                    };
                    scratch.rows.set::<V>(at, normed);
                }
                let wide = scratch.wide.as_mut_ptr();
                for slice in &self.parts.slices {
                    multiply::<V, ROWS>(&scratch.rows, chunk.len(), &slice.widen, |row, column, sums| {
                        store::<V>([gelu::<V>(sums[0]), gelu::<V>(sums[1])], wide.add(row * width + column));
                    });
                    for row in 0..chunk.len() {
                        scratch.wide_rows.set::<V>(row, wide.add(row * width));
                    }
                    multiply::<V, ROWS>(&scratch.wide_rows, chunk.len(), &slice.narrow, add_to_hidden);
                }
                if !norm_first {
                    for at in 0..chunk.len() {
                        let row = hidden.add(at * dim);
                        self.normalize::<V>(&self.parts.feed_forward_norm, row, row);
                    }
                }
            }
        }
    }

    /// Normalizes a row into `out`, and returns it.
    #[inline(always)]
    unsafe fn normalize<V: Vectors>(&self, norm: &Norm, row: *const f32, out: *mut f32) -> *const f32 {
        let BlockShape { dim, norm_epsilon, .. } = self.shape;
        // SAFETY: by the caller.
        unsafe { normalize::<V>(row, dim, (norm.scale.as_ptr(), norm.shift.as_ptr()), norm_epsilon, out) };
        out
    }
}

/// Writes the numbers of two registers.
///
/// # Safety
/// `out` takes them.
#[inline(always)]
unsafe fn store<V: Vectors>(sums: [V::Floats; 2], out: *mut f32) {
    // SAFETY: by the caller.
    unsafe {
        V::store(out, sums[0]);
        V::store(out.add(V::LANES), sums[1]);
    }
}

/// Adds those of two registers to what is there.
///
/// # Safety
/// `out` holds so many.
#[inline(always)]
unsafe fn add<V: Vectors>(sums: [V::Floats; 2], out: *mut f32) {
    // SAFETY: by the caller.
    unsafe {
        let there = [V::load(out), V::load(out.add(V::LANES))];
        store::<V>([V::add(there[0], sums[0]), V::add(there[1], sums[1])], out);
    }
}
