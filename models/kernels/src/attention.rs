//! Attention of one sequence, head by head: rotary positions, scores, softmax, mixture.

use std::arch::x86_64::*;

use crate::block::at_least;
use crate::rows::{LOG2_E, power_coarse, to_words};
use crate::shape::Rotary;
use crate::tile::{Product, SIDE, STEP, TILE, Tiles, left_place};

/// Where a sequence's projections lie: rows of query, key and value one behind the other.
pub(crate) struct Projected<'a> {
    /// `[tokens, 3 * dim]`.
    pub(crate) rows: &'a [f32],
    pub(crate) n_tokens: usize,
    pub(crate) n_heads: usize,
    pub(crate) head_dim: usize,
}

/// Where the heads' answers go, side by side: tiles of the left operand of the next product.
pub(crate) struct Mixed {
    pub(crate) words: *mut u16,
    /// Row of the sequence's first token.
    pub(crate) first: usize,
}

/// Room for one head of one sequence, kept between calls. Tokens are rounded up to 32, and the head's width to a depth of so
/// many.
#[derive(Default)]
pub(crate) struct AttentionScratch {
    /// Tiles of `[tokens, depth]`.
    queries: Vec<u16>,
    /// Tiles of `[depth, tokens]`: step by step, 16 tokens each.
    keys: Vec<u16>,
    /// Tiles of `[tokens, depth]`: step by step, 16 columns each.
    values: Vec<u16>,
    /// 32 rows.
    scores: Vec<f32>,
    /// Tiles of 32 rows.
    shares: Vec<u16>,
    /// `[32, depth]`.
    mixed: Vec<f32>,
    /// The same of further keys.
    further: Vec<f32>,
}

/// Keys that a block of queries sees at a time: their scores stay in the first cache.
const KEYS_TOGETHER: usize = 256;
/// From row to row of scores: 16 more, so that rows do not fall upon each other in the cache.
const SCORES_STRIDE: usize = KEYS_TOGETHER + 16;

/// Softmax of one row, which goes on key by key: what is greatest so far, and the sum of powers relative to that.
#[derive(Clone, Copy)]
struct Softmax {
    greatest: f32,
    sum: f32,
}

impl Default for Softmax {
    fn default() -> Self {
        Self { greatest: f32::NEG_INFINITY, sum: 0.0 }
    }
}

/// Mixes values by attention.
///
/// # Safety
/// The processor has AVX-512 with bfloat16; `mixed` has room for the sequence's rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma")]
pub(crate) unsafe fn attend(
    tiles: &Tiles,
    scratch: &mut AttentionScratch,
    projected: &Projected<'_>,
    rotary: Option<&Rotary<'_>>,
    mixed: &Mixed,
) {
    let &Projected { rows, n_tokens, n_heads, head_dim } = projected;
    let dim = n_heads * head_dim;
    let (padded, depth) = (n_tokens.next_multiple_of(SIDE), head_dim.next_multiple_of(STEP));
    scratch.make_room(padded, depth);
    assert!(rows.len() >= n_tokens * 3 * dim, "rows are those of the sequence");
    for head in 0..n_heads {
        // SAFETY: the room is made, and the rows are as many as they must be.
        unsafe { scratch.arrange(rows.as_ptr().add(head * head_dim), projected, rotary) };
        for first in (0..padded).step_by(SIDE) {
            let n_rows = SIDE.min(n_tokens - first);
            let mut softmax = [Softmax::default(); SIDE];
            for start in (0..padded).step_by(KEYS_TOGETHER) {
                let (n_keys, end) =
                    (KEYS_TOGETHER.min(n_tokens - start), (start + KEYS_TOGETHER).min(padded));
                let n_steps = (end - start) / STEP;
                // SAFETY: likewise; a block of queries has 32 rows of room.
                unsafe {
                    for column in (start..end).step_by(SIDE) {
                        tiles.multiply(&Product {
                            left: scratch.queries.as_ptr().add(first * depth),
                            right: scratch.keys.as_ptr().add(column * STEP),
                            right_step: padded / 16 * TILE * 2,
                            n_steps: depth / STEP,
                            sums: scratch.scores.as_mut_ptr().add(column - start),
                            sums_stride: SCORES_STRIDE * 4,
                        });
                    }
                    let mut factors = [0.0; SIDE];
                    for (row, factor) in factors.iter_mut().enumerate().take(n_rows) {
                        let scores = scratch.scores.as_ptr().add(row * SCORES_STRIDE);
                        let shares = scratch.shares.as_mut_ptr().add(left_place(row, 0, n_steps));
                        *factor = share(scores, n_keys, shares, &mut softmax[row]);
                    }
                    let sums = if start == 0 { &mut scratch.mixed } else { &mut scratch.further };
                    for column in (0..head_dim).step_by(SIDE) {
                        let product = Product {
                            left: scratch.shares.as_ptr(),
                            right: scratch.values.as_ptr().add(start * depth + column * STEP),
                            right_step: depth / 16 * TILE * 2,
                            n_steps,
                            sums: sums.as_mut_ptr().add(column),
                            sums_stride: depth * 4,
                        };
                        match head_dim - column {
                            ..=16 => tiles.multiply_narrow(&product),
                            _ => tiles.multiply(&product),
                        }
                    }
                    if start > 0 {
                        for (row, factor) in factors.iter().enumerate().take(n_rows) {
                            let (sum, more) = (
                                scratch.mixed.as_mut_ptr().add(row * depth),
                                scratch.further.as_ptr().add(row * depth),
                            );
                            for at in (0..head_dim).step_by(16) {
                                let before = _mm512_loadu_ps(sum.add(at));
                                let more = _mm512_loadu_ps(more.add(at));
                                let both = _mm512_fmadd_ps(before, _mm512_set1_ps(*factor), more);
                                _mm512_storeu_ps(sum.add(at), both);
                            }
                        }
                    }
                }
            }
            // SAFETY: likewise.
            unsafe {
                for (row, softmax) in softmax.iter().enumerate().take(n_rows) {
                    let factor = softmax.sum.recip();
                    let from = scratch.mixed.as_ptr().add(row * depth);
                    for at in (0..head_dim).step_by(8) {
                        let eight = _mm256_mul_ps(_mm256_loadu_ps(from.add(at)), _mm256_set1_ps(factor));
                        let words = std::mem::transmute::<__m128bh, __m128i>(_mm256_cvtneps_pbh(eight));
                        let place = left_place(mixed.first + first + row, head * head_dim + at, dim / STEP);
                        _mm_storeu_si128(mixed.words.add(place).cast(), words);
                    }
                }
            }
        }
    }
}

