//! Dot products: the inner loop of every search.
//!
//! Vectors are kept as runs of [`Lanes`]: sixteen components, one cache line, zero padded at the end. A
//! kernel always adds in the same order, so a pair has one cosine on a given machine whether it is scored
//! alone, in a batch, by the exact scan or by the graph walk. The loops are written with the processor's own
//! instructions because the compiler does not keep their running sums in registers (measured: 7 times slower).

pub(crate) mod codes;

#[cfg(target_arch = "aarch64")]
use std::arch::aarch64::{vaddq_f32, vaddvq_f32, vdupq_n_f32, vfmaq_f32, vld1q_f32};
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m256, _MM_HINT_T0, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_movehdup_ps, _mm_movehl_ps, _mm_prefetch,
    _mm256_add_ps, _mm256_castpd_ps, _mm256_castps256_ps128, _mm256_extractf128_ps, _mm256_fmadd_ps,
    _mm256_load_ps, _mm256_setzero_ps, _mm512_add_ps, _mm512_castpd512_pd256, _mm512_castps_pd,
    _mm512_extractf64x4_pd, _mm512_fmadd_ps, _mm512_load_ps, _mm512_setzero_ps,
};

/// Components of one [`Lanes`].
pub(crate) const N_LANES: usize = 16;

/// Cache lines of a row asked for ahead of its turn.
const N_PREFETCH_LINES: usize = 8;

/// Rows scored together by [`Kernel::cosines_at`].
const TILE: usize = 4;
/// Sixteen components on their own cache line.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(64))]
pub(crate) struct Lanes(pub(crate) [f32; N_LANES]);

/// How many [`Lanes`] hold `dim` components.
pub(crate) fn n_lanes_of(dim: usize) -> usize {
    dim.div_ceil(N_LANES)
}

/// Appends `values` to `to`, zero padded to whole lanes.
pub(crate) fn pack_into(to: &mut Vec<Lanes>, values: &[f32]) {
    to.extend(values.chunks(N_LANES).map(|chunk| {
        let mut lanes = [0.0; N_LANES];
        lanes[..chunk.len()].copy_from_slice(chunk);
        Lanes(lanes)
    }));
}

/// `values` as lanes, zero padded.
pub(crate) fn pack(values: &[f32]) -> Vec<Lanes> {
    let mut lanes = Vec::with_capacity(n_lanes_of(values.len()));
    pack_into(&mut lanes, values);
    lanes
}

/// Asks for what will be read soon: one cache line for each [`Lanes`] or whatever else `values` is cut into.
/// The processor's own prefetcher follows with the rest of a long row.
#[inline]
pub(crate) fn prefetch<T>(values: &[T]) {
    let start = values.as_ptr().addr();
    let first = start / size_of::<Lanes>() * size_of::<Lanes>();
    for line in (first..start + size_of_val(values)).step_by(size_of::<Lanes>()).take(N_PREFETCH_LINES) {
        prefetch_line(values.as_ptr().cast::<i8>().with_addr(line));
    }
}

