//! Registers of 256 bits and of 512, by the same names: the kernels are written once, in these.
//!
//! Functions that are generic over them name no instructions. They are inlined into the one that does ([`super::Int16Block::run`]).

use std::arch::asm;
use std::arch::x86_64::*;

use super::product::{self, Columns};

/// Registers and what is done with them.
///
/// # Safety
/// Of all functions: the processor has the instructions, and there are as many numbers as a register takes where one is read or written.
pub(crate) trait Vectors: Copy {
    /// Numbers in 32 bits, [`Vectors::LANES`] of them.
    type Floats: Copy;
    /// As many whole numbers of 32 bits or twice as many words of 16.
    type Whole: Copy;
    const LANES: usize;
    /// Columns of one product of a layer.
    const COLUMNS: usize = 2 * Self::LANES;
    /// Most rows that go through the layers together: their words stay in the second cache of processors with such registers.
    const ROWS_TOGETHER: usize;

    unsafe fn load(from: *const f32) -> Self::Floats;
    unsafe fn store(to: *mut f32, values: Self::Floats);
    unsafe fn splat(value: f32) -> Self::Floats;
    unsafe fn add(left: Self::Floats, right: Self::Floats) -> Self::Floats;
    unsafe fn subtract(left: Self::Floats, right: Self::Floats) -> Self::Floats;
    unsafe fn multiply(left: Self::Floats, right: Self::Floats) -> Self::Floats;
    /// `left * right + more`.
    unsafe fn multiply_add(left: Self::Floats, right: Self::Floats, more: Self::Floats) -> Self::Floats;
    /// `left * right - less`.
    unsafe fn multiply_subtract(left: Self::Floats, right: Self::Floats, less: Self::Floats) -> Self::Floats;
    unsafe fn least(left: Self::Floats, right: Self::Floats) -> Self::Floats;
    unsafe fn greatest(left: Self::Floats, right: Self::Floats) -> Self::Floats;
    /// The bits that both have.
    unsafe fn and(left: Self::Floats, right: Self::Floats) -> Self::Floats;
    unsafe fn sum(values: Self::Floats) -> f32;
    /// The lowest nine bits of `exponents`, added to the exponents of `values`.
    unsafe fn raise(values: Self::Floats, exponents: Self::Floats) -> Self::Floats;

    unsafe fn load_words(from: *const i16) -> Self::Whole;
    unsafe fn store_words(to: *mut i16, words: Self::Whole);
    unsafe fn zeros() -> Self::Whole;
    /// Two words, over and over.
    unsafe fn splat_pair(pair: i32) -> Self::Whole;
    /// Sums, and to each the products of a pair of words.
    unsafe fn dot(sums: Self::Whole, left: Self::Whole, right: Self::Whole) -> Self::Whole;
    unsafe fn to_floats(whole: Self::Whole) -> Self::Floats;
    /// Two registers of numbers, multiplied, as words: four of the first, four of the second, and so on.
    unsafe fn to_words(values: [Self::Floats; 2], factor: Self::Floats) -> Self::Whole;
    /// What [`Vectors::to_words`] makes, in the order of the numbers.
    unsafe fn in_order(words: Self::Whole) -> Self::Whole;
    /// The product of some rows, so many words one behind the other, and of so many registers of columns; of each there are so many pairs
    /// of words.
    unsafe fn product<const ROWS: usize, const WIDE: usize>(
        left: *const i16,
        left_stride: usize,
        right: Columns,
        n_pairs: usize,
    ) -> [[Self::Whole; WIDE]; ROWS];
}

/// AVX2 and FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

/// AVX-512 with VNNI.
#[derive(Clone, Copy)]
pub(crate) struct Avx512;