impl AttentionScratch {
    /// Places of padding are zero where products mix them with others, so that no stale number reaches a sum; the rest is written
    /// before it is read.
    fn make_room(&mut self, padded: usize, depth: usize) {
        fn zeros<T: Default + Clone>(room: &mut Vec<T>, length: usize) {
            room.clear();
            room.resize(length, T::default());
        }
        zeros(&mut self.queries, padded * depth);
        zeros(&mut self.keys, padded * depth);
        zeros(&mut self.values, padded * depth);
        at_least(&mut self.scores, SIDE * SCORES_STRIDE);
        at_least(&mut self.shares, SIDE * KEYS_TOGETHER);
        at_least(&mut self.mixed, SIDE * depth);
        at_least(&mut self.further, SIDE * depth);
    }

    /// Lays out one head; `from` is its query in the first row.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,fma")]
    unsafe fn arrange(&mut self, from: *const f32, projected: &Projected<'_>, rotary: Option<&Rotary<'_>>) {
        let &Projected { n_tokens, n_heads, head_dim, .. } = projected;
        let (dim, depth) = (n_heads * head_dim, head_dim.next_multiple_of(STEP));
        let (stride, padded) = (3 * dim, n_tokens.next_multiple_of(SIDE));
        // Narrow heads leave half of a step empty. There goes what rounding takes from a query, beside the key once more, so that
        // scores are those of unrounded queries.
        let has_room_for_rest = 2 * head_dim <= depth;
        // Neighbouring numbers of a key go to neighbouring lines of a tile.
        let lines = _mm256_setr_epi32(0, 16, 32, 48, 64, 80, 96, 112);
        for token in 0..n_tokens {
            // SAFETY: by the caller of `attend`; places are inside the tiles.
            unsafe {
                let query = from.add(token * stride);
                let mut put_query = |at: usize, words: __m256i, n: usize| {
                    let place = left_place(token, at, depth / STEP);
                    _mm256_mask_storeu_epi16(self.queries.as_mut_ptr().add(place).cast(), mask(n), words);
                };
                turn(query, head_dim, rotary, token, |at, values, n| {
                    let words = to_words(values);
                    put_query(at, words, n);
                    if has_room_for_rest {
                        put_query(head_dim + at, to_words(_mm512_sub_ps(values, from_words(words))), n);
                    }
                });
                let mut put_key = |at: usize, words: __m256i, n: usize| {
                    let tile = at / STEP * (padded / 16) + token / 16;
                    let place = tile * TILE + at % STEP * 16 + token % 16 * 2;
                    let to = self.keys.as_mut_ptr().add(place).cast();
                    _mm256_mask_i32scatter_epi32::<4>(to, mask(n / 2) as u8, lines, words);
                };
                turn(query.add(dim), head_dim, rotary, token, |at, values, n| {
                    let words = to_words(values);
                    put_key(at, words, n);
                    if has_room_for_rest {
                        put_key(head_dim + at, words, n);
                    }
                });
            }
        }
        let interleaved = _mm512_set_epi16(
            31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3,
            18, 2, 17, 1, 16, 0,
        );
        for token in (0..n_tokens).step_by(2) {
            for at in (0..head_dim).step_by(16) {
                let n_left = head_dim - at;
                // SAFETY: likewise.
                unsafe {
                    let value = from.add(2 * dim + token * stride + at);
                    let even = load_some(value, n_left);
                    let n_odd = if token + 1 < n_tokens { n_left } else { 0 };
                    let odd = load_some(value.add(if n_odd > 0 { stride } else { 0 }), n_odd);
                    let both = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(odd, even));
                    let both = _mm512_permutexvar_epi16(interleaved, both);
                    let tile = token / 32 * (depth / 16) + at / 16;
                    let to = self.values.as_mut_ptr().add(tile * TILE + token % 32 / 2 * 32);
                    _mm512_storeu_si512(to.cast(), both);
                }
            }
        }
    }
}

