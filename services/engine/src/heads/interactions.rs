//! Tables of pairs: two ids a row, a label where there is one, and perhaps sequences of their own.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use protext_core::Modality;

use super::error::HeadDataError;
use crate::eval::read_sequences;
use crate::input::{Duplicates, InputError, InputOptions, InputRecord, Payload, Rule, Source, open};

/// Names of the two id columns that are looked for, in this order; those of sequences are `sequence_a` and `sequence_b`.
pub const PAIR_COLUMNS: [(&str, &str); 6] = [
    ("protein_a", "protein_b"),
    ("accession_a", "accession_b"),
    ("id_a", "id_b"),
    ("gene_a", "gene_b"),
    ("a", "b"),
    ("locus_a", "locus_b"),
];

/// Columns that are taken where a table has them.
const OPTIONAL: [&str; 4] = ["label", "split", "sequence_a", "sequence_b"];

/// How a table of pairs is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InteractionOptions {
    /// Names of the two id columns, where they are none of [`PAIR_COLUMNS`].
    pub columns: Option<(String, String)>,
    /// Files with sequences by id, for pairs without sequences of their own.
    pub sequences: Vec<PathBuf>,
    /// Every pair needs a label.
    pub labelled: bool,
    /// A member without a sequence is an error; otherwise its pairs are left out and counted.
    pub strict: bool,
}

/// One pair; members by their numbers among [`InteractionTable::proteins`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interaction {
    /// 1-based number of the record in its file.
    pub number: u64,
    /// The first member.
    pub a: usize,
    /// The second member.
    pub b: usize,
    /// Whether they interact, if the table says.
    pub label: Option<bool>,
    /// Part of the data, if the row has one.
    pub split: Option<String>,
}

/// Pairs of a file, their proteins once each, and what was left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InteractionTable {
    /// Id and sequence of each protein, in order of appearance.
    pub proteins: Vec<(String, String)>,
    /// In file order.
    pub pairs: Vec<Interaction>,
    /// Pairs left out since a member has no sequence.
    pub n_without_sequence: usize,
    /// Of these, members without a sequence: how many, and the first.
    pub without_sequence: BTreeSet<String>,
    /// Pairs left out since an earlier one has the same members.
    pub n_repeated: usize,
}

impl InteractionTable {
    /// Reads a table. Pairs with a member without a sequence are left out and counted.
    ///
    /// # Errors
    /// [`HeadDataError`] naming file, record and column or rule; a pair with itself is one.
    pub fn read(path: &Path, options: &InteractionOptions) -> Result<Self, HeadDataError> {
        let known = read_sequences(&options.sequences)?;
        let mut builder = Builder {
            path,
            options,
            known,
            table: Self::default(),
            places: HashMap::new(),
            seen: HashMap::new(),
        };
        for record in open_pairs(path, options)? {
            match record {
                Ok(record) => builder.add(record)?,
                Err(error) if matches!(error.rule, Rule::NoRecords) => break,
                Err(error) => return Err(error.into()),
            }
        }
        let table = builder.table;
        if table.pairs.is_empty() {
            let first =
                table.without_sequence.first().map_or(String::new(), |id| format!(" ({id} the first)"));
            let why = format!(
                "{} pairs have a member without a sequence{first}; give sequences by --sequences FILE (FASTA or a table)",
                table.n_without_sequence
            );
            return Err(HeadDataError::NothingLeft { path: path.to_owned(), part: String::new(), why });
        }
        Ok(table)
    }

    /// Places of the pairs of `split`; all where the file has no such column.
    ///
    /// # Errors
    /// [`HeadDataError::UnknownSplit`] with the names that are there.
    pub fn in_split(&self, path: &Path, split: &str) -> Result<Vec<usize>, HeadDataError> {
        let has_split = self.pairs.iter().any(|pair| pair.split.is_some());
        let is_in = |pair: &Interaction| !has_split || pair.split.as_deref() == Some(split);
        let places: Vec<usize> = (0..self.pairs.len()).filter(|&at| is_in(&self.pairs[at])).collect();
        if places.is_empty() {
            let names: BTreeSet<&str> = self.pairs.iter().filter_map(|pair| pair.split.as_deref()).collect();
            let present = names.into_iter().collect::<Vec<_>>().join(", ");
            let (path, split) = (path.to_owned(), split.to_owned());
            return Err(HeadDataError::UnknownSplit { path, split, present });
        }
        Ok(places)
    }

