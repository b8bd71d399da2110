//! FASTA: `>id description`, then residues on one line or many.
//!
//! `;` lines are comments, blank lines mean nothing, every kind of line end is taken. Headers as UniProt writes
//! them (`sp|P12345|NAME_HUMAN Words OS=Homo sapiens OX=9606 GN=ABC PE=1 SV=1`) are taken apart; any other id
//! is all up to the first white space. A reader of our own because bounded records and exact positions in
//! messages are the point here, and general FASTA crates grow a record without limit.

use std::io::BufRead;

use super::error::{RecordError, Rule};
use super::ids::check_id;
use super::lines::{Line, LineReader};
use super::{InputOptions, InputRecord, Located, Payload};

/// Longest header line, in bytes.
const MAX_HEADER_BYTES: usize = 64 * 1024;

pub(super) struct FastaReader {
    file: String,
    lines: LineReader,
    max_record_bytes: usize,
    keep_all: bool,
    line: Vec<u8>,
    /// The header of the record to read next.
    header: Option<HeaderLine>,
    n_records: u64,
}

struct HeaderLine {
    /// Without `>`.
    bytes: Vec<u8>,
    number: u64,
    too_long: bool,
}

/// What one line of a FASTA file is.
enum Item {
    Header(HeaderLine),
    Residues { cut: bool },
    End,
}

impl FastaReader {
    pub(super) fn new(file: &str, stream: Box<dyn BufRead + Send>, options: &InputOptions) -> Self {
        Self {
            file: file.to_owned(),
            lines: LineReader::new(stream),
            max_record_bytes: options.max_record_bytes,
            keep_all: options.keep_all,
            line: Vec::new(),
            header: None,
            n_records: 0,
        }
    }

    /// The next line that is neither blank nor a comment; residues are left in `self.line`.
    fn item(&mut self) -> Result<Item, Rule> {
        loop {
            self.line.clear();
            let limit = self.max_record_bytes.max(MAX_HEADER_BYTES) + 1;
            let found = self.lines.read(&mut self.line, limit).map_err(Rule::from_io)?;
            let number = self.lines.line_number();
            if number == 1 && self.line.starts_with(b"\xef\xbb\xbf") {
                self.line.drain(..3);
            }
            match (found, self.line.trim_ascii().first()) {
                (Line::End, _) => return Ok(Item::End),
                (_, None) if found == Line::Whole => {}
                (_, Some(b';')) => {}
                (_, Some(b'>')) => {
                    let bytes = self.line.trim_ascii()[1..].to_vec();
                    let too_long = found == Line::Cut || bytes.len() > MAX_HEADER_BYTES;
                    return Ok(Item::Header(HeaderLine { bytes, number, too_long }));
                }
                _ => return Ok(Item::Residues { cut: found == Line::Cut }),
            }
        }
    }

    fn first_header(&mut self) -> Result<Option<HeaderLine>, Rule> {
        match self.item()? {
            Item::End => Ok(None),
            Item::Header(header) => Ok(Some(header)),
            Item::Residues { .. } => {
                let beginning = &self.line[..self.line.len().min(40)];
                Err(Rule::NotFasta { found: String::from_utf8_lossy(beginning).into_owned() })
            }
        }
    }

    /// Reads up to the next header. `None`: more residues than the limit.
    fn residues(&mut self) -> Result<Option<Vec<u8>>, Rule> {
        let mut residues = Vec::new();
        let mut fits = true;
        loop {
            match self.item()? {
                Item::Residues { cut } => {
                    let line = self.line.trim_ascii();
                    fits &= !cut && residues.len() + line.len() <= self.max_record_bytes;
                    if fits {
                        residues.extend_from_slice(line);
                    }
                }
                Item::Header(header) => {
                    self.header = Some(header);
                    break;
                }
                Item::End => break,
            }
        }
        Ok(fits.then_some(residues))
    }

    fn error(&self, line: u64, id: Option<String>, rule: Rule) -> RecordError {
        RecordError { file: self.file.clone(), record: self.n_records, line: Some(line), id, rule }
    }
}

