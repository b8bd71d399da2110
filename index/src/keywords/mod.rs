//! Keywords: what a word is, and how well a record matches some.
//!
//! A record's words are those of its gene, description and text. The same function cuts records and queries into
//! words, for the snapshot's full-text index and for records in memory, so a query is never anything but a list of
//! words: no byte of it has a meaning to SQLite. Records that hold any of the words are ranked by BM25 ([`Bm25`]).

mod bm25;
mod words;

pub(crate) use bm25::{Best, Bm25, WordStatistics};
pub(crate) use words::{WordCounts, searchable};

use words::for_each_word;

/// Longest keyword query, in bytes.
pub const MAX_KEYWORD_BYTES: usize = 4_096;
/// Most different words of one keyword query.
pub const MAX_KEYWORDS: usize = 64;

/// What keywords were refused for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeywordsError {
    /// Nothing to look for.
    #[error("the keywords hold no letter and no digit; give one word or more")]
    NoWords,
    /// Too long.
    #[error(
        "the keywords take {n_bytes} bytes, but at most {MAX_KEYWORD_BYTES} are taken; give the words that matter"
    )]
    TooLong {
        /// Bytes given.
        n_bytes: usize,
    },
    /// Too many.
    #[error(
        "{n_words} different keywords were given, but at most {MAX_KEYWORDS} are taken; give those that matter"
    )]
    TooMany {
        /// Different words given.
        n_words: usize,
    },
}

/// Different words to look for, in the order in which they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keywords(Vec<String>);

impl Keywords {
    /// Cuts a query into words: runs of letters and digits, in lower case; a Greek letter is its name.
    ///
    /// # Errors
    /// [`KeywordsError`] where there is no word, or more than one query may hold.
    pub fn parse(text: &str) -> Result<Self, KeywordsError> {
        if text.len() > MAX_KEYWORD_BYTES {
            return Err(KeywordsError::TooLong { n_bytes: text.len() });
        }
        let mut words: Vec<String> = Vec::new();
        for_each_word(text, &mut |word| {
            if !words.iter().any(|known| known == word) {
                words.push(word.to_owned());
            }
        });
        match words.len() {
            0 => Err(KeywordsError::NoWords),
            n_words if n_words > MAX_KEYWORDS => Err(KeywordsError::TooMany { n_words }),
            _ => Ok(Self(words)),
        }
    }

    /// The words.
    pub fn words(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// A full-text query for records that hold any of the words. Words are letters and digits, so quotes hold them.
    pub(crate) fn any_of(&self) -> String {
        let quoted: Vec<_> = self.words().map(|word| format!("\"{word}\"")).collect();
        quoted.join(" OR ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_words_and_bounded() {
        let words = |text: &str| Keywords::parse(text).map(|keywords| keywords.0.join(" "));
        assert_eq!(words("Alcohol ALCOHOL dehydrogenase-2"), Ok("alcohol dehydrogenase 2".into()));
        assert_eq!(words("\"a\" OR NEAR(b, 2) * ' ; -- col:x"), Ok("a or near b 2 col x".into()));
        assert_eq!(
            words("\u{3b2}-lactamase TNF\u{3b1} \u{c5}ngstr\u{f6}m"),
            Ok("beta lactamase tnf alpha \u{e5}ngstr\u{f6}m".into())
        );
        assert_eq!(words(" -\"*() \0"), Err(KeywordsError::NoWords));
        assert_eq!(words(&"x".repeat(4_097)), Err(KeywordsError::TooLong { n_bytes: 4_097 }));
        let many: String = (0..65).map(|n| format!("w{n} ")).collect();
        assert_eq!(words(&many), Err(KeywordsError::TooMany { n_words: 65 }));
    }
}
