//! Weights of a linear layer as the products want them.

use crate::aligned::Aligned;
use crate::tile::{SIDE, STEP, TILE};

/// `[depth, width]` in bfloat16, in panels of 32 columns; in each, step by step of 32 of depth, two tiles of 16 columns.
pub(crate) struct PackedWeights {
    pub(crate) depth: usize,
    pub(crate) width: usize,
    words: Aligned<u16>,
}

impl PackedWeights {
    /// Packs matrices side by side, each `[depth, width]` row-major with its own width.
    pub(crate) fn pack(depth: usize, matrices: &[&[f32]]) -> Self {
        let widths: Vec<usize> = matrices.iter().map(|values| values.len() / depth).collect();
        let width: usize = widths.iter().sum();
        let mut words = Aligned::zeros(depth * width);
        let mut first = 0;
        for (values, &n_columns) in matrices.iter().zip(&widths) {
            for row in 0..depth {
                for column in 0..n_columns {
                    words[place(depth, row, first + column)] = to_bf16(values[row * n_columns + column]);
                }
            }
            first += n_columns;
        }
        Self { depth, width, words }
    }

    /// The panel of columns from `32 * number` on.
    pub(crate) fn panel(&self, number: usize) -> &[u16] {
        let length = self.depth * SIDE;
        &self.words[number * length..(number + 1) * length]
    }
}

fn place(depth: usize, row: usize, column: usize) -> usize {
    let (panel, step, tile) = (column / SIDE, row / STEP, column % SIDE / 16);
    let (pair, half) = (row % STEP / 2, row % 2);
    panel * depth * SIDE + step * 2 * TILE + tile * TILE + pair * 32 + column % 16 * 2 + half
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
        let packed = PackedWeights::pack(64, &[&values, &values]);
        assert_eq!((packed.depth, packed.width, packed.panel(1).len()), (64, 64, 64 * 32));
        let mut places: Vec<usize> =
            (0..64).flat_map(|row| (0..64).map(move |column| place(64, row, column))).collect();
        places.sort_unstable();
        assert_eq!(places, (0..64 * 64).collect::<Vec<_>>());
        // Rows 2 and 3 of column 17 of the first panel share a word.
        assert_eq!(place(64, 3, 17), place(64, 2, 17) + 1);
        assert_eq!(packed.panel(0)[place(64, 2, 17)], to_bf16(values[2 * 32 + 17]));
    }
}
