//! Why a text was not encoded elsewhere: which endpoint, what was wrong, and what to do. No variant holds a key.

use protext_core::EncodeError;
use protext_rows::{ClaimsError, RowCacheError};

use crate::answer::AnswerProblem;
use crate::spend::OverLimit;

/// Encoding elsewhere failed.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// A setting breaks a rule.
    #[error("{encoder}: {setting} {rule}")]
    Setting {
        /// Encoder id.
        encoder: String,
        /// Its name in the manifest.
        setting: &'static str,
        /// The rule, and what would be right.
        rule: String,
    },
    /// No key.
    #[error(
        "{encoder} needs an API key in the environment variable {variable}; set it (export {variable}=...)"
    )]
    NoKey {
        /// Encoder id.
        encoder: String,
        /// The variable that the manifest names.
        variable: String,
    },
    /// The HTTP client cannot be set up.
    #[error(
        "the HTTP client cannot be set up; check the certificates of this machine (apt-get install ca-certificates)"
    )]
    Client {
        /// The client's reason.
        #[source]
        source: reqwest::Error,
    },
    /// The client's event loop cannot be set up.
    #[error("the HTTP client's event loop cannot be started")]
    Start {
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// Nothing to encode.
    #[error("the text is empty; leave it out")]
    EmptyText,
    /// The next request would cost too much.
    #[error(transparent)]
    OverLimit(#[from] OverLimit),
    /// No answer, or an answer that broke off.
    #[error(
        "{endpoint}: no whole answer in {n_tries} tries; check network and proxy, and run again to go on"
    )]
    Transport {
        /// What was asked.
        endpoint: String,
        /// Tries made.
        n_tries: u32,
        /// The last try's reason.
        #[source]
        source: reqwest::Error,
    },
    /// The service has no time.
    #[error("{endpoint}: status {status} after {n_tries} tries{}{}; run again later to go on", asked(*retry_after_s), told(detail))]
    Busy {
        /// What was asked.
        endpoint: String,
        /// Its status.
        status: u16,
        /// Tries made.
        n_tries: u32,
        /// What the last answer asked to wait, in seconds.
        retry_after_s: Option<f64>,
        /// What it said.
        detail: String,
    },
    /// The key is not accepted. What the service said is not repeated: services quote parts of keys.
    #[error("{endpoint}: the key is not accepted (status {status}); check {}", variable.as_deref().unwrap_or("key_env in the manifest"))]
    KeyRefused {
        /// What was asked.
        endpoint: String,
        /// Its status.
        status: u16,
        /// The variable that holds the key.
        variable: Option<String>,
    },
    /// One of the texts is not accepted.
    #[error("{endpoint}: refused with status {status}{}", told(detail))]
    InputRefused {
        /// What was asked.
        endpoint: String,
        /// Its status.
        status: u16,
        /// What it said.
        detail: String,
    },
    /// The request is not accepted, whatever the texts.
    #[error(
        "{endpoint}: status {status}{}; check base_url, model and dimensions in the manifest, and the account",
        told(detail)
    )]
    Declined {
        /// What was asked.
        endpoint: String,
        /// Its status.
        status: u16,
        /// What it said.
        detail: String,
    },
    /// An answer that is not what was asked for. Nothing of it was used or kept.
    #[error("{endpoint}: the answer is wrong: {problem}; check base_url, model and dim in the manifest")]
    Answer {
        /// What was asked.
        endpoint: String,
        /// What is wrong.
        #[source]
        problem: AnswerProblem,
    },
    /// The cache cannot be used; nothing is paid for that cannot be kept.
    #[error(transparent)]
    Cache(#[from] RowCacheError),
    /// The cache's locks cannot be used.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
}

impl RemoteError {
    /// As an encoder's error: the input's fault, or the service's.
    pub(crate) fn of_encoder(self, encoder: &str) -> EncodeError {
        let (encoder, source) = (encoder.to_owned(), self);
        match source {
            RemoteError::EmptyText | RemoteError::InputRefused { .. } => {
                EncodeError::Refused { encoder, source: Box::new(source) }
            }
            source => EncodeError::Unavailable { encoder, source: Box::new(source) },
        }
    }
}

fn asked(retry_after_s: Option<f64>) -> String {
    retry_after_s.map(|seconds| format!(", asking to wait {seconds} s")).unwrap_or_default()
}

fn told(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(" ({detail})") }
}
