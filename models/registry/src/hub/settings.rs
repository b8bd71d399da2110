//! How the hub is reached: address, token, patience.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderValue;

use super::error::HubError;

/// The official hub.
pub const OFFICIAL_ENDPOINT: &str = "https://huggingface.co";

/// Settings of a [`HubClient`](super::HubClient).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubSettings {
    /// Address of the hub or of a mirror; may have a path, has neither user name nor query.
    pub endpoint: String,
    /// Sent to the endpoint's own origin and nowhere else.
    pub token: Option<Token>,
    /// Where hashes that the hub stated are remembered; `None` remembers nothing.
    pub lock: Option<PathBuf>,
    /// Limit for opening a connection.
    pub connect_timeout: Duration,
    /// Limit for each silence on an open connection.
    pub read_timeout: Duration,
    /// Tries in a row that may bring nothing, at least 1.
    pub n_tries: u32,
    /// Wait before the second try; doubles from try to try.
    pub first_wait: Duration,
    /// Longest wait, also where the server asks for more by `Retry-After`.
    pub longest_wait: Duration,
    /// Use the proxies named by `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`.
    pub environment_proxies: bool,
}

impl Default for HubSettings {
    fn default() -> Self {
        Self {
            endpoint: OFFICIAL_ENDPOINT.to_owned(),
            token: None,
            lock: None,
            connect_timeout: Duration::from_secs(15),
            read_timeout: Duration::from_secs(60),
            n_tries: 5,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(60),
            environment_proxies: true,
        }
    }
}

impl HubSettings {
    /// The defaults, with `HF_ENDPOINT` and `HF_TOKEN` where they are set and not empty.
    #[must_use]
    pub fn from_environment() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value: &String| !value.trim().is_empty());
        let defaults = Self::default();
        Self {
            endpoint: variable("HF_ENDPOINT").unwrap_or_else(|| defaults.endpoint.clone()),
            token: variable("HF_TOKEN").map(Token::new),
            ..defaults
        }
    }

    /// The address, checked.
    pub(super) fn endpoint_url(&self) -> Result<Url, HubError> {
        // A user name or a password in the address would show up in messages, so the address is not repeated then.
        let refused = |rule| {
            let endpoint = if self.endpoint.contains('@') { "(hidden)" } else { self.endpoint.as_str() };
            HubError::Endpoint { endpoint: endpoint.to_owned(), rule }
        };
        let url = Url::parse(self.endpoint.trim()).map_err(|_| refused("it is not an address"))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(refused("it starts with neither http:// nor https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("it holds a user name; give the token in HF_TOKEN instead"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refused("it has a query or a fragment"));
        }
        Ok(url)
    }
}

/// A secret; neither `Debug` nor any message shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Takes the token without the white space around it.
    #[must_use]
    pub fn new(token: impl AsRef<str>) -> Self {
        Self(token.as_ref().trim().to_owned())
    }

    /// The value of the `Authorization` header, marked as sensitive.
    pub(super) fn header(&self) -> Result<HeaderValue, HubError> {
        let mut value = HeaderValue::try_from(format!("Bearer {}", self.0)).map_err(|_| HubError::Token)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_shown() {
        let token = Token::new(" hf_secret\n");
        let settings = HubSettings { token: Some(token.clone()), ..HubSettings::default() };
        assert!(!format!("{settings:?}").contains("secret"));
        assert!(!format!("{:?}", token.header().unwrap()).contains("secret"));
        assert!(matches!(Token::new("a\nb").header(), Err(HubError::Token)));
    }

    #[test]
    fn addresses_are_checked_and_passwords_not_repeated() {
        let check = |endpoint: &str| {
            HubSettings { endpoint: endpoint.to_owned(), ..HubSettings::default() }.endpoint_url()
        };
        for fine in [OFFICIAL_ENDPOINT, "http://127.0.0.1:8080/mirror/"] {
            check(fine).unwrap();
        }
        for bad in ["", "hub.example.org", "ftp://hub.example.org", "https://h/?a=1", "https://u:secret@h"] {
            let error = check(bad).unwrap_err();
            assert!(matches!(error, HubError::Endpoint { .. }), "{bad}");
            assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
        }
    }
}
