//! What defines an encoder that runs elsewhere, checked once.

use std::path::PathBuf;
use std::time::Duration;

use protext_core::{Fingerprint, Space};
use protext_http::{ApiKey, Patience};
use reqwest::Url;
use reqwest::header::HeaderValue;

use crate::error::RemoteError;

/// How rows are asked for. Either form is read, whatever was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberFormat {
    /// `encoding_format` is not sent.
    Unsaid,
    /// Decimal numbers.
    Float,
    /// Base64 of 32-bit floats: exact, and a third of the bytes.
    Base64,
}

/// Everything that defines an encoder, from its manifest and the environment.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteSpec {
    /// Manifest id.
    pub id: String,
    /// The service's name of the model.
    pub model: String,
    /// Where `/embeddings` lies, such as `https://api.openai.com/v1`.
    pub base_url: String,
    /// Width of a row.
    pub dim: usize,
    /// Ask for rows of this width; the service shortens them.
    pub asks_dim: bool,
    /// Tokens in one text.
    pub window: usize,
    /// Scale rows to unit norm.
    pub normalize: bool,
    /// Environment variable that must hold a key; `None` for services without keys.
    pub key_variable: Option<String>,
    /// What it held.
    pub key: Option<ApiKey>,
    /// How rows are asked for.
    pub number_format: NumberFormat,
    /// Texts in one request.
    pub max_inputs: usize,
    /// Tokens in one request, by estimate.
    pub max_request_tokens: usize,
    /// Bytes that a token is taken to have at least, for estimates.
    pub bytes_per_token: f64,
    /// US dollars for a million tokens, if known.
    pub usd_per_million_tokens: Option<f64>,
    /// Limit for one answer, from the first byte sent to the last received.
    pub timeout: Duration,
    /// Tries and waits.
    pub patience: Patience,
    /// Use the proxies named by `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`.
    pub environment_proxies: bool,
    /// Folder of rows that were paid for.
    pub cache: PathBuf,
}

impl RemoteSpec {
    /// The space of its rows. Whoever runs the model, its name and width decide, and the norm.
    #[must_use]
    pub fn space(&self) -> Space {
        let norm = if self.normalize { "unit norm" } else { "as it is" };
        let dim = self.dim.to_string();
        let fingerprint = Fingerprint::of(["remote encoder", &self.model, &dim, norm]);
        Space { name: self.id.clone(), dim: self.dim, fingerprint }
    }

    /// US dollars a token; 0 where no price is known.
    pub(crate) fn usd_per_token(&self) -> f64 {
        self.usd_per_million_tokens.unwrap_or(0.0) / 1e6
    }

    /// Checks all fields and returns the endpoint.
    pub(crate) fn check(&self) -> Result<Url, RemoteError> {
        let wrong = |setting, rule: &str| RemoteError::Setting {
            encoder: self.id.clone(),
            setting,
            rule: rule.to_owned(),
        };
        let base = protext_http::base_url(&self.base_url);
        let mut endpoint = base.map_err(|rule| wrong("base_url", &rule.to_string()))?;
        endpoint.path_segments_mut().expect("http addresses have a path").pop_if_empty().push("embeddings");
        let is_amount = |number: f64| number.is_finite() && number >= 0.0;
        let rules = [
            (!self.model.is_empty(), "model", "must be given"),
            (self.dim > 0, "dim", "must be at least 1"),
            (self.window > 0, "window", "must be at least 1"),
            (self.max_inputs > 0, "max_inputs", "must be at least 1"),
            (self.max_request_tokens > 0, "max_tokens_per_request", "must be at least 1"),
            ((0.1..=100.0).contains(&self.bytes_per_token), "bytes_per_token", "must be 0.1 to 100"),
            (
                self.usd_per_million_tokens.is_none_or(is_amount),
                "price_per_million_tokens",
                "must be 0 or more",
            ),
            (self.patience.n_tries > 0, "n_tries", "must be at least 1"),
            (!self.timeout.is_zero(), "timeout_s", "must be at least 1"),
        ];
        if let Some((_, setting, rule)) = rules.into_iter().find(|(holds, ..)| !holds) {
            return Err(wrong(setting, rule));
        }
        match (&self.key, &self.key_variable) {
            (None, Some(variable)) => {
                Err(RemoteError::NoKey { encoder: self.id.clone(), variable: variable.clone() })
            }
            (Some(key), _) if !key.may_go_to(&endpoint) => {
                Err(wrong("base_url", "must start with https://: a key is not sent without encryption"))
            }
            (Some(key), _) if bearer(key).is_none() => {
                Err(wrong("key_env", "names a variable that holds no key: a key is one word of plain ASCII"))
            }
            _ => Ok(endpoint),
        }
    }
}

/// The header's value, marked as not to be shown.
pub(crate) fn bearer(key: &ApiKey) -> Option<HeaderValue> {
    let is_word = !key.secret().is_empty() && key.secret().bytes().all(|byte| byte.is_ascii_graphic());
    let mut value = HeaderValue::try_from(format!("Bearer {}", key.secret())).ok().filter(|_| is_word)?;
    value.set_sensitive(true);
    Some(value)
}