#[inline]
fn prefetch_line(address: *const i8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch only hints, whatever the address; SSE is part of x86-64.
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(address);
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above; the compiler's own function for it is not stable.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

/// The instruction set that this machine's dot products use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kernel(InstructionSet);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InstructionSet {
    Portable,
    #[cfg(target_arch = "aarch64")]
    Neon,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Kernel {
    /// The widest set that this processor has.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                return Self(InstructionSet::Avx512);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self(InstructionSet::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            return Self(InstructionSet::Neon);
        }
        Self(InstructionSet::Portable)
    }

    /// Cosine of two unit vectors of the same width, in -1..=1.
    #[inline]
    pub(crate) fn cosine(self, row: &[Lanes], query: &[Lanes]) -> f32 {
        self.cosines(row, [query])[0]
    }

    /// Cosines of one row with `Q` queries, each the same as [`Kernel::cosine`] gives to the last bit.
    #[inline]
    pub(crate) fn cosines<const Q: usize>(self, row: &[Lanes], queries: [&[Lanes]; Q]) -> [f32; Q] {
        // Widths are equal (callers check the dimension); the shorter one decides so that no input can panic.
        let n_lanes = queries.iter().fold(row.len(), |n, query| n.min(query.len()));
        let (row, queries) = (&row[..n_lanes], queries.map(|query| &query[..n_lanes]));
        let dots = match self.0 {
            InstructionSet::Portable => queries.map(|query| dot_portable(row, query)),
            #[cfg(target_arch = "aarch64")]
            // SAFETY: `detect` is the only maker of this value and has seen that the processor has NEON.
            InstructionSet::Neon => unsafe { dots_neon(row, queries) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `detect` is the only maker of this value and has seen that the processor has AVX2 and FMA.
            InstructionSet::Avx2 => queries.map(|query| unsafe { dot_avx2(row, query) }),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `detect` is the only maker of this value and has seen that the processor has AVX-512F.
            InstructionSet::Avx512 => unsafe { dots_avx512(row, queries) },
        };
        dots.map(|dot| dot.clamp(-1.0, 1.0))
    }

    /// Cosines of one query with some rows of `matrix`, `[n_rows][n_lanes]`, each the same as [`Kernel::cosine`]
    /// gives to the last bit. Best asked for before, by [`prefetch`].
    #[inline]
    pub(crate) fn cosines_at(self, matrix: &[Lanes], rows: &[u32], query: &[Lanes], cosines: &mut [f32]) {
        let row = |row: u32| &matrix[row as usize * query.len()..][..query.len()];
        for (tile, cosines) in rows.chunks(TILE).zip(cosines.chunks_mut(TILE)) {
            match *tile {
                [a, b, c, d] => {
                    cosines.copy_from_slice(&self.cosines(query, [row(a), row(b), row(c), row(d)]));
                }
                _ => {
                    for (cosine, &at) in cosines.iter_mut().zip(tile) {
                        *cosine = self.cosine(row(at), query);
                    }
                }
            }
        }
    }
}

