//! Sorting more than fits in memory: byte strings are gathered, sorted, written to runs on disk, and merged.
//!
//! Memory is one buffer and, while merging, a small buffer a run. Used by planning, to bring equal contents and equal ids
//! together.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek as _};
use std::path::{Path, PathBuf};

/// Bytes gathered before a run is written.
const BUFFER_BYTES: usize = 32 << 20;
/// Runs merged into one when there are more: files open at once.
const MAX_RUNS: usize = 64;
const RUN_BUFFER_BYTES: usize = 1 << 16;

/// Takes byte strings in any order and gives them back in byte order.
pub(crate) struct Sorter {
    folder: PathBuf,
    buffer: Vec<u8>,
    /// Start and length in `buffer`.
    items: Vec<(u32, u32)>,
    runs: Vec<File>,
    buffer_bytes: usize,
}

impl Sorter {
    /// Runs are nameless files in `folder`.
    pub(crate) fn new(folder: &Path) -> Self {
        Self::with_buffer(folder, BUFFER_BYTES)
    }

    fn with_buffer(folder: &Path, buffer_bytes: usize) -> Self {
        let (buffer, items, runs) = (Vec::new(), Vec::new(), Vec::new());
        Self { folder: folder.to_owned(), buffer, items, runs, buffer_bytes }
    }

    /// Takes one string, given in parts.
    pub(crate) fn push(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let n_bytes: usize = parts.iter().map(|part| part.len()).sum();
        let used = self.buffer.len() + self.items.len() * size_of::<(u32, u32)>();
        if !self.items.is_empty() && used + n_bytes > self.buffer_bytes {
            self.spill()?;
        }
        let start = self.buffer.len();
        parts.iter().for_each(|part| self.buffer.extend_from_slice(part));
        let position = |at: usize| u32::try_from(at).map_err(|_| io::Error::other("a record of over 4 GB"));
        self.items.push((position(start)?, position(n_bytes)?));
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        let buffer = &self.buffer;
        let bytes = |&(start, n_bytes): &(u32, u32)| &buffer[start as usize..(start + n_bytes) as usize];
        self.items.sort_unstable_by(|a, b| bytes(a).cmp(bytes(b)));
        let mut run = BufWriter::with_capacity(RUN_BUFFER_BYTES, tempfile::tempfile_in(&self.folder)?);
        for item in &self.items {
            write_item(&mut run, bytes(item))?;
        }
        self.runs.push(run.into_inner().map_err(io::IntoInnerError::into_error)?);
        self.buffer.clear();
        self.items.clear();
        if self.runs.len() >= MAX_RUNS {
            let mut one = BufWriter::with_capacity(RUN_BUFFER_BYTES, tempfile::tempfile_in(&self.folder)?);
            let mut merge = Merge::new(std::mem::take(&mut self.runs))?;
            while let Some(item) = merge.next_item()? {
                write_item(&mut one, &item)?;
            }
            self.runs.push(one.into_inner().map_err(io::IntoInnerError::into_error)?);
        }
        Ok(())
    }

    /// All strings, least first.
    pub(crate) fn finish(mut self) -> io::Result<Merge> {
        if !self.items.is_empty() {
            self.spill()?;
        }
        Merge::new(self.runs)
    }
}

fn write_item(run: &mut impl io::Write, item: &[u8]) -> io::Result<()> {
    // Lengths were held to u32 when the item came.
    run.write_all(&(item.len() as u32).to_le_bytes())?;
    run.write_all(item)
}

fn read_item(run: &mut impl io::Read) -> io::Result<Option<Vec<u8>>> {
    let mut n_bytes = [0; 4];
    match run.read_exact(&mut n_bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let mut item = vec![0; u32::from_le_bytes(n_bytes) as usize];
    run.read_exact(&mut item)?;
    Ok(Some(item))
}

/// Gives the strings of several sorted runs in order.
pub(crate) struct Merge {
    runs: Vec<BufReader<File>>,
    /// The next string of each run.
    heads: BinaryHeap<Reverse<(Vec<u8>, usize)>>,
}

impl Merge {
    fn new(files: Vec<File>) -> io::Result<Self> {
        let mut runs = Vec::with_capacity(files.len());
        let mut heads = BinaryHeap::with_capacity(files.len());
        for (number, mut file) in files.into_iter().enumerate() {
            file.rewind()?;
            let mut run = BufReader::with_capacity(RUN_BUFFER_BYTES, file);
            heads.extend(read_item(&mut run)?.map(|item| Reverse((item, number))));
            runs.push(run);
        }
        Ok(Self { runs, heads })
    }

    /// The least string that is left.
    pub(crate) fn next_item(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(Reverse((item, number))) = self.heads.pop() else { return Ok(None) };
        self.heads.extend(read_item(&mut self.runs[number])?.map(|next| Reverse((next, number))));
        Ok(Some(item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_come_back_sorted_through_many_runs() {
        let folder = tempfile::tempdir().unwrap();
        // A run for every few strings, so that runs are merged several times.
        let mut sorter = Sorter::with_buffer(folder.path(), 64);
        let mut expected = Vec::new();
        let mut state = 1_u64;
        for _ in 0..2_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let text = format!("{}", state >> 40);
            sorter.push(&[text.as_bytes(), b"!"]).unwrap();
            expected.push(format!("{text}!").into_bytes());
        }
        expected.sort_unstable();
        let mut merge = sorter.finish().unwrap();
        let mut found = Vec::new();
        while let Some(item) = merge.next_item().unwrap() {
            found.push(item);
        }
        assert_eq!(found, expected);
    }
}
