//! Ids: what one may look like, and which were seen.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use super::error::Rule;

/// Longest id, in bytes. Accessions have about ten; the limit catches a wrong id column.
pub const MAX_ID_BYTES: usize = 1_000;

/// Ids seen so far, as 128 bits of their SHA-256: about 32 bytes of memory each, whatever their length.
#[derive(Debug, Default)]
pub(crate) struct IdSet(HashSet<[u8; 16]>);

impl IdSet {
    /// True if `id` is new.
    pub(crate) fn insert(&mut self, id: &str) -> bool {
        let digest: [u8; 32] = Sha256::digest(id).into();
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        self.0.insert(key)
    }
}

/// An id is not empty, not endless, and fits in one field of a table.
pub(super) fn check_id(id: &str) -> Result<(), Rule> {
    if id.is_empty() {
        return Err(Rule::EmptyId);
    }
    if id.len() > MAX_ID_BYTES {
        return Err(Rule::IdTooLong { n_bytes: id.len(), max_bytes: MAX_ID_BYTES });
    }
    match id.chars().enumerate().find(|(_, character)| character.is_control()) {
        Some((index, character)) => Err(Rule::ControlInId { position: index + 1, character }),
        None => Ok(()),
    }
}