impl Iterator for FastaReader {
    type Item = Result<Located, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let header = match self.header.take() {
            Some(header) => Ok(Some(header)),
            None if self.n_records == 0 => self.first_header(),
            None => Ok(None),
        };
        let header = match header {
            Ok(header) => header?,
            Err(rule) => {
                self.n_records = 1;
                return Some(Err(self.error(self.lines.line_number().max(1), None, rule)));
            }
        };
        self.n_records += 1;
        let line = header.number;
        // The residues are read before the header is judged, so that a bad record is left behind whole.
        let residues = self.residues();
        let parsed = parse_header(&header);
        let id = parsed.as_ref().ok().map(|parsed| parsed.id.to_owned());
        let record = residues.and_then(|residues| {
            let sequence = sequence(residues, self.max_record_bytes)?;
            let parsed = parsed?;
            check_id(parsed.id)?;
            Ok(parsed.into_record(self.n_records, sequence, self.keep_all))
        });
        Some(match record {
            Ok(record) => Ok(Located { record, line: Some(line) }),
            Err(rule) => Err(self.error(line, id.filter(|id| check_id(id).is_ok()), rule)),
        })
    }
}

fn sequence(residues: Option<Vec<u8>>, max_bytes: usize) -> Result<String, Rule> {
    let residues = residues.ok_or(Rule::TooLong { what: "sequence", max_bytes })?;
    if residues.is_empty() {
        return Err(Rule::NoSequence);
    }
    if let Some(index) = residues.iter().position(|&byte| byte == 0) {
        return Err(Rule::Nul { field: "sequence".into(), position: index + 1 });
    }
    String::from_utf8(residues).map_err(|error| Rule::NotUtf8 {
        field: "sequence".into(),
        position: error.utf8_error().valid_up_to() + 1,
    })
}

/// A header taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
struct Header<'a> {
    id: &'a str,
    entry_name: Option<&'a str>,
    description: &'a str,
    organism: Option<&'a str>,
    taxon_id: Option<u32>,
    gene: Option<&'a str>,
    /// `sp` or `tr`.
    database: Option<&'a str>,
    evidence: Option<&'a str>,
    version: Option<&'a str>,
}

impl Header<'_> {
    fn into_record(self, number: u64, sequence: String, keep_all: bool) -> InputRecord {
        let others = [
            ("db", self.database),
            ("entry_name", self.entry_name),
            ("pe", self.evidence),
            ("sv", self.version),
        ];
        let named = |(name, value): (&str, Option<&str>)| Some((name.to_owned(), value?.to_owned()));
        InputRecord {
            number,
            id: self.id.to_owned(),
            entry_name: self.entry_name.map(str::to_owned),
            description: self.description.to_owned(),
            payload: Payload::Sequence(sequence),
            organism: self.organism.map(str::to_owned),
            taxon_id: self.taxon_id,
            gene: self.gene.map(str::to_owned),
            metadata: others.into_iter().filter(|_| keep_all).filter_map(named).collect(),
        }
    }
}

fn parse_header(line: &HeaderLine) -> Result<Header<'_>, Rule> {
    if line.too_long {
        return Err(Rule::TooLong { what: "header line", max_bytes: MAX_HEADER_BYTES });
    }
    if let Some(index) = line.bytes.iter().position(|&byte| byte == 0) {
        return Err(Rule::Nul { field: "header".into(), position: index + 1 });
    }
    let text = std::str::from_utf8(&line.bytes)
        .map_err(|error| Rule::NotUtf8 { field: "header".into(), position: error.valid_up_to() + 1 })?
        .trim();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let named = uniprot_name(word);
    let database = named.map(|_| &word[..2]);
    let (id, entry_name) = named.unwrap_or((word, None));
    Ok(Header { id, entry_name, database, ..parse_tags(rest.trim()) })
}

