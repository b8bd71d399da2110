//! One try to bring a file: go on or start over, take the bytes, verify, put in place.

use reqwest::StatusCode;

use super::error::HubError;
use super::lock::HubLock;
use super::partial::{Partial, PartialPaths};
use super::request::{Answer, Endpoint, Failure};
use super::stated::{ContentHash, Stated};
use super::{Downloaded, HubFile};
use crate::cache::CacheError;
use crate::progress::Progress;

/// Ceiling for files whose size nobody states; those are small ones that a proxy sends in pieces.
const UNDECLARED_LIMIT_BYTES: u64 = 64 << 20;

/// What a file's bytes are checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expected {
    /// sha256 of the caller's.
    Pinned(String),
    /// sha256 from the lock file.
    Locked(String),
    /// Whatever hash the hub states.
    HubsWord,
}

impl Expected {
    pub(super) async fn of(file: &HubFile<'_>, lock: Option<&HubLock>) -> Result<Self, HubError> {
        if let Some(sha256) = file.sha256 {
            return Ok(Self::Pinned(sha256.to_ascii_lowercase()));
        }
        let locked = match lock {
            Some(lock) => with_lock(lock, file, |lock, file| lock.sha256(file)).await?,
            None => None,
        };
        Ok(locked.map_or(Self::HubsWord, Self::Locked))
    }
}

/// One try.
pub(super) struct Try<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) lock: Option<&'a HubLock>,
    pub(super) file: &'a HubFile<'a>,
    pub(super) expected: &'a Expected,
    pub(super) paths: &'a PartialPaths,
    pub(super) progress: &'a dyn Progress,
    /// Which try of the call it is, from 1.
    pub(super) n_tries: u32,
}

/// An answer, and from which byte on it brings the file.
struct Opened {
    answer: Answer,
    offset: u64,
    /// The partial file is whole already and the answer has no part of the file.
    is_complete: bool,
}

