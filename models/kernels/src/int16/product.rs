//! Products of whole numbers of 16 bits, of which the processor takes twice as many at a time as of those in 32 bits.
//!
//! Each row of the left operand of a layer and each column of its weights has a scale, by which the root of the sum of its squares becomes
//! [`NORM`]. A sum of products is at most the product of the two roots (Cauchy and Schwarz): none leaves the 32 bits that it is kept in,
//! whatever the numbers and however many, and sums are exact.

use std::arch::x86_64::*;

use super::rows::{scales_of, to_words};
use super::vectors::Vectors;
use crate::aligned::Aligned;
use crate::shape::Pair;

/// What a norm becomes. Rounding may add half of the root of the depth to that of a row or a column, which is far from 2^15.5.
pub(crate) const NORM: f32 = 32_700.0;

/// Words of a line of the caches.
const LINE: usize = 32;

/// Where the right operand of a product lies: pairs of neighbouring words of each column side by side.
#[derive(Clone, Copy)]
pub(crate) struct Columns {
    pub(crate) words: *const i16,
    /// Words from one pair of each column to the next.
    pub(crate) step: usize,
    /// Words from the columns of one register to those of the next.
    pub(crate) stride: usize,
}

/// What [`Vectors::product`] computes, for it to name instructions.
///
/// # Safety
/// As there.
#[inline(always)]
pub(crate) unsafe fn product<V: Vectors, const ROWS: usize, const WIDE: usize>(
    left: *const i16,
    left_stride: usize,
    right: Columns,
    n_pairs: usize,
) -> [[V::Whole; WIDE]; ROWS] {
    // SAFETY: by the caller.
    unsafe {
        let mut sums = [[V::zeros(); WIDE]; ROWS];
        for pair in 0..n_pairs {
            let mut columns = [V::zeros(); WIDE];
            for (at, columns) in columns.iter_mut().enumerate() {
                *columns = V::load_words(right.words.add(pair * right.step + at * right.stride));
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let both = left.add(row * left_stride + 2 * pair).cast::<i32>().read_unaligned();
                let both = V::splat_pair(both);
                for (sum, columns) in sums.iter_mut().zip(columns) {
                    *sum = V::dot(*sum, both, columns);
                }
            }
        }
        sums
    }
}

/// A linear layer, its weights in panels of as many columns as a product has.
pub(crate) struct Layer {
    depth: usize,
    words: Aligned<i16>,
    /// What one of a column's words stands for.
    scales: Vec<f32>,
    bias: Vec<f32>,
}

impl Layer {
    /// Packs matrices side by side, each `[depth, width]` row-major with its own width, in panels of so many columns, of which they are a
    /// multiple all together. The depth is even.
    pub(crate) fn new(depth: usize, parts: &[Pair<'_>], panel: usize) -> Self {
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
                    words[place(depth, panel, row, first + column)] =
                        (value * factor).round_ties_even() as i16;
                }
            }
            scales.extend(both.iter().map(|(_, scale)| scale));
        }
        Self { depth, words, scales, bias }
    }
}

/// Of a weight's word, in panels of so many columns.
fn place(depth: usize, panel: usize, row: usize, column: usize) -> usize {
    (column / panel * depth / 2 + row / 2) * 2 * panel + column % panel * 2 + row % 2
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
    /// Makes room for so many rows, a multiple of those of a product.
    pub(crate) fn make_room(&mut self, n_rows: usize, depth: usize) {
        self.depth = depth;
        self.words.at_least(n_rows * depth);
        self.scales.at_least(n_rows);
    }

    /// Takes in a row's numbers.
    ///
    /// # Safety
    /// The processor has the instructions; there is room for the row, whose numbers are as many as the depth.
    #[inline(always)]
    pub(crate) unsafe fn set<V: Vectors>(&mut self, row: usize, values: *const f32) {
        // SAFETY: by the caller.
        unsafe {
            let words = self.words.as_mut_ptr().add(row * self.depth);
            *self.scales.as_mut_ptr().add(row) = to_words::<V>(values, self.depth, words);
        }
    }
}

