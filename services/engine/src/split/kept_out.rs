//! What must not be trained on: relatives of validation and test pairs, and of proteins that are held out elsewhere.

use std::collections::HashSet;
use std::path::PathBuf;

use super::error::SplitError;
use super::groups::{Key, keys, text_key};
use crate::eval::{EvalError, Labelled, TextPair, read_labelled};

/// Names of the label columns, in the order of [`Labelled::labels`].
const COLUMNS: [&str; 2] = ["group", "cluster30"];

/// Proteins of tables that are held out unless they are trained on already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HoldOut {
    proteins: Vec<Labelled>,
}

impl HoldOut {
    /// Reads tables with an accession and `group` or `cluster30`.
    ///
    /// # Errors
    /// [`EvalError`] naming file, record and column or rule.
    pub fn read(paths: &[PathBuf]) -> Result<Self, EvalError> {
        let mut proteins = Vec::new();
        for path in paths {
            proteins.extend(read_labelled(path)?);
        }
        Ok(Self { proteins })
    }

    /// The label columns that some protein has.
    fn columns(&self) -> impl Iterator<Item = usize> {
        (0..COLUMNS.len()).filter(|&at| self.proteins.iter().any(|protein| protein.labels[at].is_some()))
    }
}

/// Pairs that were left out of training, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Relatives of pairs of the other parts.
    pub n_other_parts: usize,
    /// Relatives of held-out proteins.
    pub n_held_out: usize,
}

/// The rule which pairs may be trained on.
#[derive(Debug)]
pub struct KeptOut<'a> {
    /// Accessions of the training part.
    trained: HashSet<&'a str>,
    /// What pairs of the other parts have.
    other_parts: HashSet<Key<'a>>,
    /// Labels and accessions of held-out proteins that are not trained on.
    held: HashSet<Key<'a>>,
    /// Accessions of all held-out tables.
    listed: HashSet<&'a str>,
    columns: Vec<usize>,
}

impl<'a> KeptOut<'a> {
    /// `in_training` says of each pair whether it is in the training part; `clusters` are those of [`super::cluster`],
    /// made over these pairs and all that are asked about.
    #[must_use]
    pub fn new(
        pairs: &'a [TextPair],
        in_training: &[bool],
        clusters: Option<&[u32]>,
        hold_out: &'a HoldOut,
    ) -> Self {
        let mut trained = HashSet::new();
        let mut other_parts = HashSet::new();
        for (row, (pair, in_training)) in pairs.iter().zip(in_training).enumerate() {
            if *in_training {
                trained.insert(pair.accession.as_str());
            } else {
                other_parts.extend(keys(pair, clusters.map(|clusters| clusters[row])));
                other_parts.extend(text_key(pair));
            }
        }
        let mut held = HashSet::new();
        for Labelled { accession, labels } in &hold_out.proteins {
            if !trained.contains(accession.as_str()) {
                held.insert(Key::Accession(accession));
                let labels = labels.iter().enumerate();
                held.extend(labels.filter_map(|(at, label)| Some(Key::Label(at, label.as_deref()?))));
            }
        }
        let listed = hold_out.proteins.iter().map(|protein| protein.accession.as_str()).collect();
        Self { trained, other_parts, held, listed, columns: hold_out.columns().collect() }
    }

    /// Refuses a table none of whose pairs can be compared with the held-out proteins.
    ///
    /// # Errors
    /// [`SplitError::NoCommonLabels`].
    pub fn ensure_comparable(&self, table: &str, pairs: &[TextPair]) -> Result<(), SplitError> {
        let label = |pair: &TextPair, at: usize| [&pair.group_label, &pair.cluster_label][at].is_some();
        let is_common = |&at: &usize| pairs.iter().any(|pair| label(pair, at));
        if self.columns.is_empty() || self.columns.iter().any(is_common) {
            return Ok(());
        }
        let held = self.columns.iter().map(|&at| COLUMNS[at]).collect::<Vec<_>>().join(", ");
        Err(SplitError::NoCommonLabels { table: table.to_owned(), held })
    }

