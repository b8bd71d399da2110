//! Reading a log: every whole entry, then what the end is.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use protext_core::Space;

use super::change::{Change, MAX_BATCH_BYTES, decode};
use super::error::{LogFault, StoreError, io_error};
use super::log_format::{
    BYTE_ORDER_MARK, Chain, DIGEST_BYTES, HEAD_BYTES, HEADER_START_BYTES, Header, MAGIC, MAX_HEADER_BYTES,
    VERSION,
};
use crate::snapshot::Generation;

const BUFFER_BYTES: usize = 1 << 20;

/// Where the whole entries of a log end.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogEnd {
    /// Bytes up to there.
    pub(super) n_bytes: u64,
    /// The digest there.
    pub(super) chain: Chain,
    /// Entries before it.
    pub(super) n_entries: u64,
    /// Bytes after it: of a write that a crash cut off before it was acknowledged.
    pub(super) n_torn_bytes: u64,
}

/// What a log must fit to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'a> {
    pub(super) number: u64,
    pub(super) generation: &'a Generation,
    pub(super) spaces: &'a [Space],
    /// No later log follows, so the last entry may be torn.
    pub(super) is_last: bool,
}

/// Reads the log at `path` and hands every batch to `each`, in order.
pub(super) fn read_log(
    path: &Path,
    expected: Expected<'_>,
    each: &mut dyn FnMut(Vec<Change>) -> Result<(), String>,
) -> Result<LogEnd, StoreError> {
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => StoreError::MissingLog { path: path.into() },
        _ => io_error("read", path)(error),
    })?;
    // A log that is written meanwhile may be longer at the end; what it has now is a whole state.
    let n_bytes = file.metadata().map_err(io_error("read", path))?.len();
    let mut log = Reader { from: BufReader::with_capacity(BUFFER_BYTES, file), path, at: 0, n_bytes };
    let header = log.header()?;
    ensure_fits(path, &header.0, expected)?;
    let mut end = LogEnd { n_bytes: log.at, chain: header.1, n_entries: 0, n_torn_bytes: 0 };
    while let Some((batch, chain)) = log.entry(end.chain)? {
        let content = |what| log.damaged(end.n_bytes, LogFault::Content { what });
        let changes = decode(&batch, expected.spaces).map_err(content)?;
        each(changes).map_err(content)?;
        end = LogEnd { n_bytes: log.at, chain, n_entries: end.n_entries + 1, n_torn_bytes: 0 };
    }
    end.n_torn_bytes = n_bytes - end.n_bytes;
    if end.n_torn_bytes > 0 && !expected.is_last {
        return Err(log.damaged(end.n_bytes, LogFault::Cut));
    }
    Ok(end)
}

fn ensure_fits(path: &Path, header: &Header, expected: Expected<'_>) -> Result<(), StoreError> {
    let generation = expected.generation;
    let follows_it = header.base == generation.manifest_sha256;
    let goes_on = expected.number == generation.number && Some(&header.base) == generation.continues.as_ref();
    if header.number != expected.number || !(follows_it || goes_on) {
        return Err(StoreError::ForeignLog { path: path.into() });
    }
    if header.spaces.len() != expected.spaces.len() {
        return Err(StoreError::ForeignLog { path: path.into() });
    }
    for (found, wanted) in header.spaces.iter().zip(expected.spaces) {
        let same = found.ensure_same("the log", wanted, "the collection");
        same.map_err(|source| StoreError::LogSpace { path: path.into(), source: Box::new(source) })?;
        if found.dim != wanted.dim {
            return Err(StoreError::ForeignLog { path: path.into() });
        }
    }
    Ok(())
}

struct Reader<'a> {
    from: BufReader<File>,
    path: &'a Path,
    /// Bytes read so far.
    at: u64,
    /// Bytes of the file when it was opened.
    n_bytes: u64,
}

impl Reader<'_> {
    fn damaged(&self, offset: u64, fault: LogFault) -> StoreError {
        StoreError::DamagedLog { path: self.path.into(), offset, fault }
    }

    fn take(&mut self, n: usize) -> Result<Vec<u8>, StoreError> {
        let mut bytes = vec![0; n];
        self.from.read_exact(&mut bytes).map_err(io_error("read", self.path))?;
        self.at += n as u64;
        Ok(bytes)
    }

    fn n_left(&self) -> u64 {
        self.n_bytes - self.at
    }

    /// A log gets its name after its header is on the disk, so a header is whole or damaged.
    fn header(&mut self) -> Result<(Header, Chain), StoreError> {
        if self.n_left() < HEADER_START_BYTES as u64 {
            return Err(self.damaged(0, LogFault::Header));
        }
        let mut bytes = self.take(HEADER_START_BYTES)?;
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let (mark, version, n_json) = (number(8), number(12), number(16) as usize);
        if bytes[..8] != MAGIC[..] {
            return Err(self.damaged(0, LogFault::Kind));
        }
        if mark == BYTE_ORDER_MARK.swap_bytes() {
            return Err(StoreError::LogByteOrder { path: self.path.into() });
        }
        if version > VERSION {
            return Err(StoreError::NewerLog { path: self.path.into(), found: version, supported: VERSION });
        }
        if n_json > MAX_HEADER_BYTES || self.n_left() < (n_json + DIGEST_BYTES) as u64 {
            return Err(self.damaged(0, LogFault::Header));
        }
        bytes.extend(self.take(n_json)?);
        let chain = Chain::start(&bytes);
        if self.take(DIGEST_BYTES)? != chain.as_bytes() || mark != BYTE_ORDER_MARK {
            return Err(self.damaged(0, LogFault::Header));
        }
        let header = serde_json::from_slice(&bytes[HEADER_START_BYTES..]);
        let unreadable = |error: serde_json::Error| LogFault::Content { what: error.to_string() };
        Ok((header.map_err(|error| self.damaged(0, unreadable(error)))?, chain))
    }

    /// The next batch and the digest after it; `None` where the whole entries end.
    fn entry(&mut self, chain: Chain) -> Result<Option<(Vec<u8>, Chain)>, StoreError> {
        let start = self.at;
        if self.n_left() < HEAD_BYTES as u64 {
            return Ok(None);
        }
        let mut head = [0; HEAD_BYTES];
        head.copy_from_slice(&self.take(HEAD_BYTES)?);
        let Some(n_bytes) = chain.length_in(head).map(|n| n as usize).filter(|&n| n <= MAX_BATCH_BYTES)
        else {
            // A file system may have made the file longer before a crash and not have written into it.
            let is_blank = head == [0; HEAD_BYTES] && self.rest_is_blank()?;
            return if is_blank { Ok(None) } else { Err(self.damaged(start, LogFault::EntryHead)) };
        };
        if self.n_left() < (n_bytes + DIGEST_BYTES) as u64 {
            return Ok(None);
        }
        let batch = self.take(n_bytes)?;
        let next = chain.after(&batch);
        if self.take(DIGEST_BYTES)? != next.as_bytes() {
            return Err(self.damaged(start, LogFault::Entry));
        }
        Ok(Some((batch, next)))
    }

    fn rest_is_blank(&mut self) -> Result<bool, StoreError> {
        let (mut rest, n_left) = (Vec::new(), self.n_left());
        self.from.by_ref().take(n_left).read_to_end(&mut rest).map_err(io_error("read", self.path))?;
        Ok(rest.iter().all(|&byte| byte == 0))
    }
}
