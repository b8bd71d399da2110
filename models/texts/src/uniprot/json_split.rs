//! Cuts a JSON file into entries without holding the file.
//!
//! Four shapes hold entries: one object, objects behind each other (JSON lines), an array, and UniProt's search result
//! `{"results": [...]}`. An object with an array `results` is such a result; its other members are passed over. Only
//! brackets and strings are looked at here; whether an entry is valid JSON the parser says afterwards.

use std::io::BufRead;

use crate::error::TextError;
use crate::input::Input;

const CUT_SHORT: &str = "the file ends inside it; fetch it again";

/// Gives entries as bytes.
#[derive(Debug)]
pub(super) struct Splitter {
    pub(super) input: Input,
    place: Place,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A whole value.
    Top,
    /// An element of an array; `is_result` if the array is the member `results`.
    Element { is_result: bool, is_first: bool },
    /// The members behind `results`.
    Members,
}

impl Splitter {
    pub(super) fn new(input: Input) -> Self {
        Self { input, place: Place::Top }
    }

    /// Puts the next entry into `entry`; false at the end.
    pub(super) fn next_entry(&mut self, entry: &mut Vec<u8>) -> Result<bool, TextError> {
        self.input.begin_record();
        loop {
            entry.clear();
            match self.place {
                Place::Top => match self.input.peek()? {
                    None => return Ok(false),
                    Some(b'[') => self.enter(false),
                    Some(b'{') if self.copy_object(entry)? => return Ok(true),
                    Some(b'{') => {}
                    Some(other) => return Err(self.unexpected(other, "an object or an array of objects")),
                },
                Place::Element { is_result, is_first } => {
                    if self.peek()? == b']' {
                        self.input.consume(1);
                        self.place = if is_result { Place::Members } else { Place::Top };
                        continue;
                    }
                    if !is_first {
                        self.take(b',')?;
                    }
                    self.place = Place::Element { is_result, is_first: false };
                    self.peek()?;
                    self.copy_value(entry)?;
                    return Ok(true);
                }
                Place::Members => self.skip_member(entry)?,
            }
        }
    }

    /// Steps behind the `[` of an array of entries.
    fn enter(&mut self, is_result: bool) {
        self.input.consume(1);
        self.place = Place::Element { is_result, is_first: true };
    }

    /// Copies an object; false if it turned out to be a search result, whose array comes next.
    fn copy_object(&mut self, entry: &mut Vec<u8>) -> Result<bool, TextError> {
        self.take(b'{')?;
        entry.push(b'{');
        while self.peek()? != b'}' {
            if entry.len() > 1 {
                self.take(b',')?;
                entry.push(b',');
                self.peek()?;
            }
            let start = entry.len();
            self.copy_value(entry)?;
            let is_results = &entry[start..] == b"\"results\"";
            self.peek()?;
            self.take(b':')?;
            entry.push(b':');
            if self.peek()? == b'[' && is_results {
                self.enter(true);
                return Ok(false);
            }
            self.copy_value(entry)?;
        }
        self.input.consume(1);
        entry.push(b'}');
        Ok(true)
    }

    fn skip_member(&mut self, scratch: &mut Vec<u8>) -> Result<(), TextError> {
        if self.peek()? == b'}' {
            self.input.consume(1);
            self.place = Place::Top;
            return Ok(());
        }
        self.take(b',')?;
        self.peek()?;
        self.copy_value(scratch)?;
        self.peek()?;
        self.take(b':')?;
        self.peek()?;
        self.copy_value(scratch)
    }

    /// Copies one value, whose first byte comes next.
    fn copy_value(&mut self, entry: &mut Vec<u8>) -> Result<(), TextError> {
        let mut scan = Scan::default();
        loop {
            let bytes = self.input.fill()?;
            if bytes.is_empty() {
                return Err(self.input.bad_record(CUT_SHORT));
            }
            let end = scan.find_end(bytes);
            let n_bytes = end.unwrap_or(bytes.len());
            entry.extend_from_slice(&bytes[..n_bytes]);
            self.input.consume(n_bytes);
            if end.is_some() {
                break;
            }
        }
        match scan.n_bytes {
            0 => {
                let found = self.peek()?;
                Err(self.unexpected(found, "a value"))
            }
            _ => Ok(()),
        }
    }

    fn peek(&mut self) -> Result<u8, TextError> {
        self.input.peek()?.ok_or_else(|| self.input.bad_record(CUT_SHORT))
    }

