//! Polynomials that stand for powers and for the normal distribution.

/// 1 / ln 2.
pub(crate) const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// The cubic that is relatively nearest to `2^x` in [0, 1].
pub(crate) const CUBIC: [f32; 4] = [0.999_925_2, 0.695_833_5, 0.226_067_17, 0.078_024_52];
/// Where the normal distribution is taken to end.
pub(crate) const NORMAL_LIMIT: f32 = 4.4;
/// Of the share of the normal distribution below `x`, less a half and divided by `x`: the polynomial in the square of `x`, highest power
/// first, that brings `x` times the share nearest within the limit and is right at it.
pub(crate) const NORMAL: [f32; 9] = [
    3.569_434_3e-11,
    -3.754_05e-9,
    1.740_847_8e-7,
    -4.724_869e-6,
    8.429_302e-5,
    -1.054_992_6e-3,
    9.643_028e-3,
    -6.607_643e-2,
    0.398_761_6,
];

/// Where the normal distribution is taken to end where numbers have 16 bits.
pub(crate) const FINE_NORMAL_LIMIT: f32 = 5.2;
/// As [`NORMAL`], but within 7e-7, and a polynomial in the square of `x` as it goes from -1 (at 0) to 1 (at the limit).
pub(crate) const FINE_NORMAL: [f32; 13] = [
    8.589_993e-4,
    -2.504_003_7e-3,
    2.853_165_8e-3,
    -3.505_114e-3,
    7.558_109e-3,
    -1.310_378_2e-2,
    1.838_710_7e-2,
    -2.459_326_6e-2,
    3.190_726e-2,
    -3.994_132e-2,
    5.003_017e-2,
    -6.774_34e-2,
    0.135_949_94,
];
/// The polynomial of fifth degree that is relatively nearest to `2^x` in [0, 1], within 8e-8; the lowest power first.
pub(crate) const QUINTIC: [f32; 6] =
    [0.999_999_94, 0.693_153_1, 0.240_153_61, 5.582_632e-2, 8.989_341e-3, 1.877_576_7e-3];

#[cfg(test)]
pub(crate) mod tests {
    /// The function of one number, by series and continued fraction in 64 bits.
    fn erf(x: f64) -> f64 {
        let mut sum = 0.0;
        let mut term = x;
        for n in 0..200 {
            sum += term / f64::from(2 * n + 1);
            term *= -x * x / f64::from(n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    pub(crate) fn check_gelu(gelu: impl Fn(&[f32]) -> Vec<f32>, within: f64) {
        let values: Vec<f32> = (-704..704).map(|at| at as f32 / 128.0).collect();
        for (x, found) in values.iter().zip(gelu(&values)) {
            let expected = f64::from(*x) / 2.0 * (1.0 + erf(f64::from(*x) / 2.0_f64.sqrt()));
            assert!((f64::from(found) - expected).abs() < within, "gelu({x}) is {found}, not {expected}");
        }
        // Far out it is zero, or the number itself.
        let far: Vec<f32> = values.iter().map(|x| x * 20.0).collect();
        for (x, found) in far.iter().zip(gelu(&far)) {
            assert!((found - x.max(0.0)).abs() < 1e-4 || x.abs() < 5.5, "gelu({x}) is {found}");
        }
    }

    pub(crate) fn check_power(power: impl Fn(&[f32]) -> Vec<f32>, within: f64) {
        let exponents: Vec<f32> = (-1600..1600).map(|at| at as f32 / 15.0).collect();
        for (x, found) in exponents.iter().zip(power(&exponents)) {
            let expected = f64::from(*x).exp2();
            assert!((f64::from(found) - expected).abs() <= within * expected, "2^{x} is {found}");
        }
    }
}
