//! How the services are reached: addresses, key, patience, pace.

use std::path::PathBuf;
use std::time::Duration;

use protext_http::ApiKey;
use reqwest::Url;
use reqwest::header::HeaderValue;

use super::error::FetchError;

/// Settings of a [`Fetcher`](super::Fetcher).
#[derive(Debug, Clone, PartialEq)]
pub struct FetchSettings {
    /// UniProt's REST service or a mirror; may have a path.
    pub uniprot_url: String,
    /// NCBI's E-utilities or a mirror.
    pub ncbi_url: String,
    /// Where `ontology/go-basic.obo` lies.
    pub go_url: String,
    /// NCBI's API key; allows ten requests a second instead of three.
    pub ncbi_api_key: Option<ApiKey>,
    /// Mail address or page that the services may turn to; sent in the user agent.
    pub contact: Option<String>,
    /// Folder for pages; `None` keeps none, and a fetch that breaks off starts anew.
    pub cache: Option<PathBuf>,
    /// Entries a UniProt page, 1 to 500.
    pub uniprot_page_len: u32,
    /// Requests a second to UniProt and to the GO project; above 0.
    pub requests_per_s: f64,
    /// Requests a second to NCBI; `None` takes what NCBI allows with or without a key.
    pub ncbi_requests_per_s: Option<f64>,
    /// Requests that may go at once after a pause; at least 1.
    pub burst: u32,
    /// Limit for opening a connection.
    pub connect_timeout: Duration,
    /// Limit for each silence on an open connection.
    pub read_timeout: Duration,
    /// Tries a page, at least 1.
    pub n_tries: u32,
    /// Wait before the second try; doubles from try to try, and chance adds up to a quarter.
    pub first_wait: Duration,
    /// Longest wait. A service that asks for more by `Retry-After` ends the fetch.
    pub longest_wait: Duration,
    /// Most bytes of one answer.
    pub max_response_bytes: u64,
    /// Use the proxies named by `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`.
    pub environment_proxies: bool,
}

impl Default for FetchSettings {
    fn default() -> Self {
        Self {
            uniprot_url: "https://rest.uniprot.org".to_owned(),
            ncbi_url: "https://eutils.ncbi.nlm.nih.gov".to_owned(),
            go_url: "https://current.geneontology.org".to_owned(),
            ncbi_api_key: None,
            contact: None,
            cache: None,
            // Source: UniProt REST API, largest `size` of a search.
            uniprot_page_len: 500,
            requests_per_s: 3.0,
            ncbi_requests_per_s: None,
            burst: 1,
            connect_timeout: Duration::from_secs(15),
            read_timeout: Duration::from_secs(120),
            n_tries: 6,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(300),
            max_response_bytes: 256 << 20,
            environment_proxies: true,
        }
    }
}

impl FetchSettings {
    /// Requests a second to NCBI. Source: NCBI E-utilities usage guidelines, 3 without a key and 10 with one.
    #[must_use]
    pub fn ncbi_rate(&self) -> f64 {
        self.ncbi_requests_per_s.unwrap_or(if self.ncbi_api_key.is_some() { 10.0 } else { 3.0 })
    }

    pub(super) fn check(&self) -> Result<(), FetchError> {
        let wrong = |setting, rule: &str| Err(FetchError::Setting { setting, rule: rule.to_owned() });
        let is_rate = |rate: f64| rate.is_finite() && rate >= 0.001;
        if !is_rate(self.requests_per_s) {
            return wrong("requests_per_s", "must be at least 0.001");
        }
        if !is_rate(self.ncbi_rate()) {
            return wrong("ncbi_requests_per_s", "must be at least 0.001");
        }
        if !(1..=500).contains(&self.uniprot_page_len) {
            return wrong("uniprot_page_len", "must be 1 to 500, which is UniProt's own limit");
        }
        if self.burst == 0 {
            return wrong("burst", "must be at least 1");
        }
        if self.n_tries == 0 {
            return wrong("n_tries", "must be at least 1");
        }
        Ok(())
    }

