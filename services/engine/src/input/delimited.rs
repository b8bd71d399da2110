//! TSV and CSV: one line of column names, then one record a row.
//!
//! TSV has no quoting, as in the tables of UniProt and NCBI; CSV follows RFC 4180. The parsing is `csv-core`'s;
//! the buffer is ours, because a row must stay within bounds even when a quotation mark is left open.

use std::borrow::Cow;
use std::io::{self, BufRead};

use csv_core::{ReadRecordResult, ReaderBuilder};

use super::columns::{Fields, Found, ROLES, Role, Wanted, as_text};
use super::error::{InputError, RecordError, Rule};
use super::{InputOptions, Located};

/// Room for a row's other fields beside its sequence or text.
const MAX_OTHER_BYTES: usize = 64 * 1024;
const MAX_FIELDS: usize = 10_000;

pub(super) struct DelimitedReader {
    file: String,
    rows: RowReader,
    wanted: Wanted,
    names: Vec<String>,
    found: Found,
    n_records: u64,
    ended: bool,
}

impl DelimitedReader {
    /// Reads the line of column names and finds the columns.
    pub(super) fn open(
        file: &str,
        stream: Box<dyn BufRead + Send>,
        delimiter: u8,
        options: &InputOptions,
    ) -> Result<Self, InputError> {
        let max_row_bytes = options.max_record_bytes + MAX_OTHER_BYTES;
        let mut rows = RowReader::new(stream, delimiter, max_row_bytes);
        let header = |rule| InputError::Header { file: file.to_owned(), rule: Box::new(rule) };
        match rows.read() {
            Ok(Row::End) => return Err(InputError::Empty { file: file.to_owned() }),
            Ok(Row::Whole) => {}
            Ok(row) => return Err(header(rows.too_large(row))),
            Err(source) => return Err(InputError::Read { file: file.to_owned(), source }),
        }
        let name = |index| as_text(rows.field(index), "header").map(|name| name.trim().to_owned());
        let names: Vec<String> = (0..rows.n_fields()).map(name).collect::<Result<_, _>>().map_err(header)?;
        let wanted = Wanted::new(options);
        let found = wanted.ensure_all(file, &names.iter().map(String::as_str).collect::<Vec<_>>())?;
        Ok(Self { file: file.to_owned(), rows, wanted, names, found, n_records: 0, ended: false })
    }

    fn record(&self) -> Result<super::InputRecord, (Option<String>, Rule)> {
        let (expected, found) = (self.names.len(), self.rows.n_fields());
        let text = |index: usize| as_text(self.rows.field(index), &self.names[index]);
        let id_at = self.found.get(Role::Id).filter(|&at| at < found);
        let id =
            || id_at.and_then(|at| text(at).ok()).map(|id| id.trim().to_owned()).filter(|id| !id.is_empty());
        if expected != found {
            return Err((id(), Rule::Ragged { expected, found }));
        }
        let mut fields = Fields { roles: Default::default(), metadata: Vec::new() };
        for (value, role) in fields.roles.iter_mut().zip(ROLES) {
            let read = self.found.get(role).map(text).transpose();
            *value = read.map_err(|rule| (id(), rule))?.map(Cow::Borrowed);
        }
        for (name, at) in self.wanted.metadata.iter().zip(&self.found.metadata) {
            let Some(at) = *at else { continue };
            let value = text(at).map_err(|rule| (id(), rule))?;
            if !value.is_empty() {
                fields.metadata.push((name.clone(), value.to_owned()));
            }
        }
        for &at in &self.found.others {
            let value = text(at).map_err(|rule| (id(), rule))?;
            if !value.is_empty() {
                fields.metadata.push((self.names[at].clone(), value.to_owned()));
            }
        }
        let name_of = |role| self.found.get(role).map(|at| self.names[at].clone()).unwrap_or_default();
        fields.into_record(self.n_records, &self.wanted, name_of)
    }
}

impl Iterator for DelimitedReader {
    type Item = Result<Located, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let row = self.rows.read();
        self.n_records += 1;
        let outcome = match row {
            Ok(Row::End) => return None,
            Ok(Row::Whole) => self.record(),
            Ok(row) => Err((None, self.rows.too_large(row))),
            Err(source) => {
                self.ended = true;
                Err((None, Rule::from_io(source)))
            }
        };
        let line = Some(self.rows.row_line);
        Some(match outcome {
            Ok(record) => Ok(Located { record, line }),
            Err((id, rule)) => {
                Err(RecordError { file: self.file.clone(), record: self.n_records, line, id, rule })
            }
        })
    }
}

