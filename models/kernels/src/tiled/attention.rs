//! Attention of one sequence, head by head: rotary positions, scores, softmax, mixture.

use std::arch::x86_64::*;

use super::rows::{power, rest, to_words};
use super::tile::{Product, SIDE, STEP, TILE, Tiles, left_place};
use crate::aligned::Aligned;
use crate::polynomials::LOG2_E;
use crate::shape::{MAX_HEAD_DIM, Rotary};

/// Columns lie in panels of 32.
pub(crate) type Projected<'a> = crate::parts::Projected<'a, SIDE>;

impl Projected<'_> {
    /// Up to 16 numbers of a token, of columns from `column` on.
    ///
    /// # Safety
    /// The token and the columns are there.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load(&self, token: usize, column: usize, n: usize) -> __m512 {
        // SAFETY: by the caller; what is masked is not read.
        unsafe {
            let at = |column: usize| self.panels.as_ptr().add(self.place(token, column));
            let n_here = n.min(SIDE - column % SIDE);
            let values = load_some(at(column), n_here);
            if n_here == n {
                return values;
            }
            _mm512_mask_expandloadu_ps(values, mask(n) & !mask(n_here), at(column + n_here))
        }
    }
}

/// Where the heads' answers go, side by side: tiles of the left operand of the next product.
pub(crate) struct Mixed {
    pub(crate) words: *mut u16,
    /// Row of the sequence's first token.
    pub(crate) first: usize,
}

/// Room for one head of one sequence, kept between calls. Tokens are rounded up to 32, and the head's width to a depth of so
/// many.
///
/// Products of numbers of two words are three, of which each operand has its [`Parts`] one behind the other.
#[derive(Default)]
pub(crate) struct AttentionScratch {
    /// Tiles of `[tokens, score depth]`.
    queries: Aligned<u16>,
    /// Tiles of `[score depth, tokens]`: step by step, 16 tokens each.
    keys: Aligned<u16>,
    /// Of 16 of them, tiles as those of queries are.
    key_rows: Aligned<u16>,
    /// Of each block of keys the tiles of `[tokens, depth]`, part by part: step by step, 16 columns each.
    values: Aligned<u16>,
    /// 32 rows of scores of two blocks of keys.
    scores: [Aligned<f32>; 2],
    /// Tiles of 32 rows, part by part, of as many blocks.
    shares: [Aligned<u16>; 2],
    /// `[32, depth]`.
    mixed: Aligned<f32>,
}

/// Keys that a block of queries sees at a time: scores of two blocks of them and their shares stay in the first cache.
const KEYS_TOGETHER: usize = 64;
/// From row to row of scores: 16 more, so that rows do not fall upon each other in the cache.
const SCORES_STRIDE: usize = KEYS_TOGETHER + 16;
/// Most that a score may be, in powers of two, for the softmax to do without the greatest of its row: powers and their sums are then
/// far from both ends of what 32 bits hold.
const SAFE_SCORE: f32 = 100.0;

/// Of the two operands of a product, one behind the other, the nearest words of a number (`false`) or those of its rest.
#[derive(Clone, Copy)]
struct Parts {
    left: &'static [bool],
    right: &'static [bool],
}

impl Parts {
    /// Nearest words of both.
    const ONE: Self = Self { left: &[false], right: &[false] };
    /// What rounding takes from the left is there, too.
    const TWO: Self = Self { left: &[false, true], right: &[false, false] };
    /// What it takes from either.
    const THREE: Self = Self { left: &[false, true, false], right: &[false, false, true] };

    fn n(self) -> usize {
        self.left.len()
    }
}

/// One head of one sequence.
#[derive(Clone, Copy)]
struct Head {
    n_tokens: usize,
    /// `n_tokens` rounded up to 32.
    padded: usize,
    head_dim: usize,
    /// `head_dim` rounded up to 32.
    depth: usize,
    /// Of queries and keys.
    score_parts: Parts,
    /// Their width, rounded up to 32.
    score_depth: usize,
    /// Of shares and values.
    value_parts: Parts,
}

