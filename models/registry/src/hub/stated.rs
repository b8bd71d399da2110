//! What the hub says about a file before its first byte: hash, size and commit.
//!
//! The hub names large files by sha256 and small ones by git's blob hash, in `X-Linked-Etag` or, where it serves the
//! file itself, in `ETag`. Tags of the storage behind it are not read: there they may be hashes of something else.

use std::fmt;

use reqwest::header::{ETAG, HeaderMap};

/// A hash that names a file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ContentHash {
    /// Of the bytes.
    Sha256(String),
    /// sha1 of git's blob header and the bytes.
    GitBlob(String),
}

impl ContentHash {
    /// Told apart by their length; anything else is no content hash.
    fn parse(tag: &str) -> Option<Self> {
        let digits = tag.trim().trim_start_matches("W/").trim_matches('"').to_ascii_lowercase();
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        match digits.len() {
            64 if is_hex => Some(Self::Sha256(digits)),
            40 if is_hex => Some(Self::GitBlob(digits)),
            _ => None,
        }
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digits) => write!(formatter, "sha256:{digits}"),
            Self::GitBlob(digits) => write!(formatter, "git-blob:{digits}"),
        }
    }
}

/// What the hub stated so far, over all hops.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stated {
    /// Names the content.
    pub(super) hash: Option<ContentHash>,
    /// Size of the whole file in bytes.
    pub(super) n_bytes: Option<u64>,
    /// Commit that was served.
    pub(super) commit: Option<String>,
}

impl Stated {
    /// Reads the headers of an answer of the hub itself; what an earlier hop stated stays.
    pub(super) fn read(&mut self, headers: &HeaderMap) {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let linked = text("x-linked-etag").and_then(ContentHash::parse);
        self.hash = self.hash.take().or(linked).or_else(|| text(ETAG.as_str()).and_then(ContentHash::parse));
        self.n_bytes =
            self.n_bytes.or_else(|| text("x-linked-size").and_then(|size| size.trim().parse().ok()));
        self.commit =
            self.commit.take().or_else(|| text("x-repo-commit").map(|commit| commit.trim().to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn stated(headers: &[(&'static str, &str)]) -> Stated {
        let mut stated = Stated::default();
        let map = headers.iter().map(|(name, value)| {
            (reqwest::header::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        });
        stated.read(&map.collect());
        stated
    }

    #[test]
    fn hashes_are_told_by_their_length() {
        let sha256 = "ab".repeat(32);
        let blob = "cd".repeat(20);
        let cases = [
            (vec![("x-linked-etag", format!("\"{sha256}\""))], Some(ContentHash::Sha256(sha256.clone()))),
            (vec![("etag", format!("W/\"{blob}\""))], Some(ContentHash::GitBlob(blob.clone()))),
            (
                vec![("etag", format!("\"{blob}\"")), ("x-linked-etag", format!("\"{sha256}\""))],
                Some(ContentHash::Sha256(sha256)),
            ),
            (vec![("etag", "\"5d41402abc4b2a76b9719d911017c592-7\"".to_owned())], None),
            (vec![("etag", "\"\"".to_owned())], None),
            (vec![], None),
        ];
        for (headers, expected) in cases {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            assert_eq!(stated(&headers).hash, expected, "{headers:?}");
        }
    }

    #[test]
    fn the_first_word_stays() {
        let mut first = stated(&[("x-linked-size", "12"), ("x-repo-commit", "c")]);
        first.read(&HeaderMap::from_iter([(
            reqwest::header::HeaderName::from_static("x-linked-size"),
            HeaderValue::from_static("13"),
        )]));
        assert_eq!((first.n_bytes, first.commit.as_deref()), (Some(12), Some("c")));
    }
}
