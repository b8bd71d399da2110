//! Bytes of a source, plain or gzip'd, with a bound on each record.
//!
//! All readers of this crate read through [`Input`]. It looks at the first bytes, not at the file's name, to tell gzip;
//! several gzip members in a row are one stream. A record that passes the bound fails instead of filling the memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::error::TextError;

/// Most bytes of one record. The longest UniProtKB entries have a few million.
const MAX_RECORD_BYTES: u64 = 64 << 20;
const BUFFER_BYTES: usize = 64 << 10;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A stream of records.
pub(crate) struct Input {
    bytes: Box<dyn BufRead + Send>,
    name: String,
    /// Lines read, for messages.
    line: u64,
    /// Records begun, for messages.
    record: u64,
    limit_bytes: u64,
    left_bytes: u64,
    is_over: bool,
}

impl std::fmt::Debug for Input {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Input").field("name", &self.name).field("line", &self.line).finish()
    }
}

impl Input {
    pub(crate) fn open(path: &Path) -> Result<Self, TextError> {
        let file = File::open(path).map_err(|source| TextError::Open { path: path.to_path_buf(), source })?;
        Self::new(file, path.display().to_string())
    }

    pub(crate) fn new(bytes: impl Read + Send + 'static, name: String) -> Result<Self, TextError> {
        let plain = |bytes| Self {
            bytes,
            name,
            line: 0,
            record: 0,
            limit_bytes: MAX_RECORD_BYTES,
            left_bytes: MAX_RECORD_BYTES,
            is_over: false,
        };
        let mut bytes = BufReader::with_capacity(BUFFER_BYTES, bytes);
        let mut start = Vec::new();
        if let Err(source) = (&mut bytes).take(2).read_to_end(&mut start) {
            return Err(plain(Box::new(io::empty())).broken(source));
        }
        let is_gzip = start == GZIP_MAGIC;
        let whole = Cursor::new(start).chain(bytes);
        Ok(plain(match is_gzip {
            true => Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(whole))),
            false => Box::new(whole),
        }))
    }

    #[cfg(test)]
    pub(crate) fn with_limit(mut self, limit_bytes: u64) -> Self {
        self.limit_bytes = limit_bytes;
        self.left_bytes = limit_bytes;
        self
    }

    /// Starts the next record: its bytes count from here on.
    pub(crate) fn begin_record(&mut self) {
        self.record += 1;
        self.left_bytes = self.limit_bytes;
    }

    /// The first byte that is no white space, without taking it; a byte order mark before the first record is passed.
    pub(crate) fn peek(&mut self) -> Result<Option<u8>, TextError> {
        loop {
            let Some(&first) = self.fill()?.first() else { return Ok(None) };
            let is_mark = self.record == 0 && matches!(first, 0xef | 0xbb | 0xbf);
            if !(first.is_ascii_whitespace() || is_mark) {
                return Ok(Some(first));
            }
            self.consume(1);
        }
    }

    /// Buffered bytes; empty at the end.
    pub(crate) fn fill(&mut self) -> Result<&[u8], TextError> {
        // Asked twice, because a borrow that is returned cannot also lead to the error.
        match self.fill_buf() {
            Ok(_) => Ok(self.fill_buf().unwrap_or_default()),
            Err(source) => Err(self.broken(source)),
        }
    }

    /// The next line without its end, in `line`; false at the end of the stream.
    pub(crate) fn next_line(&mut self, line: &mut String) -> Result<bool, TextError> {
        let not_utf8 = |input: &Self| TextError::NotUtf8 { input: input.name.clone(), line: input.line };
        self.line_of(line, |input, bytes| String::from_utf8(bytes).map_err(|_| not_utf8(input)))
    }

    /// As [`Input::next_line`]; a line that is not UTF-8 is taken for Latin-1, where every byte is a character.
    pub(crate) fn next_line_latin1(&mut self, line: &mut String) -> Result<bool, TextError> {
        let latin1 = |bytes: &[u8]| bytes.iter().copied().map(char::from).collect();
        self.line_of(line, |_, bytes| {
            Ok(String::from_utf8(bytes).unwrap_or_else(|error| latin1(error.as_bytes())))
        })
    }

    fn line_of(
        &mut self,
        line: &mut String,
        decode: impl FnOnce(&Self, Vec<u8>) -> Result<String, TextError>,
    ) -> Result<bool, TextError> {
        let mut bytes = std::mem::take(line).into_bytes();
        bytes.clear();
        match self.read_until(b'\n', &mut bytes) {
            Ok(0) => return Ok(false),
            Ok(_) => self.line += 1,
            Err(source) => return Err(self.broken(source)),
        }
        if bytes.ends_with(b"\n") {
            bytes.pop();
        }
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
        *line = decode(self, bytes)?;
        if self.line == 1 && line.starts_with('\u{feff}') {
            line.remove(0);
        }
        Ok(true)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn record(&self) -> u64 {
        self.record
    }

    /// What a failed read means.
    pub(crate) fn broken(&self, source: io::Error) -> TextError {
        let input = self.name.clone();
        if self.is_over {
            return TextError::TooLong { input, record: self.record, limit_bytes: self.limit_bytes };
        }
        TextError::Read { input, record: self.record.saturating_sub(1), source }
    }

    /// The current line breaks a rule.
    pub(crate) fn bad_line(&self, rule: impl Into<String>) -> TextError {
        TextError::Line { input: self.name.clone(), line: self.line, rule: rule.into() }
    }

    /// The current record breaks a rule.
    pub(crate) fn bad_record(&self, rule: impl Into<String>) -> TextError {
        TextError::Entry { input: self.name.clone(), record: self.record, rule: rule.into() }
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let bytes = self.bytes.fill_buf()?;
        let n_bytes = bytes.len().min(usize::try_from(self.left_bytes).unwrap_or(usize::MAX));
        if n_bytes == 0 && !bytes.is_empty() {
            self.is_over = true;
            return Err(io::Error::other("the record is too long"));
        }
        Ok(&bytes[..n_bytes])
    }

    fn consume(&mut self, n_bytes: usize) {
        self.left_bytes = self.left_bytes.saturating_sub(n_bytes as u64);
        self.bytes.consume(n_bytes);
    }
}