/// A product by these instructions, in a function of its own: the compiler keeps sums in registers there, whatever surrounds it.
macro_rules! product_with {
    ($instructions:literal, $whole:ty) => {
        #[inline(always)]
        unsafe fn product<const ROWS: usize, const WIDE: usize>(
            left: *const i16,
            left_stride: usize,
            right: Columns,
            n_pairs: usize,
        ) -> [[$whole; WIDE]; ROWS] {
            #[inline]
            #[target_feature(enable = $instructions)]
            unsafe fn product<V: Vectors, const ROWS: usize, const WIDE: usize>(
                left: *const i16,
                left_stride: usize,
                right: Columns,
                n_pairs: usize,
            ) -> [[V::Whole; WIDE]; ROWS] {
                // SAFETY: by the caller.
                unsafe { product::product::<V, ROWS, WIDE>(left, left_stride, right, n_pairs) }
            }
            // SAFETY: by the caller.
            unsafe { product::<Self, ROWS, WIDE>(left, left_stride, right, n_pairs) }
        }
    };
}

/// Functions that are another by another name.
macro_rules! named {
    ($($name:ident($($argument:ident: $kind:ty),*) $(-> $out:ty)? = $other:expr;)*) => {$(
        #[inline(always)]
        unsafe fn $name($($argument: $kind),*) $(-> $out)? {
            // SAFETY: by the caller.
            unsafe { $other($($argument),*) }
        }
    )*};
}

impl Vectors for Avx2 {
    type Floats = __m256;
    type Whole = __m256i;
    const LANES: usize = 8;
    const ROWS_TOGETHER: usize = 96;

    product_with!("avx2", __m256i);
    named! {
        load(from: *const f32) -> __m256 = _mm256_loadu_ps;
        store(to: *mut f32, values: __m256) = _mm256_storeu_ps;
        splat(value: f32) -> __m256 = _mm256_set1_ps;
        add(left: __m256, right: __m256) -> __m256 = _mm256_add_ps;
        subtract(left: __m256, right: __m256) -> __m256 = _mm256_sub_ps;
        multiply(left: __m256, right: __m256) -> __m256 = _mm256_mul_ps;
        multiply_add(left: __m256, right: __m256, more: __m256) -> __m256 = _mm256_fmadd_ps;
        multiply_subtract(left: __m256, right: __m256, less: __m256) -> __m256 = _mm256_fmsub_ps;
        least(left: __m256, right: __m256) -> __m256 = _mm256_min_ps;
        greatest(left: __m256, right: __m256) -> __m256 = _mm256_max_ps;
        and(left: __m256, right: __m256) -> __m256 = _mm256_and_ps;
        sum(values: __m256) -> f32 = sum_of;
        zeros() -> __m256i = _mm256_setzero_si256;
        splat_pair(pair: i32) -> __m256i = _mm256_set1_epi32;
        to_floats(whole: __m256i) -> __m256 = _mm256_cvtepi32_ps;
        in_order(words: __m256i) -> __m256i = _mm256_permute4x64_epi64::<0b11_01_10_00>;
    }

    #[inline(always)]
    unsafe fn raise(values: __m256, exponents: __m256) -> __m256 {
        // SAFETY: by the caller.
        unsafe {
            let exponents = _mm256_slli_epi32::<23>(_mm256_castps_si256(exponents));
            _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(values), exponents))
        }
    }

    #[inline(always)]
    unsafe fn load_words(from: *const i16) -> __m256i {
        // SAFETY: by the caller.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store_words(to: *mut i16, words: __m256i) {
        // SAFETY: by the caller.
        unsafe { _mm256_storeu_si256(to.cast(), words) }
    }

    #[inline(always)]
    unsafe fn dot(sums: __m256i, left: __m256i, right: __m256i) -> __m256i {
        // SAFETY: by the caller.
        unsafe { _mm256_add_epi32(sums, _mm256_madd_epi16(left, right)) }
    }

    #[inline(always)]
    unsafe fn to_words(values: [__m256; 2], factor: __m256) -> __m256i {
        // SAFETY: by the caller.
        unsafe {
            let [first, second] = [_mm256_mul_ps(values[0], factor), _mm256_mul_ps(values[1], factor)];
            _mm256_packs_epi32(_mm256_cvtps_epi32(first), _mm256_cvtps_epi32(second))
        }
    }
}

