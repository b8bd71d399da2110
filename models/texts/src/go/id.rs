//! Ids of GO terms: `GO:` and seven digits.

use std::fmt;
use std::str::FromStr;

/// A GO id, such as `GO:0003677`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GoId(u32);

/// A text that is no GO id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no GO id; write GO: and seven digits, such as GO:0003677")]
pub struct GoIdError {
    /// What stood there, shortened.
    pub text: String,
}

impl GoId {
    /// The id with that number; `None` past seven digits.
    #[must_use]
    pub fn new(number: u32) -> Option<Self> {
        (number < 10_000_000).then_some(Self(number))
    }

    /// The digits as a number.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }
}

impl FromStr for GoId {
    type Err = GoIdError;

    fn from_str(text: &str) -> Result<Self, GoIdError> {
        let digits = text.strip_prefix("GO:");
        let digits = digits.filter(|digits| digits.len() == 7 && digits.bytes().all(|b| b.is_ascii_digit()));
        let number = digits.and_then(|digits| digits.parse().ok());
        number.map(Self).ok_or_else(|| GoIdError { text: text.chars().take(40).collect() })
    }
}

impl fmt::Display for GoId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "GO:{:07}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_and_written_alike() {
        for text in ["GO:0000001", "GO:0003677", "GO:9999999"] {
            assert_eq!(text.parse::<GoId>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "GO:",
            "GO:123",
            "GO:00000001",
            "go:0003677",
            "GO:+003677",
            "GO:000367\u{663}",
            " GO:0003677",
        ] {
            assert!(text.parse::<GoId>().is_err(), "{text}");
        }
        assert_eq!(GoId::new(10_000_000), None);
    }
}