impl Read for Input {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let n_bytes = bytes.len().min(target.len());
        target[..n_bytes].copy_from_slice(&bytes[..n_bytes]);
        self.consume(n_bytes);
        Ok(n_bytes)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use super::*;

    pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    pub(crate) fn input(bytes: &[u8]) -> Input {
        Input::new(Cursor::new(bytes.to_vec()), "test".to_owned()).unwrap()
    }

    fn lines(mut input: Input) -> Result<Vec<String>, TextError> {
        let (mut lines, mut line) = (Vec::new(), String::new());
        while input.next_line(&mut line)? {
            lines.push(line.clone());
        }
        Ok(lines)
    }

    #[test]
    fn plain_and_gzip_crlf_and_byte_order_mark() {
        let twice = [gzip(b"a\n"), gzip(b"b\n\nc")].concat();
        for bytes in [b"a\nb\n\nc".to_vec(), b"\xef\xbb\xbfa\r\nb\r\n\r\nc\r\n".to_vec(), twice] {
            assert_eq!(lines(input(&bytes)).unwrap(), ["a", "b", "", "c"]);
        }
        assert!(lines(input(b"")).unwrap().is_empty());
    }

    #[test]
    fn a_cut_gzip_stream_and_bytes_that_are_no_text_are_refused() {
        let whole = gzip(&b"line\n".repeat(1000));
        for n_bytes in [whole.len() - 1, whole.len() / 2, 3] {
            assert!(matches!(lines(input(&whole[..n_bytes])), Err(TextError::Read { .. })), "{n_bytes}");
        }
        assert!(matches!(lines(input(b"a\n\xff\xfe\n")), Err(TextError::NotUtf8 { line: 2, .. })));
    }

    #[test]
    fn a_record_past_the_bound_is_refused() {
        assert!(lines(input(b"12345").with_limit(5)).is_ok());
        assert!(matches!(lines(input(b"123456").with_limit(5)), Err(TextError::TooLong { .. })));
    }
}
