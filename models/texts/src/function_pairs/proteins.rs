//! Proteins of a table: accession, sequence, and to which relatives they belong.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::error::TextError;
use crate::go::annotations::ACCESSION;
use crate::table::Table;

/// A protein.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protein {
    /// Accession.
    pub accession: String,
    /// Residues, as written; perhaps empty.
    pub sequence: String,
    /// Cluster of relatives (column `cluster30`).
    pub cluster: Option<String>,
    /// Proteins that must stay on one side of a split (column `group`).
    pub group: Option<String>,
}

/// The rows of one table, in its order: columns `accession` and `sequence`, and `cluster30` and `group` where there are.
/// Ends at the first error.
#[derive(Debug)]
pub struct ProteinFile {
    table: Option<Table>,
    accession: usize,
    sequence: usize,
    cluster: Option<usize>,
    group: Option<usize>,
}

impl ProteinFile {
    /// Opens a table, plain or gzip'd.
    ///
    /// # Errors
    /// [`TextError`] for a file that cannot be opened or lacks a column.
    pub fn open(path: &Path) -> Result<Self, TextError> {
        let table = Table::open(path)?;
        Ok(Self {
            accession: table.needed(&ACCESSION)?,
            sequence: table.needed(&["sequence", "seq"])?,
            cluster: table.column(&["cluster30", "cluster"]),
            group: table.column(&["group"]),
            table: Some(table),
        })
    }

    /// Whether the table says which proteins are relatives.
    #[must_use]
    pub fn has_clusters(&self) -> bool {
        self.cluster.is_some()
    }

    fn read(&mut self) -> Result<Option<Protein>, TextError> {
        let Some(table) = &mut self.table else { return Ok(None) };
        let Some(row) = table.next_row()? else { return Ok(None) };
        Ok(Some(Protein {
            accession: row.required(self.accession)?.to_owned(),
            sequence: row.cell(self.sequence).to_owned(),
            cluster: row.filled(self.cluster).map(str::to_owned),
            group: row.filled(self.group).map(str::to_owned),
        }))
    }
}

impl Iterator for ProteinFile {
    type Item = Result<Protein, TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.read();
        if !matches!(next, Ok(Some(_))) {
            self.table = None;
        }
        next.transpose()
    }
}

/// The proteins of several tables, and why others are not among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProteinSet {
    /// In the order of the tables; the first row of an accession counts.
    pub proteins: Vec<Protein>,
    /// Rows of accessions that were read before.
    pub n_duplicates: usize,
    /// Rows without a sequence.
    pub n_without_sequence: usize,
    /// Rows with a longer sequence than was asked for.
    pub n_too_long: usize,
    /// Tables that do not say which proteins are relatives.
    pub without_clusters: Vec<PathBuf>,
}

impl ProteinSet {
    /// Reads tables; `max_len` is the longest sequence to take, in residues.
    ///
    /// # Errors
    /// The first error of a table.
    pub fn read(paths: &[PathBuf], max_len: Option<usize>) -> Result<Self, TextError> {
        let mut set = Self::default();
        let mut seen = HashSet::new();
        for path in paths {
            let file = ProteinFile::open(path)?;
            if !file.has_clusters() {
                set.without_clusters.push(path.clone());
            }
            for protein in file {
                let protein = protein?;
                if !seen.insert(protein.accession.clone()) {
                    set.n_duplicates += 1;
                } else if protein.sequence.is_empty() {
                    set.n_without_sequence += 1;
                } else if max_len.is_some_and(|max_len| protein.sequence.len() > max_len) {
                    set.n_too_long += 1;
                } else {
                    set.proteins.push(protein);
                }
            }
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_that_are_not_there_are_left_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.tsv");
        std::fs::write(&path, "accession\tlength\tcluster30\tsequence\nP1\t2\tP0\tMK\nP2\t0\t\t\n").unwrap();
        let file = ProteinFile::open(&path).unwrap();
        assert!(file.has_clusters());
        let proteins: Vec<Protein> = file.collect::<Result<_, _>>().unwrap();
        assert_eq!((proteins[0].cluster.as_deref(), proteins[0].group.as_deref()), (Some("P0"), None));
        assert_eq!((proteins[1].sequence.as_str(), proteins[1].cluster.as_deref()), ("", None));
        std::fs::write(&path, "accession\tsequence\n\tMK\n").unwrap();
        let error = ProteinFile::open(&path).unwrap().next().unwrap().unwrap_err().to_string();
        assert!(error.contains("p.tsv, line 2: accession"), "{error}");
        std::fs::write(&path, "name\tsequence\n").unwrap();
        assert!(ProteinFile::open(&path).unwrap_err().to_string().contains("\"accession\""));
    }

    #[test]
    fn each_protein_is_taken_once_and_others_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let one = file("one.tsv", "accession\tsequence\tcluster30\nA\tMK\ta\nB\tMKVLA\ta\nC\t\ta\n");
        let two = file("two.tsv", "id\tseq\nA\tMV\nD\tMMM\n");
        let set = ProteinSet::read(&[one, two.clone()], Some(3)).unwrap();
        let taken: Vec<_> = set
            .proteins
            .iter()
            .map(|protein| (protein.accession.as_str(), protein.sequence.as_str()))
            .collect();
        assert_eq!(taken, [("A", "MK"), ("D", "MMM")]);
        assert_eq!((set.n_duplicates, set.n_without_sequence, set.n_too_long), (1, 1, 1));
        assert_eq!(set.without_clusters, [two]);
    }
}