impl Head {
    fn new(n_tokens: usize, head_dim: usize, n_words: usize) -> Self {
        let (padded, depth) = (n_tokens.next_multiple_of(SIDE), head_dim.next_multiple_of(STEP));
        let (score_parts, value_parts) = match n_words {
            // Narrow heads leave half of a step empty, so what rounding takes from queries costs nothing.
            1 if 2 * head_dim <= depth => (Parts::TWO, Parts::ONE),
            1 => (Parts::ONE, Parts::ONE),
            _ => (Parts::THREE, Parts::THREE),
        };
        let score_depth = (score_parts.n() * head_dim).next_multiple_of(STEP);
        Self { n_tokens, padded, head_dim, depth, score_parts, score_depth, value_parts }
    }

    /// Queries from `first` on that a block of them has.
    fn rows(&self, first: usize) -> usize {
        SIDE.min(self.n_tokens - first)
    }

    /// Blocks of keys.
    fn n_blocks(&self) -> usize {
        self.padded.div_ceil(KEYS_TOGETHER)
    }

    /// First key of a block, keys that are there, and steps of keys with padding.
    fn block(&self, block: usize) -> (usize, usize, usize) {
        let start = block * KEYS_TOGETHER;
        let n_steps = (self.padded - start).min(KEYS_TOGETHER) / STEP;
        (start, (self.n_tokens - start).min(KEYS_TOGETHER), n_steps)
    }
}

/// Mixes values by attention.
///
/// # Safety
/// The processor has AVX-512 with bfloat16; `mixed` has room for the sequence's rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma")]
pub(crate) unsafe fn attend<const WORDS: usize>(
    tiles: &Tiles,
    scratch: &mut AttentionScratch,
    projected: &Projected<'_>,
    rotary: Option<&Rotary<'_>>,
    mixed: &Mixed,
) {
    let &Projected { panels, n_rows, first: first_row, n_tokens, n_heads, head_dim } = projected;
    let dim = n_heads * head_dim;
    let head = Head::new(n_tokens, head_dim, WORDS);
    scratch.make_room(&head);
    let (has_rows, has_columns) = (first_row + n_tokens <= n_rows, panels.len() >= n_rows * 3 * dim);
    assert!(has_rows && has_columns, "rows are those of the sequence");
    for number in 0..n_heads {
        // SAFETY: the room is made, and the rows are as many as they must be.
        let greatest = unsafe { scratch.arrange(projected, number, &head, rotary) };
        for first in (0..head.padded).step_by(SIDE) {
            let n_rows = head.rows(first);
            // SAFETY: likewise; a block of queries has 32 rows of room.
            unsafe {
                let sums = if greatest <= SAFE_SCORE {
                    scratch.mix::<WORDS, false>(tiles, &head, first, &[0.0; SIDE])
                } else {
                    let greatest = scratch.greatest_of_rows(tiles, &head, first);
                    scratch.mix::<WORDS, true>(tiles, &head, first, &greatest)
                };
                for (row, sum) in sums.iter().enumerate().take(n_rows) {
                    let factor = _mm512_reduce_add_ps(*sum).recip();
                    let from = scratch.mixed.as_ptr().add(row * head.depth);
                    for at in (0..head_dim).step_by(8) {
                        let eight = _mm256_mul_ps(_mm256_loadu_ps(from.add(at)), _mm256_set1_ps(factor));
                        let row = mixed.first + first + row;
                        let place = left_place::<WORDS>(row, number * head_dim + at, dim / STEP);
                        store_eight::<WORDS>(mixed.words.add(place), eight);
                    }
                }
            }
        }
    }
}

impl AttentionScratch {
    /// Places of padding are zero where products mix them with others, so that no stale number reaches a sum; the rest is written
    /// before it is read.
    fn make_room(&mut self, head: &Head) {
        self.queries.fill_zeros(head.padded * head.score_depth);
        self.keys.fill_zeros(head.padded * head.score_depth);
        self.values.fill_zeros(head.padded * head.depth * head.value_parts.n());
        self.scores.iter_mut().for_each(|room| room.at_least(SIDE * SCORES_STRIDE));
        self.shares.iter_mut().for_each(|room| room.at_least(SIDE * KEYS_TOGETHER * head.value_parts.n()));
        self.mixed.at_least(SIDE * head.depth);
    }

