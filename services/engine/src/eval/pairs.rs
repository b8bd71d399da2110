//! Pairs of protein and text: a table of texts with accessions, and the sequences that belong to them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::cath::open_table;
use super::error::EvalError;

/// One pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextPair {
    /// Accession of the protein.
    pub accession: String,
    /// Its residues, as written.
    pub sequence: String,
    /// Its text, as written.
    pub text: String,
    /// Part of the data, if the file has parts.
    pub split: Option<String>,
    /// Pairs of one group are relatives and stay on one side of a split; the accession where the file has no groups.
    pub group: String,
    /// How many rows carry this text; counted here where the file does not say.
    pub n_same_text: usize,
}

/// Pairs of a file, and how many rows it had that are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairTable {
    /// In file order; the first row of an accession counts.
    pub pairs: Vec<TextPair>,
    /// Rows left out since no sequence was found for their accession.
    pub n_without_sequence: usize,
    /// Rows left out since they have no text.
    pub n_without_text: usize,
}

impl PairTable {
    /// Reads a tab-separated table, plain or gzip. Columns: `accession` (or `id`), `text`, and where there are,
    /// `sequence`, `split`, `group` (or `cluster30`), `text_dup`. Without a `sequence` column, `sequences` are tables that
    /// have one.
    ///
    /// # Errors
    /// [`EvalError`] naming file, row or column.
    pub fn read(path: &Path, sequences: &[PathBuf]) -> Result<Self, EvalError> {
        let failed = |source| EvalError::Read { path: path.to_owned(), source };
        let mut table = open_table(path)?;
        let header = table.headers().map_err(failed)?.clone();
        let column = |names: &[&str]| header.iter().position(|column| names.contains(&column));
        let needed = |names: &[&'static str]| {
            column(names).ok_or_else(|| EvalError::MissingColumn {
                path: path.into(),
                column: names[0],
                present: header.iter().collect::<Vec<_>>().join(", "),
            })
        };
        let (accession, text) = (needed(&["accession", "id"])?, needed(&["text"])?);
        let (split, group) = (column(&["split"]), column(&["group", "cluster30"]));
        let (own_sequence, n_same_text) = (column(&["sequence"]), column(&["text_dup"]));
        let known = if own_sequence.is_some() { HashMap::new() } else { read_sequences(sequences)? };
        let mut found = Self { pairs: Vec::new(), n_without_sequence: 0, n_without_text: 0 };
        let mut seen = HashSet::new();
        for row in table.records() {
            let row = row.map_err(failed)?;
            let id = &row[accession];
            if !seen.insert(id.to_owned()) {
                continue;
            }
            let sequence = own_sequence.map_or_else(|| known.get(id).cloned(), |at| Some(row[at].to_owned()));
            let Some(sequence) = sequence.filter(|sequence| !sequence.is_empty()) else {
                found.n_without_sequence += 1;
                continue;
            };
            if row[text].trim().is_empty() {
                found.n_without_text += 1;
                continue;
            }
            found.pairs.push(TextPair {
                accession: id.to_owned(),
                sequence,
                text: row[text].to_owned(),
                split: split.map(|at| row[at].to_owned()),
                group: row[group.unwrap_or(accession)].to_owned(),
                n_same_text: n_same_text.and_then(|at| row[at].parse().ok()).unwrap_or(0),
            });
        }
        if found.pairs.is_empty() {
            return Err(EvalError::Empty { path: path.to_owned() });
        }
        found.count_texts();
        Ok(found)
    }

    /// Pairs of `split`; all of them where the file has no such column.
    ///
    /// # Errors
    /// [`EvalError::UnknownSplit`] with the names that are there.
    pub fn in_split(&self, path: &Path, split: &str) -> Result<Vec<usize>, EvalError> {
        let is_in = |pair: &TextPair| pair.split.as_deref().is_none_or(|name| name == split);
        let rows: Vec<usize> = (0..self.pairs.len()).filter(|&row| is_in(&self.pairs[row])).collect();
        if rows.is_empty() {
            let names: BTreeSet<&str> = self.pairs.iter().filter_map(|pair| pair.split.as_deref()).collect();
            let present = names.into_iter().collect::<Vec<_>>().join(", ");
            return Err(EvalError::UnknownSplit { path: path.to_owned(), split: split.to_owned(), present });
        }
        Ok(rows)
    }

    /// Where the file does not say how often a text occurs, its own rows are counted.
    fn count_texts(&mut self) {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        self.pairs.iter().for_each(|pair| *counts.entry(pair.text.as_str()).or_default() += 1);
        let counts: Vec<usize> = self.pairs.iter().map(|pair| counts[pair.text.as_str()]).collect();
        for (pair, count) in self.pairs.iter_mut().zip(counts) {
            pair.n_same_text = pair.n_same_text.max(count);
        }
    }
}

/// Accessions and sequences of several tables.
///
/// # Errors
/// [`EvalError`] naming file, row or column.
pub fn read_sequences(paths: &[PathBuf]) -> Result<HashMap<String, String>, EvalError> {
    let mut found = HashMap::new();
    for path in paths {
        let failed = |source| EvalError::Read { path: path.clone(), source };
        let mut table = open_table(path)?;
        let header = table.headers().map_err(failed)?.clone();
        let column = |name: &'static str| {
            header.iter().position(|column| column == name).ok_or_else(|| EvalError::MissingColumn {
                path: path.clone(),
                column: name,
                present: header.iter().collect::<Vec<_>>().join(", "),
            })
        };
        let (accession, sequence) = (column("accession")?, column("sequence")?);
        for row in table.records() {
            let row = row.map_err(failed)?;
            found.entry(row[accession].to_owned()).or_insert_with(|| row[sequence].to_owned());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_joined_counted_and_kept_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let texts = file(
            "t.tsv",
            "accession\ttext\tgroup\nA\tbinds\tg\nB\tbinds\tg\nA\tagain\tg\nC\tcuts\th\nD\t \th\n",
        );
        let sequences = file("s.tsv", "accession\tsequence\nA\tMK\nB\tMV\nD\tMM\n");
        let table = PairTable::read(&texts, &[sequences]).unwrap();
        let ids: Vec<&str> = table.pairs.iter().map(|pair| pair.accession.as_str()).collect();
        assert_eq!((ids, table.n_without_sequence, table.n_without_text), (vec!["A", "B"], 1, 1));
        assert_eq!((table.pairs[0].n_same_text, table.pairs[0].group.as_str()), (2, "g"));
        assert_eq!(table.in_split(&texts, "test").unwrap(), [0, 1], "without a split column all rows count");
        let own = file("o.tsv", "id\tsequence\ttext\tsplit\nA\tMK\tbinds\ttrain\n");
        let table = PairTable::read(&own, &[]).unwrap();
        assert_eq!(table.pairs[0].group, "A");
        assert!(table.in_split(&own, "tset").unwrap_err().to_string().contains("train"));
        let missing = PairTable::read(&file("m.tsv", "accession\tnote\nA\tx\n"), &[]).unwrap_err();
        assert!(missing.to_string().contains("\"text\""), "{missing}");
    }
}
