//! One job's folder: names and formats of its files.
//!
//! | file | |
//! |---|---|
//! | `spec.json` | what was submitted; its creation makes the job |
//! | `state.json` | what became of it, when, and why it failed |
//! | `plan/` | inputs as shards; `plan.json` is written last |
//! | `out/` | a file for each shard that is done |
//! | `pairs/` | of a job over pairs, a file for each shard that was paired with all others |
//! | `attempts/` | of each shard that was begun: how often, and its failures |
//! | `notes/` | what workers and submitters were refused |
//! | `cancel` | someone asked to stop |
//! | `results/`, `failures.jsonl`, `manifest.json` | what came of it; the manifest is written last |

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::{NamedTempFile, TempDir};

use crate::error::{JobError, StoreError};
use crate::store::local::failed;
use crate::store::{Claim, Store};

/// One job's files.
#[derive(Clone)]
pub(crate) struct JobFolder {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) id: String,
}

impl JobFolder {
    pub(crate) fn new(store: Arc<dyn Store>, id: &str) -> Self {
        Self { store, id: id.to_owned() }
    }

    fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.id)
    }

    /// Path or address of one of its files, for people.
    pub(crate) fn place(&self, name: &str) -> String {
        format!("{}/{}/{name}", self.store.place(), self.id)
    }

    /// Path of one of its files, if jobs lie in a folder.
    pub(crate) fn local(&self, name: &str) -> Option<PathBuf> {
        self.store.local().map(|root| root.join(&self.id).join(name))
    }

    pub(crate) fn stage(&self) -> Result<NamedTempFile, StoreError> {
        self.store.stage()
    }

    /// A folder for files that nobody needs afterwards.
    pub(crate) fn scratch(&self) -> Result<TempDir, StoreError> {
        let made = match self.store.local() {
            Some(root) => TempDir::new_in(root.join(".staged")),
            None => TempDir::new(),
        };
        made.map_err(|error| failed("make a folder in", Path::new(&self.store.place()), error))
    }

    pub(crate) fn put(&self, name: &str, bytes: &[u8]) -> Result<(), JobError> {
        Ok(self.store.put(&self.name(name), bytes)?)
    }

    pub(crate) fn put_file(&self, name: &str, file: NamedTempFile) -> Result<(), JobError> {
        Ok(self.store.put_file(&self.name(name), file)?)
    }

    pub(crate) fn put_json(&self, name: &str, value: &impl Serialize) -> Result<(), JobError> {
        self.put(name, &to_json(value))
    }

    /// False if something has the name.
    pub(crate) fn create_json(&self, name: &str, value: &impl Serialize) -> Result<bool, JobError> {
        Ok(self.store.create(&self.name(name), &to_json(value))?)
    }

    pub(crate) fn get(&self, name: &str) -> Result<Option<Vec<u8>>, JobError> {
        Ok(self.store.get(&self.name(name))?)
    }

    pub(crate) fn get_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, JobError> {
        let Some(bytes) = self.get(name)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| self.damaged(name, &error.to_string()))
    }

    pub(crate) fn has(&self, name: &str) -> Result<bool, JobError> {
        Ok(self.store.has(&self.name(name))?)
    }

    pub(crate) fn fetch(&self, name: &str, folder: &Path) -> Result<PathBuf, JobError> {
        Ok(self.store.fetch(&self.name(name), folder)?)
    }

    /// Names of the files in one of its folders, sorted.
    pub(crate) fn list(&self, name: &str) -> Result<Vec<String>, JobError> {
        Ok(self.store.list(&self.name(name))?.into_iter().map(|listed| listed.name).collect())
    }

    pub(crate) fn remove(&self, name: &str) -> Result<(), JobError> {
        Ok(self.store.remove(&self.name(name))?)
    }

    pub(crate) fn remove_folder(&self, name: &str) -> Result<(), JobError> {
        Ok(self.store.remove_folder(&self.name(name))?)
    }

    pub(crate) fn claim(&self, name: &str) -> Result<Option<Claim>, JobError> {
        Ok(self.store.claim(&self.name(name))?)
    }

    pub(crate) fn damaged(&self, name: &str, reason: &str) -> JobError {
        JobError::Damaged { file: self.place(name), reason: reason.to_owned() }
    }

    /// A file that was being written could not be.
    pub(crate) fn write_failed(&self, name: &str, error: io::Error) -> JobError {
        failed("write", Path::new(&self.place(name)), error).into()
    }

    /// One of its files could not be read, or is damaged.
    pub(crate) fn read_failed(&self, name: &str, error: io::Error) -> JobError {
        match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                self.damaged(name, &error.to_string())
            }
            _ => failed("read", Path::new(&self.place(name)), error).into(),
        }
    }
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("structs of plain fields are always JSON");
    bytes.push(b'\n');
    bytes
}
