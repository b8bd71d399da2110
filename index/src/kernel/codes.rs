//! Dot products of vectors in eight bits: what a walk reads where it only has to know the way.
//!
//! A row is kept as bytes `round(x / scale) + 128` with a scale of its own, zero (128) padded to whole
//! [`Bytes`]; a query as signed bytes. The sum of products is exact in 32 bits, so every kernel gives the same
//! score, which differs from the cosine by about 0.001. Hits are scored again with the full vectors.

#[cfg(target_arch = "aarch64")]
use std::arch::aarch64::{
    vaddvq_s32, vdupq_n_s32, vdupq_n_u8, veorq_u8, vget_low_s8, vld1q_s8, vld1q_u8, vmull_high_s8, vmull_s8,
    vpadalq_s16, vreinterpretq_s8_u8,
};
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m512i, _mm_add_epi32, _mm_cvtsi128_si32, _mm_loadu_si128, _mm_shuffle_epi32, _mm256_add_epi32,
    _mm256_castsi256_si128, _mm256_cvtepi8_epi16, _mm256_cvtepu8_epi16, _mm256_extracti128_si256,
    _mm256_madd_epi16, _mm256_setzero_si256, _mm512_dpbusd_epi32, _mm512_load_si512, _mm512_reduce_add_epi32,
    _mm512_setzero_si512,
};

/// Components of one [`Bytes`].
pub(crate) const N_BYTES: usize = 64;
/// Greatest code, up or down.
const MAX_CODE: f32 = 127.0;
/// What is added to a code of a row, so that it is not negative.
const OFFSET: i32 = 128;

/// Sixty-four components of a row on their own cache line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub(crate) struct Bytes(pub(crate) [u8; N_BYTES]);

/// How many [`Bytes`] hold `dim` components.
pub(crate) fn n_bytes_of(dim: usize) -> usize {
    dim.div_ceil(N_BYTES)
}

/// Appends a row and gives its scale.
pub(crate) fn encode_into(to: &mut Vec<Bytes>, values: &[f32]) -> f32 {
    let scale = scale_of(values);
    to.extend(values.chunks(N_BYTES).map(|chunk| {
        let mut bytes = [OFFSET as u8; N_BYTES];
        for (byte, value) in bytes.iter_mut().zip(chunk) {
            *byte = (code(*value, scale) + OFFSET) as u8;
        }
        Bytes(bytes)
    }));
    scale
}

fn scale_of(values: &[f32]) -> f32 {
    let greatest = values.iter().fold(0.0_f32, |greatest, value| greatest.max(value.abs()));
    greatest.max(f32::MIN_POSITIVE * MAX_CODE) / MAX_CODE
}

fn code(value: f32, scale: f32) -> i32 {
    (value / scale).round().clamp(-MAX_CODE, MAX_CODE) as i32
}

/// A query in eight bits.
#[derive(Debug, Clone)]
pub(crate) struct QueryCode {
    bytes: Vec<Signed>,
    scale: f32,
    /// What the offset of the rows adds to every sum.
    surplus: i32,
}

#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Signed([i8; N_BYTES]);

impl QueryCode {
    pub(crate) fn new(values: &[f32]) -> Self {
        let scale = scale_of(values);
        let encode = |chunk: &[f32]| {
            let mut bytes = [0; N_BYTES];
            for (byte, value) in bytes.iter_mut().zip(chunk) {
                *byte = code(*value, scale) as i8;
            }
            Signed(bytes)
        };
        let bytes: Vec<Signed> = values.chunks(N_BYTES).map(encode).collect();
        let sum: i32 = bytes.iter().flat_map(|bytes| bytes.0).map(i32::from).sum();
        Self { bytes, scale, surplus: OFFSET * sum }
    }

    /// What one step of the query's codes is worth.
    pub(crate) fn scale(&self) -> f32 {
        self.scale
    }
}

/// The instruction set of the machine's eight-bit dot products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CodeKernel(InstructionSet);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InstructionSet {
    Portable,
    #[cfg(target_arch = "aarch64")]
    Neon,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
}

