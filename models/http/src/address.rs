//! Addresses of services, as people write them into settings.

use std::fmt;

use reqwest::Url;

/// The rule that an address breaks. The address itself is not repeated: it might hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRule(&'static str);

impl fmt::Display for AddressRule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

impl std::error::Error for AddressRule {}

/// A base URL, checked: http or https, a host, no user name, no query.
///
/// # Errors
/// [`AddressRule`].
pub fn base_url(text: &str) -> Result<Url, AddressRule> {
    let url = Url::parse(text.trim()).map_err(|_| AddressRule("is no address; write https://host"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(AddressRule("must start with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(AddressRule("must not hold a user name"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(AddressRule("must have neither a query nor a fragment"));
    }
    Ok(url)
}

/// True for addresses of this machine, which need no encryption.
#[must_use]
pub fn is_here(url: &Url) -> bool {
    matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_and_not_repeated() {
        base_url("https://api.example.org/v1/").unwrap();
        for url in ["", "api.example.org", "ftp://h", "https://h/?a=1", "https://h/#a", "https://u:secret@h"]
        {
            let error = base_url(url).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"));
        }
    }

    #[test]
    fn only_loopback_is_here() {
        for (url, here) in [
            ("http://127.0.0.1:80", true),
            ("http://localhost/v1", true),
            ("http://[::1]:1", true),
            ("http://mirror.example.org", false),
            ("http://127.0.0.1.example.org", false),
        ] {
            assert_eq!(is_here(&Url::parse(url).unwrap()), here, "{url}");
        }
    }
}
