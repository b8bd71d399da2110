//! One page: from the disk, or asked for until it is whole.
//!
//! Redirects are followed here and only where a service has them (the GO project), never from https to http. Every
//! address shown or kept is the one without the API key, which is added when the request goes out.

use std::sync::Arc;
use std::time::SystemTime;

use protext_http::{ApiKey, Patience, is_passing, retry_after};
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, LINK, LOCATION};
use reqwest::{Client, Response, Url};

use super::cache::{Facts, Page, PageCache};
use super::error::FetchError;
use super::pace::Pace;
use super::progress::{FetchEvent, Listener};
use crate::error::TextError;

/// Redirects followed for one page.
const MAX_HOPS: usize = 5;
/// Most characters repeated of an answer that refuses.
const MAX_DETAIL_CHARS: usize = 300;

/// A service.
#[derive(Debug)]
pub(super) struct Service {
    /// Its name in messages, and of its folder.
    pub(super) name: &'static str,
    pub(super) base: Url,
    pub(super) pace: Pace,
    pub(super) key: Option<ApiKey>,
    pub(super) has_redirects: bool,
}

/// What all services share.
#[derive(Debug)]
pub(super) struct Transport {
    pub(super) http: Client,
    pub(super) cache: Option<PageCache>,
    pub(super) patience: Patience,
    pub(super) max_bytes: u64,
    pub(super) listener: Option<Listener>,
}

/// A page and what was read from it.
#[derive(Debug)]
pub(super) struct Got<T> {
    pub(super) content: T,
    pub(super) facts: Facts,
    pub(super) n_bytes: u64,
    pub(super) is_cached: bool,
}

/// Why a try failed.
enum Failure {
    Final(FetchError),
    Status { status: u16, asked_s: Option<u64> },
    Transport(reqwest::Error),
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        Self::Final(error)
    }
}

impl Service {
    /// The address of `path` below the base.
    pub(super) fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut().expect("http addresses have a path").pop_if_empty().extend(path);
        url
    }
}

impl Transport {
    /// The page of `url`, read by `read`. It is kept once it was read; a kept page that cannot be read is fetched again.
    pub(super) async fn page<T, F>(&self, service: &Service, url: &Url, read: F) -> Result<Got<T>, FetchError>
    where
        T: Send + 'static,
        F: Fn(Vec<u8>, &str) -> Result<T, TextError> + Send + Sync + 'static,
    {
        let read = Arc::new(read);
        if let Some(got) = self.kept(service, url, Arc::clone(&read)).await {
            return Ok(got);
        }
        let page = self.fetch(service, url).await?;
        let (address, cache, name) = (url.to_string(), self.cache.clone(), service.name);
        blocking(move || {
            let body = page.body.clone();
            let n_bytes = body.len() as u64;
            let content = read(body, &address)
                .map_err(|source| FetchError::Page { url: address.clone(), source: Box::new(source) })?;
            if let Some(cache) = cache {
                cache.store(name, &address, &page)?;
            }
            Ok(Got { content, facts: page.facts, n_bytes, is_cached: false })
        })
        .await
    }

    async fn kept<T, F>(&self, service: &Service, url: &Url, read: Arc<F>) -> Option<Got<T>>
    where
        T: Send + 'static,
        F: Fn(Vec<u8>, &str) -> Result<T, TextError> + Send + Sync + 'static,
    {
        let (cache, address, name, max_bytes) =
            (self.cache.clone()?, url.to_string(), service.name, self.max_bytes);
        blocking(move || {
            let Page { body, facts } = cache.load(name, &address, max_bytes)?;
            let n_bytes = body.len() as u64;
            let content = read(body, &address).ok()?;
            Some(Got { content, facts, n_bytes, is_cached: true })
        })
        .await
    }

    /// Asks until the page is whole or patience ends.
    async fn fetch(&self, service: &Service, url: &Url) -> Result<Page, FetchError> {
        let mut n_tries = 0;
        loop {
            n_tries += 1;
            let failure = match self.attempt(service, url).await {
                Ok(page) => return Ok(page),
                Err(failure) => failure,
            };
            let (url, asked_s) = match &failure {
                Failure::Status { asked_s, .. } => (url.to_string(), *asked_s),
                _ => (url.to_string(), None),
            };
            let asked = asked_s.map(std::time::Duration::from_secs);
            let wait = self.patience.wait(n_tries, asked, rand::random::<f64>());
            let error = match failure {
                Failure::Final(error) => return Err(error),
                Failure::Status { status, asked_s } => {
                    FetchError::Busy { url: url.clone(), status, n_tries, retry_after_s: asked_s }
                }
                Failure::Transport(source) => FetchError::Transport { url: url.clone(), n_tries, source },
            };
            let Some(wait) = wait else { return Err(error) };
            tracing::warn!(%url, n_tries, wait_ms = wait.as_millis() as u64, %error, "a page is asked for again");
            self.tell(&FetchEvent::Waiting { url, n_tries, wait, reason: error.to_string() });
            tokio::time::sleep(wait).await;
        }
    }