    /// True if the pair's group holds a protein of the hold-out tables that is not itself in the training part. A pair
    /// whose own protein is both in the tables and in the training part stays.
    #[must_use]
    pub fn is_held_out(&self, pair: &TextPair) -> bool {
        let accession = pair.accession.as_str();
        let is_exempt = self.trained.contains(accession) && self.listed.contains(accession);
        !is_exempt && keys(pair, None).any(|key| self.held.contains(&key))
    }

    /// Of further pairs, those that may be trained on: none that shares accession, sequence, text, label or cluster with
    /// a pair of another part, and none that is held out.
    #[must_use]
    pub fn filter(&self, pairs: Vec<TextPair>, clusters: Option<&[u32]>) -> (Vec<TextPair>, LeftOut) {
        let mut left_out = LeftOut::default();
        let mut kept = Vec::with_capacity(pairs.len());
        for (row, pair) in pairs.into_iter().enumerate() {
            let cluster = clusters.map(|clusters| clusters[row]);
            let text = Key::Text(pair.text.as_str());
            if keys(&pair, cluster).chain([text]).any(|key| self.other_parts.contains(&key)) {
                left_out.n_other_parts += 1;
            } else if self.is_held_out(&pair) {
                left_out.n_held_out += 1;
            } else {
                kept.push(pair);
            }
        }
        (kept, left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(accession: &str, cluster: &str, text: &str) -> TextPair {
        TextPair {
            accession: accession.to_owned(),
            sequence: format!("M{accession}"),
            text: text.to_owned(),
            cluster_label: Some(cluster.to_owned()),
            n_same_text: 1,
            ..TextPair::default()
        }
    }

    fn labelled(accession: &str, cluster: &str) -> Labelled {
        Labelled { accession: accession.to_owned(), labels: [None, Some(cluster.to_owned())] }
    }

    #[test]
    fn relatives_of_other_parts_and_of_held_out_proteins_are_left_out() {
        let data = [pair("A", "a", "cuts"), pair("B", "b", "binds"), pair("C", "c", "folds")];
        let hold_out = HoldOut { proteins: vec![labelled("A", "a"), labelled("H", "h"), labelled("I", "c")] };
        let rule = KeptOut::new(&data, &[true, false, true], None, &hold_out);
        let extra = vec![
            pair("E1", "x", "new"),
            pair("E2", "b", "relative of validation"),
            pair("E3", "y", "binds"),
            pair("E4", "h", "relative of a held-out protein"),
            pair("H", "z", "the held-out protein"),
            pair("E5", "a", "relative of a trained protein that is listed"),
            pair("A", "a", "another text of a trained protein"),
        ];
        let (kept, left_out) = rule.filter(extra, None);
        let ids: Vec<&str> = kept.iter().map(|pair| pair.accession.as_str()).collect();
        assert_eq!(ids, ["E1", "E5", "A"]);
        assert_eq!(left_out, LeftOut { n_other_parts: 2, n_held_out: 2 });
        assert!(!rule.is_held_out(&data[0]));
        assert!(rule.is_held_out(&data[2]), "I of its cluster is held out, and C is in no table");
    }

    #[test]
    fn clusters_made_here_count_and_tables_must_be_comparable() {
        let bare = |accession: &str| TextPair { cluster_label: None, ..pair(accession, "", accession) };
        let data = [bare("A"), bare("B")];
        let none = HoldOut::default();
        let rule = KeptOut::new(&data, &[true, false], Some(&[0, 1]), &none);
        let (kept, left_out) = rule.filter(vec![bare("E"), bare("F")], Some(&[1, 0]));
        assert_eq!((kept[0].accession.as_str(), left_out.n_other_parts), ("F", 1));
        assert!(rule.ensure_comparable("x.tsv", &data).is_ok());
        let hold_out = HoldOut { proteins: vec![labelled("H", "h")] };
        let rule = KeptOut::new(&data, &[true, false], None, &hold_out);
        let refused = rule.ensure_comparable("x.tsv", &data).unwrap_err().to_string();
        assert!(refused.contains("x.tsv") && refused.contains("cluster30"), "{refused}");
    }
}
