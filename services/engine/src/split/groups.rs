//! Groups of pairs: relatives by label or cluster, and pairs of one sequence or one text.

use std::collections::HashMap;

use super::union_find::UnionFind;
use crate::eval::TextPair;

/// A text that more rows carry is boilerplate ("Putative protein.") and joins nothing.
pub const MAX_COPIES: usize = 30;

/// What two pairs may have in common that makes them relatives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Key<'a> {
    Accession(&'a str),
    Sequence(&'a str),
    Text(&'a str),
    /// Value of a label column: 0 for `group`, 1 for `cluster30`.
    Label(usize, &'a str),
    /// Number of a cluster that was made here.
    Cluster(u32),
}

/// The keys of a pair, those of its text aside.
pub(super) fn keys<'a>(pair: &'a TextPair, cluster: Option<u32>) -> impl Iterator<Item = Key<'a>> {
    let labels = [&pair.group_label, &pair.cluster_label];
    let labels = labels.into_iter().enumerate();
    let labels = labels.filter_map(|(column, label)| Some(Key::Label(column, label.as_deref()?)));
    let sequence = (!pair.sequence.is_empty()).then_some(Key::Sequence(pair.sequence.as_str()));
    let clusters = cluster.into_iter().map(Key::Cluster);
    labels.chain(sequence).chain(clusters).chain([Key::Accession(pair.accession.as_str())])
}

/// The text, unless it is boilerplate.
pub(super) fn text_key(pair: &TextPair) -> Option<Key<'_>> {
    (pair.n_same_text <= MAX_COPIES).then_some(Key::Text(pair.text.as_str()))
}

/// The group of each pair, named by its smallest accession.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups<'a> {
    pairs: &'a [TextPair],
    names: Vec<&'a str>,
}

/// Two relatives in different parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leak<'a> {
    /// A pair.
    pub one: &'a TextPair,
    /// Its relative in another part.
    pub other: &'a TextPair,
    /// The name of their group.
    pub group: &'a str,
}

impl<'a> Groups<'a> {
    /// Joins pairs of one label, one sequence, one of `clusters` (a number a pair, if any were made) and, `by_text`, of
    /// one text with at most [`MAX_COPIES`] rows.
    ///
    /// # Panics
    /// If there are clusters, but not as many as pairs.
    #[must_use]
    pub fn new(pairs: &'a [TextPair], clusters: Option<&[u32]>, by_text: bool) -> Self {
        assert!(clusters.is_none_or(|clusters| clusters.len() == pairs.len()), "a cluster for each pair");
        let mut sets = UnionFind::new(pairs.len());
        let mut first: HashMap<Key<'_>, usize> = HashMap::new();
        for (row, pair) in pairs.iter().enumerate() {
            let cluster = clusters.map(|clusters| clusters[row]);
            let text = text_key(pair).filter(|_| by_text);
            for key in keys(pair, cluster).chain(text) {
                sets.join(*first.entry(key).or_insert(row), row);
            }
        }
        let roots = sets.roots();
        let mut smallest: HashMap<u32, &str> = HashMap::new();
        for (pair, root) in pairs.iter().zip(&roots) {
            let name = smallest.entry(*root).or_insert(&pair.accession);
            *name = (*name).min(&pair.accession);
        }
        Self { pairs, names: roots.iter().map(|root| smallest[root]).collect() }
    }

    /// The name of each pair's group.
    #[must_use]
    pub fn names(&self) -> &[&'a str] {
        &self.names
    }

    /// Two pairs of one group in different parts, if there are any; pairs in no part do not count.
    #[must_use]
    pub fn leak(&self) -> Option<Leak<'a>> {
        let mut first: HashMap<&str, &TextPair> = HashMap::new();
        let mut in_parts = self.pairs.iter().zip(&self.names).filter(|(pair, _)| pair.split.is_some());
        in_parts.find_map(|(other, &group)| {
            let one = *first.entry(group).or_insert(other);
            (one.split != other.split).then_some(Leak { one, other, group })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(accession: &str, sequence: &str, text: &str, label: &str, split: &str) -> TextPair {
        let some = |value: &str| (!value.is_empty()).then(|| value.to_owned());
        TextPair {
            accession: accession.to_owned(),
            sequence: sequence.to_owned(),
            text: text.to_owned(),
            split: some(split),
            group: accession.to_owned(),
            group_label: some(label),
            cluster_label: None,
            n_same_text: if text == "boilerplate" { 31 } else { 2 },
        }
    }

    #[test]
    fn labels_sequences_clusters_and_texts_join() {
        let pairs = [
            pair("D", "MK", "one", "g", ""),
            pair("C", "MV", "two", "g", ""),
            pair("B", "MV", "three", "", ""),
            pair("A", "ML", "three", "", ""),
            pair("E", "MM", "boilerplate", "", ""),
            pair("F", "MF", "boilerplate", "", ""),
        ];
        assert_eq!(Groups::new(&pairs, None, true).names(), ["A", "A", "A", "A", "E", "F"]);
        assert_eq!(Groups::new(&pairs, None, false).names(), ["B", "B", "B", "A", "E", "F"]);
        let clusters = [0, 1, 2, 3, 4, 4];
        assert_eq!(Groups::new(&pairs, Some(&clusters), false).names()[5], "E");
        assert_eq!(Groups::new(&pairs, None, true).leak(), None);
    }

    #[test]
    fn a_leak_names_both_sides() {
        let pairs = [
            pair("A", "MK", "one", "g", "train"),
            pair("B", "MV", "two", "g", ""),
            pair("C", "ML", "three", "g", "test"),
        ];
        let leak = Groups::new(&pairs, None, false).leak().unwrap();
        assert_eq!((leak.one.accession.as_str(), leak.other.accession.as_str()), ("A", "C"));
        assert_eq!(Groups::new(&pairs[..2], None, false).leak(), None);
    }
}
