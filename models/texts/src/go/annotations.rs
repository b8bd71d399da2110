//! Which proteins have which GO terms: out of GAF files, or of a table with one protein a row.
//!
//! GAF 2.x is what the GO project and GOA publish, one annotation a line; a qualifier `NOT` says that the protein does
//! *not* have the term, so such lines are passed over. A table has an accession and columns of ids (`go_mf`, `go_bp`,
//! `go_cc`, or `go_terms`). Both may be plain or gzip'd. Source: GAF 2.2 file format, GO consortium.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use super::id::GoId;
use crate::error::TextError;
use crate::input::Input;
use crate::table::Table;

/// Column names of accessions, in tables of proteins.
pub(crate) const ACCESSION: [&str; 4] = ["accession", "uniprot_id", "entry", "id"];
const GO_COLUMNS: [&str; 6] = ["go_mf", "go_bp", "go_cc", "go_terms", "go_ids", "go"];
/// Columns of a GAF line; the last two may be missing.
const GAF_COLUMNS: std::ops::RangeInclusive<usize> = 15..=17;

/// Why an annotation was made, as GO writes it: `IDA`, `IEA` and the like.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EvidenceCode(String);

impl FromStr for EvidenceCode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_code = matches!(text.len(), 2..=3) && text.bytes().all(|byte| byte.is_ascii_uppercase());
        is_code.then(|| Self(text.to_owned())).ok_or_else(|| {
            let text: String = text.chars().take(40).collect();
            format!("{text:?} is no evidence code; write two or three capitals, such as IDA or IEA")
        })
    }
}

impl fmt::Display for EvidenceCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// GO terms of proteins, as a file gives them: neither resolved nor sorted by namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProteinTerms {
    terms: HashMap<String, BTreeSet<GoId>>,
    /// Lines that say a protein does not have a term.
    pub n_not: u64,
    /// Lines whose evidence was not asked for.
    pub n_other_evidence: u64,
    /// Rows or lines of proteins that were not asked for.
    pub n_other_proteins: u64,
}

impl ProteinTerms {
    /// Reads the annotations of proteins for which `is_wanted` holds; `evidence` picks codes in a GAF, and an empty list
    /// takes all.
    ///
    /// # Errors
    /// [`TextError`] naming file, line, column and rule.
    pub fn open(
        path: &Path,
        is_wanted: impl Fn(&str) -> bool,
        evidence: &[EvidenceCode],
    ) -> Result<Self, TextError> {
        Self::of(Input::open(path)?, is_wanted, evidence)
    }

    /// As [`ProteinTerms::open`], from bytes; `name` stands in messages.
    ///
    /// # Errors
    /// As [`ProteinTerms::open`].
    pub fn new(
        bytes: impl Read + Send + 'static,
        name: &str,
        is_wanted: impl Fn(&str) -> bool,
        evidence: &[EvidenceCode],
    ) -> Result<Self, TextError> {
        Self::of(Input::new(bytes, name.to_owned())?, is_wanted, evidence)
    }

    /// Terms of a protein.
    pub fn of_protein(&self, accession: &str) -> impl Iterator<Item = GoId> + '_ {
        self.terms.get(accession).into_iter().flatten().copied()
    }

    /// Adds the terms and counts of another file.
    pub fn add(&mut self, other: Self) {
        for (accession, ids) in other.terms {
            self.terms.entry(accession).or_default().extend(ids);
        }
        self.n_not += other.n_not;
        self.n_other_evidence += other.n_other_evidence;
        self.n_other_proteins += other.n_other_proteins;
    }

    /// Number of proteins with a term.
    #[must_use]
    pub fn n_proteins(&self) -> usize {
        self.terms.len()
    }

    fn of(
        mut input: Input,
        is_wanted: impl Fn(&str) -> bool,
        evidence: &[EvidenceCode],
    ) -> Result<Self, TextError> {
        let mut first = String::new();
        input.begin_record();
        input.next_line(&mut first)?;
        let mut terms = Self::default();
        if first.starts_with("!gaf-version:") {
            let version = first.trim_start_matches("!gaf-version:").trim();
            if !version.starts_with("2.") {
                return Err(input.bad_line(format!("GAF version {version:?}; give one of version 2")));
            }
            terms.read_gaf(&mut input, is_wanted, evidence)?;
        } else {
            let table = Table::with_header(input, &first);
            terms.read_table(table, is_wanted)?;
        }
        Ok(terms)
    }

    fn read_gaf(
        &mut self,
        input: &mut Input,
        is_wanted: impl Fn(&str) -> bool,
        evidence: &[EvidenceCode],
    ) -> Result<(), TextError> {
        let mut line = String::new();
        loop {
            input.begin_record();
            if !input.next_line(&mut line)? {
                return Ok(());
            }
            if line.is_empty() || line.starts_with('!') {
                continue;
            }
            let annotation = Annotation::of(&line).map_err(|rule| input.bad_line(rule))?;
            if !is_wanted(annotation.accession) {
                self.n_other_proteins += 1;
            } else if annotation.is_not {
                self.n_not += 1;
            } else if !(evidence.is_empty() || evidence.contains(&annotation.evidence)) {
                self.n_other_evidence += 1;
            } else {
                self.terms.entry(annotation.accession.to_owned()).or_default().insert(annotation.id);
            }
        }
    }

    fn read_table(&mut self, mut table: Table, is_wanted: impl Fn(&str) -> bool) -> Result<(), TextError> {
        let accession = table.needed(&ACCESSION)?;
        let columns: Vec<_> = GO_COLUMNS.iter().filter_map(|name| table.column(&[name])).collect();
        if columns.is_empty() {
            table.needed(&GO_COLUMNS)?;
        }
        while let Some(row) = table.next_row()? {
            let accession = row.required(accession)?;
            if !is_wanted(accession) {
                self.n_other_proteins += 1;
                continue;
            }
            for &column in &columns {
                let ids: Vec<GoId> = row.list(Some(column))?;
                if !ids.is_empty() {
                    self.terms.entry(accession.to_owned()).or_default().extend(ids);
                }
            }
        }
        Ok(())
    }
}

