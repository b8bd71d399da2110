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
