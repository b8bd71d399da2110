//! The flat file: lines with a two-letter code, entries that end in `//`.
//!
//! Source: UniProtKB user manual (`userman.txt`). Codes read: ID, AC, DE, GN, OS, OX, CC, DR, SQ and the sequence;
//! others are passed over.

use super::entry::{Entry, FunctionText, filled};
use crate::error::TextError;
use crate::input::Input;
use crate::wrapped::join_wrapped;

/// Words in brackets that belong to the scientific name, and not to common names behind it.
const NAME_PARTS: [&str; 9] =
    ["strain", "isolate", "serotype", "serovar", "biovar", "subtype", "biotype", "cultivar", "clone"];

/// Reads entries.
#[derive(Debug)]
pub(super) struct FlatReader {
    input: Input,
    line: String,
}

/// An entry as far as it was read.
#[derive(Debug, Default)]
struct Draft {
    entry: Entry,
    submitted_name: Option<String>,
    genes: String,
    organism: String,
    is_function: bool,
    is_sequence: bool,
    stated_len: Option<usize>,
}

impl FlatReader {
    pub(super) fn new(input: Input) -> Self {
        Self { input, line: String::new() }
    }

    /// The next entry; `None` at the end.
    pub(super) fn read_entry(&mut self) -> Result<Option<Entry>, TextError> {
        self.input.begin_record();
        let mut draft: Option<Draft> = None;
        while self.input.next_line(&mut self.line)? {
            let line = self.line.trim_end();
            let read = match &mut draft {
                None if line.is_empty() => Ok(()),
                None => Draft::begin(line).map(|begun| draft = Some(begun)),
                Some(_) if line == "//" => break,
                Some(draft) => draft.read(line),
            };
            read.map_err(|rule| self.input.bad_line(rule))?;
        }
        let Some(draft) = draft else { return Ok(None) };
        if self.line.trim_end() != "//" {
            let name = draft.entry.entry_name.unwrap_or_default();
            return Err(self
                .input
                .bad_line(format!("the file ends inside {name}, before its //; fetch it again")));
        }
        draft.finish().map(Some).map_err(|rule| self.input.bad_record(rule))
    }
}

impl Draft {
    fn begin(line: &str) -> Result<Self, String> {
        let name = line.strip_prefix("ID   ").and_then(|rest| rest.split_whitespace().next());
        let name = name.ok_or("an entry starts with a line \"ID   NAME\"")?;
        let entry = Entry { entry_name: Some(name.to_owned()), ..Entry::default() };
        Ok(Self { entry, ..Self::default() })
    }

    fn read(&mut self, line: &str) -> Result<(), String> {
        let code = line.get(..2).unwrap_or(line);
        let value = line.get(5..).unwrap_or_default();
        if code != "CC" {
            self.is_function = false;
        }
        match code {
            "ID" => return Err("a second ID line; // is missing before it".to_owned()),
            "AC" if self.entry.accession.is_empty() => {
                self.entry.accession = value.split(';').next().unwrap_or_default().trim().to_owned();
            }
            "DE" => self.read_name(value),
            "GN" => push_words(&mut self.genes, value),
            "OS" => push_words(&mut self.organism, value),
            "OX" => self.read_taxon(value)?,
            "CC" => self.read_comment(value),
            "DR" => self.read_reference(value)?,
            "SQ" => self.read_length(value)?,
            "  " if self.is_sequence => {
                let sequence = self.entry.sequence.get_or_insert_default();
                sequence.extend(value.chars().filter(|c| !c.is_whitespace()));
            }
            _ => {}
        }
        Ok(())
    }

    /// Names of parts of the protein are indented and not read.
    fn read_name(&mut self, value: &str) {
        let name = |kind: &str| {
            let name = value.strip_prefix(kind)?.strip_prefix(": Full=")?;
            filled(without_evidence(name.trim_end_matches(';')))
        };
        let entry_name = &mut self.entry.protein_name;
        *entry_name = entry_name.take().or_else(|| name("RecName"));
        self.submitted_name = self.submitted_name.take().or_else(|| name("SubName"));
    }

    fn read_taxon(&mut self, value: &str) -> Result<(), String> {
        let Some(rest) = value.strip_prefix("NCBI_TaxID=") else { return Ok(()) };
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        let taxon_id = digits.parse().map_err(|_| "a taxon id is a number below 2^32".to_owned())?;
        self.entry.taxon_id.get_or_insert(taxon_id);
        Ok(())
    }

    fn read_comment(&mut self, value: &str) {
        if let Some(comment) = value.strip_prefix("-!- ") {
            let function = comment.strip_prefix("FUNCTION:");
            self.is_function = function.is_some();
            if let Some(text) = function {
                self.entry.functions.push(FunctionText { molecule: None, text: text.trim().to_owned() });
            }
        } else if value.starts_with("---") {
            self.is_function = false;
        } else if let Some(function) = self.entry.functions.last_mut().filter(|_| self.is_function) {
            join_wrapped(&mut function.text, value.trim());
        }
    }

