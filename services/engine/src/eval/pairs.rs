//! Pairs of protein and text: a table of texts with accessions, and the sequences that belong to them.
//!
//! Any table that `protext embed` reads: TSV, CSV, JSON lines, Parquet, plain or gzip. Training and evaluation of the joint
//! space start here.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use protext_core::Modality;

use super::error::EvalError;
use crate::input::{Duplicates, InputError, InputOptions, InputRecord, Payload, Rule, Source, open};

/// Columns that are taken where a table has them.
const OPTIONAL: [&str; 5] = ["sequence", "split", "group", "cluster30", "text_dup"];

/// One pair.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextPair {
    /// Accession of the protein.
    pub accession: String,
    /// Its residues, as written; empty if none are known.
    pub sequence: String,
    /// Its text, as written.
    pub text: String,
    /// Part of the data, if the row has one.
    pub split: Option<String>,
    /// Pairs of one group are relatives and stay on one side of a split; the accession where the file has no groups.
    pub group: String,
    /// Value of the column `group`.
    pub group_label: Option<String>,
    /// Value of the column `cluster30`.
    pub cluster_label: Option<String>,
    /// How many rows carry this text; counted here where the file does not say.
    pub n_same_text: usize,
}

/// How a table of pairs is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PairOptions {
    /// Files with sequences, FASTA or tables, for rows without one of their own.
    pub sequences: Vec<PathBuf>,
    /// Keep rows without a sequence: their embeddings are already there.
    pub without_sequence: bool,
    /// Keep every text of a protein, not only that of its first row.
    pub several_texts: bool,
}

/// Pairs of a file, and how many rows it had that are none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PairTable {
    /// In file order; unless several texts are asked for, the first row of an accession counts.
    pub pairs: Vec<TextPair>,
    /// Rows left out since no sequence was found for their accession.
    pub n_without_sequence: usize,
    /// Rows left out since they have no text.
    pub n_without_text: usize,
    /// Rows left out since an earlier one has their accession (and, with several texts, their text).
    pub n_repeated: usize,
}

impl PairTable {
    /// Reads a table. Columns: `accession` (or `id`), `text`, and where there are, `sequence`, `split`, `group`, `cluster30`,
    /// `text_dup`. Where a row has no sequence, the other files of `options` are asked.
    ///
    /// # Errors
    /// [`EvalError`] naming file, record and column or rule.
    pub fn read(path: &Path, options: &PairOptions) -> Result<Self, EvalError> {
        let mut table = Self::default();
        let mut seen = HashSet::new();
        let mut known: Option<HashMap<String, String>> = None;
        for record in open(&Source::Path(path.to_owned()), &input_options())? {
            let (mut pair, payload) = match record {
                Ok(record) => as_pair(record),
                Err(error) if has_no_text(&error.rule) => {
                    table.n_without_text += 1;
                    continue;
                }
                Err(error) if matches!(error.rule, Rule::NoRecords) => break,
                Err(error) => return Err(error.into()),
            };
            let key = (pair.accession.clone(), options.several_texts.then(|| payload.clone()));
            if seen.contains(&key) {
                table.n_repeated += 1;
                continue;
            }
            if pair.sequence.is_empty() {
                if known.is_none() {
                    known = Some(read_sequences(&options.sequences)?);
                }
                let found = known.as_ref().and_then(|known| known.get(&pair.accession));
                pair.sequence = found.cloned().unwrap_or_default();
            }
            if pair.sequence.is_empty() && !options.without_sequence {
                table.n_without_sequence += 1;
                continue;
            }
            seen.insert(key);
            pair.text = payload;
            table.pairs.push(pair);
        }
        if table.pairs.is_empty() {
            return Err(table.nothing_left(path));
        }
        table.count_texts();
        Ok(table)
    }

    /// True if some row says which part it is in.
    #[must_use]
    pub fn has_split(&self) -> bool {
        self.pairs.iter().any(|pair| pair.split.is_some())
    }

    /// True if some row says which group it is in.
    #[must_use]
    pub fn has_groups(&self) -> bool {
        self.pairs.iter().any(|pair| pair.group_label.is_some() || pair.cluster_label.is_some())
    }