/// A line of a GAF file.
struct Annotation<'a> {
    accession: &'a str,
    is_not: bool,
    id: GoId,
    evidence: EvidenceCode,
}

impl<'a> Annotation<'a> {
    fn of(line: &'a str) -> Result<Self, String> {
        let cells: Vec<&str> = line.split('\t').map(str::trim).collect();
        if !GAF_COLUMNS.contains(&cells.len()) {
            return Err(format!("{} columns, but a line of GAF 2 has 17", cells.len()));
        }
        if cells[1].is_empty() {
            return Err("DB Object ID: is empty; every annotation has one".to_owned());
        }
        Ok(Self {
            accession: cells[1],
            is_not: cells[3].split('|').any(|qualifier| qualifier.eq_ignore_ascii_case("NOT")),
            id: cells[4].parse().map_err(|error| format!("GO ID: {error}"))?,
            evidence: cells[6].parse().map_err(|error| format!("Evidence Code: {error}"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::input::tests::gzip;

    fn line(accession: &str, qualifier: &str, id: &str, evidence: &str) -> String {
        format!(
            "UniProtKB\t{accession}\tSYM\t{qualifier}\t{id}\tPMID:1\t{evidence}\t\tF\tname\t\tprotein\ttaxon:9606\t20240101\tUniProt\t\t\n"
        )
    }

    fn read(bytes: &[u8], evidence: &[&str]) -> Result<ProteinTerms, TextError> {
        let evidence: Vec<_> = evidence.iter().map(|code| code.parse().unwrap()).collect();
        ProteinTerms::new(Cursor::new(bytes.to_vec()), "goa", |accession| accession != "Q9", &evidence)
    }

    fn ids(terms: &ProteinTerms, accession: &str) -> Vec<u32> {
        terms.of_protein(accession).map(GoId::number).collect()
    }

    fn gaf() -> String {
        [
            "!gaf-version: 2.2\n!\n".to_owned(),
            line("P1", "enables", "GO:0000002", "IDA"),
            line("P1", "NOT|enables", "GO:0000003", "IDA"),
            line("P1", "enables", "GO:0000001", "IEA"),
            line("Q9", "enables", "GO:0000001", "IDA"),
        ]
        .concat()
    }

    #[test]
    fn a_gaf_loses_what_a_protein_does_not_have_and_other_evidence() {
        for bytes in [gaf().into_bytes(), gzip(gaf().as_bytes())] {
            let all = read(&bytes, &[]).unwrap();
            assert_eq!((ids(&all, "P1"), all.n_not, all.n_other_proteins), (vec![1, 2], 1, 1));
            assert!(ids(&all, "Q9").is_empty());
            let observed = read(&bytes, &["IDA", "EXP"]).unwrap();
            assert_eq!((ids(&observed, "P1"), observed.n_other_evidence), (vec![2], 1));
        }
    }

    #[test]
    fn a_table_gives_the_terms_of_all_its_columns() {
        let table =
            b"accession\tgo_mf\tgo_cc\nP1\tGO:0000002;GO:0000001\tGO:0000003\nP2\t\t\nQ9\tGO:0000001\t\n";
        let mut terms = read(table, &[]).unwrap();
        assert_eq!((ids(&terms, "P1"), terms.n_proteins()), (vec![1, 2, 3], 1));
        terms.add(read(gaf().replace("GO:0000002", "GO:0000007").as_bytes(), &[]).unwrap());
        assert_eq!((ids(&terms, "P1"), terms.n_other_proteins), (vec![1, 2, 3, 7], 2));
    }

    #[test]
    fn bad_lines_are_named_with_column_and_rule() {
        let cases = [
            ("!gaf-version: 1.0\n".to_owned(), "line 1: GAF version"),
            (format!("!gaf-version: 2.1\n{}", line("P1", "", "GO:1", "IDA")), "line 2: GO ID"),
            (format!("!gaf-version: 2.1\n{}", line("P1", "", "GO:0000001", "maybe")), "Evidence Code"),
            (format!("!gaf-version: 2.1\n{}", line("", "", "GO:0000001", "IDA")), "DB Object ID"),
            ("!gaf-version: 2.1\na\tb\n".to_owned(), "2 columns"),
            ("accession\tname\nP1\tx\n".to_owned(), "go_mf"),
            ("accession\tgo_mf\nP1\tx\n".to_owned(), "line 2: go_mf"),
            ("name\tgo_mf\n".to_owned(), "accession"),
        ];
        for (text, rule) in cases {
            let error = read(text.as_bytes(), &[]).unwrap_err().to_string();
            assert!(error.starts_with("goa, line") && error.contains(rule), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes, &[]);
            let _ = read(&[b"!gaf-version: 2.2\n", bytes.as_slice()].concat(), &[]);
        }
    }
}