    fn take(&mut self, expected: u8) -> Result<(), TextError> {
        let found = self.peek()?;
        if found != expected {
            return Err(self.unexpected(found, &format!("{:?}", char::from(expected))));
        }
        self.input.consume(1);
        Ok(())
    }

    fn unexpected(&self, found: u8, expected: &str) -> TextError {
        self.input.bad_record(format!("{:?} where {expected} is expected", char::from(found)))
    }
}

/// Where a value ends, over several buffers.
#[derive(Debug, Default)]
struct Scan {
    depth: usize,
    is_string: bool,
    is_escaped: bool,
    n_bytes: usize,
}

impl Scan {
    /// Number of bytes up to the end of the value; `None` if it goes on.
    fn find_end(&mut self, bytes: &[u8]) -> Option<usize> {
        for (at, &byte) in bytes.iter().enumerate() {
            if self.is_string {
                match byte {
                    _ if self.is_escaped => self.is_escaped = false,
                    b'\\' => self.is_escaped = true,
                    b'"' => self.is_string = false,
                    _ => {}
                }
                if !self.is_string && self.depth == 0 {
                    self.n_bytes += 1;
                    return Some(at + 1);
                }
            } else {
                let is_scalar_end = matches!(byte, b',' | b':' | b'}' | b']') || byte.is_ascii_whitespace();
                match byte {
                    _ if self.depth == 0 && is_scalar_end => return Some(at),
                    b'"' | b'{' | b'[' if self.depth == 0 && self.n_bytes > 0 => return Some(at),
                    b'"' => self.is_string = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' => self.depth -= 1,
                    _ => {}
                }
                if self.depth == 0 && matches!(byte, b'}' | b']') {
                    self.n_bytes += 1;
                    return Some(at + 1);
                }
            }
            self.n_bytes += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::input::tests::input;

    fn split(bytes: &[u8]) -> Result<Vec<Value>, TextError> {
        let mut splitter = Splitter::new(input(bytes));
        let (mut entries, mut entry) = (Vec::new(), Vec::new());
        while splitter.next_entry(&mut entry)? {
            entries.push(serde_json::from_slice(&entry).unwrap_or(Value::from("broken")));
        }
        Ok(entries)
    }

    #[test]
    fn every_shape_gives_its_entries() {
        let cases = [
            ("", "[]"),
            (" [ ] ", "[]"),
            (r#"{"results": []}"#, "[]"),
            (r#"{"a": "}]\"{", "b": [1, {"c": 2}]}"#, r#"[{"a": "}]\"{", "b": [1, {"c": 2}]}]"#),
            ("{\"a\":1}\n{\"a\":2}\r\n", r#"[{"a":1},{"a":2}]"#),
            (r#"[{"a":1} , {"a":2}]"#, r#"[{"a":1},{"a":2}]"#),
            (
                r#"{"facets":[{}],"n":1,"results":[{"a":1},{"a":[]}],"m":{"x":[2]},"k":"y"}"#,
                r#"[{"a":1},{"a":[]}]"#,
            ),
            (r#"{"results": 3}"#, r#"[{"results": 3}]"#),
            ("{}", "[{}]"),
        ];
        for (bytes, expected) in cases {
            let expected: Vec<Value> = serde_json::from_str(expected).unwrap();
            assert_eq!(split(bytes.as_bytes()).unwrap(), expected, "{bytes}");
        }
    }

    #[test]
    fn broken_files_are_refused() {
        let whole = r#"{"facets":[],"results":[{"a":1},{"a":"]"}],"m":1}"#;
        for n_bytes in 1..whole.len() {
            assert!(split(&whole.as_bytes()[..n_bytes]).is_err(), "{n_bytes}");
        }
        for bytes in ["x", "{,}", "[1 2]", r#"{"a" 1}"#, r#"{"results":[{}] 3}"#, "[,]", r#"{"a":}"#, "]"] {
            assert!(split(bytes.as_bytes()).is_err(), "{bytes}");
        }
        let long = Splitter::new(input(&b"[".repeat(100)).with_limit(50)).next_entry(&mut Vec::new());
        assert!(matches!(long, Err(TextError::TooLong { .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_are_split_or_refused(bytes in "(\\[|\\]|\\{|\\}|\"|\\\\|,|:|\"results\"|1| ){0,40}") {
            let _ = split(bytes.as_bytes());
        }
    }
}