    /// `protext/0.1.0 (+contact)`.
    pub(super) fn user_agent(&self) -> Result<HeaderValue, FetchError> {
        let version = concat!("protext/", env!("CARGO_PKG_VERSION"));
        let agent = match self.contact.as_deref().map(str::trim) {
            None | Some("") => version.to_owned(),
            Some(contact) => format!("{version} (+{contact})"),
        };
        let is_plain = agent.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let value = HeaderValue::try_from(agent).ok().filter(|_| is_plain);
        value.ok_or_else(|| FetchError::Setting {
            setting: "contact",
            rule: "must be one line of plain ASCII, such as you@example.org".to_owned(),
        })
    }
}

/// A base URL, checked; a path keeps no `/` at its end.
pub(super) fn base_url(setting: &'static str, text: &str) -> Result<Url, FetchError> {
    protext_http::base_url(text).map_err(|rule| FetchError::Setting { setting, rule: rule.to_string() })
}

/// An NCBI key goes over an encrypted line, or to this machine.
pub(super) fn check_key(key: &ApiKey, url: &Url) -> Result<(), FetchError> {
    let wrong = |rule: &str| Err(FetchError::Setting { setting: "ncbi_api_key", rule: rule.to_owned() });
    if key.secret().is_empty() || !key.secret().bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return wrong("is made of letters and digits; copy it from the NCBI account page");
    }
    if !key.may_go_to(url) {
        return wrong("is not sent without encryption; give ncbi_url as https://");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_shown_and_goes_over_encrypted_lines() {
        let settings =
            FetchSettings { ncbi_api_key: Some(ApiKey::new(" abc123\n")), ..FetchSettings::default() };
        assert!(!format!("{settings:?}").contains("abc123"));
        let check = |key: &str, url: &str| check_key(&ApiKey::new(key), &Url::parse(url).unwrap());
        for url in
            ["https://eutils.ncbi.nlm.nih.gov", "http://127.0.0.1:80", "http://localhost", "http://[::1]:1"]
        {
            check("abc123", url).unwrap();
        }
        for (key, url) in [("abc123", "http://mirror.example.org"), ("", "https://h"), ("a&b", "https://h")] {
            let error = check(key, url).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("abc123"));
        }
    }

    #[test]
    fn the_user_agent_names_the_program_and_whom_to_ask() {
        let agent = |contact: Option<&str>| {
            FetchSettings { contact: contact.map(str::to_owned), ..FetchSettings::default() }.user_agent()
        };
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(agent(None).unwrap(), format!("protext/{version}"));
        assert_eq!(agent(Some("me@example.org")).unwrap(), format!("protext/{version} (+me@example.org)"));
        assert!(agent(Some("a\nb")).is_err());
    }

    #[test]
    fn rates_follow_the_key_and_settings_are_checked() {
        let plain = FetchSettings::default();
        let keyed = FetchSettings { ncbi_api_key: Some(ApiKey::new("k")), ..plain.clone() };
        assert_eq!((plain.ncbi_rate(), keyed.ncbi_rate()), (3.0, 10.0));
        plain.check().unwrap();
        let wrong = [
            FetchSettings { requests_per_s: 0.0, ..plain.clone() },
            FetchSettings { ncbi_requests_per_s: Some(f64::NAN), ..plain.clone() },
            FetchSettings { uniprot_page_len: 501, ..plain.clone() },
            FetchSettings { burst: 0, ..plain.clone() },
            FetchSettings { n_tries: 0, ..plain },
        ];
        for settings in wrong {
            assert!(settings.check().is_err(), "{settings:?}");
        }
        for url in ["", "rest.uniprot.org", "ftp://h", "https://h/?a=1", "https://u:secret@h"] {
            let error = base_url("uniprot_url", url).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"));
        }
    }
}
