//! Element-wise steps in loops that the compiler turns into the widest vectors of the processor they run on.

/// Lanes of a sum; a fixed number, so that a sum is the same on every processor.
const LANES: usize = 16;
/// Adding and taking off this number rounds to a whole one: 1.5 * 2^23.
const ROUNDER: f32 = 12_582_912.0;
/// Below this, `exp` stays where it is: the smallest normal numbers.
const LOWEST: f32 = -87.0;

/// Runs loops compiled for the widest vectors of this processor.
pub(super) fn widest<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// `e^x` for `x` up to 88, with a relative error below 3e-7; below -87 as at -87.
///
/// Source: range reduction and polynomial of Moshier's Cephes library, `expf`.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    let x = x.max(LOWEST);
    let shifted = x * std::f32::consts::LOG2_E + ROUNDER;
    let whole = shifted - ROUNDER;
    let rest = x - whole * 0.693_359_4 + whole * 2.121_944_4e-4;
    let mut sum = 1.987_569_1e-4_f32;
    for term in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        sum = sum * rest + term;
    }
    let power = shifted.to_bits().wrapping_sub(ROUNDER.to_bits()).wrapping_add(127) << 23;
    (sum * rest * rest + rest + 1.0) * f32::from_bits(power)
}

/// Sum over all positions, in lanes.
#[inline(always)]
pub(super) fn sum(n: usize, of: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let whole = n - n % LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, value) in lanes.iter_mut().enumerate() {
            *value += of(start + lane);
        }
    }
    lanes.iter().sum::<f32>() + (whole..n).map(of).sum::<f32>()
}

/// Exact GELU and its derivative, with an absolute error below 1e-6.
///
/// Source of the error function: Abramowitz and Stegun, "Handbook of mathematical functions", 7.1.26.
#[inline(always)]
pub(super) fn gelu(x: f32) -> (f32, f32) {
    let bell = exp(-0.5 * x * x);
    let t = 1.0 / (1.0 + 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2 * x.abs());
    let mut sum = 1.061_405_4_f32;
    for term in [-1.453_152_1, 1.421_413_8, -0.284_496_72, 0.254_829_6] {
        sum = sum * t + term;
    }
    let tail = 0.5 * sum * t * bell;
    let below = if x < 0.0 { tail } else { 1.0 - tail };
    // The density of the normal distribution: bell / sqrt(2 pi).
    (x * below, below + x * bell * 0.398_942_3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_exact_to_single_precision() {
        for step in -8_700..=8_800 {
            let x = step as f32 / 100.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 3e-7, "{x}");
        }
        assert!(exp(-1e9) > 0.0 && exp(f32::NEG_INFINITY) > 0.0);
    }

    #[test]
    fn gelu_and_its_slope_are_those_of_the_definition() {
        // x, x * Phi(x), Phi(x) + x * phi(x): by a table of the normal distribution.
        for (x, value, slope) in [
            (0.0, 0.0, 0.5),
            (1.0, 0.841_344_8, 1.083_315_5),
            (-1.0, -0.158_655_25, -0.083_315_47),
            (3.0, 2.995_950_3, 1.011_945_6),
            (-9.0, 0.0, 0.0),
        ] {
            let (found, derivative) = gelu(x);
            assert!((found - value).abs() < 1e-6, "{x}: {found}");
            assert!((derivative - slope).abs() < 1e-6, "{x}: {derivative}");
        }
    }

    #[test]
    fn sums_take_every_value_once() {
        for n in [0, 1, 15, 16, 17, 100] {
            assert_eq!(widest(|| sum(n, |i| i as f32)), (0..n).sum::<usize>() as f32);
        }
    }
}