    /// Scores of 32 queries from `first` on with a block of keys.
    #[inline]
    unsafe fn score(&mut self, tiles: &Tiles, head: &Head, first: usize, block: usize) {
        let (start, _, n_steps) = head.block(block);
        for column in (0..n_steps * STEP).step_by(SIDE) {
            // SAFETY: by the caller of `attend`; places are inside the room.
            unsafe {
                let left = self.queries.as_ptr().add(first * head.score_depth);
                tiles.multiply(&Product {
                    left,
                    lower: left.add(16 * head.score_depth),
                    right: self.keys.as_ptr().add((start + column) * STEP),
                    right_step: head.padded / 16 * TILE * 2,
                    n_steps: head.score_depth / STEP,
                    n_rows: head.rows(first),
                    sums: self.scores[block % 2].as_mut_ptr().add(column),
                    sums_stride: SCORES_STRIDE * 4,
                });
            }
        }
    }

    /// The greatest score of each of 32 queries.
    #[target_feature(enable = "avx512f")]
    unsafe fn greatest_of_rows(&mut self, tiles: &Tiles, head: &Head, first: usize) -> [f32; SIDE] {
        let mut greatest = [f32::NEG_INFINITY; SIDE];
        for block in 0..head.n_blocks() {
            let (_, n_keys, _) = head.block(block);
            // SAFETY: as in `score`, which has written the scores.
            unsafe {
                self.score(tiles, head, first, block);
                for (row, greatest) in greatest.iter_mut().enumerate().take(head.rows(first)) {
                    let scores = self.scores[block % 2].as_ptr().add(row * SCORES_STRIDE);
                    let mut of_row = _mm512_set1_ps(*greatest);
                    for at in (0..n_keys).step_by(16) {
                        let there = mask(n_keys - at);
                        of_row = _mm512_mask_max_ps(of_row, there, of_row, _mm512_loadu_ps(scores.add(at)));
                    }
                    *greatest = _mm512_reduce_max_ps(of_row);
                }
            }
        }
        greatest
    }

    /// Mixes values for 32 queries into `mixed`, not yet divided by the sums of shares, whose parts are returned. With `SHIFTED`, `less`
    /// is taken from a row's scores first. The products of one block of keys go on beside the shares of another.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma")]
    unsafe fn mix<const WORDS: usize, const SHIFTED: bool>(
        &mut self,
        tiles: &Tiles,
        head: &Head,
        first: usize,
        less: &[f32; SIDE],
    ) -> [__m512; SIDE] {
        let mut sums = [_mm512_setzero_ps(); SIDE];
        let n_rows = head.rows(first);
        self.mixed[..SIDE * head.depth].fill(0.0);
        // SAFETY: as in `score` and `gather`; a row of shares begins in its own tile.
        unsafe {
            self.score(tiles, head, first, 0);
            for block in 0..head.n_blocks() {
                if block + 1 < head.n_blocks() {
                    self.score(tiles, head, first, block + 1);
                }
                let (_, n_keys, n_steps) = head.block(block);
                let scores = self.scores[block % 2].as_ptr();
                let shares = self.shares[block % 2].as_mut_ptr();
                for (row, sum) in sums.iter_mut().enumerate().take(n_rows) {
                    let scores = scores.add(row * SCORES_STRIDE);
                    let shares = shares.add(left_place::<1>(row, 0, head.value_parts.n() * n_steps));
                    let share = share::<WORDS, SHIFTED>(scores, n_keys, shares, less[row]);
                    *sum = _mm512_add_ps(*sum, share);
                }
                if block > 0 {
                    self.gather(tiles, head, first, block - 1);
                }
            }
            self.gather(tiles, head, first, head.n_blocks() - 1);
        }
        sums
    }

