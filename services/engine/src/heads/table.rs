//! A table of labelled records: id, one or several labels, and where there are, sequence, text, split and group.
//!
//! Any table that `protext embed` reads. What a label means (a class, a number, a class a residue) is for the task to say.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use protext_core::Modality;

use super::error::HeadDataError;
use crate::eval::{TextPair, read_sequences};
use crate::input::{Duplicates, InputOptions, Payload, Rule, Source, open};

/// Columns that are taken where a table has them.
const OPTIONAL: [&str; 5] = ["sequence", "text", "split", "group", "cluster30"];

/// How a table is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableOptions {
    /// Columns of the labels, at least one. Rows without the first are left out.
    pub labels: Vec<String>,
    /// Column of the id, where it is none of the usual names.
    pub id: Option<String>,
    /// Column of the group, before `group` and `cluster30`.
    pub group: Option<String>,
    /// Column of the text, instead of `text`.
    pub text: Option<String>,
    /// Files with sequences by id, for rows without one of their own.
    pub sequences: Vec<PathBuf>,
}

/// One row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelledRow {
    /// 1-based number in its file.
    pub number: u64,
    /// Its id.
    pub id: String,
    /// Its residues as written; empty if none are known.
    pub sequence: String,
    /// Its text as written; empty without one.
    pub text: String,
    /// Part of the data, if the row has one.
    pub split: Option<String>,
    /// Relatives have the same; the id where the file has no groups.
    pub group: String,
    /// One a label column; empty where the row has none.
    pub labels: Vec<String>,
}

/// The rows of a file, and how many it had that cannot be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelledTable {
    /// In file order.
    pub rows: Vec<LabelledRow>,
    /// Rows left out since they have no label.
    pub n_without_label: usize,
    /// True if rows say which group they are in.
    pub has_groups: bool,
}

impl LabelledTable {
    /// Reads a table.
    ///
    /// # Errors
    /// [`HeadDataError`] naming file, record and column or rule.
    pub fn read(path: &Path, options: &TableOptions) -> Result<Self, HeadDataError> {
        let mut table = Self::default();
        let mut known: Option<HashMap<String, String>> = None;
        for record in open(&Source::Path(path.to_owned()), &input_options(options))? {
            let record = match record {
                Ok(record) => record,
                Err(error) if has_no_label(&error.rule) => {
                    table.n_without_label += 1;
                    continue;
                }
                Err(error) if matches!(error.rule, Rule::NoRecords) => break,
                Err(error) => return Err(error.into()),
            };
            let (Payload::Sequence(first) | Payload::Text(first)) = record.payload;
            let values: HashMap<String, String> =
                record.metadata.into_iter().map(|(name, value)| (name, value.trim().to_owned())).collect();
            let value = |name: &str| values.get(name).cloned().filter(|value| !value.is_empty());
            let group = options.group.as_deref().and_then(value);
            let group = group.or_else(|| value("group")).or_else(|| value("cluster30"));
            table.has_groups |= group.is_some();
            let others = options.labels[1..].iter().map(|name| value(name).unwrap_or_default());
            let mut row = LabelledRow {
                number: record.number,
                sequence: value("sequence").unwrap_or_default(),
                text: value(options.text.as_deref().unwrap_or("text")).unwrap_or_default(),
                split: value("split"),
                group: group.unwrap_or_else(|| record.id.clone()),
                labels: std::iter::once(first.trim().to_owned()).chain(others).collect(),
                id: record.id,
            };
            if row.sequence.is_empty() && !options.sequences.is_empty() {
                if known.is_none() {
                    known = Some(read_sequences(&options.sequences)?);
                }
                row.sequence =
                    known.as_ref().and_then(|known| known.get(&row.id)).cloned().unwrap_or_default();
            }
            table.rows.push(row);
        }
        if table.rows.is_empty() {
            let why = format!("{} rows have no {}", table.n_without_label, options.labels[0]);
            return Err(HeadDataError::NothingLeft { path: path.to_owned(), part: String::new(), why });
        }
        let is_empty = |column: usize| table.rows.iter().all(|row| row.labels[column].is_empty());
        if let Some(column) = (1..options.labels.len()).find(|&column| is_empty(column)) {
            let column = options.labels[column].clone();
            return Err(HeadDataError::MissingColumn { path: path.to_owned(), column });
        }
        Ok(table)
    }

    /// True if some row says which part it is in.
    #[must_use]
    pub fn has_split(&self) -> bool {
        self.rows.iter().any(|row| row.split.is_some())
    }

