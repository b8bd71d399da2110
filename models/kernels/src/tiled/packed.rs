//! Weights of a linear layer as the products want them.

use super::tile::{BYTES_STEP, SIDE, STEP, TILE};
use crate::aligned::Aligned;

/// `[depth, width]` in one or two words of bfloat16 a number, in panels of 32 columns; in each, step by step of 32 of depth, two tiles of
/// 16 columns, and behind them those of second words.
pub(crate) struct PackedWeights {
    pub(crate) depth: usize,
    /// Words of a number.
    pub(crate) n_words: usize,
    words: Aligned<u16>,
}

impl PackedWeights {
    /// Packs matrices side by side, each `[depth, width]` row-major with its own width.
    pub(crate) fn pack(depth: usize, n_words: usize, matrices: &[&[f32]]) -> Self {
        let widths: Vec<usize> = matrices.iter().map(|values| values.len() / depth).collect();
        let width: usize = widths.iter().sum();
        let mut words = Aligned::zeros(depth * width * n_words);
        let mut first = 0;
        for (values, &n_columns) in matrices.iter().zip(&widths) {
            for row in 0..depth {
                for column in 0..n_columns {
                    let mut left = values[row * n_columns + column];
                    for word in 0..n_words {
                        let nearest = to_bf16(left);
                        words[place(depth, n_words, row, first + column) + word * 2 * TILE] = nearest;
                        left -= f32::from_bits(u32::from(nearest) << 16);
                    }
                }
            }
            first += n_columns;
        }
        Self { depth, n_words, words }
    }

    /// The panel of columns from `32 * number` on.
    pub(crate) fn panel(&self, number: usize) -> &[u16] {
        let length = self.depth * SIDE * self.n_words;
        &self.words[number * length..(number + 1) * length]
    }
}

/// Of a number's first word.
fn place(depth: usize, n_words: usize, row: usize, column: usize) -> usize {
    let (panel, step, tile) = (column / SIDE, row / STEP, column % SIDE / 16);
    let (pair, half) = (row % STEP / 2, row % 2);
    (panel * depth * SIDE + step * 2 * TILE) * n_words + tile * TILE + pair * 32 + column % 16 * 2 + half
}

/// `[depth, width]` in signed bytes, each column with a scale, in panels of 32 columns; in each, step by step of 64 of depth, two tiles
/// of 16 columns.
pub(crate) struct PackedBytes {
    /// Steps of 64 of depth; what the last has too much is zero.
    pub(crate) n_steps: usize,
    bytes: Aligned<u8>,
    /// What one of a column's bytes stands for.
    pub(crate) scales: Aligned<f32>,
    /// Sums of the columns, as their bytes stand for them.
    pub(crate) sums: Aligned<f32>,
}

impl PackedBytes {
    /// Packs matrices side by side as [`PackedWeights::pack`] does. A column's greatest magnitude becomes 127. `means` are those of what
    /// will be multiplied (none stand for zeros): what rounding takes from each column, times them, is added to its number of `bias`.
    pub(crate) fn pack(depth: usize, matrices: &[&[f32]], means: &[f32], bias: &mut [f32]) -> Self {
        let width = matrices.iter().map(|values| values.len() / depth).sum();
        let n_steps = depth.div_ceil(BYTES_STEP);
        let mut packed = Self {
            n_steps,
            bytes: Aligned::zeros(n_steps * BYTES_STEP * width),
            scales: Aligned::zeros(width),
            sums: Aligned::zeros(width),
        };
        let mut first = 0;
        for values in matrices {
            let n_columns = values.len() / depth;
            for column in 0..n_columns {
                let column_values = || values.iter().skip(column).step_by(n_columns);
                let greatest = column_values().map(|value| value.abs()).max_by(f32::total_cmp);
                let scale = greatest.unwrap_or(0.0) / 127.0;
                let (mut sum, mut lost) = (0, 0.0);
                for (row, value) in column_values().enumerate() {
                    // A cast takes what is no number for zero; the scale tells of it, as it does of numbers without end.
                    let byte = (value / scale).round_ties_even() as i8;
                    packed.bytes[place_of_byte(n_steps, row, first + column)] = byte.cast_unsigned();
                    sum += i32::from(byte);
                    lost += (value - f32::from(byte) * scale) * means.get(row).copied().unwrap_or(0.0);
                }
                bias[first + column] += lost;
                packed.scales[first + column] = scale;
                packed.sums[first + column] = sum as f32 * scale;
            }
            first += n_columns;
        }
        packed
    }

