//! Products of whole numbers of 16 bits, of which the processor takes twice as many at a time as of those in 32 bits.
//!
//! Each row of the left operand of a layer and each column of its weights has a scale, by which the root of the sum of its squares becomes
//! [`NORM`]. A sum of products is at most the product of the two roots (Cauchy and Schwarz): none leaves the 32 bits that it is kept in,
//! whatever the numbers and however many, and sums are exact.

use std::arch::x86_64::*;

use super::rows::scales_of;
use crate::aligned::Aligned;
use crate::shape::Pair;

/// Rows and columns of one product: their sums are in twelve of sixteen registers.
pub(crate) const ROWS: usize = 6;
pub(crate) const COLUMNS: usize = 16;
/// What a norm becomes. Rounding may add half of the root of the depth to that of a row or a column, which is far from 2^15.5.
pub(crate) const NORM: f32 = 32_700.0;

/// Words of a line of the caches.
const LINE: usize = 32;

/// Sums of one product: 16 columns of each row.
pub(crate) type Sums = [[__m256i; 2]; ROWS];

/// The product of six rows, so many words one behind the other, and a panel of 16 columns, which has pairs of neighbouring words of each
/// side by side.
///
/// # Safety
/// The processor has AVX2; there are so many pairs of words in each.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn product(left: *const i16, stride: usize, right: *const i16, n_pairs: usize) -> Sums {
    let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
    for pair in 0..n_pairs {
        // SAFETY: by the caller.
        unsafe {
            let columns = right.add(pair * 2 * COLUMNS).cast::<__m256i>();
            let columns = [columns.read_unaligned(), columns.add(1).read_unaligned()];
            for (row, sums) in sums.iter_mut().enumerate() {
                let both = left.add(row * stride + 2 * pair).cast::<i32>().read_unaligned();
                let both = _mm256_set1_epi32(both);
                sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(both, columns[0]));
                sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(both, columns[1]));
            }
        }
    }
    sums
}

/// A linear layer, its weights in panels of 16 columns.
pub(crate) struct Layer {
    depth: usize,
    words: Aligned<i16>,
    /// What one of a column's words stands for.
    scales: Vec<f32>,
    bias: Vec<f32>,
}

impl Layer {
    /// Packs matrices side by side, each `[depth, width]` row-major with its own width, a multiple of 16. The depth is even.
    pub(crate) fn new(depth: usize, parts: &[Pair<'_>]) -> Self {
        let bias: Vec<f32> = parts.iter().flat_map(|(_, bias)| bias.iter().copied()).collect();
        let mut words = Aligned::zeros(depth * bias.len());
        let mut scales = Vec::with_capacity(bias.len());
        for (values, part_bias) in parts {
            let (first, n_columns) = (scales.len(), part_bias.len());
            let mut squares = vec![0.0; n_columns];
            for row in values.chunks_exact(n_columns) {
                squares.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value).powi(2));
            }
            let both: Vec<(f32, f32)> = squares.iter().map(|sum| scales_of(sum.sqrt() as f32)).collect();
            for (row, values) in values.chunks_exact(n_columns).enumerate() {
                for (column, (value, (factor, _))) in values.iter().zip(&both).enumerate() {
                    // A cast takes what is no number for zero; the scale tells of it, as it does of numbers without end.
                    words[place(depth, row, first + column)] = (value * factor).round_ties_even() as i16;
                }
            }
            scales.extend(both.iter().map(|(_, scale)| scale));
        }
        Self { depth, words, scales, bias }
    }
}

/// Of a weight's word.
fn place(depth: usize, row: usize, column: usize) -> usize {
    (column / COLUMNS * depth / 2 + row / 2) * 2 * COLUMNS + column % COLUMNS * 2 + row % 2
}

/// The left operand of a layer, row by row.
#[derive(Default)]
pub(crate) struct Rows {
    depth: usize,
    words: Aligned<i16>,
    /// What one of a row's words stands for.
    scales: Aligned<f32>,
}

impl Rows {
    /// Makes room for so many rows.
    pub(crate) fn make_room(&mut self, n_rows: usize, depth: usize) {
        self.depth = depth;
        self.words.at_least(n_rows.next_multiple_of(ROWS) * depth);
        self.scales.at_least(n_rows);
    }

    /// Takes in a row's numbers.
    ///
    /// # Safety
    /// The processor has AVX2; there is room for the row, whose numbers are as many as the depth.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(crate) unsafe fn set(&mut self, row: usize, values: *const f32) {
        // SAFETY: by the caller.
        unsafe {
            let words = self.words.as_mut_ptr().add(row * self.depth);
            *self.scales.as_mut_ptr().add(row) = super::rows::to_words(values, self.depth, words);
        }
    }
}

