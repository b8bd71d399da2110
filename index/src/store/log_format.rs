//! The bytes of a log: a header, then entries, each under a digest that also covers what came before it.
//!
//! | bytes | header |
//! |---|---|
//! | 8 | `PTXWRLOG` |
//! | 4 | byte order mark 0x01020304 |
//! | 4 | version |
//! | 4 | length of the JSON |
//! | n | JSON: the log's number, the snapshot it follows, the spaces |
//! | 16 | digest |
//!
//! | bytes | entry |
//! |---|---|
//! | 4 | length of the batch |
//! | 12 | digest of that length |
//! | n | batch |
//! | 16 | digest |
//!
//! A digest is the start of a sha256 over the digest before it and the bytes since, so an entry fits one place of
//! one log only. Because the length has a digest of its own, a file that ends early (a write that a crash cut off)
//! is told from one that was damaged.

use protext_core::Space;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// First bytes of every log.
pub(super) const MAGIC: &[u8; 8] = b"PTXWRLOG";
/// Follows the magic; reads differently in another byte order.
pub(super) const BYTE_ORDER_MARK: u32 = 0x0102_0304;
/// The version that is written, and the latest one that is read.
pub(super) const VERSION: u32 = 1;
/// Bytes of the header before its JSON.
pub(super) const HEADER_START_BYTES: usize = 20;
/// Bytes of an entry before its batch.
pub(super) const HEAD_BYTES: usize = 16;
/// Bytes of a digest.
pub(super) const DIGEST_BYTES: usize = 16;
/// Longest JSON of a header.
pub(super) const MAX_HEADER_BYTES: usize = 1 << 20;

const LENGTH_BYTES: usize = 4;

/// What a log says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) number: u64,
    /// Digest of the manifest of the snapshot that counted when the log was started.
    pub(super) base: String,
    /// Spaces of the vectors, in their order.
    pub(super) spaces: Vec<Space>,
}

/// The digest so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chain([u8; DIGEST_BYTES]);

impl Chain {
    /// The digest of a header's bytes.
    pub(super) fn start(header: &[u8]) -> Self {
        Self([0; DIGEST_BYTES]).next(&[header])
    }

    fn next(self, parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(self.0);
        parts.iter().for_each(|part| hasher.update(part));
        let mut digest = [0; DIGEST_BYTES];
        digest.copy_from_slice(&hasher.finalize()[..DIGEST_BYTES]);
        Self(digest)
    }

    /// The first bytes of an entry with a batch of `n_bytes`.
    pub(super) fn head(self, n_bytes: u32) -> [u8; HEAD_BYTES] {
        let length = n_bytes.to_le_bytes();
        let mut head = [0; HEAD_BYTES];
        head[..LENGTH_BYTES].copy_from_slice(&length);
        head[LENGTH_BYTES..].copy_from_slice(&self.next(&[&length]).0[..HEAD_BYTES - LENGTH_BYTES]);
        head
    }

    /// The length that the first bytes of an entry tell, if they are whole.
    pub(super) fn length_in(self, head: [u8; HEAD_BYTES]) -> Option<u32> {
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        (self.head(length) == head).then_some(length)
    }

    /// The digest after an entry with this batch.
    pub(super) fn after(self, batch: &[u8]) -> Self {
        self.next(&[&self.head(batch.len() as u32), batch])
    }

    pub(super) fn as_bytes(&self) -> &[u8; DIGEST_BYTES] {
        &self.0
    }
}

/// The bytes of a header, its digest included.
pub(super) fn header_bytes(header: &Header) -> Result<Vec<u8>, serde_json::Error> {
    let json = serde_json::to_vec(header)?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend(BYTE_ORDER_MARK.to_le_bytes());
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((json.len() as u32).to_le_bytes());
    bytes.extend(json);
    let digest = Chain::start(&bytes);
    bytes.extend(digest.as_bytes());
    Ok(bytes)
}

/// Appends an entry's bytes to `to` and gives the digest after it.
pub(super) fn put_entry(to: &mut Vec<u8>, chain: Chain, batch: &[u8]) -> Chain {
    let next = chain.after(batch);
    to.extend(chain.head(batch.len() as u32));
    to.extend(batch);
    to.extend(next.as_bytes());
    next
}