    /// Adds a block's values, as they are shared out, to `mixed`.
    #[inline]
    unsafe fn gather(&mut self, tiles: &Tiles, head: &Head, first_row: usize, block: usize) {
        let (start, _, n_steps) = head.block(block);
        for column in (0..head.head_dim).step_by(SIDE) {
            // SAFETY: by the caller of `attend`; places are inside the room.
            unsafe {
                let first = start * head.depth * head.value_parts.n();
                let left = self.shares[block % 2].as_ptr();
                let product = Product {
                    left,
                    lower: left.add(head.value_parts.n() * n_steps * TILE),
                    right: self.values.as_ptr().add(first + column * STEP),
                    right_step: head.depth / 16 * TILE * 2,
                    n_steps: head.value_parts.n() * n_steps,
                    n_rows: head.rows(first_row),
                    sums: self.mixed.as_mut_ptr().add(column),
                    sums_stride: head.depth * 4,
                };
                match head.head_dim - column {
                    ..=16 => tiles.add_narrow(&product),
                    _ => tiles.add(&product),
                }
            }
        }
    }

    /// Lays out the head of a number, its scores in powers of two. Returns what no score is above: the product of the greatest numbers of
    /// queries and keys, column by column.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma")]
    unsafe fn arrange(
        &mut self,
        projected: &Projected<'_>,
        number: usize,
        head: &Head,
        rotary: Option<&Rotary<'_>>,
    ) -> f32 {
        let &Head { n_tokens, padded, head_dim, depth, score_parts, score_depth, value_parts } = head;
        let (dim, n_steps) = (projected.n_heads * head_dim, score_depth / STEP);
        let column = number * head_dim;
        let mut greatest = [[0.0_f32; PLACES]; 2];
        let [greatest_query, greatest_key] = &mut greatest;
        for first in (0..n_tokens).step_by(16) {
            let n_rows = (n_tokens - first).min(16);
            self.key_rows.fill_zeros(16 * score_depth);
            for row in 0..n_rows {
                let token = first + row;
                // SAFETY: by the caller of `attend`; places are inside the tiles.
                unsafe {
                    let query = |at, n| projected.load(token, column + at, n);
                    let to = self.queries.as_mut_ptr().add(left_place::<1>(token, 0, n_steps));
                    turn(query, head_dim, rotary, token, |at, values, n| {
                        let values = _mm512_mul_ps(values, _mm512_set1_ps(LOG2_E));
                        keep_greatest(greatest_query, at, values);
                        put_parts(to, score_parts.left, head_dim, (at, values, n));
                    });
                    let to = self.key_rows.as_mut_ptr().add(left_place::<1>(row, 0, n_steps));
                    let key = |at, n| projected.load(token, dim + column + at, n);
                    turn(key, head_dim, rotary, token, |at, values, n| {
                        keep_greatest(greatest_key, at, values);
                        put_parts(to, score_parts.right, head_dim, (at, values, n));
                    });
                }
            }
            for step in 0..n_steps {
                let tile = step * (padded / 16) + first / 16;
                // SAFETY: likewise; tiles are whole.
                unsafe {
                    let rows = self.key_rows.as_ptr().add(step * TILE);
                    transpose(rows.cast(), self.keys.as_mut_ptr().add(tile * TILE).cast());
                }
            }
        }
        let interleaved = _mm512_set_epi16(
            31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3,
            18, 2, 17, 1, 16, 0,
        );
        for token in (0..n_tokens).step_by(2) {
            let (start, _, n_steps) = head.block(token / KEYS_TOGETHER);
            for at in (0..head_dim).step_by(16) {
                let n_left = (head_dim - at).min(16);
                // SAFETY: likewise.
                unsafe {
                    let value = |token: usize| projected.load(token, 2 * dim + column + at, n_left);
                    let even = value(token);
                    let odd = if token + 1 < n_tokens { value(token + 1) } else { _mm512_setzero_ps() };
                    for (part, is_rest) in value_parts.right.iter().enumerate() {
                        let [even, odd] =
                            [even, odd].map(|values| if *is_rest { rest(values) } else { values });
                        let both = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(odd, even));
                        let both = _mm512_permutexvar_epi16(interleaved, both);
                        let step = value_parts.n() * start / STEP + part * n_steps + (token - start) / STEP;
                        let tile = step * (depth / 16) + at / 16;
                        let to = self.values.as_mut_ptr().add(tile * TILE + token % 32 / 2 * 32);
                        _mm512_storeu_si512(to.cast(), both);
                    }
                }
            }
        }
        greatest_query.iter().zip(greatest_key).map(|(query, key)| *query * *key).sum()
    }
}