/// `rows x layer + bias`, handed out 16 numbers of one row at a time: row, first column, sums. Rows go through one panel of weights after
/// the other, which stays in the first cache meanwhile, while lines of the next are sent for.
///
/// # Safety
/// The processor has AVX2; so many rows are set, of the layer's depth.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn multiply(
    rows: &Rows,
    n_rows: usize,
    layer: &Layer,
    mut take: impl FnMut(usize, usize, [__m256; 2]),
) {
    let depth = layer.depth;
    for column in (0..layer.bias.len()).step_by(COLUMNS) {
        // SAFETY: by the caller; there are as many scales and biases as columns.
        unsafe {
            let panel = layer.words.as_ptr().add(column * depth);
            let of_columns = |of: &[f32]| {
                let at = of.as_ptr().add(column);
                [_mm256_loadu_ps(at), _mm256_loadu_ps(at.add(8))]
            };
            let (scales, bias) = (of_columns(&layer.scales), of_columns(&layer.bias));
            let (n_products, n_lines) = (n_rows.div_ceil(ROWS), COLUMNS * depth / LINE);
            for first in (0..n_rows).step_by(ROWS) {
                let number = first / ROWS;
                for line in n_lines * number / n_products..n_lines * (number + 1) / n_products {
                    // An address that is only sent for may be any.
                    let next = panel.wrapping_add(COLUMNS * depth + line * LINE);
                    _mm_prefetch::<_MM_HINT_T0>(next.cast());
                }
                let sums = product(rows.words.as_ptr().add(first * depth), depth, panel, depth / 2);
                for (row, sums) in (first..n_rows).zip(&sums) {
                    let scale = _mm256_set1_ps(*rows.scales.as_ptr().add(row));
                    let stands_for = |half: usize| {
                        let scale = _mm256_mul_ps(scale, scales[half]);
                        _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[half]), scale, bias[half])
                    };
                    take(row, column, [stands_for(0), stands_for(1)]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    #[test]
    fn every_weight_has_a_place_of_its_own() {
        let mut places: Vec<usize> =
            (0..64).flat_map(|row| (0..48).map(move |column| place(64, row, column))).collect();
        places.sort_unstable();
        assert_eq!(places, (0..64 * 48).collect::<Vec<_>>());
        // Rows 2 and 3 of column 17 are side by side.
        assert_eq!(place(64, 3, 17), place(64, 2, 17) + 1);
    }

    /// Rows that are as their columns have the greatest sums that there can be.
    #[test]
    fn no_sum_leaves_its_bits() {
        if Isa::avx2().is_none() {
            eprintln!("NOT RUN: this processor has no AVX2");
            return;
        }
        const DEPTH: usize = 512;
        let even = [0.7_f32; DEPTH];
        let mut one = [1e-3_f32; DEPTH];
        one[100] = 1e6;
        let wild: Vec<f32> =
            (0..DEPTH).map(|at| (at as f32 * 0.61).sin() * 10_f32.powi(at as i32 % 7)).collect();
        for values in [&even[..], &one, &wild] {
            let weights: Vec<f32> = values.iter().flat_map(|value| [*value; COLUMNS]).collect();
            let layer = Layer::new(DEPTH, &[(&weights, &[0.5; COLUMNS])]);
            let mut rows = Rows::default();
            rows.make_room(7, DEPTH);
            let negative: Vec<f32> = values.iter().map(|value| -value).collect();
            let mut found = vec![[f32::NAN; COLUMNS]; 7];
            // SAFETY: the instructions are there, and so is the room.
            unsafe {
                for row in 0..7 {
                    rows.set(row, if row == 6 { negative.as_ptr() } else { values.as_ptr() });
                }
                multiply(&rows, 7, &layer, |row, column, sums| {
                    assert_eq!(column, 0);
                    _mm256_storeu_ps(found[row].as_mut_ptr(), sums[0]);
                    _mm256_storeu_ps(found[row].as_mut_ptr().add(8), sums[1]);
                });
            }
            let squares: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
            for (row, found) in found.iter().enumerate() {
                let expected = 0.5 + if row == 6 { -squares } else { squares };
                for found in found {
                    assert!((f64::from(*found) - expected).abs() < 7e-4 * squares, "{found}, not {expected}");
                }
            }
        }
    }

    #[test]
    fn nothing_is_nothing_and_what_is_no_number_is_told() {
        assert_eq!(scales_of(0.0), (0.0, 0.0));
        assert!(scales_of(f32::NAN).1.is_nan() && scales_of(f32::INFINITY).1.is_infinite());
        let zeros = Layer::new(32, &[(&[0.0; 32 * COLUMNS], &[0.0; COLUMNS])]);
        assert!(zeros.words.iter().all(|word| *word == 0) && zeros.scales == [0.0; COLUMNS]);
    }
}
