//! A secret that opens a service.

use std::fmt;

use reqwest::Url;

use crate::address::is_here;

/// A secret; neither `Debug` nor any message shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Takes the key without the white space around it.
    #[must_use]
    pub fn new(key: impl AsRef<str>) -> Self {
        Self(key.as_ref().trim().to_owned())
    }

    /// The secret itself, for the request that needs it and for nothing else.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// True if it goes there over an encrypted line, or stays on this machine.
    #[must_use]
    pub fn may_go_to(&self, url: &Url) -> bool {
        url.scheme() == "https" || is_here(url)
    }

    /// `text` without the key.
    #[must_use]
    pub fn hide(&self, text: &str) -> String {
        if self.0.is_empty() { text.to_owned() } else { text.replace(&self.0, "(hidden)") }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ApiKey(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_shown_and_goes_over_encrypted_lines() {
        let key = ApiKey::new(" abc123\n");
        assert_eq!(key.secret(), "abc123");
        assert!(!format!("{key:?}").contains("abc123"));
        assert_eq!(key.hide("no abc123 here"), "no (hidden) here");
        let may_go = |url: &str| key.may_go_to(&Url::parse(url).unwrap());
        assert!(may_go("https://h") && may_go("http://127.0.0.1:80") && may_go("http://localhost"));
        assert!(!may_go("http://mirror.example.org"));
    }
}
