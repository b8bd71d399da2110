//! Manifests of encoders that run elsewhere: one TOML file with a table `[remote]`, and no files to fetch.
//!
//! Like those of [`Manifest`](crate::Manifest), unknown fields and values out of range are refused by name when the
//! manifest is read. Nothing here reads the environment or sends a request.

use protext_core::{LongPolicy, Modality};
use serde::Deserialize;

use crate::error::RegistryError;

/// An encoder that runs elsewhere, as its manifest describes it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteManifest {
    /// Unique name.
    pub id: String,
    /// What people read; says honestly what it is.
    pub title: String,
    /// What it reads: texts.
    pub modality: Modality,
    /// Under which terms it may be used.
    pub licence: String,
    /// Width of a row.
    pub dim: usize,
    /// Tokens in one text.
    pub window: usize,
    /// Scale rows to unit norm; matters for the mean of a long text's pieces.
    pub normalize: bool,
    /// What to do with long inputs unless told otherwise.
    pub long: LongPolicy,
    /// Remarks, such as where figures come from.
    #[serde(default)]
    pub notes: String,
    /// How it is reached.
    pub remote: RemoteTable,
}

/// How an encoder that runs elsewhere is reached.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteTable {
    /// Where `/embeddings` lies, such as `https://api.openai.com/v1`.
    pub base_url: String,
    /// Environment variable whose value takes the place of `base_url`.
    #[serde(default)]
    pub base_url_env: Option<String>,
    /// The service's name of the model.
    pub model: String,
    /// Ask for rows of this width; equals `dim`.
    #[serde(default)]
    pub dimensions: Option<usize>,
    /// Environment variable that holds the key; absent for services without keys.
    #[serde(default)]
    pub key_env: Option<String>,
    /// How rows are asked for; either form is read.
    #[serde(default)]
    pub encoding_format: WireFormat,
    /// Texts in one request.
    #[serde(default = "defaults::max_inputs")]
    pub max_inputs: usize,
    /// Tokens in one request, by estimate.
    #[serde(default = "defaults::max_tokens_per_request")]
    pub max_tokens_per_request: usize,
    /// Bytes that a token is taken to have, for estimates: English prose has about 4, sequences and formulas about 2.
    #[serde(default = "defaults::bytes_per_token")]
    pub bytes_per_token: f64,
    /// US dollars for a million tokens; needed where money is limited, 0 if it costs nothing.
    #[serde(default)]
    pub price_per_million_tokens: Option<f64>,
    /// Requests at once, unless `--workers` says otherwise.
    #[serde(default = "defaults::concurrent_requests")]
    pub concurrent_requests: usize,
    /// Limit for one answer, in seconds.
    #[serde(default = "defaults::timeout_s")]
    pub timeout_s: u64,
    /// Tries of one request.
    #[serde(default = "defaults::n_tries")]
    pub n_tries: u32,
    /// Wait before the second try, in milliseconds; doubles from try to try.
    #[serde(default = "defaults::first_wait_ms")]
    pub first_wait_ms: u64,
    /// Longest wait, in seconds. A service that asks for more ends the run.
    #[serde(default = "defaults::longest_wait_s")]
    pub longest_wait_s: u64,
}

/// How rows are asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WireFormat {
    /// `encoding_format` is not sent.
    Unsaid,
    /// Decimal numbers.
    #[default]
    Float,
    /// Base64 of 32-bit floats.
    Base64,
}

mod defaults {
    pub(super) fn max_inputs() -> usize {
        64
    }
    pub(super) fn max_tokens_per_request() -> usize {
        50_000
    }
    pub(super) fn bytes_per_token() -> f64 {
        2.0
    }
    pub(super) fn concurrent_requests() -> usize {
        4
    }
    pub(super) fn timeout_s() -> u64 {
        120
    }
    pub(super) fn n_tries() -> u32 {
        6
    }
    pub(super) fn first_wait_ms() -> u64 {
        1000
    }
    pub(super) fn longest_wait_s() -> u64 {
        120
    }
}