    /// Labels of some pairs, if both classes are among them.
    ///
    /// # Errors
    /// [`HeadDataError::OneClass`].
    pub fn labels(&self, path: &Path, places: &[usize], part: &str) -> Result<Vec<bool>, HeadDataError> {
        let labels: Vec<bool> = places.iter().filter_map(|&at| self.pairs[at].label).collect();
        if labels.iter().all(|label| *label == labels[0]) {
            let (path, part, n) = (path.to_owned(), part.to_owned(), labels.len());
            let class = u8::from(labels.first().copied().unwrap_or(false)).to_string();
            return Err(HeadDataError::OneClass { path, part, n, class });
        }
        Ok(labels)
    }
}

/// A table under way.
struct Builder<'a> {
    path: &'a Path,
    options: &'a InteractionOptions,
    known: HashMap<String, String>,
    table: InteractionTable,
    places: HashMap<String, usize>,
    /// Record and label of each pair so far, members in order.
    seen: HashMap<(String, String), (u64, Option<bool>)>,
}

impl Builder<'_> {
    fn add(&mut self, record: InputRecord) -> Result<(), HeadDataError> {
        let InputRecord { number, id: a, payload, metadata, .. } = record;
        let (Payload::Sequence(b) | Payload::Text(b)) = payload;
        let b = b.trim().to_owned();
        let value = |name: &str| {
            metadata.iter().find(|(known, _)| known == name).map(|(_, value)| value.trim().to_owned())
        };
        if a == b {
            return Err(HeadDataError::Itself { path: self.path.to_owned(), record: number, id: a });
        }
        let label = match (value("label").as_deref(), self.options.labelled) {
            (Some("1" | "1.0" | "true"), _) => Some(true),
            (Some("0" | "0.0" | "false"), _) => Some(false),
            (None, false) => None,
            (other, _) => {
                return Err(HeadDataError::Value {
                    path: self.path.to_owned(),
                    record: number,
                    id: format!("{a}, {b}"),
                    column: "label".to_owned(),
                    value: other.unwrap_or_default().to_owned(),
                    rule: "1 (they interact) or 0",
                });
            }
        };
        let key = if a < b { (a.clone(), b.clone()) } else { (b.clone(), a.clone()) };
        if let Some(&(earlier, before)) = self.seen.get(&key) {
            if before != label {
                let (path, record) = (self.path.to_owned(), number);
                let label = u8::from(label == Some(true));
                return Err(HeadDataError::Contradiction { path, record, earlier, a, b, label });
            }
            self.table.n_repeated += 1;
            return Ok(());
        }
        self.seen.insert(key, (number, label));
        let members = [(a, value("sequence_a")), (b, value("sequence_b"))];
        let places = members.clone().map(|(id, own)| self.place(id, own));
        if self.options.strict
            && let Some(at) = places.iter().position(Option::is_none)
        {
            let [one, other] = members;
            let id = if at == 0 { one.0 } else { other.0 };
            return Err(HeadDataError::NoSequence { path: self.path.to_owned(), record: number, id });
        }
        match places {
            [Some(a), Some(b)] => {
                self.table.pairs.push(Interaction { number, a, b, label, split: value("split") });
            }
            _ => self.table.n_without_sequence += 1,
        }
        Ok(())
    }

    /// The number of a protein, if it has a sequence.
    fn place(&mut self, id: String, own: Option<String>) -> Option<usize> {
        if let Some(&place) = self.places.get(&id) {
            return Some(place);
        }
        let Some(sequence) = own.filter(|own| !own.is_empty()).or_else(|| self.known.get(&id).cloned())
        else {
            self.table.without_sequence.insert(id);
            return None;
        };
        let place = self.table.proteins.len();
        self.table.proteins.push((id.clone(), sequence));
        self.places.insert(id, place);
        Some(place)
    }
}