    fn read_reference(&mut self, value: &str) -> Result<(), String> {
        let Some(rest) = value.strip_prefix("GO; ") else { return Ok(()) };
        let id = rest.split(';').next().unwrap_or_default().trim();
        self.entry.go_terms.push(id.parse().map_err(|error: crate::go::GoIdError| error.to_string())?);
        Ok(())
    }

    /// `SEQUENCE   256 AA;  29735 MW;  B4840739BF7D4121 CRC64;`
    fn read_length(&mut self, value: &str) -> Result<(), String> {
        let number = value.split_whitespace().nth(1).and_then(|number| number.parse().ok());
        self.stated_len =
            Some(number.ok_or("the SQ line states no length; it is \"SQ   SEQUENCE   256 AA; ...\"")?);
        self.is_sequence = true;
        Ok(())
    }

    fn finish(mut self) -> Result<Entry, String> {
        let mut entry = self.entry;
        entry.protein_name = entry.protein_name.or(self.submitted_name.take());
        entry.gene = gene_symbol(&self.genes);
        entry.organism = filled(scientific_name(self.organism.trim_end_matches('.')));
        for function in &mut entry.functions {
            split_molecule(function);
        }
        entry.functions.retain(|function| !function.text.is_empty());
        if self.stated_len.is_some() {
            entry.sequence.get_or_insert_default();
        }
        entry.check(self.stated_len)?;
        Ok(entry)
    }
}

fn push_words(text: &mut String, value: &str) {
    if !text.is_empty() {
        text.push(' ');
    }
    text.push_str(value.trim());
}

/// Without ` {ECO:...}`.
fn without_evidence(value: &str) -> &str {
    value.find(" {").map_or(value, |at| &value[..at])
}

fn gene_symbol(genes: &str) -> Option<String> {
    // "Name=A; Synonyms=B; and Name=C;"; a symbol may hold a semicolon, as HvPIP2;8 does.
    let names = genes
        .trim_end_matches(';')
        .split("; ")
        .map(|part| part.trim().trim_start_matches("and ").trim_start());
    let mut symbols = names.filter_map(|part| filled(without_evidence(part.strip_prefix("Name=")?)));
    symbols.next()
}

/// `Homo sapiens (Human)` is `Homo sapiens`; `Escherichia coli (strain K12)` is all of it.
fn scientific_name(organism: &str) -> &str {
    let mut from = 0;
    while let Some(at) = organism[from..].find(" (").map(|at| from + at) {
        let inside = &organism[at + 2..];
        if !NAME_PARTS.iter().any(|part| inside.starts_with(part)) {
            return &organism[..at];
        }
        let mut depth = 1_usize;
        let end = inside.find(|c| {
            match c {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        match end {
            Some(end) => from = at + 2 + end,
            None => break,
        }
    }
    organism
}

/// `[Isoform 2]: Text` is a text about a molecule.
fn split_molecule(function: &mut FunctionText) {
    let split = function.text.strip_prefix('[').and_then(|rest| rest.split_once("]:"));
    if let Some((molecule, text)) = split {
        *function = FunctionText { molecule: filled(molecule), text: text.trim().to_owned() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn organisms_keep_strains_and_lose_common_names() {
        let cases = [
            ("Homo sapiens (Human)", "Homo sapiens"),
            ("Escherichia coli (strain K12)", "Escherichia coli (strain K12)"),
            (
                "Saccharomyces cerevisiae (strain ATCC 204508 / S288c) (Baker's yeast)",
                "Saccharomyces cerevisiae (strain ATCC 204508 / S288c)",
            ),
            ("Virus A (isolate X(1)) (VA)", "Virus A (isolate X(1))"),
            ("Virus A (isolate X", "Virus A (isolate X"),
            ("", ""),
        ];
        for (organism, name) in cases {
            assert_eq!(scientific_name(organism), name);
        }
    }

    #[test]
    fn symbols_lose_evidence_and_synonyms() {
        let cases = [
            ("Name=TP53; Synonyms=P53;", Some("TP53")),
            (
                "Name=Dnajc5 {ECO:0000312|MGI:MGI:892995}; Synonyms=Cspalpha {ECO:0000303|PubMed:1};",
                Some("Dnajc5"),
            ),
            ("ORFNames=FV3-001R;", None),
            ("Name=HvPIP2;8 {ECO:0000312|EMBL:BAE02729.1};", Some("HvPIP2;8")),
            ("Name=A;", Some("A")),
            ("OrderedLocusNames=b1; and Name=H4C1; Synonyms=H4/A;", Some("H4C1")),
            ("", None),
        ];
        for (genes, symbol) in cases {
            assert_eq!(gene_symbol(genes).as_deref(), symbol, "{genes}");
        }
    }
}
