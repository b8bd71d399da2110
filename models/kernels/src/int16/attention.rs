//! Attention of one sequence, head by head: rotary positions, scores, softmax, mixture.

use std::arch::x86_64::*;
use std::ops::Range;

use super::product::Columns;
use super::rows::{WHOLE, power, scales_of};
use super::vectors::{Vectors, sum_of};
use crate::aligned::Aligned;
use crate::polynomials::LOG2_E;
use crate::shape::Rotary;

/// Columns of projections and of values lie in panels of 16: heads are no narrower.
pub(crate) const PANEL: usize = 16;

pub(crate) type Projected<'a> = crate::parts::Projected<'a, PANEL>;

impl Projected<'_> {
    /// 8 numbers of a token, of columns from `column` on, which is a multiple of 8.
    ///
    /// # Safety
    /// The token and the columns are there.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn load(&self, token: usize, column: usize) -> __m256 {
        // SAFETY: by the caller.
        unsafe { _mm256_loadu_ps(self.panels.as_ptr().add(self.place(token, column))) }
    }
}

/// Room for one head of one sequence, kept between calls.
#[derive(Default)]
pub(crate) struct AttentionScratch {
    /// Queries, then keys, turned to their positions: `[tokens, head_dim]`.
    turned: Aligned<f32>,
    /// `[tokens, head_dim]`, row by row.
    queries: Aligned<i16>,
    /// Panels of as many tokens as a product has columns ([`column_of`]), pairs of whose numbers are side by side.
    keys: Aligned<i16>,
    /// All bits of the columns of the last panel of keys that are tokens, and none of the others.
    is_token: Aligned<f32>,
    /// Panels of 16 numbers, pairs of whose tokens are side by side.
    values: Aligned<i16>,
    /// What one of a number's words stands for.
    value_scales: Vec<f32>,
    /// Of the queries of a product with a block of keys, and the same as words.
    shares: Aligned<f32>,
    share_words: Aligned<i16>,
    /// `[queries, head_dim rounded up to 16]`.
    mixed: Aligned<f32>,
}

/// Keys that queries see at a time. Their shares, with a scale for each row, have a sum of 32,700 in words, and values are words of at
/// most that: no sum of their products leaves 32 bits. The scale is of a block's own, so that those of many keys that are seen little do
/// not vanish beside those of few that are seen well.
const KEYS_TOGETHER: usize = 128;
/// Most that a score may be, in powers of two, for the softmax to do without the greatest of its row: powers and their sums are then far
/// from both ends of what 32 bits hold.
const SAFE_SCORE: f32 = 100.0;

/// Most that a score may be at all: of greater ones, and of what is no number, powers are any, and answers no numbers.
const MOST_SCORE: f32 = 1e6;

/// What the scores of a head need to become shares.
#[derive(Clone, Copy)]
struct Scores {
    /// What one unit of a product stands for, in powers of two.
    scale: f32,
    /// What no score is above.
    most: f32,
}

/// Mixes values by attention into `mixed`, `[tokens, dim]`.
///
/// # Safety
/// The processor has the instructions; tables of rotary positions reach to the last token.
#[inline(always)]
pub(crate) unsafe fn attend<V: Vectors, const ROWS: usize>(
    scratch: &mut AttentionScratch,
    projected: &Projected<'_>,
    rotary: Option<&Rotary<'_>>,
    mixed: &mut [f32],
) {
    let &Projected { panels, n_rows, first, n_tokens, n_heads, head_dim } = projected;
    let dim = n_heads * head_dim;
    scratch.make_room(n_tokens, head_dim, ROWS, V::COLUMNS);
    let (has_rows, has_columns) = (first + n_tokens <= n_rows, panels.len() >= n_rows * 3 * dim);
    assert!(has_rows && has_columns && mixed.len() >= n_tokens * dim, "rows are those of the sequence");
    for head in 0..n_heads {
        // SAFETY: the room is made, and the rows are as many as they must be.
        unsafe {
            let scores = scratch.arrange(projected, head, rotary, V::COLUMNS);
            for first in (0..n_tokens).step_by(ROWS) {
                let less = if scores.most <= SAFE_SCORE {
                    [0.0; ROWS]
                } else {
                    scratch.greatest::<V, ROWS>(projected, scores.scale, first)
                };
                let sums = scratch.mix::<V, ROWS>(projected, scores.scale, first, &less);
                let out = mixed.as_mut_ptr().add(first * dim + head * head_dim);
                scratch.hand_out(head_dim, &sums[..(n_tokens - first).min(ROWS)], out, dim);
            }
        }
    }
}

