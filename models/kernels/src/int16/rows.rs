//! What is done to rows between the products, 8 numbers at a time, in 32 bits.

use std::arch::x86_64::*;

use super::product::NORM;
use crate::polynomials::{FINE_NORMAL, FINE_NORMAL_LIMIT};

/// What numbers of a norm (of any kind) are multiplied by to become words, and what a word stands for. Nothing but zeros has a scale of
/// zero; what is no number, or without end, has a scale that is no number, or without end.
pub(crate) fn scales_of(norm: f32) -> (f32, f32) {
    if norm == 0.0 { (0.0, 0.0) } else { (NORM / norm, norm / NORM) }
}

/// The sum of 8 numbers.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn sum_of(values: __m256) -> f32 {
    let halves = _mm_add_ps(_mm256_castps256_ps128(values), _mm256_extractf128_ps::<1>(values));
    let pairs = _mm_add_ps(halves, _mm_movehl_ps(halves, halves));
    _mm_cvtss_f32(_mm_add_ss(pairs, _mm_movehdup_ps(pairs)))
}

/// The sum of squares of `n` numbers, a multiple of 16.
///
/// # Safety
/// There are so many.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn squares(values: *const f32, n: usize) -> f32 {
    let mut sums = [_mm256_setzero_ps(); 2];
    for at in (0..n).step_by(16) {
        for (half, sum) in sums.iter_mut().enumerate() {
            // SAFETY: by the caller.
            let eight = unsafe { _mm256_loadu_ps(values.add(at + 8 * half)) };
            *sum = _mm256_fmadd_ps(eight, eight, *sum);
        }
    }
    sum_of(_mm256_add_ps(sums[0], sums[1]))
}

/// Writes `n` numbers, a multiple of 16, as words, and returns what a word stands for.
///
/// # Safety
/// There are so many numbers, and there is room for so many words.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn to_words(values: *const f32, n: usize, words: *mut i16) -> f32 {
    // SAFETY: by the caller.
    unsafe {
        let (factor, scale) = scales_of(squares(values, n).sqrt());
        let factor = _mm256_set1_ps(factor);
        for at in (0..n).step_by(16) {
            let both = [_mm256_loadu_ps(values.add(at)), _mm256_loadu_ps(values.add(at + 8))];
            // Packing goes by halves of registers.
            let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(sixteen_words(both, factor));
            _mm256_storeu_si256(words.add(at).cast(), packed);
        }
        scale
    }
}

/// 16 numbers, multiplied, as words: the first four, four from the ninth on, four from the fifth on, the last four.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn sixteen_words(values: [__m256; 2], factor: __m256) -> __m256i {
    let [first, second] = values.map(|values| _mm256_cvtps_epi32(_mm256_mul_ps(values, factor)));
    _mm256_packs_epi32(first, second)
}

/// 8 numbers, multiplied, as words.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn eight_words(values: __m256, factor: __m256) -> __m128i {
    let whole = _mm256_cvtps_epi32(_mm256_mul_ps(values, factor));
    _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256::<1>(whole))
}

/// Normalizes a row into `out`, which may be the row. `dim` is a multiple of 16.
///
/// # Safety
/// All hold `dim` numbers.
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn normalize(
    row: *const f32,
    dim: usize,
    (scale, shift): (*const f32, *const f32),
    epsilon: f32,
    out: *mut f32,
) {
    // SAFETY: by the caller.
    unsafe {
        let mut sum = _mm256_setzero_ps();
        for at in (0..dim).step_by(8) {
            sum = _mm256_add_ps(sum, _mm256_loadu_ps(row.add(at)));
        }
        let mean = _mm256_set1_ps(sum_of(sum) / dim as f32);
        let centered = |at: usize| _mm256_sub_ps(_mm256_loadu_ps(row.add(at)), mean);
        let mut squares = _mm256_setzero_ps();
        for at in (0..dim).step_by(8) {
            squares = _mm256_fmadd_ps(centered(at), centered(at), squares);
        }
        let variance = sum_of(squares) / dim as f32;
        let factor = _mm256_set1_ps((variance + epsilon).sqrt().recip());
        for at in (0..dim).step_by(8) {
            let scaled = _mm256_mul_ps(_mm256_mul_ps(centered(at), factor), _mm256_loadu_ps(scale.add(at)));
            _mm256_storeu_ps(out.add(at), _mm256_add_ps(scaled, _mm256_loadu_ps(shift.add(at))));
        }
    }
}

