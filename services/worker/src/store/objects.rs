//! An object store: S3 and what speaks its language, Google Cloud Storage, or Azure Blob Storage (see `cloud.rs`).
//!
//! Puts are atomic there; a name is given once by a conditional put. Brief failures are tried again by the client. Calls
//! block on a runtime of this module's own, so they must not come from async threads.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use object_store::path::Path as Key;
use object_store::{
    Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, RetryConfig, WriteMultipart,
};
use tempfile::NamedTempFile;
use tokio::io::AsyncReadExt as _;
use tokio::runtime::Runtime;

use super::cloud::{Bucket, Refusal};
use super::local::failed;
use super::{Claim, Listed, Store};
use crate::error::{StoreError, StoreFault};

/// A failing store is tried again for this long.
const PATIENCE: Duration = Duration::from_secs(120);
/// Objects above this size go up in parts of it.
const PART_BYTES: usize = 8 << 20;

/// A prefix of a bucket.
#[derive(Debug, Clone)]
pub(crate) struct Objects {
    address: String,
    store: Arc<dyn ObjectStore>,
    prefix: String,
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("objects").enable_all();
        builder.build().expect("a runtime of one thread can be started")
    })
}

impl Objects {
    /// Opens a prefix of a bucket. Nothing is asked of the store yet.
    pub(crate) fn open(address: &str) -> Result<Self, StoreError> {
        protext_http::install_crypto_provider();
        let retry = RetryConfig { retry_timeout: PATIENCE, max_retries: 20, ..RetryConfig::default() };
        let opened = Bucket::parse(address).and_then(|bucket| Ok((bucket.open(retry)?, bucket.prefix)));
        let (store, prefix) = opened.map_err(|Refusal { fault, source }| {
            let place = address.to_owned();
            StoreError { action: "open", place, fault, source }
        })?;
        Ok(Self { address: address.trim_end_matches('/').to_owned(), store, prefix: prefix.to_owned() })
    }

    fn key(&self, name: &str) -> Key {
        Key::from(format!("{}/{}", self.prefix, name).trim_matches('/').to_owned())
    }

    fn failed(&self, action: &'static str, name: &str, error: Error) -> StoreError {
        let text = error.to_string();
        let fault = match &error {
            Error::NotFound { .. } => StoreFault::Missing,
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => StoreFault::Denied,
            // The client gives these without a kind of their own.
            _ if text.contains("InvalidAccessKeyId") || text.contains("SignatureDoesNotMatch") => {
                StoreFault::Denied
            }
            _ if text.contains("QuotaExceeded") => StoreFault::NoSpace,
            _ => StoreFault::Other,
        };
        let place = format!("{}/{name}", self.address).trim_end_matches('/').to_owned();
        StoreError { action, place, fault, source: Box::new(error) }
    }

    fn put_path(&self, name: &str, path: &Path, mode: PutMode) -> Result<bool, StoreError> {
        let n_bytes = std::fs::metadata(path).map_err(|error| failed("read", path, error))?.len();
        if n_bytes <= PART_BYTES as u64 || mode == PutMode::Create {
            let bytes = std::fs::read(path).map_err(|error| failed("read", path, error))?;
            return self.put_bytes(name, bytes, mode);
        }
        let key = self.key(name);
        let sent = runtime().block_on(async {
            let upload = self.store.put_multipart(&key).await?;
            let mut writer = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
            let mut file = tokio::fs::File::open(path).await.map_err(local_failure)?;
            let mut part = vec![0; PART_BYTES];
            loop {
                match file.read(&mut part).await.map_err(local_failure)? {
                    0 => break,
                    n => {
                        writer.wait_for_capacity(4).await?;
                        writer.write(&part[..n]);
                    }
                }
            }
            writer.finish().await
        });
        sent.map(|_| true).map_err(|error| self.failed("write", name, error))
    }

    /// False if the mode is to create and something has the name.
    fn put_bytes(&self, name: &str, bytes: Vec<u8>, mode: PutMode) -> Result<bool, StoreError> {
        let options = PutOptions { mode, ..PutOptions::default() };
        let key = self.key(name);
        match runtime().block_on(self.store.put_opts(&key, PutPayload::from(bytes), options)) {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
            Err(error) => Err(self.failed("write", name, error)),
        }
    }
}

fn local_failure(error: std::io::Error) -> Error {
    Error::Generic { store: "a local file", source: Box::new(error) }
}

impl Store for Objects {
    fn place(&self) -> String {
        self.address.clone()
    }

    fn local(&self) -> Option<&Path> {
        None
    }

    fn stage(&self) -> Result<NamedTempFile, StoreError> {
        NamedTempFile::new().map_err(|error| failed("write in", &std::env::temp_dir(), error))
    }