/// Of the greatest magnitudes of a head's columns, which lie twice as far from the first as the columns do: steps of 16 that begin at
/// neighbouring eights then do not touch, and none waits for another to be written.
const PLACES: usize = 2 * MAX_HEAD_DIM + 16;

/// Takes the magnitudes of up to 16 numbers into the greatest so far, of columns from `at` on.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn keep_greatest(greatest: &mut [f32; PLACES], at: usize, values: __m512) {
    let known = &mut greatest[2 * at..2 * at + 16];
    // SAFETY: there are 16 of them.
    unsafe {
        let more = _mm512_max_ps(_mm512_loadu_ps(known.as_ptr()), _mm512_abs_ps(values));
        _mm512_storeu_ps(known.as_mut_ptr(), more);
    }
}

/// Hands out a query or a key, turned to its position: offset, numbers, how many of them. `load` gives up to 16 of its numbers from an
/// offset on.
///
/// # Safety
/// Tables reach to the position.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,fma")]
unsafe fn turn(
    load: impl Fn(usize, usize) -> __m512,
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
                put(at, load(at, n_left), n_left);
            }
            return;
        };
        let half = head_dim / 2;
        let (cos, sin) = (rotary.cos.as_ptr().add(position * half), rotary.sin.as_ptr().add(position * half));
        if head_dim == 16 {
            // Both halves at once: the other half beside each.
            let twice = |table: *const f32| {
                let eight = _mm512_castps256_ps512(_mm256_loadu_ps(table));
                _mm512_shuffle_f32x4::<0x44>(eight, eight)
            };
            let values = load(0, 16);
            let others = _mm512_mul_ps(_mm512_shuffle_f32x4::<0x4e>(values, values), twice(sin));
            let others = _mm512_mask_sub_ps(others, 0x00ff, _mm512_setzero_ps(), others);
            put(0, _mm512_fmadd_ps(values, twice(cos), others), 16);
            return;
        }
        for at in (0..half).step_by(16) {
            let n_left = (half - at).min(16);
            let (left, right) = (load(at, n_left), load(half + at, n_left));
            let (cos, sin) = (load_some(cos.add(at), n_left), load_some(sin.add(at), n_left));
            put(at, _mm512_fmsub_ps(left, cos, _mm512_mul_ps(right, sin)), n_left);
            put(half + at, _mm512_fmadd_ps(right, cos, _mm512_mul_ps(left, sin)), n_left);
        }
    }
}

/// Writes up to 16 numbers of a query or a key, which begin at `at` in it, into tiles of the left operand of a product, part by part; `to`
/// is its line in the first.
///
/// # Safety
/// There are tiles for all parts, one behind the other.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn put_parts(to: *mut u16, parts: &[bool], head_dim: usize, (at, values, n): (usize, __m512, usize)) {
    let nearest = to_words(values);
    for (part, is_rest) in parts.iter().enumerate() {
        let words = if *is_rest { to_words(rest(values)) } else { nearest };
        let at = part * head_dim + at;
        let n_here = n.min(STEP - at % STEP);
        // SAFETY: by the caller; what is masked is not written.
        unsafe {
            let line = |at: usize| to.add(at / STEP * TILE + at % STEP);
            _mm256_mask_storeu_epi16(line(at).cast(), mask(n_here), words);
            if n_here < n {
                // The rest goes to the next tile: as if all words began before its line, but none is written there.
                let before = line(at + n_here).wrapping_sub(n_here);
                _mm256_mask_storeu_epi16(before.cast(), mask(n) & !mask(n_here), words);
            }
        }
    }
}

