//! Where jobs lie: a folder, or (with the feature `object-store`) a prefix in an object store.
//!
//! Names are relative, with `/` between parts. What is put appears whole or not at all, and is on the device when the call
//! returns. Callers are the planner, the workers and the commit; all calls block.

#[cfg(feature = "object-store")]
mod cloud;
pub(crate) mod local;
#[cfg(feature = "object-store")]
mod objects;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::NamedTempFile;

pub(crate) use local::LocalStore;

use crate::error::{JobError, StoreError};

/// A name that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its last part.
    pub(crate) name: String,
    /// Its size.
    pub(crate) n_bytes: u64,
}

/// A right to work on something, held until it is dropped or the process ends, however it ends.
pub(crate) struct Claim {
    /// The lock is given back when the file is closed.
    _file: Option<std::fs::File>,
}

/// Files by name, whole or not at all.
pub(crate) trait Store: Send + Sync {
    /// For people: a path or an address without credentials.
    fn place(&self) -> String;

    /// The folder, if it is one.
    fn local(&self) -> Option<&Path>;

    /// A file to write to that [`Store::put_file`] then takes.
    ///
    /// # Errors
    /// [`StoreError`].
    fn stage(&self) -> Result<NamedTempFile, StoreError>;

    /// Gives a staged file its name, in place of what had it.
    ///
    /// # Errors
    /// [`StoreError`]; what had the name before still has it.
    fn put_file(&self, name: &str, file: NamedTempFile) -> Result<(), StoreError>;

    /// Puts a copy of a file under a name, in place of what had it.
    ///
    /// # Errors
    /// [`StoreError`]; what had the name before still has it.
    fn put_copy(&self, name: &str, file: &Path) -> Result<(), StoreError>;

    /// Puts bytes under a name, in place of what had it.
    ///
    /// # Errors
    /// [`StoreError`]; what had the name before still has it.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError>;

    /// Puts bytes under a name that nothing has; false, and no change, if something has it.
    ///
    /// # Errors
    /// [`StoreError`].
    fn create(&self, name: &str, bytes: &[u8]) -> Result<bool, StoreError>;

    /// The bytes under a name, or `None`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// True if something has the name.
    ///
    /// # Errors
    /// [`StoreError`].
    fn has(&self, name: &str) -> Result<bool, StoreError>;

    /// A file with the bytes under a name: the thing itself where it is local, else a copy in `folder`.
    ///
    /// # Errors
    /// [`StoreError`], with [`crate::StoreFault::Missing`] if nothing has the name.
    fn fetch(&self, name: &str, folder: &Path) -> Result<PathBuf, StoreError>;

    /// What is in a folder of the store, by name; files only.
    ///
    /// # Errors
    /// [`StoreError`]; a folder that is not there is empty.
    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError>;

    /// Folders in a folder of the store, by name.
    ///
    /// # Errors
    /// [`StoreError`]; a folder that is not there is empty.
    fn list_folders(&self, folder: &str) -> Result<Vec<String>, StoreError>;

    /// Removes a file; one that is not there is no error.
    ///
    /// # Errors
    /// [`StoreError`].
    fn remove(&self, name: &str) -> Result<(), StoreError>;

    /// Removes a folder and all in it.
    ///
    /// # Errors
    /// [`StoreError`].
    fn remove_folder(&self, folder: &str) -> Result<(), StoreError>;

    /// The right to work on what has this name, unless another process or thread has it, or it is not there. In an object
    /// store everyone gets it: there the queue hands work out.
    ///
    /// # Errors
    /// [`StoreError`].
    fn claim(&self, name: &str) -> Result<Option<Claim>, StoreError>;

    /// Says that this process works on what has this name, as others may too. Waits while someone claims it.
    ///
    /// # Errors
    /// [`StoreError`].
    fn hold(&self, name: &str) -> Result<Claim, StoreError>;

    /// Removes what killed processes left half-written, once it is older than any process can be expected to write it.
    ///
    /// # Errors
    /// [`StoreError`].
    fn sweep(&self) -> Result<(), StoreError>;

    /// True if any process holds or claims what has this name. In an object store nobody knows, so true.
    ///
    /// # Errors
    /// [`StoreError`].
    fn is_held(&self, name: &str) -> Result<bool, StoreError>;
}

/// Opens the place where jobs are kept: a folder, made if need be, or a prefix in an object store.
///
/// # Errors
/// [`StoreError`].
pub(crate) fn open_place(place: &str) -> Result<Arc<dyn Store>, StoreError> {
    match local_path(place) {
        Some(folder) => Ok(Arc::new(LocalStore::open(folder)?)),
        None => open_objects(place),
    }
}

/// True if an address is a path on this machine.
pub(crate) fn is_local(address: &str) -> bool {
    local_path(address).is_some()
}

/// The path that an address means, if it is on this machine.
fn local_path(address: &str) -> Option<PathBuf> {
    match address.split_once("://") {
        None => Some(address.into()),
        Some(("file", path)) => Some(path.into()),
        Some(_) => None,
    }
}

/// A path, or a copy in `folder` of an object.
pub(crate) fn fetch_object(address: &str, folder: &Path) -> Result<PathBuf, StoreError> {
    match local_path(address) {
        Some(path) => Ok(path),
        None => objects::fetch(address, folder),
    }
}

/// Gives a file an object's name.
pub(crate) fn put_object(address: &str, file: &Path, may_replace: bool) -> Result<(), JobError> {
    match objects::put(address, file, may_replace)? {
        true => Ok(()),
        false => Err(JobError::OutputExists { place: address.to_owned() }),
    }
}

/// Refuses an object that exists, unless it may be replaced.
pub(crate) fn ensure_no_object(address: &str, may_replace: bool) -> Result<(), JobError> {
    match !may_replace && objects::has(address)? {
        true => Err(JobError::OutputExists { place: address.to_owned() }),
        false => Ok(()),
    }
}

#[cfg(feature = "object-store")]
fn open_objects(place: &str) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(objects::Objects::open(place)?))
}

#[cfg(not(feature = "object-store"))]
fn open_objects(place: &str) -> Result<Arc<dyn Store>, StoreError> {
    Err(objects::missing(place))
}

#[cfg(not(feature = "object-store"))]
mod objects {
    //! What a program without object stores says of them.

    use std::path::{Path, PathBuf};

    use crate::error::{StoreError, StoreFault};

    pub(super) fn missing(address: &str) -> StoreError {
        let source = "this program was built without the feature object-store".into();
        StoreError { action: "open", place: address.to_owned(), fault: StoreFault::Missing, source }
    }

    pub(super) fn fetch(address: &str, _: &Path) -> Result<PathBuf, StoreError> {
        Err(missing(address))
    }

    pub(super) fn put(address: &str, _: &Path, _: bool) -> Result<bool, StoreError> {
        Err(missing(address))
    }

    pub(super) fn has(address: &str) -> Result<bool, StoreError> {
        Err(missing(address))
    }
}