/// Opens the table with the first pair of id columns that it has.
fn open_pairs(
    path: &Path,
    options: &InteractionOptions,
) -> Result<impl Iterator<Item = Result<InputRecord, crate::input::RecordError>>, HeadDataError> {
    let given = options.columns.as_ref().map(|(a, b)| vec![(a.as_str(), b.as_str())]);
    let mut refused = None;
    for (a, b) in given.unwrap_or_else(|| PAIR_COLUMNS.to_vec()) {
        let input = InputOptions {
            duplicates: Duplicates::KeepAll,
            id_column: Some(a.to_owned()),
            text_column: Some(b.to_owned()),
            metadata_columns: OPTIONAL.map(str::to_owned).to_vec(),
            metadata_optional: true,
            ..InputOptions::new(Modality::Text)
        };
        let lacks = |error: &InputError| matches!(error, InputError::MissingColumn { .. });
        match open(&Source::Path(path.to_owned()), &input) {
            Ok(records) => {
                let mut records = records.peekable();
                // JSON lines tell only by their first object which names they use.
                let unnamed = matches!(records.peek(), Some(Err(error)) if matches!(error.rule, Rule::MissingField { .. }));
                if !unnamed || options.columns.is_some() {
                    return Ok(records);
                }
                refused = refused.or_else(|| records.next().and_then(Result::err).map(HeadDataError::from));
            }
            Err(error) if lacks(&error) && refused.is_none() => refused = Some(error.into()),
            Err(error) if lacks(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let named = PAIR_COLUMNS.map(|(a, b)| format!("{a} and {b}")).join(", ");
    Err(match refused {
        Some(HeadDataError::Input(InputError::MissingColumn { file, present, .. })) => {
            let role = "members of a pair";
            InputError::MissingColumn { file, role, wanted: named, present }.into()
        }
        Some(other) => other,
        None => HeadDataError::MissingColumn { path: path.to_owned(), column: named },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            let folder = Self(tempfile::tempdir().unwrap());
            folder.file("s.tsv", "accession\tsequence\nA\tMK\nB\tMV\nC\tML\n");
            folder
        }

        fn file(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        }

        fn read(&self, name: &str, text: &str, labelled: bool) -> Result<InteractionTable, HeadDataError> {
            let sequences = vec![self.0.path().join("s.tsv")];
            let options = InteractionOptions { sequences, labelled, columns: None, strict: !labelled };
            InteractionTable::read(&self.file(name, text), &options)
        }
    }

    #[test]
    fn proteins_are_numbered_once_and_pairs_without_sequences_counted() {
        let folder = Folder::new();
        let text = "protein_a\tprotein_b\tlabel\nA\tB\t1\nB\tC\t0\nB\tA\t1\nA\tX\t1\n";
        let found = folder.read("a.tsv", text, true).unwrap();
        assert_eq!(found.proteins.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["A", "B", "C"]);
        assert_eq!((found.pairs.len(), found.n_repeated, found.n_without_sequence), (2, 1, 1));
        assert_eq!((found.pairs[1].a, found.pairs[1].b, found.pairs[1].label), (1, 2, Some(false)));
        assert!(found.without_sequence.contains("X"));
        assert_eq!(found.labels(Path::new("a"), &[0, 1], "").unwrap(), [true, false]);
        let own = "{\"id_a\":\"P\",\"id_b\":\"A\",\"sequence_a\":\"MKK\"}\n";
        let own = folder.read("b.jsonl", own, false).unwrap();
        assert_eq!((own.proteins[0].1.as_str(), own.pairs[0].label), ("MKK", None));
        assert_eq!(folder.read("c.csv", "b,a\nA,C\n", false).unwrap().pairs.len(), 1);
    }

    #[test]
    fn faults_name_record_and_rule() {
        let folder = Folder::new();
        let said = |text: &str, labelled| folder.read("a.tsv", text, labelled).unwrap_err().to_string();
        let header = "protein_a\tprotein_b\tlabel\n";
        let itself = said(&format!("{header}A\tB\t1\nC\tC\t0\n"), true);
        assert!(itself.contains("record 2") && itself.contains("C is paired with itself"), "{itself}");
        let label = said(&format!("{header}A\tB\tmaybe\n"), true);
        assert!(label.contains("record 1") && label.contains("\"maybe\""), "{label}");
        let twice = said(&format!("{header}A\tB\t1\nB\tA\t0\n"), true);
        assert!(twice.contains("record 2") && twice.contains("record 1"), "{twice}");
        let unknown = said(&format!("{header}A\tX\t1\n"), true);
        assert!(unknown.contains("--sequences") && unknown.contains('X'), "{unknown}");
        let strict = said("protein_a\tprotein_b\nA\tB\nB\tX\n", false);
        assert!(strict.contains("record 2: X has no sequence"), "{strict}");
        let columns = said("left\tright\nA\tB\n", false);
        assert!(columns.contains("protein_a and protein_b"), "{columns}");
        let one = folder.read("a.tsv", &format!("{header}A\tB\t1\nA\tC\t1\n"), true).unwrap();
        let one = one.labels(Path::new("a.tsv"), &[0, 1], " of split \"test\"").unwrap_err().to_string();
        assert!(one.contains("class \"1\"") && one.contains("of split \"test\""), "{one}");
    }
}
