//! What is done to rows between the products, in 32 bits.

use super::product::NORM;
use super::vectors::Vectors;
use crate::polynomials::{FINE_NORMAL, FINE_NORMAL_LIMIT};

/// What numbers of a norm (of any kind) are multiplied by to become words, and what a word stands for. Nothing but zeros has a scale of
/// zero; what is no number, or without end, has a scale that is no number, or without end.
pub(crate) fn scales_of(norm: f32) -> (f32, f32) {
    if norm == 0.0 { (0.0, 0.0) } else { (NORM / norm, norm / NORM) }
}

/// Writes `n` numbers, a multiple of two registers, as words, and returns what a word stands for.
///
/// # Safety
/// The processor has the instructions; there are so many numbers, and there is room for so many words.
#[inline(always)]
pub(crate) unsafe fn to_words<V: Vectors>(values: *const f32, n: usize, words: *mut i16) -> f32 {
    // SAFETY: by the caller.
    unsafe {
        let mut squares = [V::splat(0.0); 2];
        for at in (0..n).step_by(2 * V::LANES) {
            for (half, squares) in squares.iter_mut().enumerate() {
                let some = V::load(values.add(at + half * V::LANES));
                *squares = V::multiply_add(some, some, *squares);
            }
        }
        let (factor, scale) = scales_of(V::sum(V::add(squares[0], squares[1])).sqrt());
        let factor = V::splat(factor);
        for at in (0..n).step_by(2 * V::LANES) {
            let both = [V::load(values.add(at)), V::load(values.add(at + V::LANES))];
            V::store_words(words.add(at), V::in_order(V::to_words(both, factor)));
        }
        scale
    }
}

/// Normalizes a row into `out`, which may be the row. `dim` is a multiple of a register's numbers.
///
/// # Safety
/// The processor has the instructions; all hold `dim` numbers.
#[inline(always)]
pub(crate) unsafe fn normalize<V: Vectors>(
    row: *const f32,
    dim: usize,
    (scale, shift): (*const f32, *const f32),
    epsilon: f32,
    out: *mut f32,
) {
    // SAFETY: by the caller.
    unsafe {
        let mut sum = V::splat(0.0);
        for at in (0..dim).step_by(V::LANES) {
            sum = V::add(sum, V::load(row.add(at)));
        }
        let mean = V::splat(V::sum(sum) / dim as f32);
        let mut squares = V::splat(0.0);
        for at in (0..dim).step_by(V::LANES) {
            let centered = V::subtract(V::load(row.add(at)), mean);
            squares = V::multiply_add(centered, centered, squares);
        }
        let variance = V::sum(squares) / dim as f32;
        let factor = V::splat((variance + epsilon).sqrt().recip());
        for at in (0..dim).step_by(V::LANES) {
            let centered = V::subtract(V::load(row.add(at)), mean);
            let scaled = V::multiply(V::multiply(centered, factor), V::load(scale.add(at)));
            V::store(out.add(at), V::add(scaled, V::load(shift.add(at))));
        }
    }
}

/// What is added to a number for its nearest whole number to be its lowest bits.
pub(crate) const WHOLE: f32 = 12_582_912.0;
/// The quartic that is relatively nearest to `2^x` in [-0.5, 0.5], within 3e-6; the lowest power first.
const QUARTIC: [f32; 5] = [0.999_999_3, 0.693_121_8, 0.240_247_44, 0.055_917_86, 9.570_102e-3];

/// `2^(x * scale - less)` within 3e-6 of it, for a whole number `less`, of which `shift` is [`WHOLE`] less; where the exponent is below
/// -126 it is next to nothing. It is any number where it would be above 127.
///
/// # Safety
/// The processor has the instructions.
#[inline(always)]
pub(crate) unsafe fn power<V: Vectors>(x: V::Floats, scale: V::Floats, shift: V::Floats) -> V::Floats {
    // SAFETY: by the caller.
    unsafe {
        let whole = V::multiply_add(x, scale, shift);
        let part = V::multiply_subtract(x, scale, V::subtract(whole, shift));
        let mut power = V::splat(QUARTIC[4]);
        for term in QUARTIC[..4].iter().rev() {
            power = V::multiply_add(power, part, V::splat(*term));
        }
        V::raise(power, V::greatest(whole, V::splat(WHOLE - 126.0)))
    }
}

/// `x / 2 * (1 + erf(x / sqrt 2))` within 2e-6.
///
/// # Safety
/// The processor has the instructions.
#[inline(always)]
pub(crate) unsafe fn gelu<V: Vectors>(x: V::Floats) -> V::Floats {
    // SAFETY: by the caller.
    unsafe {
        let inside = V::greatest(V::least(x, V::splat(FINE_NORMAL_LIMIT)), V::splat(-FINE_NORMAL_LIMIT));
        let whole = V::splat(2.0 / (FINE_NORMAL_LIMIT * FINE_NORMAL_LIMIT));
        let at = V::multiply_subtract(V::multiply(inside, inside), whole, V::splat(1.0));
        let mut series = V::splat(FINE_NORMAL[0]);
        for term in &FINE_NORMAL[1..] {
            series = V::multiply_add(series, at, V::splat(*term));
        }
        V::multiply(x, V::multiply_add(series, inside, V::splat(0.5)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::vectors::{Avx2, Avx512};
    use super::*;
    use crate::polynomials::tests::{check_gelu, check_power};

    #[test]
    fn functions_are_within_what_they_promise() {
        // SAFETY: the instructions are there.
        crate::isa::tests::on_each(|| unsafe { check::<Avx2>() }, || unsafe { check::<Avx512>() });
    }

    unsafe fn check<V: Vectors>() {
        let each = |values: &[f32], function: &dyn Fn(V::Floats) -> V::Floats| -> Vec<f32> {
            let mut found = vec![f32::NAN; values.len()];
            for (from, to) in values.chunks_exact(V::LANES).zip(found.chunks_exact_mut(V::LANES)) {
                // SAFETY: by the caller; a chunk is a register's numbers.
                unsafe { V::store(to.as_mut_ptr(), function(V::load(from.as_ptr()))) };
            }
            found.truncate(values.len() / V::LANES * V::LANES);
            found
        };
        // SAFETY: by the caller.
        check_gelu(|values| each(values, &|values| unsafe { gelu::<V>(values) }), 2e-6);
        let power_of = |values: &[f32], less: f32| {
            let doubled: Vec<f32> = values.iter().map(|value| (value + less) * 2.0).collect();
            // SAFETY: by the caller.
            each(&doubled, &|values| unsafe { power::<V>(values, V::splat(0.5), V::splat(WHOLE - less)) })
        };
        check_power(|values| power_of(values, 0.0), 3e-6);
        check_power(|values| power_of(values, 3.0), 1e-5);
        assert!(power_of(&[-400.0; 16], 0.0).iter().all(|power| *power < 1e-30));
    }
}
