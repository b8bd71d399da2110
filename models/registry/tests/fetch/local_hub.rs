//! A hub for tests, on local servers that misbehave as tests ask for.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) use protext_local_server::{Counter, Reply, Request, Server, bounded};
use protext_registry::Progress;
use protext_registry::hub::{HubClient, HubFile, HubSettings, Token};
use sha1::Digest;

pub(crate) const REPO: &str = "owner/model";
pub(crate) const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";
pub(crate) const TOKEN: &str = "hf_testsecret";

/// A hub and the storage that its large files lie on.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) front: Server,
    pub(crate) storage: Server,
}

impl Hub {
    /// States the sha256 of `stated` and redirects to a storage that answers as `storage` says.
    pub(crate) async fn with_storage(
        stated: &[u8],
        storage: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let (sha256, n_bytes) = (sha256(stated), stated.len());
        let storage = Server::start(storage).await;
        let target = format!("{}/blobs/{sha256}?signature=secret", storage.url);
        let front = Server::start(move |_| redirect(&sha256, n_bytes, &target)).await;
        Self { front, storage }
    }

    /// A hub that behaves.
    pub(crate) async fn of(file: &[u8]) -> Self {
        let content = file.to_vec();
        Self::with_storage(file, move |request| Reply::part_of(&content, request)).await
    }

    pub(crate) fn client(&self) -> HubClient {
        client(&self.front.url)
    }
}

/// The hub's answer for a large file.
pub(crate) fn redirect(sha256: &str, n_bytes: usize, target: &str) -> Reply {
    Reply::new(302, b"")
        .header("Location", target)
        .header("X-Repo-Commit", REVISION)
        .header("X-Linked-Etag", format!("\"{sha256}\""))
        .header("X-Linked-Size", n_bytes.to_string())
        .header("ETag", format!("\"{}\"", "ef".repeat(20)))
        .header("Accept-Ranges", "bytes")
}

/// Impatient settings, without proxies of the environment.
pub(crate) fn settings(endpoint: &str) -> HubSettings {
    HubSettings {
        endpoint: endpoint.to_owned(),
        token: Some(Token::new(TOKEN)),
        connect_timeout: Duration::from_secs(2),
        read_timeout: Duration::from_secs(2),
        n_tries: 3,
        first_wait: Duration::from_millis(5),
        longest_wait: Duration::from_millis(50),
        environment_proxies: false,
        ..HubSettings::default()
    }
}

pub(crate) fn client(endpoint: &str) -> HubClient {
    HubClient::new(settings(endpoint)).unwrap()
}

pub(crate) fn file(path: &'static str) -> HubFile<'static> {
    HubFile { repo: REPO, revision: REVISION, path, sha256: None }
}

/// Bytes without a period, so that a part at the wrong place shows.
pub(crate) fn content(n_bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    })
    .take(n_bytes)
    .collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(sha2::Sha256::digest(bytes))
}

pub(crate) fn git_blob(bytes: &[u8]) -> String {
    hex::encode(sha1::Sha1::new_with_prefix(format!("blob {}\0", bytes.len())).chain_update(bytes).finalize())
}

/// Names of the files in a folder, sorted.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Adds up what it hears.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) n_begun: AtomicU64,
    pub(crate) n_ended: AtomicU64,
    pub(crate) total_bytes: AtomicU64,
    pub(crate) n_bytes: AtomicU64,
}

impl Progress for Tally {
    fn begin(&self, _name: &str, total_bytes: Option<u64>) {
        self.n_begun.fetch_add(1, Ordering::SeqCst);
        self.total_bytes.store(total_bytes.unwrap_or(0), Ordering::SeqCst);
        self.n_bytes.store(0, Ordering::SeqCst);
    }

    fn advance(&self, n_bytes: u64) {
        self.n_bytes.fetch_add(n_bytes, Ordering::SeqCst);
    }

    fn end(&self) {
        self.n_ended.fetch_add(1, Ordering::SeqCst);
    }
}
