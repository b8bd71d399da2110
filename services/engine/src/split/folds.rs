//! Folds of a cross-validation: whole groups, folds of about one size.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

/// The fold of each record, below `n_folds`, by its group: the largest groups first, each into the smallest fold so far.
/// Groups of one size go by the hash of their name and the seed, so that the order of records does not matter.
#[must_use]
pub fn folds(groups: &[&str], n_folds: usize, seed: u64) -> Vec<usize> {
    let mut sizes: HashMap<&str, usize> = HashMap::new();
    groups.iter().for_each(|group| *sizes.entry(group).or_default() += 1);
    let hash = |group: &str| Sha256::new().chain_update(seed.to_le_bytes()).chain_update(group).finalize();
    let mut order: Vec<(usize, [u8; 32], &str)> =
        sizes.into_iter().map(|(group, size)| (size, hash(group).into(), group)).collect();
    order.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(b.2)));
    let mut filled = vec![0_usize; n_folds.max(1)];
    let mut fold_of = HashMap::with_capacity(order.len());
    for (size, _, group) in order {
        let smallest = (0..filled.len()).min_by_key(|&fold| filled[fold]).unwrap_or(0);
        filled[smallest] += size;
        fold_of.insert(group, smallest);
    }
    groups.iter().map(|group| fold_of[group]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_stay_whole_folds_are_even_and_order_does_not_matter() {
        let names: Vec<String> = (0..900).map(|i| format!("g{}", (i * i) % 211)).collect();
        let groups: Vec<&str> = names.iter().map(String::as_str).collect();
        let found = folds(&groups, 5, 3);
        let mut of_group: HashMap<&str, usize> = HashMap::new();
        for (group, fold) in groups.iter().zip(&found) {
            assert_eq!(of_group.entry(group).or_insert(*fold), fold);
        }
        for fold in 0..5 {
            let size = found.iter().filter(|found| **found == fold).count();
            assert!((160..=200).contains(&size), "{size}");
        }
        let reversed: Vec<&str> = groups.iter().rev().copied().collect();
        assert!(folds(&reversed, 5, 3).iter().rev().eq(&found));
        assert_ne!(folds(&groups, 5, 4), found);
    }
}
