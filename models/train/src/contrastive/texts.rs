//! Texts as means of their sentences, whole or with some left out.

use ndarray::{Array2, ArrayView1};
use rand::Rng;
use rand::rngs::StdRng;

/// Mean rows of lists of sentences, `[n, inputs]`; an empty list gives zeros.
#[must_use]
pub fn mean_rows<'a>(
    sentences: &Array2<f32>,
    texts: impl ExactSizeIterator<Item = &'a [u32]>,
) -> Array2<f32> {
    let mut rows = Array2::zeros((texts.len(), sentences.ncols()));
    for (mut row, text) in rows.rows_mut().into_iter().zip(texts) {
        for &sentence in text {
            let sentence: ArrayView1<'_, f32> = sentences.row(sentence as usize);
            row += &sentence;
        }
        row /= text.len().max(1) as f32;
    }
    rows
}

/// Each text without a share of its sentences, one at least staying.
pub(super) fn drop_sentences<'a>(
    texts: impl Iterator<Item = &'a [u32]>,
    share: f32,
    rng: &mut StdRng,
) -> Vec<Vec<u32>> {
    let drop_some = |text: &[u32]| {
        let kept: Vec<u32> = text.iter().copied().filter(|_| rng.random::<f32>() >= share).collect();
        if kept.is_empty() { text.to_vec() } else { kept }
    };
    texts.map(drop_some).collect()
}

#[cfg(test)]
mod tests {
    use ndarray::array;
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_text_is_the_mean_of_its_sentences() {
        let sentences = array![[1.0_f32, 0.0], [0.0, 1.0], [4.0, 4.0]];
        let texts: [&[u32]; 2] = [&[0, 1], &[2]];
        assert_eq!(mean_rows(&sentences, texts.into_iter()), array![[0.5, 0.5], [4.0, 4.0]]);
    }

    #[test]
    fn no_text_loses_its_last_sentence() {
        let mut rng = StdRng::seed_from_u64(1);
        let texts: [&[u32]; 2] = [&[0, 1, 2], &[3]];
        assert_eq!(drop_sentences(texts.into_iter(), 0.0, &mut rng), texts);
        for dropped in (0..50).map(|_| drop_sentences(texts.into_iter(), 0.9, &mut rng)) {
            assert!(dropped.iter().all(|text| !text.is_empty()));
            assert_eq!(dropped[1], [3]);
        }
    }
}