    fn put_file(&self, name: &str, file: NamedTempFile) -> Result<(), StoreError> {
        self.put_path(name, file.path(), PutMode::Overwrite).map(|_| ())
    }

    fn put_copy(&self, name: &str, file: &Path) -> Result<(), StoreError> {
        self.put_path(name, file, PutMode::Overwrite).map(|_| ())
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.put_bytes(name, bytes.to_vec(), PutMode::Overwrite).map(|_| ())
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<bool, StoreError> {
        self.put_bytes(name, bytes.to_vec(), PutMode::Create)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let key = self.key(name);
        let got = runtime().block_on(async { self.store.get(&key).await?.bytes().await });
        match got {
            Ok(bytes) => Ok(Some(bytes.to_vec())),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("read", name, error)),
        }
    }

    fn has(&self, name: &str) -> Result<bool, StoreError> {
        match runtime().block_on(self.store.head(&self.key(name))) {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.failed("look for", name, error)),
        }
    }

    fn fetch(&self, name: &str, folder: &Path) -> Result<PathBuf, StoreError> {
        let path = folder.join(format!(
            "{:016x}-{}",
            rand::random::<u64>(),
            name.rsplit('/').next().unwrap_or("object")
        ));
        let key = self.key(name);
        let fetched = runtime().block_on(async {
            let mut parts = self.store.get(&key).await?.into_stream();
            let mut file = tokio::fs::File::create(&path).await.map_err(local_failure)?;
            while let Some(part) = parts.try_next().await? {
                tokio::io::AsyncWriteExt::write_all(&mut file, &part).await.map_err(local_failure)?;
            }
            tokio::io::AsyncWriteExt::flush(&mut file).await.map_err(local_failure)
        });
        fetched.map(|()| path).map_err(|error| self.failed("read", name, error))
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        let key = self.key(folder);
        let listed = runtime().block_on(self.store.list_with_delimiter(Some(&key)));
        let listed = listed.map_err(|error| self.failed("list", folder, error))?;
        let name = |object: object_store::ObjectMeta| {
            let name = object.location.filename().unwrap_or_default().to_owned();
            Listed { name, n_bytes: object.size }
        };
        let mut names: Vec<Listed> = listed.objects.into_iter().map(name).collect();
        names.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(names)
    }

    fn list_folders(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let key = self.key(folder);
        let listed = runtime().block_on(self.store.list_with_delimiter(Some(&key)));
        let listed = listed.map_err(|error| self.failed("list", folder, error))?;
        Ok(listed.common_prefixes.iter().filter_map(|key| key.filename().map(str::to_owned)).collect())
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        match runtime().block_on(self.store.delete(&self.key(name))) {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("remove", name, error)),
        }
    }

    fn remove_folder(&self, folder: &str) -> Result<(), StoreError> {
        let key = self.key(folder);
        let removed = runtime().block_on(async {
            let keys: Vec<Key> =
                self.store.list(Some(&key)).map_ok(|object| object.location).try_collect().await?;
            for key in keys {
                self.store.delete(&key).await?;
            }
            Ok(())
        });
        removed.map_err(|error| self.failed("remove", folder, error))
    }

    fn claim(&self, _: &str) -> Result<Option<Claim>, StoreError> {
        Ok(Some(Claim { _file: None }))
    }

    fn hold(&self, _: &str) -> Result<Claim, StoreError> {
        Ok(Claim { _file: None })
    }

    fn sweep(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn is_held(&self, _: &str) -> Result<bool, StoreError> {
        Ok(true)
    }
}

/// Bucket and folder of an object, and its name in it.
fn split(address: &str) -> (&str, &str) {
    address.rsplit_once('/').unwrap_or((address, ""))
}

/// A copy of an object in `folder`, under its own name.
pub(super) fn fetch(address: &str, folder: &Path) -> Result<PathBuf, StoreError> {
    let (place, name) = split(address);
    let fetched = Objects::open(place)?.fetch(name, folder)?;
    // The ending tells the format.
    let named = folder.join(format!("{:08x}-{name}", rand::random::<u32>()));
    std::fs::rename(&fetched, &named).map_err(|error| failed("write", &named, error))?;
    Ok(named)
}

/// False if something has the name and may not be replaced.
pub(super) fn put(address: &str, file: &Path, may_replace: bool) -> Result<bool, StoreError> {
    let (place, name) = split(address);
    let objects = Objects::open(place)?;
    if !may_replace && objects.has(name)? {
        return Ok(false);
    }
    objects.put_path(name, file, PutMode::Overwrite)
}

pub(super) fn has(address: &str) -> Result<bool, StoreError> {
    let (place, name) = split(address);
    Objects::open(place)?.has(name)
}
