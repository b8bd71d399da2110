//! Files from the Hugging Face hub or a mirror of it.
//!
//! One call, [`HubClient::download`], brings one file of one commit to its place, or leaves the place alone: bytes go
//! to `<destination>.partial`, are hashed as they come, and are renamed only when the hash is right. A transfer that
//! broke off goes on where it stopped, in the same call or the next. A file whose stated size the disk has no room for is
//! refused before its first byte. The registry calls this for sources of the kind `hub`; it may also be used on its own.

mod client;
mod download;
mod error;
mod lock;
mod partial;
mod request;
mod settings;
mod stated;

use std::fmt;

pub use client::HubClient;
pub use error::HubError;
pub use lock::{HubLock, LOCK_NAME};
pub use settings::{HubSettings, OFFICIAL_ENDPOINT, Token};

/// A file of a repository on the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HubFile<'a> {
    /// `owner/name`.
    pub repo: &'a str,
    /// Full commit hash, 40 lower-case hexadecimal digits.
    pub revision: &'a str,
    /// Path in the repository, with `/` between its parts.
    pub path: &'a str,
    /// Expected sha256, 64 hexadecimal digits; `None` takes the hub's word at the first download and locks it.
    pub sha256: Option<&'a str>,
}

impl fmt::Display for HubFile<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}@{}/{}", self.repo, self.revision, self.path)
    }
}

/// What a download brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downloaded {
    /// sha256 of the file, in lower-case hexadecimal.
    pub sha256: String,
    /// Its size.
    pub n_bytes: u64,
}
