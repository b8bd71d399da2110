//! What is done to rows between the products, 16 numbers at a time, in 32 bits.

use std::arch::x86_64::*;

use super::tile::{BYTES_STEP, STEP, TILE, left_place};
use crate::polynomials::{CUBIC, FINE_NORMAL, FINE_NORMAL_LIMIT, NORMAL, NORMAL_LIMIT, QUINTIC};

/// Normalizes a row and writes it in so many words of bfloat16 a number into tiles of the left operand of a product, where `out` is its
/// place in the first; with `KEEP` the row itself becomes the normalized one, too. `dim` is a multiple of 32.
///
/// # Safety
/// `row`, `scale` and `shift` hold `dim` numbers, `out` is in the first of `dim / 32` tiles (or pairs of tiles).
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,fma")]
pub(crate) unsafe fn normalize<const WORDS: usize, const KEEP: bool>(
    row: *mut f32,
    dim: usize,
    (scale, shift): (*const f32, *const f32),
    epsilon: f32,
    out: *mut u16,
) {
    // SAFETY: by the caller.
    unsafe {
        let (mut sum, mut squares) = (_mm512_setzero_ps(), _mm512_setzero_ps());
        for at in (0..dim).step_by(16) {
            sum = _mm512_add_ps(sum, _mm512_loadu_ps(row.add(at)));
        }
        let mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum) / dim as f32);
        for at in (0..dim).step_by(16) {
            let centered = _mm512_sub_ps(_mm512_loadu_ps(row.add(at)), mean);
            squares = _mm512_fmadd_ps(centered, centered, squares);
        }
        let variance = _mm512_reduce_add_ps(squares) / dim as f32;
        let factor = _mm512_set1_ps((variance + epsilon).sqrt().recip());
        for at in (0..dim).step_by(16) {
            let centered = _mm512_sub_ps(_mm512_loadu_ps(row.add(at)), mean);
            let scaled = _mm512_mul_ps(_mm512_mul_ps(centered, factor), _mm512_loadu_ps(scale.add(at)));
            let normed = _mm512_add_ps(scaled, _mm512_loadu_ps(shift.add(at)));
            store_words::<WORDS>(out.add(at / STEP * WORDS * TILE + at % STEP), normed);
            if KEEP {
                _mm512_storeu_ps(row.add(at), normed);
            }
        }
    }
}

/// Writes a row as [`normalize`] does, as it is.
///
/// # Safety
/// As there.
#[target_feature(enable = "avx512f,avx512vl,avx512bf16")]
pub(crate) unsafe fn tile_row<const WORDS: usize>(row: *const f32, dim: usize, out: *mut u16) {
    for at in (0..dim).step_by(16) {
        // SAFETY: by the caller.
        unsafe {
            let values = _mm512_loadu_ps(row.add(at));
            store_words::<WORDS>(out.add(at / STEP * WORDS * TILE + at % STEP), values);
        }
    }
}