impl RemoteManifest {
    /// Reads and checks one manifest; `None` if `text` has no table `[remote]`. `name` is what errors call it.
    ///
    /// # Errors
    /// [`RegistryError::Manifest`] naming field and rule.
    pub fn parse(name: &str, text: &str) -> Result<Option<Self>, RegistryError> {
        let has_table = toml::from_str::<toml::Table>(text).is_ok_and(|table| table.contains_key("remote"));
        if !has_table {
            return Ok(None);
        }
        let refused = |rule: String| RegistryError::Manifest { name: name.to_owned(), rule };
        let manifest: Self = toml::from_str(text).map_err(|error| refused(error.to_string()))?;
        manifest.check().map_err(|rule| refused(rule.to_owned()))?;
        Ok(Some(manifest))
    }

    fn check(&self) -> Result<(), &'static str> {
        let remote = &self.remote;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let is_variable = |name: &str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        let names_variable = |name: &Option<String>| name.as_deref().is_none_or(is_variable);
        let is_amount = |price: f64| price.is_finite() && price >= 0.0;
        let rules = [
            (
                !self.id.is_empty() && self.id.chars().all(plain),
                "id has letters, digits, '-', '_' and '.' only",
            ),
            (self.modality == Modality::Text, "modality is text: sequences are not sent anywhere"),
            (self.dim > 0, "dim is at least 1"),
            (self.window > 0, "window is at least 1"),
            (remote.dimensions.is_none_or(|dim| dim == self.dim), "remote.dimensions equals dim"),
            (names_variable(&remote.key_env), "remote.key_env is the name of a variable, not the key itself"),
            (names_variable(&remote.base_url_env), "remote.base_url_env is the name of a variable"),
            (!remote.model.is_empty(), "remote.model is not empty"),
            (remote.max_inputs > 0, "remote.max_inputs is at least 1"),
            (remote.max_tokens_per_request > 0, "remote.max_tokens_per_request is at least 1"),
            ((0.1..=100.0).contains(&remote.bytes_per_token), "remote.bytes_per_token is 0.1 to 100"),
            (
                remote.price_per_million_tokens.is_none_or(is_amount),
                "remote.price_per_million_tokens is 0 or more",
            ),
            ((1..=64).contains(&remote.concurrent_requests), "remote.concurrent_requests is 1 to 64"),
            (remote.timeout_s > 0, "remote.timeout_s is at least 1"),
            (remote.n_tries > 0, "remote.n_tries is at least 1"),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, rule)| Err(rule))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: &str = "id = \"local\"\ntitle = \"Local\"\nmodality = \"text\"\nlicence = \"mine\"\ndim = 8\n\
                         window = 512\nnormalize = true\nlong = \"window\"\n[remote]\n\
                         base_url = \"http://127.0.0.1:9\"\nmodel = \"m\"\n";

    #[test]
    fn a_short_manifest_takes_the_defaults() {
        let manifest = RemoteManifest::parse("local.toml", LOCAL).unwrap().unwrap();
        assert_eq!((manifest.remote.key_env, manifest.remote.max_inputs), (None, 64));
        assert_eq!(RemoteManifest::parse("x.toml", "id = \"x\"\n").unwrap(), None);
    }

    #[test]
    fn broken_rules_are_named() {
        let cases = [
            ("modality = \"text\"", "modality = \"protein\"", "sequences are not sent"),
            ("dim = 8", "dim = 0", "dim is at least 1"),
            ("model = \"m\"", "model = \"m\"\ndimensions = 4", "remote.dimensions equals dim"),
            ("model = \"m\"", "model = \"m\"\nkey_env = \"sk-123\"", "not the key itself"),
            ("model = \"m\"", "model = \"m\"\nbytes_per_token = 0.0", "bytes_per_token"),
            ("model = \"m\"", "model = \"m\"\nprice_per_million_tokens = -1.0", "price"),
            ("model = \"m\"", "model = \"m\"\nconcurrent_requests = 1000", "concurrent_requests"),
            ("model = \"m\"", "model = \"m\"\nkey = \"k\"", "unknown field `key`"),
        ];
        for (from, to, says) in cases {
            let error =
                RemoteManifest::parse("local.toml", &LOCAL.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains("local.toml") && error.contains(says), "{error}");
        }
    }
}
