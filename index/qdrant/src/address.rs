//! `qdrant://host:6333/name`: a server, and a collection on it.

use std::fmt;

use protext_http::base_url;
use protext_index::RemoteError;
use reqwest::Url;

/// Port of Qdrant's REST API.
const REST_PORT: u16 = 6333;
/// Longest name of a collection.
const MAX_NAME_BYTES: usize = 64;

/// A Qdrant server and, perhaps, a collection on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QdrantAddress {
    url: Url,
    name: Option<String>,
}

impl QdrantAddress {
    /// True for what is written as an address of Qdrant, right or wrong, and for no path.
    #[must_use]
    pub fn is_one(text: &str) -> bool {
        text.starts_with("qdrant://") || text.starts_with("qdrants://")
    }

    /// Reads `qdrant://host[:port][/name]`, or `qdrants://` for a server with TLS. The port is that of the REST API.
    ///
    /// # Errors
    /// [`RemoteError::Address`].
    pub fn parse(text: &str) -> Result<Self, RemoteError> {
        let refuse = |rule| RemoteError::Address { given: without_password(text), rule };
        let (scheme, rest) = match text.trim().split_once("://") {
            Some(("qdrant", rest)) => ("http", rest),
            Some(("qdrants", rest)) => ("https", rest),
            _ => return Err(refuse("it starts with neither qdrant:// nor qdrants://")),
        };
        let (host, name) = rest.split_once('/').unwrap_or((rest, ""));
        let mut url = base_url(&format!("{scheme}://{host}/"))
            .map_err(|_| refuse("a host, perhaps a port, and no user name belong after ://"))?;
        // The default of http is not that of Qdrant.
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if !has_port && url.set_port(Some(REST_PORT)).is_err() {
            return Err(refuse("it has no host"));
        }
        let name = name.trim_end_matches('/');
        if !name.is_empty() && !is_name(name) {
            return Err(refuse(
                "a name has 1 to 64 letters, digits, '-', '_' or '.', the first one a letter or digit",
            ));
        }
        Ok(Self { url, name: Some(name.to_owned()).filter(|name| !name.is_empty()) })
    }

    /// The collection that it names.
    ///
    /// # Errors
    /// [`RemoteError::Address`] if it names none.
    pub fn name(&self) -> Result<&str, RemoteError> {
        let missing = || RemoteError::Address { given: self.to_string(), rule: "it names no collection" };
        self.name.as_deref().ok_or_else(missing)
    }

    /// Whether it names a collection, and not a server alone.
    #[must_use]
    pub fn has_name(&self) -> bool {
        self.name.is_some()
    }

    /// A collection on the same server.
    ///
    /// # Errors
    /// [`RemoteError::Address`] for a name that no collection can have.
    pub fn with_name(&self, name: &str) -> Result<Self, RemoteError> {
        if !is_name(name) {
            let rule = "a name has 1 to 64 letters, digits, '-', '_' or '.', the first one a letter or digit";
            return Err(RemoteError::Address { given: name.chars().take(80).collect(), rule });
        }
        Ok(Self { url: self.url.clone(), name: Some(name.to_owned()) })
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// The server alone, for people.
    pub(crate) fn server(&self) -> String {
        let scheme = if self.url.scheme() == "https" { "qdrants" } else { "qdrant" };
        let port = self.url.port_or_known_default().unwrap_or(REST_PORT);
        format!("{scheme}://{}:{port}", self.url.host_str().unwrap_or_default())
    }
}

impl fmt::Display for QdrantAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{}/{name}", self.server()),
            None => f.write_str(&self.server()),
        }
    }
}

fn is_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    name.len() <= MAX_NAME_BYTES
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(is_plain)
}

fn without_password(text: &str) -> String {
    let text: String = text.chars().take(120).collect();
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://(hidden)@{host}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let shown = |text: &str| QdrantAddress::parse(text).map(|address| address.to_string());
        for (given, meant) in [
            ("qdrant://host/demo", "qdrant://host:6333/demo"),
            ("qdrant://host:80/demo", "qdrant://host:80/demo"),
            ("qdrants://host.example/a.b-1/", "qdrants://host.example:6333/a.b-1"),
            ("qdrant://[::1]:7000", "qdrant://[::1]:7000"),
            (" qdrant://127.0.0.1", "qdrant://127.0.0.1:6333"),
        ] {
            assert_eq!(shown(given).as_deref(), Ok(meant), "{given}");
        }
        assert_eq!(QdrantAddress::parse("qdrant://host:6333/demo").unwrap().name(), Ok("demo"));
        assert!(QdrantAddress::parse("qdrant://host").unwrap().name().is_err());
        assert_eq!(QdrantAddress::parse("qdrants://h/x").unwrap().url().as_str(), "https://h:6333/");
    }

    #[test]
    fn wrong_ones_are_refused_and_show_no_password() {
        for text in
            ["http://host/x", "qdrant://", "qdrant:///x", "qdrant://h/a/b", "qdrant://h/.x", "qdrant://h:y"]
        {
            assert!(matches!(QdrantAddress::parse(text), Err(RemoteError::Address { .. })), "{text}");
        }
        let error = QdrantAddress::parse("qdrant://me:secret@host/x").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
        assert!(QdrantAddress::parse("qdrant://h").unwrap().with_name("a/b").is_err());
        assert!(QdrantAddress::is_one("qdrants://x") && !QdrantAddress::is_one("collections/qdrant"));
    }
}
