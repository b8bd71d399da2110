//! Pages on disk, so that a fetch goes on where it stopped.
//!
//! A page lies in `<folder>/<source>/<sha256 of its address>.page`: a line of JSON (address, sha256 and length of the
//! body, what the headers said), then the body. The address never holds the API key. A page is written beside its place
//! and renamed, so a kill leaves it whole or absent; one that does not agree with its first line counts as absent.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::FetchError;

/// A whole answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) body: Vec<u8>,
    pub(super) facts: Facts,
}

/// What an answer's headers said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    /// Address of the next page.
    pub(super) next: Option<String>,
    /// Records in all pages.
    pub(super) total: Option<u64>,
    /// Data release.
    pub(super) release: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    url: String,
    sha256: String,
    n_bytes: u64,
    facts: Facts,
}

/// A folder of pages.
#[derive(Debug, Clone)]
pub(super) struct PageCache {
    folder: PathBuf,
}

impl PageCache {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The page of `url`; `None` if it is absent, damaged or unreadable. Blocks.
    pub(super) fn load(&self, source: &str, url: &str, max_bytes: u64) -> Option<Page> {
        let path = self.path(source, url);
        let read = || {
            // The first line is short; a file far past the limit is not read at all.
            if std::fs::metadata(&path)?.len() > max_bytes.saturating_add(1 << 20) {
                return Err(std::io::Error::other("longer than max_response_bytes"));
            }
            std::fs::read(&path)
        };
        let bytes = match read() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a kept page cannot be read and is fetched again");
                return None;
            }
        };
        let page = parse(bytes, url);
        if page.is_none() {
            tracing::warn!(path = %path.display(), "a kept page is damaged and is fetched again");
        }
        page
    }

    /// Keeps a page. Blocks.
    pub(super) fn store(&self, source: &str, url: &str, page: &Page) -> Result<(), FetchError> {
        let path = self.path(source, url);
        let write = || {
            let folder = path.parent().unwrap_or(&self.folder);
            std::fs::create_dir_all(folder)?;
            let head = Head {
                url: url.to_owned(),
                sha256: sha256(&page.body),
                n_bytes: page.body.len() as u64,
                facts: page.facts.clone(),
            };
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            serde_json::to_writer(&mut file, &head)?;
            file.write_all(b"\n")?;
            file.write_all(&page.body)?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(|source| FetchError::Cache { path: path.clone(), source })
    }

    fn path(&self, source: &str, url: &str) -> PathBuf {
        let name = format!("{}.page", sha256(url.as_bytes()));
        Path::new(&self.folder).join(source.to_ascii_lowercase().replace(' ', "-")).join(name)
    }
}

fn parse(mut bytes: Vec<u8>, url: &str) -> Option<Page> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let head: Head = serde_json::from_slice(&bytes[..end]).ok()?;
    bytes.drain(..=end);
    let is_whole = head.url == url && head.n_bytes == bytes.len() as u64 && head.sha256 == sha256(&bytes);
    is_whole.then_some(Page { body: bytes, facts: head.facts })
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://h/page?cursor=1";

    fn page() -> Page {
        let facts = Facts { next: Some("https://h/2".to_owned()), total: Some(7), release: None };
        Page { body: b"line\nline\xff".to_vec(), facts }
    }

    #[test]
    fn a_page_comes_back_as_it_was_kept() {
        let folder = tempfile::tempdir().unwrap();
        let cache = PageCache::new(folder.path().join("new"));
        assert_eq!(cache.load("NCBI Gene", URL, 100), None);
        cache.store("NCBI Gene", URL, &page()).unwrap();
        cache.store("NCBI Gene", URL, &page()).unwrap();
        assert_eq!(cache.load("NCBI Gene", URL, 100), Some(page()));
        assert_eq!(cache.load("NCBI Gene", "https://h/other", 100), None);
        let names: Vec<_> = std::fs::read_dir(folder.path().join("new/ncbi-gene")).unwrap().collect();
        assert_eq!(names.len(), 1, "nothing is left beside the page");
    }

    #[test]
    fn every_damage_counts_as_absent() {
        let folder = tempfile::tempdir().unwrap();
        let cache = PageCache::new(folder.path().to_owned());
        cache.store("GO", URL, &page()).unwrap();
        let path = cache.path("GO", URL);
        let whole = std::fs::read(&path).unwrap();
        for n_bytes in 0..whole.len() {
            std::fs::write(&path, &whole[..n_bytes]).unwrap();
            assert_eq!(cache.load("GO", URL, 100), None, "{n_bytes} bytes");
        }
        let mut flipped = whole;
        *flipped.last_mut().unwrap() ^= 1;
        std::fs::write(&path, &flipped).unwrap();
        assert_eq!(cache.load("GO", URL, 100), None);
        std::fs::rename(&path, cache.path("GO", "https://h/other")).unwrap();
        assert_eq!(cache.load("GO", "https://h/other", 100), None, "a page of another address");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let cache = PageCache::new(file.path().to_owned());
        assert_eq!(cache.load("GO", URL, 100), None);
        assert!(matches!(cache.store("GO", URL, &page()), Err(FetchError::Cache { .. })));
    }
}
