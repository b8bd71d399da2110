//! Dot products: the inner loop of every search.
//!
//! Vectors are kept as runs of [`Lanes`]: sixteen components, one cache line, zero padded at the end. All
//! kernels add in the same order (32 running sums, then a fixed tree), so a pair has one cosine on a given
//! machine whether it is scored alone, in a batch, by the exact scan or by the graph walk.

/// Components of one [`Lanes`].
pub(crate) const N_LANES: usize = 16;

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

/// The instruction set that this machine's dot products use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kernel(InstructionSet);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InstructionSet {
    Portable,
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
        let dots = match self.0 {
            InstructionSet::Portable => dots_portable(row, queries),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `detect` is the only maker of this value and has seen that the processor has AVX2 and FMA.
            InstructionSet::Avx2 => unsafe { dots_avx2(row, queries) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `detect` is the only maker of this value and has seen that the processor has AVX-512F.
            InstructionSet::Avx512 => unsafe { dots_avx512(row, queries) },
        };
        dots.map(|dot| dot.clamp(-1.0, 1.0))
    }
}

fn dots_portable<const Q: usize>(row: &[Lanes], queries: [&[Lanes]; Q]) -> [f32; Q] {
    // On aarch64 a fused multiply-add is one instruction; on old x86 it would be a library call.
    dots::<Q, { cfg!(any(target_arch = "aarch64", target_feature = "fma")) }>(row, queries)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn dots_avx2<const Q: usize>(row: &[Lanes], queries: [&[Lanes]; Q]) -> [f32; Q] {
    dots::<Q, true>(row, queries)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn dots_avx512<const Q: usize>(row: &[Lanes], queries: [&[Lanes]; Q]) -> [f32; Q] {
    dots::<Q, true>(row, queries)
}

/// The one loop behind all kernels; each caller compiles it for its instruction set.
#[inline(always)]
fn dots<const Q: usize, const FMA: bool>(row: &[Lanes], queries: [&[Lanes]; Q]) -> [f32; Q] {
    // Widths are equal (callers check the dimension); the shorter one decides so that no input can panic.
    let n_lanes = queries.iter().fold(row.len(), |n, query| n.min(query.len()));
    let row = &row[..n_lanes];
    let queries = queries.map(|query| &query[..n_lanes]);
    let mut even = [[0.0_f32; N_LANES]; Q];
    let mut odd = [[0.0_f32; N_LANES]; Q];
    let mut i = 0;
    while i + 1 < n_lanes {
        for q in 0..Q {
            accumulate::<FMA>(&mut even[q], &row[i], &queries[q][i]);
            accumulate::<FMA>(&mut odd[q], &row[i + 1], &queries[q][i + 1]);
        }
        i += 2;
    }
    if i < n_lanes {
        for q in 0..Q {
            accumulate::<FMA>(&mut even[q], &row[i], &queries[q][i]);
        }
    }
    std::array::from_fn(|q| sum_pairwise(&even[q], &odd[q]))
}

#[inline(always)]
fn accumulate<const FMA: bool>(sums: &mut [f32; N_LANES], a: &Lanes, b: &Lanes) {
    for ((sum, &a), &b) in sums.iter_mut().zip(&a.0).zip(&b.0) {
        *sum = if FMA { a.mul_add(b, *sum) } else { a * b + *sum };
    }
}

#[inline(always)]
fn sum_pairwise(even: &[f32; N_LANES], odd: &[f32; N_LANES]) -> f32 {
    let sixteen: [f32; 16] = std::array::from_fn(|i| even[i] + odd[i]);
    let eight: [f32; 8] = std::array::from_fn(|i| sixteen[i] + sixteen[i + 8]);
    let four: [f32; 4] = std::array::from_fn(|i| eight[i] + eight[i + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernels() -> Vec<Kernel> {
        let mut all = vec![Kernel(InstructionSet::Portable), Kernel::detect()];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            all.push(Kernel(InstructionSet::Avx2));
        }
        all
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