    /// Places of the rows of `split`; all where the file has no such column.
    ///
    /// # Errors
    /// [`HeadDataError::UnknownSplit`] with the names that are there.
    pub fn in_split(&self, path: &Path, split: &str) -> Result<Vec<usize>, HeadDataError> {
        let has_split = self.has_split();
        let is_in = |row: &LabelledRow| !has_split || row.split.as_deref() == Some(split);
        let places: Vec<usize> = (0..self.rows.len()).filter(|&at| is_in(&self.rows[at])).collect();
        if places.is_empty() {
            let names: BTreeSet<&str> = self.rows.iter().filter_map(|row| row.split.as_deref()).collect();
            let present = names.into_iter().collect::<Vec<_>>().join(", ");
            let (path, split) = (path.to_owned(), split.to_owned());
            return Err(HeadDataError::UnknownSplit { path, split, present });
        }
        Ok(places)
    }

    /// The rows as [`crate::split`] compares them: by id, sequence and group.
    #[must_use]
    pub fn to_compare(&self) -> Vec<TextPair> {
        let as_pair = |row: &LabelledRow| TextPair {
            accession: row.id.clone(),
            sequence: row.sequence.clone(),
            text: String::new(),
            split: row.split.clone(),
            group: row.group.clone(),
            group_label: (row.group != row.id).then(|| row.group.clone()),
            cluster_label: None,
            n_same_text: usize::MAX,
        };
        self.rows.iter().map(as_pair).collect()
    }
}

fn input_options(options: &TableOptions) -> InputOptions {
    let further = options.labels[1..].iter().chain(&options.group).chain(&options.text).cloned();
    InputOptions {
        duplicates: Duplicates::KeepAll,
        id_column: options.id.clone(),
        text_column: Some(options.labels[0].clone()),
        metadata_columns: OPTIONAL.map(str::to_owned).into_iter().chain(further).collect(),
        metadata_optional: true,
        ..InputOptions::new(Modality::Text)
    }
}

/// An empty label, or a JSON object without one.
fn has_no_label(rule: &Rule) -> bool {
    matches!(rule, Rule::EmptyField { .. } | Rule::MissingField { role: "text", .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(labels: &[&str]) -> TableOptions {
        TableOptions {
            labels: labels.iter().map(|&name| name.to_owned()).collect(),
            ..TableOptions::default()
        }
    }

    #[test]
    fn rows_have_labels_splits_and_groups_whatever_the_format() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str, text: &str, labels: &[&str]| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            LabelledTable::read(&path, &options(labels))
        };
        let tsv = read(
            "a.tsv",
            "id\tsequence\tlabel\tsplit\tcluster30\nA\tMK\tyes\ttrain\tc\nB\tMV\t\ttest\tc\n",
            &["label"],
        );
        let tsv = tsv.unwrap();
        assert_eq!((tsv.rows.len(), tsv.n_without_label, tsv.has_groups), (1, 1, true));
        assert_eq!((tsv.rows[0].group.as_str(), tsv.rows[0].labels[0].as_str()), ("c", "yes"));
        let json = read(
            "a.jsonl",
            "{\"id\":\"A\",\"sequence\":\"MK\",\"label\":\"yes\",\"split\":\"train\",\"cluster30\":\"c\"}\n",
            &["label"],
        );
        assert_eq!(json.unwrap().rows, tsv.rows);
        let two = read("b.csv", "id,x,y\nA,1,2\nB,3,\n", &["x", "y"]).unwrap();
        assert_eq!((two.rows[0].labels[1].as_str(), two.rows[1].labels[1].as_str()), ("2", ""));
        assert_eq!((two.rows[0].group.as_str(), two.has_groups), ("A", false));
        let missing = read("c.csv", "id,x\nA,1\n", &["x", "y"]).unwrap_err().to_string();
        assert!(missing.contains("\"y\""), "{missing}");
        let none = read("d.csv", "id,x\nA,1\n", &["label"]).unwrap_err().to_string();
        assert!(none.contains("label"), "{none}");
    }

    #[test]
    fn splits_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tsv");
        std::fs::write(&path, "id\tlabel\tsplit\nA\t1\ttrain\nB\t0\ttest\n").unwrap();
        let table = LabelledTable::read(&path, &options(&["label"])).unwrap();
        assert_eq!(table.in_split(&path, "test").unwrap(), [1]);
        let said = table.in_split(&path, "valid").unwrap_err().to_string();
        assert!(said.contains("test, train"), "{said}");
    }
}