/// `rows x layer + bias`, handed out two registers of one row at a time: row, first column, sums. Rows go through one panel of weights
/// after the other, which stays in the first cache meanwhile, while lines of the next are sent for.
///
/// # Safety
/// The processor has the instructions; so many rows are set, of the layer's depth.
#[inline(always)]
pub(crate) unsafe fn multiply<V: Vectors, const ROWS: usize>(
    rows: &Rows,
    n_rows: usize,
    layer: &Layer,
    mut take: impl FnMut(usize, usize, [V::Floats; 2]),
) {
    let depth = layer.depth;
    for column in (0..layer.bias.len()).step_by(V::COLUMNS) {
        // SAFETY: by the caller; there are as many scales and biases as columns.
        unsafe {
            let panel = layer.words.as_ptr().add(column * depth);
            let (scales, bias) = (layer.scales.as_ptr().add(column), layer.bias.as_ptr().add(column));
            let scales = [V::load(scales), V::load(scales.add(V::LANES))];
            let bias = [V::load(bias), V::load(bias.add(V::LANES))];
            let (n_products, n_lines) = (n_rows.div_ceil(ROWS), V::COLUMNS * depth / LINE);
            for first in (0..n_rows).step_by(ROWS) {
                let number = first / ROWS;
                for line in n_lines * number / n_products..n_lines * (number + 1) / n_products {
                    // An address that is only sent for may be any.
                    let next = panel.wrapping_add(V::COLUMNS * depth + line * LINE);
                    _mm_prefetch::<_MM_HINT_T0>(next.cast());
                }
                let left = rows.words.as_ptr().add(first * depth);
                let right = Columns { words: panel, step: 2 * V::COLUMNS, stride: V::COLUMNS };
                let sums = V::product::<ROWS, 2>(left, depth, right, depth / 2);
                // Registers cannot be counted through: what they hold is written before as many rows as there are are handed out.
                let mut numbers = [[V::splat(0.0); 2]; ROWS];
                for (row, (sums, numbers)) in sums.into_iter().zip(&mut numbers).enumerate() {
                    let scale = V::splat(*rows.scales.as_ptr().add(first + row));
                    for half in 0..2 {
                        let scale = V::multiply(scale, scales[half]);
                        numbers[half] = V::multiply_add(V::to_floats(sums[half]), scale, bias[half]);
                    }
                }
                for (row, numbers) in (first..n_rows).zip(numbers) {
                    take(row, column, numbers);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::vectors::{Avx2, Avx512};
    use super::*;

    const COLUMNS: usize = 32;

    #[test]
    fn every_weight_has_a_place_of_its_own() {
        for panel in [16, 32] {
            let mut places: Vec<usize> =
                (0..64).flat_map(|row| (0..96).map(move |column| place(64, panel, row, column))).collect();
            places.sort_unstable();
            assert_eq!(places, (0..64 * 96).collect::<Vec<_>>());
            // Rows 2 and 3 of column 17 are side by side.
            assert_eq!(place(64, panel, 3, 17), place(64, panel, 2, 17) + 1);
        }
    }

    /// Rows that are as their columns have the greatest sums that there can be.
    #[test]
    fn no_sum_leaves_its_bits() {
        // SAFETY: the instructions are there.
        crate::isa::tests::on_each(|| unsafe { check::<Avx2, 6>() }, || unsafe { check::<Avx512, 8>() });
    }

    unsafe fn check<V: Vectors, const ROWS: usize>() {
        const DEPTH: usize = 512;
        let even = [0.7_f32; DEPTH];
        let mut one = [1e-3_f32; DEPTH];
        one[100] = 1e6;
        let wild: Vec<f32> =
            (0..DEPTH).map(|at| (at as f32 * 0.61).sin() * 10_f32.powi(at as i32 % 7)).collect();
        for values in [&even[..], &one, &wild] {
            let weights: Vec<f32> = values.iter().flat_map(|value| [*value; COLUMNS]).collect();
            let layer = Layer::new(DEPTH, &[(&weights, &[0.5; COLUMNS])], V::COLUMNS);
            let n_rows = ROWS + 1;
            let mut rows = Rows::default();
            rows.make_room(2 * ROWS, DEPTH);
            let negative: Vec<f32> = values.iter().map(|value| -value).collect();
            let mut found = vec![[f32::NAN; COLUMNS]; n_rows];
            // SAFETY: by the caller; the room is there.
            unsafe {
                for row in 0..n_rows {
                    rows.set::<V>(row, if row == ROWS { negative.as_ptr() } else { values.as_ptr() });
                }
                multiply::<V, ROWS>(&rows, n_rows, &layer, |row, column, sums| {
                    let out = found[row].as_mut_ptr().add(column);
                    V::store(out, sums[0]);
                    V::store(out.add(V::LANES), sums[1]);
                });
            }
            let squares: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
            for (row, found) in found.iter().enumerate() {
                let expected = 0.5 + if row == ROWS { -squares } else { squares };
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
        let zeros = Layer::new(32, &[(&[0.0; 32 * COLUMNS], &[0.0; COLUMNS])], COLUMNS);
        assert!(zeros.words.iter().all(|word| *word == 0) && zeros.scales == [0.0; COLUMNS]);
    }
}