impl CodeKernel {
    /// The widest set that this processor has.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
                return Self(InstructionSet::Avx512Vnni);
            }
            if is_x86_feature_detected!("avx2") {
                return Self(InstructionSet::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            return Self(InstructionSet::Neon);
        }
        Self(InstructionSet::Portable)
    }

    /// Approximate cosines of a query with some rows of `matrix`, `[n_rows][n_bytes]`. Best asked for before, by
    /// [`prefetch`](super::prefetch).
    #[inline]
    pub(crate) fn scores_at(
        self,
        (matrix, scales): (&[Bytes], &[f32]),
        rows: &[u32],
        query: &QueryCode,
        scores: &mut [f32],
    ) {
        let rows = CodedRows { matrix, scales, rows };
        match self.0 {
            InstructionSet::Portable => rows.score(query, scores, dot_portable),
            #[cfg(target_arch = "aarch64")]
            // SAFETY: `detect` is the only maker of this value and has seen that the processor has NEON.
            InstructionSet::Neon => unsafe { score_neon(&rows, query, scores) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `detect` is the only maker of this value and has seen that the processor has AVX2.
            InstructionSet::Avx2 => unsafe { score_avx2(&rows, query, scores) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `detect` is the only maker of this value and has seen that the processor has both sets.
            InstructionSet::Avx512Vnni => unsafe { score_avx512(&rows, query, scores) },
        }
    }
}

/// The rows to score.
struct CodedRows<'a> {
    matrix: &'a [Bytes],
    scales: &'a [f32],
    rows: &'a [u32],
}

impl CodedRows<'_> {
    /// Inlined into each kernel, so that the dot product becomes part of the loop.
    #[inline(always)]
    fn score(&self, query: &QueryCode, scores: &mut [f32], dot: impl Fn(&[Bytes], &[Signed]) -> i32) {
        let n_bytes = query.bytes.len();
        let row = |row: u32| &self.matrix[row as usize * n_bytes..][..n_bytes];
        for (&at, score) in self.rows.iter().zip(scores) {
            // Damaged scales and codes may be anything; wrapping keeps a debug build from panicking on them.
            let sum = dot(row(at), &query.bytes).wrapping_sub(query.surplus);
            *score = sum as f32 * (self.scales[at as usize] * query.scale);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn score_avx2(rows: &CodedRows<'_>, query: &QueryCode, scores: &mut [f32]) {
    rows.score(query, scores, |row, query| dot_avx2(row, query));
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
fn score_avx512(rows: &CodedRows<'_>, query: &QueryCode, scores: &mut [f32]) {
    rows.score(query, scores, |row, query| dot_avx512(row, query));
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
fn score_neon(rows: &CodedRows<'_>, query: &QueryCode, scores: &mut [f32]) {
    // The sum without the offset of the rows; what that would have added is taken away again by `score`.
    rows.score(query, scores, |row, signed| dot_neon(row, signed).wrapping_add(query.surplus));
}

fn dot_portable(row: &[Bytes], query: &[Signed]) -> i32 {
    let products = row.iter().zip(query).map(|(row, query)| {
        let products = row.0.iter().zip(query.0).map(|(a, b)| i32::from(i16::from(*a) * i16::from(b)));
        products.sum::<i32>()
    });
    products.sum()
}

/// Products of signed bytes, sixteen at a time: without its offset a row's code is signed, too. A product fits 16 bits,
/// two are added up in 32.
#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
#[inline]
fn dot_neon(row: &[Bytes], query: &[Signed]) -> i32 {
    let offset = vdupq_n_u8(OFFSET as u8);
    let mut sums = [vdupq_n_s32(0); 4];
    for (row, query) in row.iter().zip(query) {
        for (part, sum) in sums.iter_mut().enumerate() {
            // SAFETY: both are 64 bytes long, and the last part starts at byte 48.
            let (a, b) = unsafe {
                (vld1q_u8(row.0.as_ptr().add(16 * part)), vld1q_s8(query.0.as_ptr().add(16 * part)))
            };
            let a = vreinterpretq_s8_u8(veorq_u8(a, offset));
            *sum = vpadalq_s16(*sum, vmull_s8(vget_low_s8(a), vget_low_s8(b)));
            *sum = vpadalq_s16(*sum, vmull_high_s8(a, b));
        }
    }
    sums.map(|sum| vaddvq_s32(sum)).into_iter().fold(0, i32::wrapping_add)
}

/// Sixteen products at a time: the eight-bit multiply-add of AVX2 would saturate.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
fn dot_avx2(row: &[Bytes], query: &[Signed]) -> i32 {
    let mut sum = _mm256_setzero_si256();
    for (row, query) in row.iter().zip(query) {
        for part in 0..N_BYTES / 16 {
            // SAFETY: both are 64 bytes long, and the last part starts at byte 48.
            let (a, b) = unsafe {
                (
                    _mm_loadu_si128(row.0.as_ptr().add(16 * part).cast()),
                    _mm_loadu_si128(query.0.as_ptr().add(16 * part).cast()),
                )
            };
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_cvtepu8_epi16(a), _mm256_cvtepi8_epi16(b)));
        }
    }
    let four = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
    let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b00_00_11_10>(four));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b00_00_00_01>(two)))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
