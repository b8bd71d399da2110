//! Texts: sentences, gene summaries, function descriptions.

use crate::error::ParseError;

/// A text ready for a tokenizer: runs of white space and control characters are one space, ends trimmed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Text(String);

impl Text {
    /// Longest text accepted, in bytes; far beyond any encoder's window.
    pub const MAX_BYTES: usize = 1 << 20;

    /// Tidies `raw`. An empty text is allowed: encoders give it the vector of "nothing said".
    ///
    /// # Errors
    /// [`ParseError::TextTooLong`] past [`Text::MAX_BYTES`].
    pub fn parse(raw: &str) -> Result<Self, ParseError> {
        if raw.len() > Self::MAX_BYTES {
            return Err(ParseError::TextTooLong { n_bytes: raw.len(), max_bytes: Self::MAX_BYTES });
        }
        let words = raw.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
        Ok(Self(words.collect::<Vec<_>>().join(" ")))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_and_control_characters_become_single_spaces() {
        assert_eq!(Text::parse("  DNA\t\u{0}repair \r\n").unwrap().as_str(), "DNA repair");
        assert_eq!(Text::parse("").unwrap().as_str(), "");
    }

    #[test]
    fn a_text_past_the_limit_is_refused() {
        assert!(matches!(Text::parse(&"a".repeat(Text::MAX_BYTES + 1)), Err(ParseError::TextTooLong { .. })));
    }
}