/// What [`RowReader::read`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    End,
    Whole,
    TooLong,
    TooManyFields,
}

/// Rows of bounded size, with the lines they begin on.
struct RowReader {
    stream: Box<dyn BufRead + Send>,
    parser: csv_core::Reader,
    quoting: bool,
    max_bytes: usize,
    bytes: Vec<u8>,
    /// End of each field in `bytes`.
    ends: Vec<usize>,
    n_fields: usize,
    /// Line ends read so far.
    n_lines: u64,
    after_return: bool,
    /// 1-based line on which the last row began.
    row_line: u64,
}

impl RowReader {
    fn new(stream: Box<dyn BufRead + Send>, delimiter: u8, max_bytes: usize) -> Self {
        let quoting = delimiter == b',';
        Self {
            stream,
            parser: ReaderBuilder::new().delimiter(delimiter).quoting(quoting).build(),
            quoting,
            max_bytes,
            bytes: vec![0; 8 * 1024],
            ends: vec![0; 64],
            n_fields: 0,
            n_lines: 0,
            after_return: false,
            row_line: 0,
        }
    }

    fn n_fields(&self) -> usize {
        self.n_fields
    }

    fn field(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }

    fn too_large(&self, row: Row) -> Rule {
        let max_bytes = self.max_bytes;
        match row {
            Row::TooManyFields => Rule::TooManyFields { max_fields: MAX_FIELDS },
            _ if self.quoting => Rule::TooLongQuoted { max_bytes },
            _ => Rule::TooLong { what: "record", max_bytes },
        }
    }

    /// Reads one row; of one that is too large nothing is kept.
    fn read(&mut self) -> io::Result<Row> {
        self.skip_blank_lines()?;
        self.row_line = self.n_lines + 1;
        let (mut n_bytes, mut n_ends, mut row) = (0, 0, Row::Whole);
        loop {
            let chunk = match self.stream.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                chunk => chunk?,
            };
            let (result, n_read, n_written, n_ended) =
                self.parser.read_record(chunk, &mut self.bytes[n_bytes..], &mut self.ends[n_ends..]);
            count_line_ends(&chunk[..n_read], &mut self.n_lines, &mut self.after_return);
            self.stream.consume(n_read);
            n_bytes += n_written;
            n_ends += n_ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if self.bytes.len() < self.max_bytes => {
                    self.bytes.resize((self.bytes.len() * 2).min(self.max_bytes), 0);
                }
                ReadRecordResult::OutputFull => (row, n_bytes) = (Row::TooLong, 0),
                ReadRecordResult::OutputEndsFull if self.ends.len() < MAX_FIELDS => {
                    self.ends.resize((self.ends.len() * 2).min(MAX_FIELDS), 0);
                }
                ReadRecordResult::OutputEndsFull => (row, n_ends) = (Row::TooManyFields, 0),
                ReadRecordResult::End => return Ok(Row::End),
                ReadRecordResult::Record => {
                    self.n_fields = n_ends;
                    return Ok(row);
                }
            }
        }
    }

    fn skip_blank_lines(&mut self) -> io::Result<()> {
        loop {
            let chunk = match self.stream.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                chunk => chunk?,
            };
            let n_blank = chunk.iter().take_while(|&&byte| byte == b'\n' || byte == b'\r').count();
            let all = n_blank == chunk.len() && n_blank > 0;
            count_line_ends(&chunk[..n_blank], &mut self.n_lines, &mut self.after_return);
            self.stream.consume(n_blank);
            if !all {
                return Ok(());
            }
        }
    }
}

/// Counts `\n`, `\r\n` and a lone `\r` as one line end each, also across chunks.
fn count_line_ends(bytes: &[u8], n_lines: &mut u64, after_return: &mut bool) {
    for &byte in bytes {
        *n_lines += u64::from(byte == b'\r' || byte == b'\n' && !*after_return);
        *after_return = byte == b'\r';
    }
}