/// Turns a tile of the left operand, 16 lines of 16 pairs, into one of the right.
///
/// # Safety
/// Both hold 16 lines of 64 bytes.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn transpose(from: *const i32, to: *mut i32) {
    // SAFETY: by the caller.
    let row = |at: usize| unsafe { _mm512_loadu_si512(from.add(16 * at).cast()) };
    // Of rows four apart and their neighbours: pairs, fours, and then the parts of 128 bits.
    let mut fours = [[_mm512_setzero_si512(); 4]; 4];
    for (group, fours) in fours.iter_mut().enumerate() {
        let [a, b, c, d] = [0, 1, 2, 3].map(|at| row(4 * group + at));
        let (low, high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (lower, higher) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        *fours = [
            _mm512_unpacklo_epi64(low, lower),
            _mm512_unpackhi_epi64(low, lower),
            _mm512_unpacklo_epi64(high, higher),
            _mm512_unpackhi_epi64(high, higher),
        ];
    }
    for column in 0..4 {
        let [a, b, c, d] = fours.map(|group| group[column]);
        let (even, odd) = (_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0xdd>(a, b));
        let (evens, odds) = (_mm512_shuffle_i32x4::<0x88>(c, d), _mm512_shuffle_i32x4::<0xdd>(c, d));
        let lines = [
            _mm512_shuffle_i32x4::<0x88>(even, evens),
            _mm512_shuffle_i32x4::<0x88>(odd, odds),
            _mm512_shuffle_i32x4::<0xdd>(even, evens),
            _mm512_shuffle_i32x4::<0xdd>(odd, odds),
        ];
        for (part, line) in lines.into_iter().enumerate() {
            // SAFETY: by the caller.
            unsafe { _mm512_storeu_si512(to.add(16 * (4 * part + column)).cast(), line) };
        }
    }
}

/// Writes 8 numbers of one or two words, the second ones a tile behind.
///
/// # Safety
/// `out` takes 8 words, there and a tile behind.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512bf16")]
unsafe fn store_eight<const WORDS: usize>(out: *mut u16, values: __m256) {
    // SAFETY: by the caller; both types are 128 bits.
    unsafe {
        let words = std::mem::transmute::<__m128bh, __m128i>(_mm256_cvtneps_pbh(values));
        _mm_storeu_si128(out.cast(), words);
        if WORDS == 2 {
            let rest = _mm512_castps512_ps256(rest(_mm512_castps256_ps512(values)));
            let words = std::mem::transmute::<__m128bh, __m128i>(_mm256_cvtneps_pbh(rest));
            _mm_storeu_si128(out.add(TILE).cast(), words);
        }
    }
}

/// Shares of up to 64 keys in a row, not yet divided by their sum, into tiles of the left operand, in the first of which `shares` is,
/// part by part; padding gets nothing. Returns their sums. What is taken from all scores of a row cancels out in the division.
///
/// # Safety
/// Both hold `n_keys` elements, rounded up to 32.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma")]
unsafe fn share<const WORDS: usize, const SHIFTED: bool>(
    scores: *const f32,
    n_keys: usize,
    shares: *mut u16,
    less: f32,
) -> __m512 {
    let power_of = |score: __m512| match SHIFTED {
        true => power::<WORDS>(_mm512_sub_ps(score, _mm512_set1_ps(less))),
        false => power::<WORDS>(score),
    };
    let mut sums = [_mm512_setzero_ps(); 2];
    let mut put = |step: usize, parts: [__m512; 2]| {
        sums = [_mm512_add_ps(sums[0], parts[0]), _mm512_add_ps(sums[1], parts[1])];
        // SAFETY: by the caller.
        unsafe {
            store_step(shares.add(step * TILE), parts);
            if WORDS == 2 {
                let n_steps = n_keys.div_ceil(STEP);
                store_step(shares.add((n_steps + step) * TILE), parts.map(|part| rest(part)));
                store_step(shares.add((2 * n_steps + step) * TILE), parts);
            }
        }
    };
    // SAFETY: by the caller.
    let part = |at: usize| unsafe { power_of(_mm512_loadu_ps(scores.add(at))) };
    if n_keys == KEYS_TOGETHER {
        for step in 0..KEYS_TOGETHER / STEP {
            put(step, [part(step * STEP), part(step * STEP + 16)]);
        }
    } else {
        for step in 0..n_keys.div_ceil(STEP) {
            let there = |at: usize| _mm512_maskz_mov_ps(mask(n_keys.saturating_sub(at)), part(at));
            put(step, [there(step * STEP), there(step * STEP + 16)]);
        }
    }
    _mm512_add_ps(sums[0], sums[1])
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
