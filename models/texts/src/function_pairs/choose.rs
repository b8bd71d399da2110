//! Which pairs are taken, and in which order.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::{FunctionPair, FunctionPairs};

/// How many pairs to take; `None` takes all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PairChoice {
    /// Most pairs of a cluster.
    pub per_cluster: Option<usize>,
    /// Most pairs in all.
    pub limit: Option<usize>,
}

/// Takes pairs round by round, one of each cluster in a round. A protein without a cluster is one of its own.
pub(super) fn choose(pairs: Vec<FunctionPair>, choice: &PairChoice, found: &mut FunctionPairs) {
    let mut clusters: HashMap<String, Vec<_>> = HashMap::new();
    for pair in pairs {
        let protein = &pair.protein;
        let cluster = protein.cluster.as_ref().unwrap_or(&protein.accession).clone();
        let hash: [u8; 32] = Sha256::digest(protein.accession.as_bytes()).into();
        clusters.entry(cluster).or_default().push(((!pair.is_enzyme, hash), pair));
    }
    let mut ranked = Vec::new();
    for mut members in clusters.into_values() {
        members.sort_by_key(|(key, _)| *key);
        let n_kept = choice.per_cluster.unwrap_or(usize::MAX).min(members.len());
        found.n_past_cluster += members.len() - n_kept;
        // Between clusters of one round the hash decides, so that no kind of protein comes first.
        let kept = members.into_iter().take(n_kept).enumerate();
        ranked.extend(kept.map(|(round, ((_, hash), pair))| ((round, hash), pair)));
    }
    ranked.sort_by_key(|(key, _)| *key);
    let n_kept = choice.limit.unwrap_or(usize::MAX).min(ranked.len());
    found.n_past_limit = ranked.len() - n_kept;
    found.pairs = ranked.into_iter().take(n_kept).map(|(_, pair)| pair).collect();
}

#[cfg(test)]
mod tests {
    use super::super::Protein;
    use super::*;

    fn pair(accession: &str, cluster: Option<&str>, is_enzyme: bool) -> FunctionPair {
        let protein = Protein {
            accession: accession.to_owned(),
            sequence: "MK".to_owned(),
            cluster: cluster.map(str::to_owned),
            group: None,
        };
        FunctionPair { protein, text: "Binds.".to_owned(), is_enzyme }
    }

    fn chosen(pairs: Vec<FunctionPair>, per_cluster: Option<usize>, limit: Option<usize>) -> FunctionPairs {
        let mut found = FunctionPairs::default();
        choose(pairs, &PairChoice { per_cluster, limit }, &mut found);
        found
    }

    fn family() -> Vec<FunctionPair> {
        let mut pairs: Vec<_> = (0..20).map(|n| pair(&format!("A{n}"), Some("a"), n == 7)).collect();
        pairs.extend((0..3).map(|n| pair(&format!("B{n}"), Some("b"), false)));
        pairs.push(pair("C", None, false));
        pairs
    }

    #[test]
    fn the_first_of_every_cluster_come_first_and_enzymes_before_others() {
        let found = chosen(family(), None, None);
        let clusters = |from: usize, to: usize| {
            let pairs = &found.pairs[from..to];
            let mut names: Vec<_> = pairs.iter().map(|pair| pair.protein.accession[..1].to_owned()).collect();
            names.sort_unstable();
            names.concat()
        };
        assert_eq!(
            (clusters(0, 3), clusters(3, 5), clusters(5, 7)),
            ("ABC".into(), "AB".into(), "AB".into())
        );
        let first_of_a = found.pairs.iter().find(|pair| pair.protein.cluster.as_deref() == Some("a"));
        assert_eq!(first_of_a.map(|pair| pair.protein.accession.as_str()), Some("A7"));
    }

    #[test]
    fn limits_are_kept_counted_and_nested() {
        let all = chosen(family(), None, None).pairs;
        let few = chosen(family(), None, Some(5));
        assert_eq!((few.pairs.as_slice(), few.n_past_limit), (&all[..5], 19));
        let two = chosen(family(), Some(2), None);
        assert_eq!((two.pairs.len(), two.n_past_cluster, two.n_past_limit), (5, 19, 0));
        assert_eq!(chosen(family(), Some(2), Some(5)).pairs, two.pairs);
    }

    #[test]
    fn the_order_of_the_input_does_not_matter() {
        let mut turned = family();
        turned.reverse();
        turned.rotate_left(9);
        assert_eq!(chosen(turned, Some(3), Some(6)), chosen(family(), Some(3), Some(6)));
    }
}