/// Takes rows of bfloat16, in tiles of the left operand of a product, to bytes in tiles of the same kind. Each row has a range of its
/// own, written to `ranges`: the number that zero stands for, and the step from byte to byte. A row with what is no number has no number
/// for a step.
///
/// # Safety
/// `words` are `n_rows` (a multiple of 16) rows of `depth` (a multiple of 32); `bytes` has room for as many rows of `depth` rounded up
/// to 64, of which the rest is not written, and `ranges` for one a row.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,fma")]
pub(crate) unsafe fn to_bytes(
    words: *const u16,
    n_rows: usize,
    depth: usize,
    bytes: *mut u8,
    ranges: *mut [f32; 2],
) {
    let n_steps = depth / STEP;
    // SAFETY: by the caller.
    let pair = |row: usize, step: usize| unsafe {
        let both = _mm512_loadu_si512(words.add(left_place::<1>(row, step * STEP, n_steps)).cast());
        let odd = _mm512_and_si512(both, _mm512_set1_epi32(!0xffff));
        [_mm512_castsi512_ps(_mm512_slli_epi32::<16>(both)), _mm512_castsi512_ps(odd)]
    };
    for row in 0..n_rows {
        let [first, _] = pair(row, 0);
        let (mut least, mut greatest, mut unordered) = (first, first, 0);
        for step in 0..n_steps {
            let [even, odd] = pair(row, step);
            least = _mm512_min_ps(least, _mm512_min_ps(even, odd));
            greatest = _mm512_max_ps(greatest, _mm512_max_ps(even, odd));
            unordered |= _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(even, odd);
        }
        let least = _mm512_reduce_min_ps(least);
        let range = _mm512_reduce_max_ps(greatest) - least;
        let range = if unordered == 0 { range } else { f32::NAN };
        // SAFETY: by the caller.
        unsafe { *ranges.add(row) = [least, range / 255.0] };
        let factor = _mm512_set1_ps(if range > 0.0 { 255.0 / range } else { 0.0 });
        let shift = _mm512_mul_ps(_mm512_set1_ps(-least), factor);
        let to = |values: __m512| _mm512_cvtps_epi32(_mm512_fmadd_ps(values, factor, shift));
        for step in 0..n_steps {
            let [even, odd] = pair(row, step);
            let twos = _mm512_or_si512(to(even), _mm512_slli_epi32::<8>(to(odd)));
            let at = step * STEP;
            let place = (row / 16 * depth.div_ceil(BYTES_STEP) + at / BYTES_STEP) * 2 * TILE
                + row % 16 * BYTES_STEP
                + at % BYTES_STEP;
            // SAFETY: by the caller.
            unsafe { _mm256_storeu_si256(bytes.add(place).cast(), _mm512_cvtepi32_epi16(twos)) };
        }
    }
}

/// Numbers as words of bfloat16.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
pub(crate) fn to_words(values: __m512) -> __m256i {
    // SAFETY: both types are 256 bits.
    unsafe { std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(values)) }
}

/// What words of bfloat16 stand for.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn from_words(words: __m256i) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(words)))
}

/// What numbers are beside their nearest words of bfloat16.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
pub(crate) fn rest(values: __m512) -> __m512 {
    _mm512_sub_ps(values, from_words(to_words(values)))
}

/// Writes 16 numbers of one or two words, the second ones a tile behind.
///
/// # Safety
/// `out` takes 16 words, there and a tile behind.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512bf16")]
pub(crate) unsafe fn store_words<const WORDS: usize>(out: *mut u16, values: __m512) {
    // SAFETY: by the caller.
    unsafe {
        _mm256_storeu_si256(out.cast(), to_words(values));
        if WORDS == 2 {
            _mm256_storeu_si256(out.add(TILE).cast(), to_words(rest(values)));
        }
    }
}

/// `2^x` for numbers of so many words: within 8e-5 of it for one, which tells steps of 4e-3 apart, and within 2e-7 for two, which tell
/// 1.5e-5. Below 2^-126 it may be zero.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,fma")]
pub(crate) fn power<const WORDS: usize>(x: __m512) -> __m512 {
    // What is above the whole number below; `scalef` takes that number.
    let part = _mm512_reduce_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(x);
    let terms: &[f32] = if WORDS == 1 { &CUBIC } else { &QUINTIC };
    let mut power = _mm512_set1_ps(terms[terms.len() - 1]);
    for term in terms[..terms.len() - 1].iter().rev() {
        power = _mm512_fmadd_ps(power, part, _mm512_set1_ps(*term));
    }
    _mm512_scalef_ps(power, x)
}