/// `sp|P12345|NAME_HUMAN` or `tr|...` gives the accession and the entry name.
fn uniprot_name(word: &str) -> Option<(&str, Option<&str>)> {
    let rest = word.strip_prefix("sp|").or_else(|| word.strip_prefix("tr|"))?;
    let (accession, entry_name) = rest.split_once('|').unwrap_or((rest, ""));
    let named = (!entry_name.is_empty()).then_some(entry_name);
    (!accession.is_empty() && !entry_name.contains('|')).then_some((accession, named))
}

/// Splits `Words OS=... OX=... GN=... PE=... SV=...`; without an `OS=` all of it is the description.
fn parse_tags(rest: &str) -> Header<'_> {
    const TAGS: [&str; 5] = ["OS=", "OX=", "GN=", "PE=", "SV="];
    let is_tag = |at: usize| {
        let begins_word = at == 0 || rest.as_bytes()[at - 1] == b' ';
        begins_word && TAGS.iter().any(|tag| rest[at..].starts_with(tag))
    };
    let starts: Vec<usize> = rest
        .match_indices('=')
        .filter_map(|(at, _)| {
            let start = at.checked_sub(2)?;
            (rest.is_char_boundary(start) && is_tag(start)).then_some(start)
        })
        .collect();
    let first_os = starts.iter().copied().find(|&at| rest[at..].starts_with("OS="));
    let Some(tail) = first_os else { return Header { description: rest, ..Header::default() } };
    let mut header = Header { description: rest[..tail].trim_end(), ..Header::default() };
    let tags: Vec<usize> = starts.into_iter().filter(|&at| at >= tail).collect();
    for (index, &at) in tags.iter().enumerate() {
        let end = tags.get(index + 1).copied().unwrap_or(rest.len());
        let value = rest[at + 3..end].trim();
        match &rest[at..at + 3] {
            "OS=" => header.organism = Some(value).filter(|value| !value.is_empty()),
            "OX=" => header.taxon_id = value.parse().ok(),
            "GN=" => header.gene = Some(value).filter(|value| !value.is_empty()),
            // Numbers; what follows the last tag is no part of it.
            "PE=" => header.evidence = value.split_whitespace().next(),
            "SV=" => header.version = value.split_whitespace().next(),
            _ => {}
        }
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> HeaderLine {
        HeaderLine { bytes: text.as_bytes().to_vec(), number: 1, too_long: false }
    }

    #[test]
    fn headers_are_taken_apart() {
        let plain = Header::default();
        let table = [
            ("x1", Header { id: "x1", ..plain }),
            (" x1  two words ", Header { id: "x1", description: "two words", ..Header::default() }),
            (
                "sp|P02768|ALBU_HUMAN Albumin OS=Homo sapiens OX=9606 GN=ALB PE=1 SV=2",
                Header {
                    id: "P02768",
                    entry_name: Some("ALBU_HUMAN"),
                    description: "Albumin",
                    organism: Some("Homo sapiens"),
                    taxon_id: Some(9606),
                    gene: Some("ALB"),
                    database: Some("sp"),
                    evidence: Some("1"),
                    version: Some("2"),
                },
            ),
            (
                "tr|A0A1|A0A1_9VIRU Protein é OS=Virus (strain A=B) OX=77 PE=4 SV=1",
                Header {
                    id: "A0A1",
                    entry_name: Some("A0A1_9VIRU"),
                    description: "Protein é",
                    organism: Some("Virus (strain A=B)"),
                    taxon_id: Some(77),
                    gene: None,
                    database: Some("tr"),
                    evidence: Some("4"),
                    version: Some("1"),
                },
            ),
            (
                "gi|12|ref|NP_1.1| words",
                Header { id: "gi|12|ref|NP_1.1|", description: "words", ..Header::default() },
            ),
            ("sp||x", Header { id: "sp||x", ..Header::default() }),
            ("x PE=1 first", Header { id: "x", description: "PE=1 first", ..Header::default() }),
            ("x OS=", Header { id: "x", ..Header::default() }),
            (
                "x OS=y SV=3 Split=0",
                Header { id: "x", organism: Some("y"), version: Some("3"), ..Header::default() },
            ),
        ];
        for (text, wanted) in table {
            assert_eq!(parse_header(&header(text)).unwrap(), wanted, "{text}");
        }
    }
}