/// What is added to a number for its nearest whole number to be its lowest bits.
const WHOLE: f32 = 12_582_912.0;
/// The quartic that is relatively nearest to `2^x` in [-0.5, 0.5], within 3e-6; the lowest power first.
const QUARTIC: [f32; 5] = [0.999_999_3, 0.693_121_8, 0.240_247_44, 0.055_917_86, 9.570_102e-3];

/// `2^(x * scale - less)` within 3e-6 of it, for a whole number `less`; where the exponent is below -126 it is next to nothing. It is any
/// number where it would be above 127.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) fn power(x: __m256, scale: __m256, less: f32) -> __m256 {
    let shift = _mm256_set1_ps(WHOLE - less);
    let whole = _mm256_fmadd_ps(x, scale, shift);
    let part = _mm256_fmsub_ps(x, scale, _mm256_sub_ps(whole, shift));
    let mut power = _mm256_set1_ps(QUARTIC[4]);
    for term in QUARTIC[..4].iter().rev() {
        power = _mm256_fmadd_ps(power, part, _mm256_set1_ps(*term));
    }
    // The whole number, which is the lowest bits, is added to the exponent.
    let whole = _mm256_max_ps(whole, _mm256_set1_ps(WHOLE - 126.0));
    let exponent = _mm256_slli_epi32::<23>(_mm256_castps_si256(whole));
    _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(power), exponent))
}

/// `x / 2 * (1 + erf(x / sqrt 2))` within 2e-6.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) fn gelu(x: __m256) -> __m256 {
    let limit = _mm256_set1_ps(FINE_NORMAL_LIMIT);
    let inside = _mm256_max_ps(_mm256_min_ps(x, limit), _mm256_sub_ps(_mm256_setzero_ps(), limit));
    let whole = _mm256_set1_ps(2.0 / (FINE_NORMAL_LIMIT * FINE_NORMAL_LIMIT));
    let at = _mm256_fmsub_ps(_mm256_mul_ps(inside, inside), whole, _mm256_set1_ps(1.0));
    let mut series = _mm256_set1_ps(FINE_NORMAL[0]);
    for term in &FINE_NORMAL[1..] {
        series = _mm256_fmadd_ps(series, at, _mm256_set1_ps(*term));
    }
    _mm256_mul_ps(x, _mm256_fmadd_ps(series, inside, _mm256_set1_ps(0.5)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::polynomials::tests::{check_gelu, check_power};

    fn each(values: &[f32], function: impl Fn(__m256) -> __m256) -> Vec<f32> {
        let mut found = Vec::new();
        for chunk in values.chunks_exact(8) {
            let mut out = [0.0; 8];
            // SAFETY: the caller has found the instructions; 8 numbers are read and written.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr(), function(_mm256_loadu_ps(chunk.as_ptr()))) };
            found.extend(out);
        }
        found
    }

    #[test]
    fn functions_are_within_what_they_promise() {
        if Isa::avx2().is_none() {
            eprintln!("NOT RUN: this processor has no AVX2");
            return;
        }
        // SAFETY: the instructions are there.
        check_gelu(|values| each(values, |values| unsafe { gelu(values) }), 2e-6);
        let power_of = |values: &[f32], less: f32| {
            let doubled: Vec<f32> = values.iter().map(|value| (value + less) * 2.0).collect();
            // SAFETY: the instructions are there.
            each(&doubled, |values| unsafe { power(values, _mm256_set1_ps(0.5), less) })
        };
        check_power(|values| power_of(values, 0.0), 3e-6);
        check_power(|values| power_of(values, 3.0), 1e-5);
        assert!(power_of(&[-400.0; 8], 0.0).iter().all(|power| *power < 1e-30));
    }
}