/// `x / 2 * (1 + erf(x / sqrt 2))` for numbers of so many words, within 4e-5 for one and 2e-6 for two.
#[inline]
#[target_feature(enable = "avx512f,fma")]
pub(crate) fn gelu<const WORDS: usize>(x: __m512) -> __m512 {
    let limit = _mm512_set1_ps(if WORDS == 1 { NORMAL_LIMIT } else { FINE_NORMAL_LIMIT });
    let inside = _mm512_max_ps(_mm512_min_ps(x, limit), _mm512_sub_ps(_mm512_setzero_ps(), limit));
    let square = _mm512_mul_ps(inside, inside);
    let (terms, at): (&[f32], __m512) = if WORDS == 1 {
        (&NORMAL, square)
    } else {
        let whole = _mm512_set1_ps(2.0 / (FINE_NORMAL_LIMIT * FINE_NORMAL_LIMIT));
        (&FINE_NORMAL, _mm512_fmsub_ps(square, whole, _mm512_set1_ps(1.0)))
    };
    let mut series = _mm512_set1_ps(terms[0]);
    for term in &terms[1..] {
        series = _mm512_fmadd_ps(series, at, _mm512_set1_ps(*term));
    }
    _mm512_mul_ps(x, _mm512_fmadd_ps(series, inside, _mm512_set1_ps(0.5)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::polynomials::tests::{check_gelu, check_power};
    use crate::{Isa, Operands};

    fn each(values: &[f32], function: unsafe fn(__m512) -> __m512) -> Vec<f32> {
        let mut found = Vec::new();
        for chunk in values.chunks_exact(16) {
            let mut out = [0.0; 16];
            // SAFETY: the caller has found the instructions; 16 numbers are read and written.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), function(_mm512_loadu_ps(chunk.as_ptr()))) };
            found.extend(out);
        }
        found
    }

    #[test]
    fn functions_are_within_what_they_promise() {
        if !Isa::detect().is_some_and(|isa| isa.takes(Operands::Bf16)) {
            eprintln!("NOT RUN: this processor has no AVX-512 with bfloat16");
            return;
        }
        for (function, within) in [(gelu::<1> as unsafe fn(_) -> _, 5e-5), (gelu::<2>, 2e-6)] {
            check_gelu(|values| each(values, function), within);
        }
        for (function, within) in [(power::<1> as unsafe fn(_) -> _, 8e-5), (power::<2>, 2e-7)] {
            check_power(|values| each(values, function), within);
            let far = each(&[-1e4, -1e30, -400.0, 0.0, 0.0, 0.0, 0.0, 0.0].repeat(2), function);
            assert_eq!(far[..3], [0.0; 3]);
        }
    }

    #[test]
    fn a_row_is_normalized() {
        if !Isa::detect().is_some_and(|isa| isa.takes(Operands::Bf16)) {
            return;
        }
        let row: Vec<f32> = (0..64).map(|at| (at as f32 * 0.7).sin() * 3.0 + 1.0).collect();
        let (scale, shift) = (vec![2.0_f32; 64], vec![0.25_f32; 64]);
        let (mut once, mut twice) = ([0_u16; 2 * TILE], [0_u16; 4 * TILE]);
        // SAFETY: the instructions are there; all hold 64.
        unsafe {
            let (mut kept, mut same) = (row.clone(), row.clone());
            let norm = (scale.as_ptr(), shift.as_ptr());
            normalize::<1, true>(kept.as_mut_ptr(), 64, norm, 1e-5, once.as_mut_ptr());
            normalize::<2, false>(same.as_mut_ptr(), 64, norm, 1e-5, twice.as_mut_ptr());
            assert!((kept.iter().sum::<f32>() / 64.0 - 0.25).abs() < 1e-5);
            assert_eq!(same, row);
        };
        let mean = row.iter().sum::<f32>() / 64.0;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 64.0;
        let value = |word: u16| f32::from_bits(u32::from(word) << 16);
        for (at, x) in row.iter().enumerate() {
            let expected = (x - mean) / (variance + 1e-5).sqrt() * 2.0 + 0.25;
            let (step, within) = (at / STEP, at % STEP);
            let found = value(once[step * TILE + within]);
            assert!((found - expected).abs() <= expected.abs() / 200.0 + 1e-6, "{found} is not {expected}");
            let found = value(twice[2 * step * TILE + within]) + value(twice[(2 * step + 1) * TILE + within]);
            assert!((found - expected).abs() <= expected.abs() / 5e4 + 1e-5, "{found} is not {expected}");
        }
    }
}
