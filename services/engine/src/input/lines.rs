//! Lines of bounded length, with their numbers.
//!
//! `\n`, `\r\n` and a lone `\r` end a line. What goes past the caller's limit is read over and not kept, so a
//! line of any length costs no more memory than the limit.

use std::io::{self, BufRead};

use memchr::memchr2;

/// What [`LineReader::read`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// The input is at its end.
    End,
    /// A line within the limit.
    Whole,
    /// A line of which only the first bytes were kept.
    Cut,
}

pub(super) struct LineReader {
    stream: Box<dyn BufRead + Send>,
    n_lines: u64,
    /// The last line ended in `\r`: a `\n` that follows belongs to it.
    after_return: bool,
}

impl LineReader {
    pub(super) fn new(stream: Box<dyn BufRead + Send>) -> Self {
        Self { stream, n_lines: 0, after_return: false }
    }

    /// 1-based number of the line read last.
    pub(super) fn line_number(&self) -> u64 {
        self.n_lines
    }

    /// Appends the next line, without its end, to `buffer`, but no more than `max_bytes` of it.
    pub(super) fn read(&mut self, buffer: &mut Vec<u8>, max_bytes: usize) -> io::Result<Line> {
        let mut room = max_bytes;
        let mut found = Line::End;
        loop {
            let chunk = match self.stream.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                chunk => chunk?,
            };
            if chunk.is_empty() {
                self.n_lines += u64::from(found != Line::End);
                return Ok(found);
            }
            if std::mem::take(&mut self.after_return) && chunk[0] == b'\n' {
                self.stream.consume(1);
                continue;
            }
            let end = memchr2(b'\n', b'\r', chunk);
            let part = &chunk[..end.unwrap_or(chunk.len())];
            let kept = part.len().min(room);
            buffer.extend_from_slice(&part[..kept]);
            room -= kept;
            let cut = found == Line::Cut || kept < part.len();
            found = if cut { Line::Cut } else { Line::Whole };
            let Some(end) = end else {
                let n_read = chunk.len();
                self.stream.consume(n_read);
                continue;
            };
            self.after_return = chunk[end] == b'\r';
            self.stream.consume(end + 1);
            self.n_lines += 1;
            return Ok(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn lines(text: &'static [u8], max_bytes: usize, buffer_bytes: usize) -> Vec<(String, Line)> {
        let mut reader = LineReader::new(Box::new(BufReader::with_capacity(buffer_bytes, text)));
        let mut found = Vec::new();
        loop {
            let mut buffer = Vec::new();
            match reader.read(&mut buffer, max_bytes).unwrap() {
                Line::End => return found,
                line => found.push((String::from_utf8(buffer).unwrap(), line)),
            }
        }
    }

    #[test]
    fn every_line_end_is_one_line_end_whatever_the_buffer() {
        let wanted = ["a", "bc", "", "d", "e"].map(|line| (line.to_owned(), Line::Whole));
        for buffer_bytes in 1..9 {
            assert_eq!(lines(b"a\r\nbc\n\rd\re", 10, buffer_bytes), wanted, "{buffer_bytes}");
        }
        assert_eq!(lines(b"", 10, 4), []);
    }

    #[test]
    fn long_lines_are_cut_and_read_over() {
        let found = lines(b"abcdef\nxyz\n", 4, 3);
        assert_eq!(found, [("abcd".to_owned(), Line::Cut), ("xyz".to_owned(), Line::Whole)]);
    }
}
