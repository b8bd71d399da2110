//! One request for a file: address, hops, token, status.
//!
//! Redirects are followed here and not by the HTTP client, because the hub states hash and size on the redirecting
//! answer, and because the token must not leave the endpoint's origin.

use std::time::Duration;

use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, HeaderMap, HeaderValue, LOCATION, RANGE,
    RETRY_AFTER,
};
use reqwest::{Client, Response, StatusCode, Url};

use super::HubFile;
use super::error::HubError;
use super::stated::Stated;

/// Redirects followed for one request.
const MAX_HOPS: usize = 6;

/// Why a try failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another try would fail the same way.
    Final(HubError),
    /// Another try may help.
    Transient {
        /// What to report if no try is left.
        error: HubError,
        /// What the server asks for.
        retry_after: Option<Duration>,
    },
}

impl<E: Into<HubError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Final(error.into())
    }
}

/// The endpoint as one client sees it.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) http: Client,
    pub(super) url: Url,
    pub(super) token: Option<HeaderValue>,
}

/// An answer with status 200, 206 or 416.
#[derive(Debug)]
pub(super) struct Answer {
    /// Headers read, body not.
    pub(super) response: Response,
    /// What the hub said about the file.
    pub(super) stated: Stated,
    /// Who sends the body.
    pub(super) host: String,
}

/// `bytes A-B/TOTAL` or `bytes */TOTAL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ContentRange {
    /// A; `None` for `*`.
    pub(super) start: Option<u64>,
    /// TOTAL; `None` for `*`.
    pub(super) total: Option<u64>,
}

impl Endpoint {
    /// Asks for `file` from byte `offset` on, or whole if it is 0.
    pub(super) async fn ask(&self, file: &HubFile<'_>, offset: u64, n_tries: u32) -> Result<Answer, Failure> {
        let mut url = self.url_of(file)?;
        let mut stated = Stated::default();
        for _ in 0..=MAX_HOPS {
            let response = self.send(file, &url, offset, n_tries).await?;
            let is_hub = self.is_own(&url);
            if is_hub {
                stated.read(response.headers());
                check_commit(file, &stated, &url)?;
            }
            let status = response.status();
            match status {
                StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                    return Ok(Answer { response, stated, host: host_of(&url) });
                }
                _ if status.is_redirection() => url = self.next_hop(file, &url, &response)?,
                _ => return Err(self.refusal(file, &url, is_hub, &response, n_tries)),
            }
        }
        Err(protocol(file, &url, format!("redirects more than {MAX_HOPS} times")).into())
    }

    async fn send(
        &self,
        file: &HubFile<'_>,
        url: &Url,
        offset: u64,
        n_tries: u32,
    ) -> Result<Response, Failure> {
        // Hash and size are those of the plain bytes.
        let mut request = self.http.get(url.clone()).header(ACCEPT_ENCODING, "identity");
        if offset > 0 {
            request = request.header(RANGE, format!("bytes={offset}-"));
        }
        if let Some(token) = self.token.as_ref().filter(|_| self.is_own(url)) {
            request = request.header(AUTHORIZATION, token);
        }
        request.send().await.map_err(|source| Failure::Transient {
            error: HubError::Unreachable {
                file: file.to_string(),
                host: host_of(url),
                n_tries,
                source: source.without_url(),
            },
            retry_after: None,
        })
    }

    fn url_of(&self, file: &HubFile<'_>) -> Result<Url, HubError> {
        check_name(file)?;
        let mut url = self.url.clone();
        url.path_segments_mut()
            .expect("http addresses have a path")
            .pop_if_empty()
            .extend(file.repo.split('/'))
            .extend(["resolve", file.revision])
            .extend(file.path.split('/'));
        Ok(url)
    }

    /// Same scheme, host and port as the endpoint: only there the token goes, and only its word counts.
    fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.url.origin()
    }

    fn next_hop(&self, file: &HubFile<'_>, url: &Url, response: &Response) -> Result<Url, HubError> {
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let next = location.and_then(|location| url.join(location).ok());
        let Some(next) = next.filter(|next| matches!(next.scheme(), "http" | "https")) else {
            return Err(protocol(file, url, "redirects to nowhere".to_owned()));
        };
        if url.scheme() == "https" && next.scheme() == "http" {
            return Err(protocol(file, url, format!("redirects to {} without encryption", host_of(&next))));
        }
        Ok(next)
    }

    fn refusal(
        &self,
        file: &HubFile<'_>,
        url: &Url,
        is_hub: bool,
        response: &Response,
        n_tries: u32,
    ) -> Failure {
        let status = response.status();
        let file_name = file.to_string();
        match status.as_u16() {
            code @ (401 | 403) if is_hub => HubError::Refused { file: file_name, status: code }.into(),
            404 | 410 => HubError::NotFound {
                endpoint: host_of(&self.url),
                repo: file.repo.to_owned(),
                revision: file.revision.to_owned(),
                path: file.path.to_owned(),
            }
            .into(),
            // The storage refuses signed addresses that are too old; the next try gets a fresh one from the hub.
            code @ (401 | 403 | 408 | 425 | 429 | 500..=599) => Failure::Transient {
                error: HubError::Busy { file: file_name, host: host_of(url), status: code, n_tries },
                retry_after: retry_after(response.headers()),
            },
            code => protocol(file, url, format!("answers with status {code}")).into(),
        }
    }
}