impl Vectors for Avx512 {
    type Floats = __m512;
    type Whole = __m512i;
    const LANES: usize = 16;
    const ROWS_TOGETHER: usize = 384;

    product_with!("avx512f,avx512vnni", __m512i);
    named! {
        load(from: *const f32) -> __m512 = _mm512_loadu_ps;
        store(to: *mut f32, values: __m512) = _mm512_storeu_ps;
        splat(value: f32) -> __m512 = _mm512_set1_ps;
        add(left: __m512, right: __m512) -> __m512 = _mm512_add_ps;
        subtract(left: __m512, right: __m512) -> __m512 = _mm512_sub_ps;
        multiply(left: __m512, right: __m512) -> __m512 = _mm512_mul_ps;
        multiply_add(left: __m512, right: __m512, more: __m512) -> __m512 = _mm512_fmadd_ps;
        multiply_subtract(left: __m512, right: __m512, less: __m512) -> __m512 = _mm512_fmsub_ps;
        least(left: __m512, right: __m512) -> __m512 = _mm512_min_ps;
        greatest(left: __m512, right: __m512) -> __m512 = _mm512_max_ps;
        and(left: __m512, right: __m512) -> __m512 = _mm512_and_ps;
        sum(values: __m512) -> f32 = _mm512_reduce_add_ps;
        zeros() -> __m512i = _mm512_setzero_si512;
        splat_pair(pair: i32) -> __m512i = _mm512_set1_epi32;
        dot(sums: __m512i, left: __m512i, right: __m512i) -> __m512i = add_products;
        to_floats(whole: __m512i) -> __m512 = _mm512_cvtepi32_ps;
    }

    #[inline(always)]
    unsafe fn raise(values: __m512, exponents: __m512) -> __m512 {
        // SAFETY: by the caller.
        unsafe {
            let exponents = _mm512_slli_epi32::<23>(_mm512_castps_si512(exponents));
            _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(values), exponents))
        }
    }

    #[inline(always)]
    unsafe fn load_words(from: *const i16) -> __m512i {
        // SAFETY: by the caller.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store_words(to: *mut i16, words: __m512i) {
        // SAFETY: by the caller.
        unsafe { _mm512_storeu_si512(to.cast(), words) }
    }

    #[inline(always)]
    unsafe fn to_words(values: [__m512; 2], factor: __m512) -> __m512i {
        // SAFETY: by the caller.
        unsafe {
            let [first, second] = [_mm512_mul_ps(values[0], factor), _mm512_mul_ps(values[1], factor)];
            _mm512_packs_epi32(_mm512_cvtps_epi32(first), _mm512_cvtps_epi32(second))
        }
    }

    #[inline(always)]
    unsafe fn in_order(words: __m512i) -> __m512i {
        // SAFETY: by the caller.
        unsafe { _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), words) }
    }
}

/// The sum of 8 numbers.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn sum_of(values: __m256) -> f32 {
    let halves = _mm_add_ps(_mm256_castps256_ps128(values), _mm256_extractf128_ps::<1>(values));
    let pairs = _mm_add_ps(halves, _mm_movehl_ps(halves, halves));
    _mm_cvtss_f32(_mm_add_ss(pairs, _mm_movehdup_ps(pairs)))
}

/// Sums, and to each the products of a pair of words: VNNI's instruction by name, as the compiler takes its intrinsic apart into a product
/// and a sum, which are two to begin.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn add_products(mut sums: __m512i, left: __m512i, right: __m512i) -> __m512i {
    // SAFETY: the processor has the instruction; registers alone are read and written.
    unsafe {
        asm!("vpdpwssd {sums}, {left}, {right}", sums = inout(zmm_reg) sums, left = in(zmm_reg) left,
            right = in(zmm_reg) right, options(pure, nomem, nostack, preserves_flags));
    }
    sums
}
