//! Requests to a server: bounded in time, tried again where that may help, told in typed errors.
//!
//! All requests that are sent here may be sent twice: writes name their points, and an alias is set to what it is to be. They
//! run on a runtime of this module's own, so a caller blocks wherever it is and no runtime is entered twice.

use std::sync::OnceLock;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, SystemTime};

use protext_http::{Patience, is_passing, retry_after};
use protext_index::RemoteError;
use reqwest::header::HeaderValue;
use reqwest::{Method, Url, redirect};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use crate::address::QdrantAddress;
use crate::settings::QdrantSettings;

/// Limit for opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Most characters of a server's message that are shown.
const MAX_MESSAGE_CHARS: usize = 300;

/// A line to one server.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    key: Option<HeaderValue>,
    patience: Patience,
    timeout: Duration,
    /// For people.
    pub(crate) place: String,
}

#[derive(Deserialize)]
struct Envelope<T> {
    result: T,
}

/// What one try came to.
enum Outcome {
    Answer(Vec<u8>),
    Refused(RemoteError),
    Passing { status: u16, asked: Option<Duration>, message: String },
    Lost { is_slow: bool, what: String },
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("qdrant").enable_all();
        builder.build().expect("a runtime of one thread can be started")
    })
}

impl Client {
    /// Sets up the line. Nothing is sent yet.
    pub(crate) fn new(address: &QdrantAddress, settings: &QdrantSettings) -> Result<Self, RemoteError> {
        protext_http::install_crypto_provider();
        let place = address.server();
        let unusable = |what: &str| RemoteError::Key { place: place.clone(), what: what.to_owned() };
        let key = match &settings.key {
            Some(key) if !settings.allow_http && !key.may_go_to(address.url()) => {
                return Err(RemoteError::PlainKey { place });
            }
            Some(key) => {
                let header = HeaderValue::from_str(key.secret());
                let mut header = header.map_err(|_| unusable("it holds characters that no header takes"))?;
                header.set_sensitive(true);
                Some(header)
            }
            None => None,
        };
        let http = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(settings.timeout)
            .user_agent(concat!("protext/", env!("CARGO_PKG_VERSION")))
            .build();
        let http = http.map_err(|error| unreachable(&place, 0, &error))?;
        let (patience, timeout) = (settings.patience, settings.timeout);
        Ok(Self { http, base: address.url().clone(), key, patience, timeout, place })
    }

    /// Sends a request and reads its `result`. Blocks.
    ///
    /// # Errors
    /// [`RemoteError`]; a name that nothing has is [`RemoteError::Refused`] with status 404.
    pub(crate) fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, RemoteError> {
        let wrong = |what: String| RemoteError::Answer { place: self.place.clone(), what };
        let body = serde_json::to_vec(body).map_err(|error| wrong(error.to_string()))?;
        let body = if method == Method::GET || method == Method::DELETE { Vec::new() } else { body };
        let url = self.base.join(path.trim_start_matches('/')).map_err(|error| wrong(error.to_string()))?;
        let (done, answer) = sync_channel(1);
        let line = self.clone();
        runtime().spawn(async move {
            // A caller that is gone has given up waiting.
            let _ = done.send(line.until_answered(method, url, body).await);
        });
        let bytes = answer.recv().map_err(|_| wrong("the request was given up".to_owned()))??;
        let read: Envelope<T> = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        Ok(read.result)
    }

    async fn until_answered(&self, method: Method, url: Url, body: Vec<u8>) -> Result<Vec<u8>, RemoteError> {
        let mut n_tries = 0;
        loop {
            n_tries += 1;
            let (asked, error) = match self.attempt(method.clone(), url.clone(), body.clone()).await {
                Outcome::Answer(bytes) => return Ok(bytes),
                Outcome::Refused(error) => return Err(error),
                Outcome::Passing { status, asked, message } => {
                    (asked, RemoteError::Busy { place: self.place.clone(), status, n_tries, message })
                }
                Outcome::Lost { is_slow: true, .. } => {
                    let timeout_s = self.timeout.as_secs();
                    (None, RemoteError::Slow { place: self.place.clone(), n_tries, timeout_s })
                }
                Outcome::Lost { what, .. } => {
                    (None, RemoteError::Unreachable { place: self.place.clone(), n_tries, what })
                }
            };
            let Some(wait) = self.patience.wait(n_tries, asked, rand::random::<f64>()) else {
                return Err(error);
            };
            tracing::warn!(n_tries, wait_ms = wait.as_millis() as u64, %error, "a request is sent again");
            tokio::time::sleep(wait).await;
        }
    }

    async fn attempt(&self, method: Method, url: Url, body: Vec<u8>) -> Outcome {
        let mut request = self.http.request(method, url);
        if let Some(key) = &self.key {
            request = request.header("api-key", key.clone());
        }
        if !body.is_empty() {
            request = request.header("content-type", "application/json").body(body);
        }
        let lost = |error: reqwest::Error| Outcome::Lost { is_slow: error.is_timeout(), what: cause(&error) };
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return lost(error),
        };
        let status = answer.status().as_u16();
        let asked = retry_after(answer.headers(), SystemTime::now());
        let bytes = match answer.bytes().await {
            Ok(bytes) => bytes,
            Err(error) => return lost(error),
        };
        let (place, message) = (self.place.clone(), message_of(&bytes));
        match status {
            200..=299 => Outcome::Answer(bytes.to_vec()),
            401 | 403 => Outcome::Refused(RemoteError::Denied { place, status }),
            status if is_passing(status) => Outcome::Passing { status, asked, message },
            status => Outcome::Refused(RemoteError::Refused { place, status, message }),
        }
    }
}

/// What a refusal says, shortened.
fn message_of(bytes: &[u8]) -> String {
    let told: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let said = told["status"]["error"].as_str().map_or_else(|| String::from_utf8_lossy(bytes), Into::into);
    said.chars().filter(|c| !c.is_control()).take(MAX_MESSAGE_CHARS).collect()
}

/// The innermost reason; the address is told elsewhere.
fn cause(error: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

fn unreachable(place: &str, n_tries: u32, error: &reqwest::Error) -> RemoteError {
    RemoteError::Unreachable { place: place.to_owned(), n_tries, what: cause(error) }
}

#[cfg(test)]
mod tests {
    use protext_http::ApiKey;

    use super::*;

    #[test]
    fn messages_are_read_and_bounded() {
        assert_eq!(message_of(br#"{"status":{"error":"Wrong input: x"},"time":0}"#), "Wrong input: x");
        assert_eq!(message_of(b"<html>\n"), "<html>");
        assert_eq!(message_of("y".repeat(5_000).as_bytes()).len(), MAX_MESSAGE_CHARS);
    }

    #[test]
    fn a_key_goes_over_encrypted_lines_unless_that_is_allowed() {
        let far = QdrantAddress::parse("qdrant://qdrant.example:6333").unwrap();
        let settings = QdrantSettings { key: Some(ApiKey::new("secret")), ..QdrantSettings::default() };
        let refused = Client::new(&far, &settings).unwrap_err();
        assert!(matches!(refused, RemoteError::PlainKey { .. }), "{refused}");
        let allowed = Client::new(&far, &QdrantSettings { allow_http: true, ..settings.clone() }).unwrap();
        assert!(!format!("{allowed:?}").contains("secret"));
        Client::new(&QdrantAddress::parse("qdrants://qdrant.example").unwrap(), &settings).unwrap();
        Client::new(&QdrantAddress::parse("qdrant://127.0.0.1:1").unwrap(), &settings).unwrap();
    }
}