    /// Pairs of `split`; all of them where the file has no such column.
    ///
    /// # Errors
    /// [`EvalError::UnknownSplit`] with the names that are there.
    pub fn in_split(&self, path: &Path, split: &str) -> Result<Vec<usize>, EvalError> {
        let has_split = self.has_split();
        let is_in = |pair: &TextPair| !has_split || pair.split.as_deref() == Some(split);
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

    fn nothing_left(&self, path: &Path) -> EvalError {
        let path = path.to_owned();
        let (n_without_text, n_without_sequence) = (self.n_without_text, self.n_without_sequence);
        match n_without_text + n_without_sequence {
            0 => EvalError::Empty { path },
            _ => EvalError::NoPairs { path, n_without_text, n_without_sequence },
        }
    }
}

fn input_options() -> InputOptions {
    InputOptions {
        duplicates: Duplicates::KeepAll,
        metadata_columns: OPTIONAL.map(str::to_owned).to_vec(),
        metadata_optional: true,
        ..InputOptions::new(Modality::Text)
    }
}

/// The pair without its text, and the text.
fn as_pair(record: InputRecord) -> (TextPair, String) {
    let (Payload::Sequence(text) | Payload::Text(text)) = record.payload;
    let mut pair = TextPair { accession: record.id, ..TextPair::default() };
    for (column, value) in record.metadata {
        let value = value.trim().to_owned();
        match column.as_str() {
            _ if value.is_empty() => {}
            "sequence" => pair.sequence = value,
            "split" => pair.split = Some(value),
            "group" => pair.group_label = Some(value),
            "cluster30" => pair.cluster_label = Some(value),
            _ => pair.n_same_text = value.parse().unwrap_or(0),
        }
    }
    let label = pair.group_label.as_ref().or(pair.cluster_label.as_ref());
    pair.group = label.unwrap_or(&pair.accession).clone();
    (pair, text)
}

/// An empty text, or a JSON object without one.
fn has_no_text(rule: &Rule) -> bool {
    matches!(rule, Rule::EmptyField { .. } | Rule::MissingField { role: "text", .. })
}

/// Accessions and sequences of several files: FASTA or tables with both columns. The first of an accession counts.
///
/// # Errors
/// [`EvalError`] naming file, record and column or rule.
pub fn read_sequences(paths: &[PathBuf]) -> Result<HashMap<String, String>, EvalError> {
    let options = InputOptions { duplicates: Duplicates::KeepFirst, ..InputOptions::new(Modality::Protein) };
    let mut found = HashMap::new();
    for path in paths {
        for record in open(&Source::Path(path.clone()), &options)? {
            match record {
                Ok(record) => {
                    let (Payload::Sequence(sequence) | Payload::Text(sequence)) = record.payload;
                    found.entry(record.id).or_insert(sequence);
                }
                Err(error) if matches!(error.rule, Rule::EmptyField { .. } | Rule::NoSequence) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(found)
}

/// A protein of a table that need not hold pairs: its accession and its labels, in the order `group`, `cluster30`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled {
    /// The accession.
    pub accession: String,
    /// Values of `group` and `cluster30`.
    pub labels: [Option<String>; 2],
}

/// Reads accessions with their groups.
///
/// # Errors
/// [`EvalError`] naming file, record and column or rule.
pub fn read_labelled(path: &Path) -> Result<Vec<Labelled>, EvalError> {
    match read_labelled_by(path, "cluster30", "group") {
        Err(error) if lacks_column(&error) => {
            read_labelled_by(path, "group", "cluster30").map_err(|error| match lacks_column(&error) {
                true => EvalError::NoGroups { path: path.to_owned() },
                false => error,
            })
        }
        read => read,
    }
}

fn lacks_column(error: &EvalError) -> bool {
    match error {
        EvalError::Input(InputError::MissingColumn { role: "text", .. }) => true,
        EvalError::Record(error) => matches!(error.rule, Rule::MissingField { role: "text", .. }),
        _ => false,
    }
}

/// `needed` stands where a text would.
fn read_labelled_by(path: &Path, needed: &str, other: &str) -> Result<Vec<Labelled>, EvalError> {
    let options = InputOptions {
        text_column: Some(needed.to_owned()),
        metadata_columns: vec![other.to_owned()],
        duplicates: Duplicates::KeepFirst,
        metadata_optional: true,
        ..InputOptions::new(Modality::Text)
    };
    let mut found = Vec::new();
    for record in open(&Source::Path(path.to_owned()), &options)? {
        let (accession, mut labels) = match record {
            Ok(record) => {
                let (Payload::Sequence(label) | Payload::Text(label)) = record.payload;
                let other = record.metadata.into_iter().next().map(|(_, value)| value);
                (record.id, [other, Some(label)])
            }
            // Without a label the protein itself is still kept apart.
            Err(error) if matches!(error.rule, Rule::EmptyField { .. }) => match error.id {
                Some(id) => (id, [None, None]),
                None => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        };
        if needed == "group" {
            labels.reverse();
        }
        found.push(Labelled { accession, labels });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(sequences: &[PathBuf]) -> PairOptions {
        PairOptions { sequences: sequences.to_vec(), ..PairOptions::default() }
    }

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
        let table = PairTable::read(&texts, &options(std::slice::from_ref(&sequences))).unwrap();
        let ids: Vec<&str> = table.pairs.iter().map(|pair| pair.accession.as_str()).collect();
        assert_eq!((ids, table.n_without_sequence, table.n_without_text), (vec!["A", "B"], 1, 1));
        assert_eq!((table.pairs[0].n_same_text, table.pairs[0].group.as_str()), (2, "g"));
        assert_eq!(table.in_split(&texts, "test").unwrap(), [0, 1], "without a split column all rows count");
        let several = PairOptions { several_texts: true, ..options(&[sequences]) };
        assert_eq!(PairTable::read(&texts, &several).unwrap().pairs.len(), 3);
        let own = file("o.tsv", "id\tsequence\ttext\tsplit\nA\tMK\tbinds\ttrain\n");
        let table = PairTable::read(&own, &options(&[])).unwrap();
        assert_eq!((table.pairs[0].group.as_str(), table.has_groups()), ("A", false));
        assert!(table.in_split(&own, "tset").unwrap_err().to_string().contains("train"));
        let missing = PairTable::read(&file("m.tsv", "accession\tnote\nA\tx\n"), &options(&[])).unwrap_err();
        assert!(missing.to_string().contains("text"), "{missing}");
        let bare = PairTable::read(&file("b.tsv", "accession\ttext\nA\tx\n"), &options(&[])).unwrap_err();
        assert!(bare.to_string().contains("1 without a sequence"), "{bare}");
    }

    #[test]
    fn every_format_gives_the_same_pairs() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            PairTable::read(&path, &PairOptions::default()).unwrap()
        };
        let tsv =
            read("a.tsv", "accession\tsequence\ttext\tsplit\tcluster30\nA\tMK\tbinds, and cuts\ttest\tc\n");
        let csv = read("a.csv", "text,id,sequence,split,cluster30\n\"binds, and cuts\",A,MK,test,c\n");
        let json = read(
            "a.jsonl",
            "{\"accession\":\"A\",\"sequence\":\"MK\",\"text\":\"binds, and cuts\",\"split\":\"test\",\"cluster30\":\"c\"}\n",
        );
        assert_eq!(tsv.pairs[0].cluster_label.as_deref(), Some("c"));
        assert_eq!((&tsv, &tsv), (&csv, &json));
        let empty = read(
            "b.jsonl",
            "{\"id\":\"A\",\"sequence\":\"MK\",\"text\":null}\n{\"id\":\"B\",\"sequence\":\"MK\"}\n{\"id\":\"C\",\"sequence\":\"MK\",\"text\":\"x\"}\n",
        );
        assert_eq!((empty.pairs.len(), empty.n_without_text), (1, 2));
    }

    #[test]
    fn labels_are_read_from_whichever_column_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            read_labelled(&path)
        };
        let label = |label: &str| Some(label.to_owned());
        let both = read("a.tsv", "accession\tgroup\tcluster30\nA\tg\tc\nB\t\t\n").unwrap();
        assert_eq!(both[0].labels, [label("g"), label("c")]);
        assert_eq!((both[1].accession.as_str(), &both[1].labels), ("B", &[None, None]));
        assert_eq!(read("b.csv", "group,id\ng,A\n").unwrap()[0].labels, [label("g"), None]);
        assert_eq!(
            read("c.jsonl", "{\"id\":\"A\",\"group\":\"g\"}\n").unwrap()[0].labels,
            [label("g"), None]
        );
        let none = read("d.tsv", "accession\tname\nA\tx\n").unwrap_err().to_string();
        assert!(none.contains("cluster30"), "{none}");
    }
}