    /// The panel of columns from `32 * number` on.
    pub(crate) fn panel(&self, number: usize) -> &[u8] {
        let length = self.n_steps * BYTES_STEP * SIDE;
        &self.bytes[number * length..(number + 1) * length]
    }
}

fn place_of_byte(n_steps: usize, row: usize, column: usize) -> usize {
    let (panel, step, tile) = (column / SIDE, row / BYTES_STEP, column % SIDE / 16);
    let (four, part) = (row % BYTES_STEP / 4, row % 4);
    ((panel * n_steps + step) * 2 + tile) * 2 * TILE + four * 64 + column % 16 * 4 + part
}

/// The nearest bfloat16, ties to even; what is no number stays none.
pub(crate) fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_round_to_the_nearest() {
        for (value, expected) in [(1.0, 0x3f80), (-2.5, 0xc020), (f32::from_bits(0x3f80_8000), 0x3f80)] {
            assert_eq!(to_bf16(value), expected);
        }
        assert_eq!(to_bf16(f32::from_bits(0x3f81_8000)), 0x3f82);
        assert_eq!(to_bf16(f32::INFINITY), 0x7f80);
        assert!(f32::from_bits(u32::from(to_bf16(f32::NAN)) << 16).is_nan());
    }

    #[test]
    fn every_weight_has_a_place_of_its_own() {
        let values: Vec<f32> = (0..64 * 32).map(|at| at as f32).collect();
        for n_words in [1, 2] {
            let packed = PackedWeights::pack(64, n_words, &[&values, &values]);
            assert_eq!((packed.depth, packed.panel(1).len()), (64, 64 * 32 * n_words));
            let mut places: Vec<usize> = (0..64)
                .flat_map(|row| (0..64).map(move |column| place(64, n_words, row, column)))
                .flat_map(|place| (0..n_words).map(move |word| place + word * 2 * TILE))
                .collect();
            places.sort_unstable();
            assert_eq!(places, (0..64 * 64 * n_words).collect::<Vec<_>>());
            // Rows 2 and 3 of column 17 of the first panel share a word of 32 bits.
            assert_eq!(place(64, n_words, 3, 17), place(64, n_words, 2, 17) + 1);
            assert_eq!(packed.panel(0)[place(64, n_words, 2, 17)], to_bf16(values[2 * 32 + 17]));
        }
        // Whole numbers up to 65,536 fit into two words.
        let packed = PackedWeights::pack(64, 2, &[&values]);
        let word = |at: usize| f32::from_bits(u32::from(packed.panel(0)[at]) << 16);
        let at = place(64, 2, 63, 31);
        assert_eq!(word(at) + word(at + 2 * TILE), values[63 * 32 + 31]);
    }

    #[test]
    fn bytes_stand_for_their_weights() {
        // 96 deep: half of the second step is empty.
        let values: Vec<f32> =
            (0..96 * 32).map(|at| (at as f32 * 0.37).sin() * (1 + at % 32) as f32).collect();
        let means: Vec<f32> = (0..96).map(|at| (at as f32 * 0.11).cos()).collect();
        let mut bias = vec![1.0; 64];
        let packed = PackedBytes::pack(96, &[&values, &values], &means, &mut bias);
        assert_eq!((packed.n_steps, packed.panel(1).len()), (2, 128 * 32));
        let mut places: Vec<usize> =
            (0..128).flat_map(|row| (0..64).map(move |column| place_of_byte(2, row, column))).collect();
        places.sort_unstable();
        assert_eq!(places, (0..128 * 64).collect::<Vec<_>>());
        for column in 0..32 {
            let (mut sum, mut lost) = (0.0, 0.0);
            for row in 0..96 {
                let byte = packed.panel(0)[place_of_byte(2, row, column)].cast_signed();
                let stands_for = f32::from(byte) * packed.scales[32 + column];
                assert!((stands_for - values[row * 32 + column]).abs() <= packed.scales[column] * 0.501);
                sum += stands_for;
                lost += (values[row * 32 + column] - stands_for) * means[row];
            }
            assert!((bias[32 + column] - 1.0 - lost).abs() < 1e-4, "means are answered as by the weights");
            assert!((sum - packed.sums[column]).abs() < 1e-2);
        }
        let nothing = PackedBytes::pack(32, &[&[0.0; 32 * 32]], &[], &mut [0.0; 32]);
        assert!(nothing.panel(0).iter().all(|byte| *byte == 0) && nothing.sums[0] == 0.0);
    }
}