impl Answer {
    /// `Content-Range`, if it is one.
    pub(super) fn content_range(&self) -> Option<ContentRange> {
        ContentRange::parse(self.response.headers().get(CONTENT_RANGE)?.to_str().ok()?)
    }

    /// Length of this body, if stated.
    pub(super) fn body_len(&self) -> Option<u64> {
        self.response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }
}

impl ContentRange {
    fn parse(text: &str) -> Option<Self> {
        let (range, total) = text.trim().strip_prefix("bytes")?.trim().split_once('/')?;
        let start = match range {
            "*" => None,
            _ => Some(range.split_once('-')?.0.parse().ok()?),
        };
        let total = if total == "*" { None } else { Some(total.parse().ok()?) };
        Some(Self { start, total })
    }
}

/// Host and port, never path or query: those of a signed address are a key.
pub(super) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn protocol(file: &HubFile<'_>, url: &Url, problem: String) -> HubError {
    HubError::Protocol { file: file.to_string(), host: host_of(url), problem }
}

fn check_commit(file: &HubFile<'_>, stated: &Stated, url: &Url) -> Result<(), HubError> {
    match &stated.commit {
        Some(commit) if commit != file.revision => {
            Err(protocol(file, url, format!("serves commit {commit:?} instead")))
        }
        _ => Ok(()),
    }
}

fn check_name(file: &HubFile<'_>) -> Result<(), HubError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_name = |part: &str| !part.is_empty() && part.chars().all(plain) && !part.chars().all(|c| c == '.');
    let is_commit =
        |text: &str| text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_part = |part: &str| {
        !matches!(part, "" | "." | "..") && !part.contains('\\') && !part.contains(char::is_control)
    };
    let is_sha256 = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let rules = [
        (
            file.repo.split('/').all(is_name) && file.repo.split('/').count() <= 2,
            "a repository is called owner/name, in letters, digits, '-', '_' and '.'",
        ),
        (is_commit(file.revision), "a revision is a full commit hash of 40 lower-case hexadecimal digits"),
        (file.path.split('/').all(is_part), "a path has neither empty parts nor '.', '..' or '\\'"),
        (file.sha256.is_none_or(is_sha256), "a sha256 has 64 hexadecimal digits"),
    ];
    match rules.iter().find(|(holds, _)| !holds) {
        Some((_, rule)) => Err(HubError::Name { file: file.to_string(), rule }),
        None => Ok(()),
    }
}

/// `Retry-After` in seconds; the form with a date is rare and left to the usual wait.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";

    fn endpoint(url: &str) -> Endpoint {
        protext_http::install_crypto_provider();
        Endpoint { http: Client::new(), url: Url::parse(url).unwrap(), token: None }
    }

    #[test]
    fn addresses_keep_the_path_of_a_mirror() {
        let file = HubFile { repo: "o/n", revision: REVISION, path: "a b/c?d#e.json", sha256: None };
        for base in ["http://h/mirror", "http://h/mirror/"] {
            assert_eq!(
                endpoint(base).url_of(&file).unwrap().as_str(),
                format!("http://h/mirror/o/n/resolve/{REVISION}/a%20b/c%3Fd%23e.json")
            );
        }
    }

    #[test]
    fn names_that_are_none_are_refused() {
        let fine = HubFile { repo: "o/n", revision: REVISION, path: "a/b.json", sha256: None };
        check_name(&fine).unwrap();
        check_name(&HubFile { repo: "gpt2", ..fine }).unwrap();
        let bad = [
            HubFile { repo: "", ..fine },
            HubFile { repo: "../n", ..fine },
            HubFile { repo: "a/b/c", ..fine },
            HubFile { revision: "main", ..fine },
            HubFile { path: "", ..fine },
            HubFile { path: "/etc/passwd", ..fine },
            HubFile { path: "a/../b", ..fine },
            HubFile { path: "a\nb", ..fine },
            HubFile { sha256: Some("ab"), ..fine },
        ];
        for file in bad {
            assert!(matches!(check_name(&file), Err(HubError::Name { .. })), "{file}");
        }
    }

    #[test]
    fn content_ranges() {
        let cases = [
            ("bytes 5-9/10", Some((Some(5), Some(10)))),
            ("bytes */10", Some((None, Some(10)))),
            ("bytes 5-9/*", Some((Some(5), None))),
            ("bytes", None),
            ("lines 1-2/3", None),
            ("bytes 18446744073709551616-1/2", None),
        ];
        for (text, expected) in cases {
            assert_eq!(ContentRange::parse(text).map(|range| (range.start, range.total)), expected, "{text}");
        }
    }

    #[test]
    fn own_means_scheme_host_and_port() {
        let hub = endpoint("http://hub.example:8080/mirror");
        for (url, own) in [
            ("http://hub.example:8080/x", true),
            ("https://hub.example:8080/x", false),
            ("http://hub.example/x", false),
            ("http://cdn.hub.example:8080/x", false),
        ] {
            assert_eq!(hub.is_own(&Url::parse(url).unwrap()), own, "{url}");
        }
    }
}
