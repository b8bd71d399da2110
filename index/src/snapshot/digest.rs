//! Digests of files, by the function that the manifest names.
//!
//! BLAKE3 since version 4: a hash of parts that all cores work on. SHA-256 before.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A digest, hexadecimal, under the name of its function: `"blake3": "0f..."`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Digest {
    /// Versions 1 to 3.
    Sha256(String),
    /// Since version 4.
    Blake3(String),
}

impl Digest {
    /// Of bytes in memory, by the same function as this one; all cores work on it where they can.
    pub(super) fn same_of(&self, bytes: &[u8]) -> Self {
        match self {
            Self::Sha256(_) => Self::Sha256(sha256_hex(bytes)),
            Self::Blake3(_) => {
                Self::Blake3(blake3::Hasher::new().update_rayon(bytes).finalize().to_hex().to_string())
            }
        }
    }

    /// Takes in bytes for a digest by the same function.
    pub(super) fn same_hasher(&self) -> Hasher {
        match self {
            Self::Sha256(_) => Hasher::Sha256(Sha256::new()),
            Self::Blake3(_) => Hasher::default(),
        }
    }

    /// Its function and its digits.
    pub(super) fn spelled(&self) -> String {
        match self {
            Self::Sha256(digits) => format!("sha256 {digits}"),
            Self::Blake3(digits) => format!("blake3 {digits}"),
        }
    }
}

/// Of a manifest, in `CURRENT`; hexadecimal.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A digest under way; by default of what is written today.
pub(super) enum Hasher {
    Sha256(Sha256),
    Blake3(Box<blake3::Hasher>),
}

impl Default for Hasher {
    fn default() -> Self {
        Self::Blake3(Box::default())
    }
}

impl Hasher {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Blake3(hasher) => {
                hasher.update(bytes);
            }
        }
    }

    pub(super) fn finish(self) -> Digest {
        match self {
            Self::Sha256(hasher) => Digest::Sha256(hex::encode(hasher.finalize())),
            Self::Blake3(hasher) => Digest::Blake3(hasher.finalize().to_hex().to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_known_and_the_same_in_parts() {
        // Published test vectors: SHA-256 and BLAKE3 of nothing.
        let nothing = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(Hasher::default().finish(), Digest::Blake3(nothing.to_owned()));
        let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let old = Digest::Sha256(nothing.to_owned());
        assert_eq!((old.same_of(b""), old.same_hasher().finish()), (old.clone(), old.clone()));
        let bytes: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
        for digest in [old, Hasher::default().finish()] {
            let mut hasher = digest.same_hasher();
            bytes.chunks(77_777).for_each(|part| hasher.update(part));
            assert_eq!(hasher.finish(), digest.same_of(&bytes));
        }
    }

    #[test]
    fn the_manifest_names_the_function() {
        let digest = Digest::Blake3("0f".to_owned());
        assert_eq!(serde_json::to_string(&digest).unwrap(), "{\"blake3\":\"0f\"}");
        assert_eq!(digest.spelled(), "blake3 0f");
    }
}