    async fn attempt(&self, service: &Service, url: &Url) -> Result<Page, Failure> {
        let mut target = url.clone();
        for _ in 0..=MAX_HOPS {
            service.pace.turn().await;
            let response = self.send(service, &target).await?;
            let status = response.status();
            if status.is_success() {
                let facts = facts_of(response.headers());
                return Ok(Page { body: self.body(url, response).await?, facts });
            }
            if status.is_redirection() && service.has_redirects {
                target = next_hop(url, &target, &response)?;
            } else if is_passing(status.as_u16()) {
                let asked = retry_after(response.headers(), SystemTime::now());
                // A date may lie a fraction of a second ahead; rounding up never comes back too early.
                let asked_s = asked.map(|asked| asked.as_secs() + u64::from(asked.subsec_nanos() > 0));
                return Err(Failure::Status { status: status.as_u16(), asked_s });
            } else {
                return Err(refusal(service, url, response).await.into());
            }
        }
        Err(protocol(url, format!("redirects more than {MAX_HOPS} times")).into())
    }

    async fn send(&self, service: &Service, url: &Url) -> Result<Response, Failure> {
        let mut url = url.clone();
        if let Some(key) = &service.key {
            url.query_pairs_mut().append_pair("api_key", key.secret());
        }
        let request = self.http.get(url).header(ACCEPT_ENCODING, "identity");
        request.send().await.map_err(|error| Failure::Transport(error.without_url()))
    }

    async fn body(&self, url: &Url, mut response: Response) -> Result<Vec<u8>, Failure> {
        let too_large = || FetchError::TooLarge { url: url.to_string(), limit_bytes: self.max_bytes };
        if response.content_length().is_some_and(|n_bytes| n_bytes > self.max_bytes) {
            return Err(too_large().into());
        }
        let mut body = Vec::new();
        loop {
            let chunk = response.chunk().await.map_err(|error| Failure::Transport(error.without_url()))?;
            let Some(chunk) = chunk else { return Ok(body) };
            if (body.len() + chunk.len()) as u64 > self.max_bytes {
                return Err(too_large().into());
            }
            body.extend_from_slice(&chunk);
        }
    }

    pub(super) fn tell(&self, event: &FetchEvent) {
        if let Some(Listener(listener)) = &self.listener {
            listener(event);
        }
    }
}

/// Runs what blocks beside the async threads.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("work on pages does not panic and is not cancelled")
}

pub(super) fn protocol(url: &Url, problem: String) -> FetchError {
    FetchError::Protocol { url: url.to_string(), problem }
}

async fn refusal(service: &Service, url: &Url, mut response: Response) -> FetchError {
    let status = response.status().as_u16();
    let start = response.chunk().await.ok().flatten().unwrap_or_default();
    let start = String::from_utf8_lossy(&start[..start.len().min(8 * MAX_DETAIL_CHARS)]);
    let line = start.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = service.key.as_ref().map_or(line.clone(), |key| key.hide(&line));
    let detail: String = line.chars().take(MAX_DETAIL_CHARS).collect();
    if (300..400).contains(&status) {
        return protocol(url, format!("answers with a redirect (status {status})"));
    }
    FetchError::Refused { url: url.to_string(), status, detail }
}

fn next_hop(url: &Url, target: &Url, response: &Response) -> Result<Url, FetchError> {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let next = location.and_then(|location| target.join(location).ok());
    let Some(next) = next.filter(|next| matches!(next.scheme(), "http" | "https")) else {
        return Err(protocol(url, "redirects to nowhere".to_owned()));
    };
    if target.scheme() == "https" && next.scheme() == "http" {
        return Err(protocol(url, "redirects to an address without encryption".to_owned()));
    }
    Ok(next)
}

fn facts_of(headers: &HeaderMap) -> Facts {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let links = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    Facts {
        next: links.flat_map(|links| links.split(',')).find_map(next_link).map(str::to_owned),
        total: text("x-total-results").and_then(|total| total.trim().parse().ok()),
        release: text("x-uniprot-release").map(|release| release.trim().to_owned()),
    }
}

/// The address in `<address>; rel="next"`.
fn next_link(link: &str) -> Option<&str> {
    let (address, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = parameters.split(';').any(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or_default();
        let relations = value.trim().trim_matches('"');
        name.trim().eq_ignore_ascii_case("rel")
            && relations.split_whitespace().any(|relation| relation.eq_ignore_ascii_case("next"))
    });
    is_next.then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_to_the_next_page_count() {
        let cases = [
            ("<https://h/a?cursor=1&size=2>; rel=\"next\"", Some("https://h/a?cursor=1&size=2")),
            ("<https://h/a>;rel=next", Some("https://h/a")),
            ("<https://h/a>; title=\"x\"; REL=\"prev next\"", Some("https://h/a")),
            ("<https://h/a>; rel=\"prev\"", None),
            ("https://h/a; rel=\"next\"", None),
            ("<https://h/a", None),
            ("", None),
        ];
        for (link, expected) in cases {
            assert_eq!(next_link(link), expected, "{link}");
        }
        let headers = HeaderMap::from_iter([(
            LINK,
            "<https://h/1>; rel=first, <https://h/2>; rel=\"next\"".parse().unwrap(),
        )]);
        assert_eq!(facts_of(&headers).next.as_deref(), Some("https://h/2"));
    }
}