/// Sixteen sums that the compiler keeps in whatever registers the target has.
fn dot_portable(row: &[Lanes], query: &[Lanes]) -> f32 {
    let mut sums = [0.0_f32; N_LANES];
    for (a, b) in row.iter().zip(query) {
        for ((sum, a), b) in sums.iter_mut().zip(a.0).zip(b.0) {
            *sum += a * b;
        }
    }
    let eight: [f32; 8] = std::array::from_fn(|i| sums[i] + sums[i + 8]);
    let four: [f32; 4] = std::array::from_fn(|i| eight[i] + eight[i + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}

/// Four sums of four a query, which hides the latency of the multiply-add; a register with part of the row serves all
/// queries.
#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
fn dots_neon<const Q: usize>(row: &[Lanes], queries: [&[Lanes]; Q]) -> [f32; Q] {
    // Says once more what the caller has done, so that the loop needs no bounds checks.
    let queries = queries.map(|query| &query[..row.len()]);
    // SAFETY: `Lanes` is 16 floats, and the last part starts at the twelfth.
    let load = |lanes: &Lanes, part: usize| unsafe { vld1q_f32(lanes.0.as_ptr().add(4 * part)) };
    let mut sums = [[vdupq_n_f32(0.0); 4]; Q];
    for (i, lanes) in row.iter().enumerate() {
        for part in 0..4 {
            let a = load(lanes, part);
            for q in 0..Q {
                sums[q][part] = vfmaq_f32(sums[q][part], a, load(&queries[q][i], part));
            }
        }
    }
    sums.map(|[a, b, c, d]| vaddvq_f32(vaddq_f32(vaddq_f32(a, b), vaddq_f32(c, d))))
}

/// Four sums of eight, which hides the latency of the multiply-add.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn dot_avx2(row: &[Lanes], query: &[Lanes]) -> f32 {
    let mut sums = [_mm256_setzero_ps(); 4];
    for (i, (a, b)) in row.iter().zip(query).enumerate() {
        for half in 0..2 {
            // SAFETY: `Lanes` is 16 floats at an address divisible by 64, so both halves can be read, aligned.
            let (a, b) = unsafe {
                (_mm256_load_ps(a.0.as_ptr().add(8 * half)), _mm256_load_ps(b.0.as_ptr().add(8 * half)))
            };
            let sum = &mut sums[2 * (i % 2) + half];
            *sum = _mm256_fmadd_ps(a, b, *sum);
        }
    }
    sum_of_eight(_mm256_add_ps(_mm256_add_ps(sums[0], sums[2]), _mm256_add_ps(sums[1], sums[3])))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_of_eight(eight: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

/// Two sums of sixteen a query; a register with part of the row serves all queries.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn dots_avx512<const Q: usize>(row: &[Lanes], queries: [&[Lanes]; Q]) -> [f32; Q] {
    // Says once more what the caller has done, so that the loop needs no bounds checks.
    let queries = queries.map(|query| &query[..row.len()]);
    let mut even = [_mm512_setzero_ps(); Q];
    let mut odd = [_mm512_setzero_ps(); Q];
    let load = |lanes: &Lanes| {
        // SAFETY: `Lanes` is 16 floats at an address divisible by 64.
        unsafe { _mm512_load_ps(lanes.0.as_ptr()) }
    };
    let mut i = 0;
    while i + 1 < row.len() {
        let (a, b) = (load(&row[i]), load(&row[i + 1]));
        for q in 0..Q {
            even[q] = _mm512_fmadd_ps(a, load(&queries[q][i]), even[q]);
            odd[q] = _mm512_fmadd_ps(b, load(&queries[q][i + 1]), odd[q]);
        }
        i += 2;
    }
    if i < row.len() {
        let a = load(&row[i]);
        for q in 0..Q {
            even[q] = _mm512_fmadd_ps(a, load(&queries[q][i]), even[q]);
        }
    }
    // Not `_mm512_reduce_add_ps`, which may add in an order of the compiler's choice.
    std::array::from_fn(|q| {
        let sixteen = _mm512_castps_pd(_mm512_add_ps(even[q], odd[q]));
        let upper = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(sixteen));
        sum_of_eight(_mm256_add_ps(_mm256_castpd_ps(_mm512_castpd512_pd256(sixteen)), upper))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernels() -> Vec<Kernel> {
        [Kernel(InstructionSet::Portable), Kernel::detect()].into_iter().chain(narrower()).collect()
    }

    /// What `detect` passes over where there is something wider.
    fn narrower() -> Option<Kernel> {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Some(Kernel(InstructionSet::Avx2));
        }
        None
    }

    fn values(dim: usize, seed: usize) -> Vec<f32> {
        let raw: Vec<f32> =
            (0..dim).map(|i| ((i * 37 + seed * 101 + 11) % 97) as f32 / 97.0 - 0.5 + 1e-3).collect();
        let norm = raw.iter().map(|v| v * v).sum::<f32>().sqrt();
        raw.iter().map(|v| v / norm).collect()
    }

    #[test]
    fn every_kernel_agrees_with_a_sum_in_double_precision() {
        for dim in [1, 2, 15, 16, 17, 31, 32, 33, 48, 100, 128, 320, 1281] {
            let (a, b) = (values(dim, 1), values(dim, 2));
            let expected: f64 = a.iter().zip(&b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
            for kernel in kernels() {
                let found = kernel.cosine(&pack(&a), &pack(&b));
                assert!((f64::from(found) - expected).abs() < 1e-6, "{kernel:?} {dim}: {found} {expected}");
            }
        }
    }

    #[test]
    fn alone_and_tiled_agree_to_the_last_bit() {
        for dim in [7, 16, 40, 128, 333] {
            let row = pack(&values(dim, 9));
            let queries: Vec<_> = (0..4).map(|seed| pack(&values(dim, seed))).collect();
            for kernel in kernels() {
                let tiled = kernel.cosines::<4>(&row, std::array::from_fn(|i| queries[i].as_slice()));
                for (query, tiled) in queries.iter().zip(tiled) {
                    assert_eq!(kernel.cosine(&row, query).to_bits(), tiled.to_bits());
                }
            }
        }
    }

    #[test]
    fn a_norm_just_above_one_stays_a_cosine() {
        let mut long = vec![0.0; 16];
        long[0] = 1.000_000_2_f32;
        let lanes = pack(&long);
        for kernel in kernels() {
            assert_eq!(kernel.cosine(&lanes, &lanes), 1.0);
        }
    }
}
