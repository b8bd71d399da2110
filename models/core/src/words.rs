//! Which tokens a text has, as a short row beside the encoder's: names of families and processes are words, and a sentence
//! encoder of 384 components blurs the rare ones.

use crate::split_mix::SplitMix64;

/// Components of [`word_row`].
pub const N_WORD_COMPONENTS: usize = 1024;

/// The row of a text's distinct tokens, `[N_WORD_COMPONENTS]`: each adds one, up or down, to a component of its own choice;
/// then unit norm. All zeros without tokens. How often a token stands there, and where, says nothing.
///
/// Source: Weinberger et al., "Feature hashing for large scale multitask learning", 2009. The hash is the first number
/// of [`SplitMix64`] from the token's id, so a row is the same on every machine.
///
/// ```
/// use protext_core::word_row;
///
/// assert_eq!(word_row([7, 9, 7]), word_row([9, 7]));
/// assert!(word_row([]).iter().all(|&value| value == 0.0));
/// ```
#[must_use]
pub fn word_row(token_ids: impl IntoIterator<Item = i64>) -> Vec<f32> {
    let mut distinct: Vec<i64> = token_ids.into_iter().collect();
    distinct.sort_unstable();
    distinct.dedup();
    let mut row = vec![0.0_f32; N_WORD_COMPONENTS];
    for token in distinct {
        let hash = SplitMix64::from_state(token as u64).draw();
        let sign = if hash >> 63 == 0 { 1.0 } else { -1.0 };
        row[(hash % N_WORD_COMPONENTS as u64) as usize] += sign;
    }
    let norm = row.iter().map(|value| value * value).sum::<f32>().sqrt();
    if norm > 0.0 {
        row.iter_mut().for_each(|value| *value /= norm);
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_share_tokens_are_near_and_others_are_not() {
        let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let row = word_row(0..20);
        assert!((cosine(&row, &row) - 1.0).abs() < 1e-6);
        let near = cosine(&row, &word_row(0..15));
        assert!((0.7..0.95).contains(&near), "{near}, sqrt(15 / 20) is 0.87");
        assert!(cosine(&row, &word_row(1_000..1_020)).abs() < 0.3);
    }

    /// What is written into towers and caches must not move.
    #[test]
    fn the_component_of_a_token_is_fixed() {
        let of = |token| word_row([token]).iter().position(|&value| value != 0.0).unwrap();
        let signs = |token| word_row([token]).iter().sum::<f32>();
        assert_eq!([0, 1, 2, 30_521].map(of), [431, 193, 718, 202]);
        assert_eq!([0, 1, 2, 30_521].map(signs), [-1.0, -1.0, -1.0, 1.0]);
    }
}