fn dot_avx512(row: &[Bytes], query: &[Signed]) -> i32 {
    let load = |bytes: *const u8| -> __m512i {
        // SAFETY: it points to 64 bytes at an address divisible by 64.
        unsafe { _mm512_load_si512(bytes.cast()) }
    };
    let mut sum = _mm512_setzero_si512();
    for (row, query) in row.iter().zip(query) {
        sum = _mm512_dpbusd_epi32(sum, load(row.0.as_ptr()), load(query.0.as_ptr().cast()));
    }
    _mm512_reduce_add_epi32(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(dim: usize, seed: usize) -> Vec<f32> {
        let raw: Vec<f32> = (0..dim).map(|i| ((i * 37 + seed * 101 + 11) % 97) as f32 / 97.0 - 0.4).collect();
        let norm = raw.iter().map(|v| v * v).sum::<f32>().sqrt();
        raw.iter().map(|v| v / norm).collect()
    }

    fn kernels() -> Vec<CodeKernel> {
        [CodeKernel(InstructionSet::Portable), CodeKernel::detect()].into_iter().chain(narrower()).collect()
    }

    /// What `detect` passes over where there is something wider.
    fn narrower() -> Option<CodeKernel> {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            return Some(CodeKernel(InstructionSet::Avx2));
        }
        None
    }

    #[test]
    fn scores_are_close_to_cosines_and_the_same_on_every_kernel() {
        for dim in [1, 2, 63, 64, 65, 128, 516] {
            let rows: Vec<Vec<f32>> = (0..40).map(|seed| values(dim, seed)).collect();
            let (mut matrix, mut scales) = (Vec::new(), Vec::new());
            rows.iter().for_each(|row| scales.push(encode_into(&mut matrix, row)));
            assert_eq!(matrix.len(), 40 * n_bytes_of(dim));
            let query = values(dim, 77);
            let numbers: Vec<u32> = (0..40).rev().collect();
            let scores = kernels().into_iter().map(|kernel| {
                let mut scores = vec![0.0; 40];
                kernel.scores_at((&matrix, &scales), &numbers, &QueryCode::new(&query), &mut scores);
                scores
            });
            let scores: Vec<Vec<f32>> = scores.collect();
            assert!(scores.iter().all(|of_kernel| *of_kernel == scores[0]));
            for (&row, score) in numbers.iter().zip(&scores[0]) {
                let cosine: f32 = rows[row as usize].iter().zip(&query).map(|(a, b)| a * b).sum();
                assert!((cosine - score).abs() < 0.01, "{dim}: {cosine} {score}");
            }
        }
    }

    #[test]
    fn the_greatest_products_do_not_overflow_and_zero_has_a_code() {
        let (mut matrix, query) = (Vec::new(), QueryCode::new(&[-1.0; 128]));
        let scales = [encode_into(&mut matrix, &[1.0; 128]), encode_into(&mut matrix, &[0.0; 128])];
        for kernel in kernels() {
            let mut scores = [0.0; 2];
            kernel.scores_at((&matrix, &scales), &[0, 1], &query, &mut scores);
            assert!((scores[0] + 128.0).abs() < 1e-3 && scores[1] == 0.0, "{scores:?}");
        }
    }
}