impl Try<'_> {
    pub(super) async fn run(&self) -> Result<Downloaded, Failure> {
        let opened = self.open().await?;
        self.check_announced(&opened.answer.stated).await?;
        let stated = opened.answer.stated.clone();
        let partial = if opened.is_complete {
            self.paths.clone().open(opened.offset, None).await?
        } else {
            self.transfer(opened).await?
        };
        if let Err(error) = self.verify(&partial, &stated).await {
            partial.throw_away().await?;
            return Err(error.into());
        }
        Ok(partial.put_in_place().await?)
    }

    /// Asks for the rest of what an earlier try left, or for the whole file.
    async fn open(&self) -> Result<Opened, Failure> {
        if let Some((offset, tag)) = self.paths.left_over().await {
            let answer = self.endpoint.ask(self.file, offset, self.n_tries).await?;
            let is_same = answer.stated.hash.as_ref().is_some_and(|hash| hash.to_string() == tag);
            let range = answer.content_range();
            match answer.response.status() {
                // The server knows no ranges, or sends all because it thinks better of it.
                StatusCode::OK => return Ok(Opened { answer, offset: 0, is_complete: false }),
                StatusCode::PARTIAL_CONTENT
                    if is_same && range.and_then(|range| range.start) == Some(offset) =>
                {
                    return Ok(Opened { answer, offset, is_complete: false });
                }
                StatusCode::RANGE_NOT_SATISFIABLE
                    if is_same
                        && answer.stated.n_bytes.or(range.and_then(|range| range.total)) == Some(offset) =>
                {
                    return Ok(Opened { answer, offset, is_complete: true });
                }
                // Another file than before, or not the part that was asked for.
                _ => self.paths.discard().await?,
            }
        }
        let answer = self.endpoint.ask(self.file, 0, self.n_tries).await?;
        if answer.response.status() != StatusCode::OK {
            let problem =
                format!("answers with status {} to a request for the whole file", answer.response.status());
            return Err(HubError::Protocol { file: self.file.to_string(), host: answer.host, problem }.into());
        }
        Ok(Opened { answer, offset: 0, is_complete: false })
    }

    /// Refuses before the first byte what cannot end well.
    async fn check_announced(&self, stated: &Stated) -> Result<(), HubError> {
        let error = match (self.expected, &stated.hash) {
            (Expected::HubsWord, None) => HubError::NoHash { file: self.file.to_string() },
            (Expected::Pinned(sha256) | Expected::Locked(sha256), Some(ContentHash::Sha256(announced)))
                if sha256 != announced =>
            {
                self.other_bytes(sha256, announced)
            }
            _ => return Ok(()),
        };
        self.paths.discard().await?;
        Err(error)
    }

    /// Opens the partial file, if the disk has room for what is still to come.
    async fn begin(
        &self,
        offset: u64,
        total: Option<u64>,
        tag: Option<String>,
    ) -> Result<Partial, CacheError> {
        if offset == 0 {
            // Bytes that are not gone on with make room.
            self.paths.discard().await?;
        }
        self.paths.check_space(total.unwrap_or(0).saturating_sub(offset)).await?;
        self.paths.clone().open(offset, tag).await
    }

    /// Takes the body to the partial file, never more of it than declared.
    async fn transfer(&self, opened: Opened) -> Result<Partial, Failure> {
        let Opened { answer, offset, .. } = opened;
        let body_end = answer.body_len().map(|n_bytes| offset.saturating_add(n_bytes));
        let total =
            answer.stated.n_bytes.or(answer.content_range().and_then(|range| range.total)).or(body_end);
        let limit_bytes = total.unwrap_or(UNDECLARED_LIMIT_BYTES);
        let tag = answer.stated.hash.as_ref().map(ContentHash::to_string);
        let mut partial = self.begin(offset, total, tag).await?;
        let course = Course::begin(self.progress, self.file.path, total);
        course.advance(offset);
        let mut n_announced_bytes = body_end.unwrap_or(offset);
        let mut response = answer.response;
        let broken = loop {
            if n_announced_bytes > limit_bytes {
                partial.throw_away().await?;
                return Err(HubError::TooLong { file: self.file.to_string(), limit_bytes }.into());
            }
            match response.chunk().await {
                Ok(Some(block)) => {
                    n_announced_bytes = n_announced_bytes.max(partial.n_bytes() + block.len() as u64);
                    if n_announced_bytes <= limit_bytes {
                        partial.add(&block).await?;
                        course.advance(block.len() as u64);
                    }
                }
                Ok(None) => break None,
                Err(error) => break Some(error.without_url()),
            }
        };
        partial.flush().await?;
        let n_bytes = partial.n_bytes();
        if broken.is_some() || total.is_some_and(|total| n_bytes < total) {
            let file = self.file.to_string();
            let error = HubError::Interrupted { file, n_bytes, n_tries: self.n_tries, source: broken };
            return Err(Failure::Transient { error, retry_after: None });
        }
        Ok(partial)
    }

    /// Checks the bytes; a hash that only the hub stated is locked as sha256.
    async fn verify(&self, partial: &Partial, stated: &Stated) -> Result<(), HubError> {
        let found = partial.sha256();
        let wrong = |algorithm, expected: &str, found: &str| HubError::WrongHash {
            file: self.file.to_string(),
            algorithm,
            expected: expected.to_owned(),
            found: found.to_owned(),
        };
        match (self.expected, &stated.hash) {
            (Expected::Pinned(sha256) | Expected::Locked(sha256), _) if *sha256 == found => return Ok(()),
            (Expected::Pinned(sha256) | Expected::Locked(sha256), _) => {
                return Err(self.other_bytes(sha256, &found));
            }
            (Expected::HubsWord, Some(ContentHash::Sha256(sha256))) if *sha256 != found => {
                return Err(wrong("sha256", sha256, &found));
            }
            (Expected::HubsWord, Some(ContentHash::GitBlob(blob))) => {
                let found = partial.git_blob().await?;
                if *blob != found {
                    return Err(wrong("git blob sha1", blob, &found));
                }
            }
            (Expected::HubsWord, Some(ContentHash::Sha256(_))) => {}
            (Expected::HubsWord, None) => return Err(HubError::NoHash { file: self.file.to_string() }),
        }
        match self.lock {
            Some(lock) => with_lock(lock, self.file, move |lock, file| lock.remember(file, &found)).await,
            None => Ok(()),
        }
    }

    fn other_bytes(&self, expected: &str, found: &str) -> HubError {
        match (self.expected, self.lock) {
            (Expected::Locked(_), Some(lock)) => lock.changed(self.file, expected, found),
            _ => HubError::WrongHash {
                file: self.file.to_string(),
                algorithm: "sha256",
                expected: expected.to_owned(),
                found: found.to_owned(),
            },
        }
    }
}

/// Tells of the end however a transfer ends.
struct Course<'a>(&'a dyn Progress);

impl<'a> Course<'a> {
    fn begin(progress: &'a dyn Progress, name: &str, total_bytes: Option<u64>) -> Self {
        progress.begin(name, total_bytes);
        Self(progress)
    }

    fn advance(&self, n_bytes: u64) {
        self.0.advance(n_bytes);
    }
}

impl Drop for Course<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Runs `work` on the lock file on a thread that may block.
async fn with_lock<T: Send + 'static>(
    lock: &HubLock,
    file: &HubFile<'_>,
    work: impl FnOnce(&HubLock, &HubFile<'_>) -> Result<T, HubError> + Send + 'static,
) -> Result<T, HubError> {
    let lock = lock.clone();
    let [repo, revision, path] = [file.repo, file.revision, file.path].map(str::to_owned);
    let at = lock.path().to_owned();
    tokio::task::spawn_blocking(move || {
        work(&lock, &HubFile { repo: &repo, revision: &revision, path: &path, sha256: None })
    })
    .await
    .map_err(|error| CacheError::from_io(&at, std::io::Error::other(error)))?
}