/// Hands out a query or a key, turned to its position: offset, numbers, how many of them.
///
/// # Safety
/// `row` holds `head_dim` numbers; tables reach to the position.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,fma")]
unsafe fn turn(
    row: *const f32,
    head_dim: usize,
    rotary: Option<&Rotary<'_>>,
    position: usize,
    mut put: impl FnMut(usize, __m512, usize),
) {
    // SAFETY: by the caller.
    unsafe {
        let Some(rotary) = rotary else {
            for at in (0..head_dim).step_by(16) {
                let n_left = (head_dim - at).min(16);
                put(at, load_some(row.add(at), n_left), n_left);
            }
            return;
        };
        let half = head_dim / 2;
        let (cos, sin) = (rotary.cos.as_ptr().add(position * half), rotary.sin.as_ptr().add(position * half));
        for at in (0..half).step_by(16) {
            let n_left = (half - at).min(16);
            let (left, right) = (load_some(row.add(at), n_left), load_some(row.add(half + at), n_left));
            let (cos, sin) = (load_some(cos.add(at), n_left), load_some(sin.add(at), n_left));
            put(at, _mm512_fmsub_ps(left, cos, _mm512_mul_ps(right, sin)), n_left);
            put(half + at, _mm512_fmadd_ps(right, cos, _mm512_mul_ps(left, sin)), n_left);
        }
    }
}

/// What words of bfloat16 stand for.
#[inline]
#[target_feature(enable = "avx512f")]
fn from_words(words: __m256i) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(words)))
}

/// Goes on with the softmax of a row: shares of further keys, not yet divided, go into tiles of the left operand, the first of which
/// `shares` is in; padding gets nothing. Returns what shares of earlier keys are to be multiplied by.
///
/// # Safety
/// Both hold `n_keys` elements, rounded up to 32.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,fma")]
unsafe fn share(scores: *const f32, n_keys: usize, shares: *mut u16, softmax: &mut Softmax) -> f32 {
    // SAFETY: by the caller.
    unsafe {
        let nothing = _mm512_set1_ps(f32::NEG_INFINITY);
        let whole = n_keys / STEP * STEP;
        // Of the last keys, which are there.
        let tail = [mask(n_keys - whole), mask((n_keys - whole).saturating_sub(16))];
        let last = [0, 1]
            .map(|half| _mm512_mask_loadu_ps(nothing, tail[half], scores.wrapping_add(whole + half * 16)));
        let mut greatest = last;
        for at in (0..whole).step_by(STEP) {
            greatest[0] = _mm512_max_ps(greatest[0], _mm512_loadu_ps(scores.add(at)));
            greatest[1] = _mm512_max_ps(greatest[1], _mm512_loadu_ps(scores.add(at + 16)));
        }
        let greatest = _mm512_reduce_max_ps(_mm512_max_ps(greatest[0], greatest[1])).max(softmax.greatest);
        let (by, less) = (_mm512_set1_ps(LOG2_E), _mm512_set1_ps(-greatest * LOG2_E));
        let power = |score: __m512| power_coarse(_mm512_fmadd_ps(score, by, less));
        let mut sums = [_mm512_setzero_ps(); 2];
        let mut out = shares;
        for at in (0..whole).step_by(STEP) {
            let parts = [0, 16].map(|half| power(_mm512_loadu_ps(scores.add(at + half))));
            sums = [_mm512_add_ps(sums[0], parts[0]), _mm512_add_ps(sums[1], parts[1])];
            store_step(out, parts);
            out = out.wrapping_add(TILE);
        }
        if whole < n_keys {
            let parts = [0, 1].map(|half| _mm512_maskz_mov_ps(tail[half], power(last[half])));
            sums = [_mm512_add_ps(sums[0], parts[0]), _mm512_add_ps(sums[1], parts[1])];
            store_step(out, parts);
        }
        let factor = if softmax.sum == 0.0 { 0.0 } else { (softmax.greatest - greatest).exp() };
        softmax.sum = softmax.sum * factor + _mm512_reduce_add_ps(_mm512_add_ps(sums[0], sums[1]));
        softmax.greatest = greatest;
        factor
    }
}

/// Writes 32 numbers in bfloat16: one line of a tile.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn store_step(out: *mut u16, parts: [__m512; 2]) {
    // SAFETY: by the caller; both types are 512 bits.
    unsafe {
        let words = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(parts[1], parts[0]));
        _mm512_storeu_si512(out.cast(), words);
    }
}

/// The first of 16 places.
#[inline]
fn mask(n: usize) -> u16 {
    if n >= 16 { u16::MAX } else { (1 << n) - 1 }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_some(from: *const f32, n: usize) -> __m512 {
    // SAFETY: by the caller; what is masked is not read.
    unsafe { _mm512_maskz_loadu_ps(mask(n), from) }
}
