//! The table of CATH domains: id, superfamily, topology, split, sequence.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::error::EvalError;

/// One domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CathDomain {
    /// CATH domain id.
    pub id: String,
    /// C.A.T.H.
    pub superfamily: String,
    /// C.A.T.
    pub topology: String,
    /// Part of the data, if the file has parts.
    pub split: Option<String>,
    /// Residues as the file has them.
    pub sequence: String,
}

/// All domains of a file, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CathTable {
    /// In file order.
    pub domains: Vec<CathDomain>,
}

impl CathTable {
    /// Reads a tab-separated table, plain or gzip, with one header line; further columns are passed over.
    ///
    /// # Errors
    /// [`EvalError`] naming file, row or column.
    pub fn read(path: &Path) -> Result<Self, EvalError> {
        let failed = |source: csv::Error| EvalError::Read { path: path.to_owned(), source };
        let mut table = open_table(path)?;
        let header = table.headers().map_err(failed)?.clone();
        let column = |name: &'static str| header.iter().position(|column| column == name);
        let needed = |name: &'static str| {
            let present = || header.iter().collect::<Vec<_>>().join(", ");
            column(name).ok_or_else(|| EvalError::MissingColumn {
                path: path.into(),
                column: name,
                present: present(),
            })
        };
        let (id, superfamily, sequence) = (needed("domain")?, needed("superfamily")?, needed("sequence")?);
        let (topology, split) = (needed("topology")?, column("split"));
        let mut domains = Vec::new();
        for row in table.records() {
            let row = row.map_err(failed)?;
            domains.push(CathDomain {
                id: row[id].to_owned(),
                superfamily: row[superfamily].to_owned(),
                topology: row[topology].to_owned(),
                split: split.map(|split| row[split].to_owned()),
                sequence: row[sequence].to_owned(),
            });
        }
        if domains.is_empty() {
            return Err(EvalError::Empty { path: path.to_owned() });
        }
        Ok(Self { domains })
    }

    /// Which domains belong to `split`; all of them where the file has no such column.
    ///
    /// # Errors
    /// [`EvalError::UnknownSplit`] with the names that are there.
    pub fn in_split(&self, path: &Path, split: &str) -> Result<Vec<bool>, EvalError> {
        let is_in = |domain: &CathDomain| domain.split.as_deref().is_none_or(|name| name == split);
        let selected: Vec<bool> = self.domains.iter().map(is_in).collect();
        if !selected.contains(&true) {
            let names: BTreeSet<&str> =
                self.domains.iter().filter_map(|domain| domain.split.as_deref()).collect();
            let present = names.into_iter().collect::<Vec<_>>().join(", ");
            return Err(EvalError::UnknownSplit { path: path.to_owned(), split: split.to_owned(), present });
        }
        Ok(selected)
    }
}

/// A tab-separated table, plain or gzip, without quoting.
pub(super) fn open_table(path: &Path) -> Result<csv::Reader<Box<dyn Read>>, EvalError> {
    let failed = |error: std::io::Error| EvalError::Read { path: path.to_owned(), source: error.into() };
    let reader = open(path).map_err(failed)?;
    Ok(csv::ReaderBuilder::new().delimiter(b'\t').quoting(false).from_reader(reader))
}

fn open(path: &Path) -> std::io::Result<Box<dyn Read>> {
    let mut reader = BufReader::new(File::open(path)?);
    let is_gzip = reader.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(if is_gzip { Box::new(MultiGzDecoder::new(reader)) } else { Box::new(reader) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<CathTable, EvalError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        CathTable::read(file.path())
    }

    #[test]
    fn columns_are_found_by_name_and_faults_are_named() {
        let table =
            read("split\tdomain\tsuperfamily\textra\ttopology\tsequence\ntest\td1\t1.2.3.4\tx\t1.2.3\tMK\n");
        assert_eq!(table.unwrap().domains[0].topology, "1.2.3");
        let error = read("domain\tsuperfamily\tsequence\nd1\t1.2.3.4\tMK\n").unwrap_err().to_string();
        assert!(error.contains("\"topology\"") && error.contains("superfamily"), "{error}");
        assert!(matches!(read("domain\tsuperfamily\ttopology\tsequence\n"), Err(EvalError::Empty { .. })));
        assert!(matches!(read("domain\tsuperfamily\ttopology\tsequence\nd1\n"), Err(EvalError::Read { .. })));
    }

    #[test]
    fn without_a_split_column_all_rows_count() {
        let table = read("domain\tsuperfamily\ttopology\tsequence\nd1\t1.2.3.4\t1.2.3\tMK\n").unwrap();
        assert_eq!(table.in_split(Path::new("t"), "test").unwrap(), [true]);
    }

    #[test]
    fn an_unknown_split_lists_those_there_are() {
        let table =
            read("domain\tsuperfamily\ttopology\tsequence\tsplit\nd1\t1.2.3.4\t1.2.3\tMK\ttrain\n").unwrap();
        let error = table.in_split(Path::new("t"), "tset").unwrap_err().to_string();
        assert!(error.contains("train"), "{error}");
    }
}
