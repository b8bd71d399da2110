//! Errors of the hub client: which file, what the hub said, and what to do about it.
//!
//! Causes from the network carry no address: a signed address is a key to the file behind it.

use std::path::PathBuf;

use crate::cache::CacheError;

/// Getting a file from the hub failed.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The address of the hub is unusable.
    #[error("HF_ENDPOINT is {endpoint:?}: {rule}; an address looks like https://hub.example.org")]
    Endpoint {
        /// As it was set.
        endpoint: String,
        /// The rule it broke.
        rule: &'static str,
    },
    /// The token has characters that no request header can carry.
    #[error("HF_TOKEN has characters that no token has; set it again, without line breaks")]
    Token,
    /// The HTTP client could not be set up.
    #[error("the HTTP client cannot be set up; check the proxy variables and the system's certificates")]
    Client {
        /// The client's reason.
        #[source]
        source: reqwest::Error,
    },
    /// Repository, revision or path is no name of the hub's.
    #[error("{file}: {rule}")]
    Name {
        /// What was asked for.
        file: String,
        /// The rule it broke.
        rule: &'static str,
    },
    /// 401 or 403 from the hub.
    #[error(
        "{file}: the hub refuses it (status {status}): the repository is private, gated or not there; set HF_TOKEN \
         to a token that may read it, and accept the licence on the model's page if it has one"
    )]
    Refused {
        /// What was asked for.
        file: String,
        /// 401 or 403.
        status: u16,
    },
    /// 404 or 410 from the hub.
    #[error(
        "{endpoint} has no such file: repository {repo}, revision {revision}, path {path}; check the manifest, or \
         HF_ENDPOINT if a mirror is used"
    )]
    NotFound {
        /// Host that was asked.
        endpoint: String,
        /// `owner/name`.
        repo: String,
        /// Commit.
        revision: String,
        /// Path in the repository.
        path: String,
    },
    /// No connection, after all tries.
    #[error(
        "{file}: {host} cannot be reached ({n_tries} tries); check the network and the proxy, set HF_ENDPOINT to a \
         mirror, or copy the files by hand and type `protext models pull ID --from FOLDER`"
    )]
    Unreachable {
        /// What was asked for.
        file: String,
        /// Host without an answer.
        host: String,
        /// Tries made.
        n_tries: u32,
        /// The last reason.
        #[source]
        source: reqwest::Error,
    },
    /// The connection broke, after all tries.
    #[error(
        "{file}: the transfer broke off after {n_bytes} bytes ({n_tries} tries); ask again to go on from there"
    )]
    Interrupted {
        /// What was asked for.
        file: String,
        /// Bytes on disk.
        n_bytes: u64,
        /// Tries made.
        n_tries: u32,
        /// The last reason; none if the server closed early without an error.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// 429, 5xx and the like, after all tries.
    #[error("{file}: {host} answers with status {status} ({n_tries} tries); try again later{}", way_out(*status))]
    Busy {
        /// What was asked for.
        file: String,
        /// Host that answered.
        host: String,
        /// Its status.
        status: u16,
        /// Tries made.
        n_tries: u32,
    },
    /// An answer that is no part of the hub's interface.
    #[error("{file}: {host} {problem}; check HF_ENDPOINT and the proxy")]
    Protocol {
        /// What was asked for.
        file: String,
        /// Host that answered.
        host: String,
        /// What is wrong with the answer.
        problem: String,
    },
    /// More bytes than the hub declared.
    #[error("{file}: the server sends more than the {limit_bytes} bytes allowed for it; nothing was kept")]
    TooLong {
        /// What was asked for.
        file: String,
        /// Declared size, or the ceiling where none is declared.
        limit_bytes: u64,
    },
    /// The hub states no hash and none is pinned.
    #[error("{file}: the hub states no hash to check it by; pin its sha256 in the manifest")]
    NoHash {
        /// What was asked for.
        file: String,
    },
    /// Other bytes than expected.
    #[error(
        "{file}: its {algorithm} is {found}, but {expected} is expected; it was thrown away. Ask again; if it \
         stays so, the file was changed at its source"
    )]
    WrongHash {
        /// What was asked for.
        file: String,
        /// `sha256`, or `git blob sha1` for small files of the hub.
        algorithm: &'static str,
        /// Pinned, or stated by the hub.
        expected: String,
        /// Of the bytes that came, or announced by the hub.
        found: String,
    },
    /// Other bytes than at the first download.
    #[error(
        "{file}: its sha256 is {found}, but {locked} was locked at the first download; if the change is meant, \
         remove its line from {}", lock.display()
    )]
    Locked {
        /// What was asked for.
        file: String,
        /// The lock file.
        lock: PathBuf,
        /// From the lock file.
        locked: String,
        /// Of the bytes that came, or announced by the hub.
        found: String,
    },
    /// The lock file cannot be understood.
    #[error("{} is damaged; repair it, or remove it to trust the hub's word anew", path.display())]
    LockFile {
        /// The lock file.
        path: PathBuf,
        /// The parser's reason.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

fn way_out(status: u16) -> &'static str {
    if status == 429 { ", or set HF_TOKEN for a higher limit" } else { ", or set HF_ENDPOINT to a mirror" }
}
