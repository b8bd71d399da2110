//! Why fetching failed: which address, which rule, and what to do. Addresses never hold the API key.

use std::path::PathBuf;

use crate::error::TextError;

/// Fetching failed. After all but [`FetchError::Setting`] and [`FetchError::Refused`] the same call goes on where this
/// one stopped.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// A setting or an argument breaks a rule.
    #[error("{setting}: {rule}")]
    Setting {
        /// Its name in `FetchSettings`, or the argument's.
        setting: &'static str,
        /// The rule, and what would be right.
        rule: String,
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
    /// No answer, or an answer that broke off.
    #[error(
        "{url}: no whole answer in {n_tries} tries; check network and proxy, and ask again to go on from here"
    )]
    Transport {
        /// What was asked.
        url: String,
        /// Tries made.
        n_tries: u32,
        /// The last try's reason.
        #[source]
        source: reqwest::Error,
    },
    /// The service has no time.
    #[error("{url}: status {status} after {n_tries} tries{}; ask again later to go on from here", asked(*retry_after_s))]
    Busy {
        /// What was asked.
        url: String,
        /// Its status.
        status: u16,
        /// Tries made.
        n_tries: u32,
        /// What the last answer asked to wait, in seconds.
        retry_after_s: Option<u64>,
    },
    /// The service refuses the question.
    #[error("{url}: refused with status {status} ({detail}); correct the query, the ids or the API key")]
    Refused {
        /// What was asked.
        url: String,
        /// Its status.
        status: u16,
        /// The start of its answer.
        detail: String,
    },
    /// An answer that is no part of the service's interface.
    #[error("{url}: {problem}; check the base URL in the settings and the proxy")]
    Protocol {
        /// What was asked.
        url: String,
        /// What is wrong with the answer.
        problem: String,
    },
    /// An answer with too many bytes.
    #[error(
        "{url}: the answer is longer than {limit_bytes} bytes; ask for less, or raise max_response_bytes"
    )]
    TooLarge {
        /// What was asked.
        url: String,
        /// Most bytes allowed.
        limit_bytes: u64,
    },
    /// A whole answer that cannot be read. It was not kept.
    #[error("{url}: the answer cannot be read")]
    Page {
        /// What was asked.
        url: String,
        /// The reader's reason.
        #[source]
        source: Box<TextError>,
    },
    /// Pages of two data releases.
    #[error(
        "{url}: this page is of release {now}, the pages before it of {before}; remove the cache folder and fetch all \
         pages anew"
    )]
    ReleaseChanged {
        /// What was asked.
        url: String,
        /// Release of the pages before.
        before: String,
        /// Release of this page.
        now: String,
    },
    /// The page cache cannot be written.
    #[error("cannot keep a page in {}; check space and permissions, or name another cache folder", path.display())]
    Cache {
        /// Folder or file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}

fn asked(retry_after_s: Option<u64>) -> String {
    retry_after_s.map(|seconds| format!(", asking to wait {seconds} s")).unwrap_or_default()
}
