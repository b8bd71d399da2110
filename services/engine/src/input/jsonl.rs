//! JSON lines: one object on each line, with `id`, `sequence` or `text`, and what else is known.
//!
//! Keys go by the same names as the columns of tables. Blank lines mean nothing.

use std::borrow::Cow;
use std::io::BufRead;

use serde_json::{Map, Value};

use super::columns::{Fields, ROLES, Role, Wanted};
use super::error::{RecordError, Rule};
use super::lines::{Line, LineReader};
use super::{InputOptions, InputRecord, Located};

/// Room for a line's other fields and for escapes.
const MAX_OTHER_BYTES: usize = 64 * 1024;

pub(super) struct JsonLinesReader {
    file: String,
    lines: LineReader,
    wanted: Wanted,
    max_line_bytes: usize,
    line: Vec<u8>,
    n_records: u64,
    ended: bool,
}

impl JsonLinesReader {
    pub(super) fn new(file: &str, stream: Box<dyn BufRead + Send>, options: &InputOptions) -> Self {
        Self {
            file: file.to_owned(),
            lines: LineReader::new(stream),
            wanted: Wanted::new(options),
            max_line_bytes: options.max_record_bytes + MAX_OTHER_BYTES,
            line: Vec::new(),
            n_records: 0,
            ended: false,
        }
    }

    fn record(&self) -> Result<InputRecord, (Option<String>, Rule)> {
        if let Some(index) = memchr::memchr(0, &self.line) {
            return Err((None, Rule::Nul { field: "line".into(), position: index + 1 }));
        }
        let object: Map<String, Value> =
            serde_json::from_slice(&self.line).map_err(|source| (None, Rule::Json { source }))?;
        let names: Vec<&str> = object.keys().map(String::as_str).collect();
        let found = self.wanted.find(&names);
        let value_at = |at: usize| &object[names[at]];
        let id = || found.get(Role::Id).and_then(|at| value_at(at).as_str()).map(str::to_owned);
        for (role, name) in [(Role::Id, "id"), (Role::Payload, self.wanted.payload_role())] {
            if found.get(role).is_none() {
                let wanted = self.wanted.listed(role);
                return Err((id(), Rule::MissingField { role: name, wanted }));
            }
        }
        let mut fields = Fields { roles: Default::default(), metadata: Vec::new() };
        for (value, role) in fields.roles.iter_mut().zip(ROLES) {
            if let Some(at) = found.get(role) {
                let numbers = matches!(role, Role::Id | Role::TaxonId);
                *value = as_field(value_at(at), names[at], numbers).map_err(|rule| (id(), rule))?;
            }
        }
        for (name, at) in self.wanted.metadata.iter().zip(&found.metadata) {
            let Some(at) = *at else { continue };
            if let Some(value) = as_field(value_at(at), name, true).map_err(|rule| (id(), rule))? {
                fields.metadata.push((name.clone(), value.into_owned()));
            }
        }
        for &at in &found.others {
            fields.metadata.extend(as_written(value_at(at)).map(|value| (names[at].to_owned(), value)));
        }
        let name_of = |role| found.get(role).map(|at| names[at].to_owned()).unwrap_or_default();
        fields.into_record(self.n_records, &self.wanted, name_of)
    }
}

/// A JSON value as the text of a field; `null` is no value.
fn as_field<'a>(value: &'a Value, field: &str, numbers: bool) -> Result<Option<Cow<'a, str>>, Rule> {
    let found = match value {
        Value::Null => return Ok(None),
        Value::String(text) => return Ok(Some(Cow::Borrowed(text))),
        Value::Number(number) if numbers => return Ok(Some(Cow::Owned(number.to_string()))),
        Value::Number(_) => "a number",
        Value::Bool(_) => "true or false",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    Err(Rule::FieldType { field: field.to_owned(), found })
}

/// Any JSON value as text: text without its quotation marks, all else as JSON writes it. `null` and empty text are no value.
fn as_written(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        other => Some(other.to_string()),
    }
}

impl Iterator for JsonLinesReader {
    type Item = Result<Located, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let found = loop {
            self.line.clear();
            let found = self.lines.read(&mut self.line, self.max_line_bytes);
            if self.lines.line_number() == 1 && self.line.starts_with(b"\xef\xbb\xbf") {
                self.line.drain(..3);
            }
            if !matches!(found, Ok(Line::Whole)) || !self.line.trim_ascii().is_empty() {
                break found;
            }
        };
        self.n_records += 1;
        let outcome = match found {
            Ok(Line::End) => return None,
            Ok(Line::Whole) => self.record(),
            Ok(Line::Cut) => Err((None, Rule::TooLong { what: "line", max_bytes: self.max_line_bytes })),
            Err(source) => {
                self.ended = true;
                Err((None, Rule::from_io(source)))
            }
        };
        let line = Some(self.lines.line_number().max(1));
        Some(match outcome {
            Ok(record) => Ok(Located { record, line }),
            Err((id, rule)) => {
                Err(RecordError { file: self.file.clone(), record: self.n_records, line, id, rule })
            }
        })
    }
}