impl AttentionScratch {
    /// Values of padding are zero, so that no stale number reaches a sum; the rest is written before it is read, but for queries that only
    /// fill up a product, whose answers nobody takes.
    fn make_room(&mut self, n_tokens: usize, head_dim: usize, together: usize, columns: usize) {
        let (padded, depth) = (n_tokens.next_multiple_of(columns), head_dim.next_multiple_of(PANEL));
        self.turned.at_least(n_tokens * head_dim);
        self.queries.at_least(n_tokens.next_multiple_of(together) * head_dim);
        self.keys.at_least(padded * head_dim);
        self.is_token.at_least(columns);
        for token in padded - columns..padded {
            self.is_token[column_of(token, columns)] =
                f32::from_bits(if token < n_tokens { u32::MAX } else { 0 });
        }
        self.values.fill_zeros(padded * depth);
        self.value_scales.resize(head_dim, 0.0);
        self.shares.at_least(together * KEYS_TOGETHER);
        self.share_words.at_least(together * KEYS_TOGETHER);
        self.mixed.at_least(together * depth);
    }

    /// Lays out a head, for products of so many columns.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn arrange(
        &mut self,
        projected: &Projected<'_>,
        head: usize,
        rotary: Option<&Rotary<'_>>,
        columns: usize,
    ) -> Scores {
        let &Projected { n_tokens, n_heads, head_dim, .. } = projected;
        let (dim, column) = (n_heads * head_dim, head * head_dim);
        // SAFETY: by the caller of `attend`; places are inside the room.
        unsafe {
            let most_query = self.turn(projected, column, rotary);
            let (factor, query_scale) = scales_of(most_query);
            let factor = _mm256_set1_ps(factor);
            for at in (0..n_tokens * head_dim).step_by(8) {
                let words = eight_words(_mm256_loadu_ps(self.turned.as_ptr().add(at)), factor);
                _mm_storeu_si128(self.queries.as_mut_ptr().add(at).cast(), words);
            }
            let most_key = self.turn(projected, dim + column, rotary);
            let (factor, key_scale) = scales_of(most_key);
            let factor = _mm256_set1_ps(factor);
            // Padding is the last token over again, so that no score is above those of tokens.
            for place in 0..n_tokens.next_multiple_of(columns) {
                let token = place.min(n_tokens - 1);
                let panel = self.keys.as_mut_ptr().add(place / columns * columns * head_dim).cast::<i32>();
                let panel = panel.add(column_of(place, columns));
                for at in (0..head_dim).step_by(8) {
                    let key = _mm256_loadu_ps(self.turned.as_ptr().add(token * head_dim + at));
                    let mut pairs = [0; 4];
                    _mm_storeu_si128(pairs.as_mut_ptr().cast(), eight_words(key, factor));
                    for (pair, both) in pairs.into_iter().enumerate() {
                        *panel.add((at / 2 + pair) * columns) = both;
                    }
                }
            }
            self.arrange_values(projected, 2 * dim + column, n_tokens.next_multiple_of(columns) / 2);
            let most = LOG2_E * most_query * most_key;
            if most.is_nan() || most > MOST_SCORE {
                self.value_scales.fill(f32::NAN);
            }
            Scores { scale: LOG2_E * query_scale * key_scale, most }
        }
    }

    /// Writes a head's queries or keys, from `column` on, turned to their positions, and returns the greatest of their lengths.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn turn(&mut self, projected: &Projected<'_>, column: usize, rotary: Option<&Rotary<'_>>) -> f32 {
        let &Projected { n_tokens, head_dim, .. } = projected;
        let half = head_dim / 2;
        let mut greatest = 0.0;
        for token in 0..n_tokens {
            // SAFETY: by the caller of `attend`; half of a head is a multiple of four.
            unsafe {
                let row = self.turned.as_mut_ptr().add(token * head_dim);
                let mut squares = _mm256_setzero_ps();
                for at in (0..head_dim).step_by(8) {
                    let values = projected.load(token, column + at);
                    squares = _mm256_fmadd_ps(values, values, squares);
                    _mm256_storeu_ps(row.add(at), values);
                }
                let squares = sum_of(squares);
                // What is no number stays.
                if squares > greatest || squares.is_nan() {
                    greatest = squares;
                }
                let Some(rotary) = rotary else { continue };
                for at in (0..half).step_by(4) {
                    let place = token * half + at;
                    let (cos, sin) = (
                        _mm_loadu_ps(rotary.cos.as_ptr().add(place)),
                        _mm_loadu_ps(rotary.sin.as_ptr().add(place)),
                    );
                    let (left, right) = (_mm_loadu_ps(row.add(at)), _mm_loadu_ps(row.add(half + at)));
                    _mm_storeu_ps(row.add(at), _mm_fmsub_ps(left, cos, _mm_mul_ps(right, sin)));
                    _mm_storeu_ps(row.add(half + at), _mm_fmadd_ps(right, cos, _mm_mul_ps(left, sin)));
                }
            }
        }
        greatest.sqrt()
    }

    /// Lays out a head's values, from `column` on, with room for so many pairs of tokens. Each of its columns has a scale, by which its greatest number is 32,700.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn arrange_values(&mut self, projected: &Projected<'_>, column: usize, n_pairs: usize) {
        let &Projected { n_tokens, head_dim, .. } = projected;
        for at in (0..head_dim).step_by(8) {
            // SAFETY: by the caller of `attend`; places are inside the room.
            unsafe {
                let value = |token: usize| projected.load(token, column + at);
                let (mut greatest, mut unordered) = (_mm256_setzero_ps(), _mm256_setzero_ps());
                for token in 0..n_tokens {
                    let value = value(token);
                    let magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0), value);
                    greatest = _mm256_max_ps(greatest, magnitude);
                    unordered = _mm256_or_ps(unordered, _mm256_cmp_ps::<_CMP_UNORD_Q>(value, value));
                }
                let (mut norms, mut factors) = ([0.0_f32; 8], [0.0_f32; 8]);
                // All bits of what is no number.
                _mm256_storeu_ps(norms.as_mut_ptr(), _mm256_or_ps(greatest, unordered));
                for (part, norm) in norms.into_iter().enumerate() {
                    (factors[part], self.value_scales[at + part]) = scales_of(norm);
                }
                let factors = _mm256_loadu_ps(factors.as_ptr());
                let panel = self.values.as_mut_ptr().add((at / PANEL * n_pairs * PANEL + at % PANEL) * 2);
                for token in (0..n_tokens).step_by(2) {
                    let even = eight_words(value(token), factors);
                    let odd = if token + 1 < n_tokens {
                        eight_words(value(token + 1), factors)
                    } else {
                        _mm_setzero_si128()
                    };
                    let out = panel.add(token * PANEL).cast::<__m128i>();
                    out.write_unaligned(_mm_unpacklo_epi16(even, odd));
                    out.add(1).write_unaligned(_mm_unpackhi_epi16(even, odd));
                }
            }
        }
    }

    /// Products of queries from `first` on with as many keys from `key` on as a product has columns.
    #[inline(always)]
    unsafe fn score<V: Vectors, const ROWS: usize>(
        &self,
        head_dim: usize,
        first: usize,
        key: usize,
    ) -> [[V::Whole; 2]; ROWS] {
        // SAFETY: by the caller of `attend`.
        unsafe {
            let queries = self.queries.as_ptr().add(first * head_dim);
            let words = self.keys.as_ptr().add(key * head_dim);
            let keys = Columns { words, step: 2 * V::COLUMNS, stride: V::COLUMNS };
            V::product::<ROWS, 2>(queries, head_dim, keys, head_dim / 2)
        }
    }

    /// The greatest score of each of some queries, rounded up. Any, where numbers are none.
    #[inline(always)]
    unsafe fn greatest<V: Vectors, const ROWS: usize>(
        &mut self,
        projected: &Projected<'_>,
        scale: f32,
        first: usize,
    ) -> [f32; ROWS] {
        let &Projected { n_tokens, head_dim, .. } = projected;
        // SAFETY: by the caller of `attend`; shares have room for a register.
        unsafe {
            let mut greatest = [V::splat(f32::NEG_INFINITY); ROWS];
            for key in (0..n_tokens).step_by(V::COLUMNS) {
                let products = self.score::<V, ROWS>(head_dim, first, key);
                for (greatest, products) in greatest.iter_mut().zip(products) {
                    let both = V::greatest(V::to_floats(products[0]), V::to_floats(products[1]));
                    *greatest = V::greatest(both, *greatest);
                }
            }
            greatest.map(|greatest| {
                V::store(self.shares.as_mut_ptr(), greatest);
                let each = self.shares[..V::LANES].iter();
                (each.fold(f32::NEG_INFINITY, |most, score| most.max(*score)) * scale).ceil()
            })
        }
    }

    /// Mixes values for some queries into `mixed`, in words of values and not yet divided by the sums of shares, which are returned.
    /// `less`, whole numbers, is taken from the scores of a row first.
    #[inline(always)]
    unsafe fn mix<V: Vectors, const ROWS: usize>(
        &mut self,
        projected: &Projected<'_>,
        scale: f32,
        first: usize,
        less: &[f32; ROWS],
    ) -> [f32; ROWS] {
        let &Projected { n_tokens, head_dim, .. } = projected;
        let mut sums = [0.0; ROWS];
        self.mixed[..ROWS * head_dim.next_multiple_of(PANEL)].fill(0.0);
        for start in (0..n_tokens).step_by(KEYS_TOGETHER) {
            let keys = start..(start + KEYS_TOGETHER).min(n_tokens);
            // SAFETY: by the caller of `attend`.
            unsafe {
                self.share::<V, ROWS>(head_dim, first, keys.clone(), scale, less);
                let of_block = self.shares_to_words::<V, ROWS>(keys.len());
                for (sum, of_block) in sums.iter_mut().zip(of_block) {
                    *sum += of_block;
                }
                let scales = of_block.map(|of_block| scales_of(of_block).1);
                let depth = head_dim.next_multiple_of(PANEL);
                let mut column = 0;
                while column + V::COLUMNS <= depth {
                    self.gather::<V, ROWS, 2>(projected, column, keys.clone(), &scales);
                    column += V::COLUMNS;
                }
                // One panel is a single register where those are wide.
                if column < depth {
                    self.gather::<V, ROWS, 1>(projected, column, keys, &scales);
                }
            }
        }
        sums
    }

    /// Shares of a block of keys in some queries, not yet divided by their sums.
    #[inline(always)]
    unsafe fn share<V: Vectors, const ROWS: usize>(
        &mut self,
        head_dim: usize,
        first: usize,
        keys: Range<usize>,
        scale: f32,
        less: &[f32; ROWS],
    ) {
        let shifts = less.map(|less| WHOLE - less);
        for at in (0..keys.len()).step_by(V::COLUMNS) {
            // SAFETY: by the caller of `attend`; shares have room for a block of keys.
            unsafe {
                let products = self.score::<V, ROWS>(head_dim, first, keys.start + at);
                for (row, products) in products.into_iter().enumerate() {
                    let out = self.shares.as_mut_ptr().add(row * KEYS_TOGETHER + at);
                    for (half, products) in products.into_iter().enumerate() {
                        let share =
                            power::<V>(V::to_floats(products), V::splat(scale), V::splat(shifts[row]));
                        V::store(out.add(half * V::LANES), share);
                    }
                }
            }
        }
    }

    /// Shares of so many keys as words, in the order of tokens. Returns the sum of each row, which all words of a row stand for.
    #[inline(always)]
    unsafe fn shares_to_words<V: Vectors, const ROWS: usize>(&mut self, n_keys: usize) -> [f32; ROWS] {
        let padded = n_keys.next_multiple_of(V::COLUMNS);
        let mut sums = [0.0; ROWS];
        // SAFETY: by the caller of `attend`; there is room for a block of keys of each row.
        unsafe {
            for (row, sum) in sums.iter_mut().enumerate() {
                let shares = self.shares.as_mut_ptr().add(row * KEYS_TOGETHER);
                if n_keys < padded {
                    // Padding gets nothing.
                    for at in [0, V::LANES] {
                        let last = shares.add(padded - V::COLUMNS + at);
                        V::store(last, V::and(V::load(last), V::load(self.is_token.as_ptr().add(at))));
                    }
                }
                let mut parts = [V::splat(0.0); 2];
                for at in (0..padded).step_by(V::COLUMNS) {
                    for (half, part) in parts.iter_mut().enumerate() {
                        *part = V::add(*part, V::load(shares.add(at + half * V::LANES)));
                    }
                }
                *sum = V::sum(V::add(parts[0], parts[1]));
            }
            for (row, sum) in sums.iter().enumerate() {
                let factor = V::splat(scales_of(*sum).0);
                let shares = self.shares.as_ptr().add(row * KEYS_TOGETHER);
                let words = self.share_words.as_mut_ptr().add(row * KEYS_TOGETHER);
                for at in (0..padded).step_by(V::COLUMNS) {
                    let both = [V::load(shares.add(at)), V::load(shares.add(at + V::LANES))];
                    V::store_words(words.add(at), V::to_words(both, factor));
                }
            }
        }
        sums
    }

    /// Adds so many registers of the values of a block of keys, from `column` on and as they are shared out, to `mixed`. A row's words of
    /// shares stand for so much each.
    #[inline(always)]
    unsafe fn gather<V: Vectors, const ROWS: usize, const WIDE: usize>(
        &mut self,
        projected: &Projected<'_>,
        column: usize,
        keys: Range<usize>,
        scales: &[f32; ROWS],
    ) {
        let depth = projected.head_dim.next_multiple_of(PANEL);
        let padded = projected.n_tokens.next_multiple_of(V::COLUMNS);
        let place = |column: usize| column / PANEL * PANEL * padded + column % PANEL * 2;
        // SAFETY: by the caller of `attend`; values are padded with zeros.
        unsafe {
            let words = self.values.as_ptr().add(place(column) + keys.start * PANEL);
            let values = Columns { words, step: 2 * PANEL, stride: place(V::LANES) };
            let n_pairs = keys.len().next_multiple_of(V::COLUMNS) / 2;
            let shares = self.share_words.as_ptr();
            let products = V::product::<ROWS, WIDE>(shares, KEYS_TOGETHER, values, n_pairs);
            for (row, (products, scale)) in products.into_iter().zip(scales).enumerate() {
                for (at, products) in products.into_iter().enumerate() {
                    let out = self.mixed.as_mut_ptr().add(row * depth + column + at * V::LANES);
                    let more = V::multiply_add(V::to_floats(products), V::splat(*scale), V::load(out));
                    V::store(out, more);
                }
            }
        }
    }

    /// Writes what was mixed for queries with such sums of shares, row by row of so many numbers.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn hand_out(&self, head_dim: usize, sums: &[f32], out: *mut f32, dim: usize) {
        let depth = head_dim.next_multiple_of(PANEL);
        for (row, sum) in sums.iter().enumerate() {
            let share = _mm256_set1_ps(sum.recip());
            for at in (0..head_dim).step_by(8) {
                // SAFETY: by the caller of `attend`.
                unsafe {
                    let values = _mm256_loadu_ps(self.mixed.as_ptr().add(row * depth + at));
                    let scale = _mm256_mul_ps(share, _mm256_loadu_ps(self.value_scales.as_ptr().add(at)));
                    _mm256_storeu_ps(out.add(row * dim + at), _mm256_mul_ps(values, scale));
                }
            }
        }
    }
}

/// The column of a token in its panel of keys: what [`Vectors::to_words`] then packs is in the order of tokens.
fn column_of(token: usize, columns: usize) -> usize {
    let at = token % columns;
    at / 8 * 4 + at % 4 + if at % 8 < 4 { 0 } else { columns / 2 }
}

/// 8 numbers, multiplied, as words.
#[inline]
#[target_feature(enable = "avx2")]
fn eight_words(values: __m256, factor: __m256) -> __m128i {
    let whole = _mm256_cvtps_epi32(_mm256_mul_ps(values, factor));
    _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256::<1>(whole))
}
