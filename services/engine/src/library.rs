//! Collections that the service keeps by itself: made, deleted and backed up while it runs.
//!
//! ```text
//! DIR/LOCK                    held by the one process that has the folder
//! DIR/collections/NAME/       a collection, see `protext_index::store`
//! DIR/backups/NAME/NUMBER/    a copy of it, a collection like any other
//! ```
//!
//! Names that begin with a dot are work in progress. A collection appears, and goes, in one rename; what a crash leaves
//! half done is removed at the next start.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use protext_core::Modality;
use protext_index::{CollectionBuilder, IndexKind, Store, StoreOptions};
use serde::Serialize;

use crate::collections::OpenCollection;
use crate::embedder::Embedder;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::target::Target;

/// Longest name of a collection.
pub const MAX_NAME_CHARS: usize = 64;
/// How long a deletion waits for searches that use the collection.
const DELETE_WAIT: Duration = Duration::from_secs(10);

/// A folder of collections, held by this process alone.
pub struct Library {
    dir: PathBuf,
    options: StoreOptions,
    /// Held while collections are made, deleted or copied: one at a time.
    changing: Mutex<()>,
    _lock: File,
}

/// What a new collection is to be.
#[derive(Debug, Clone, PartialEq)]
pub struct NewCollection {
    /// 1 to [`MAX_NAME_CHARS`] letters, digits, `-`, `_` or `.`, the first one a letter or digit.
    pub name: String,
    /// What it holds.
    pub holds: Target,
    /// Encoder, unless the one for what it holds.
    pub encoder: Option<String>,
    /// Its index.
    pub index: IndexKind,
}

/// A copy of a collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Its number, counted from 1 for each collection.
    pub number: u64,
    /// Bytes on the disk.
    pub n_bytes: u64,
    /// When it was made, in seconds since 1970.
    pub created_unix_s: u64,
}

impl Library {
    /// Takes the folder, made if it is not there, and opens the collections in it for writing.
    ///
    /// # Errors
    /// [`EngineError::Io`] if the folder cannot be used or another process has it, [`EngineError::Store`] for a collection
    /// that does not open.
    pub fn open(
        dir: impl Into<PathBuf>,
        options: StoreOptions,
    ) -> Result<(Self, Vec<(String, OpenCollection)>), EngineError> {
        let dir = dir.into();
        for part in ["collections", "backups"] {
            fs::create_dir_all(dir.join(part)).map_err(cannot("create the data folder"))?;
        }
        let lock = File::options().write(true).create(true).truncate(false).open(dir.join("LOCK"));
        let lock = lock.map_err(cannot("write in the data folder"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => cannot("use the data folder: another process has it")(
                io::Error::from(io::ErrorKind::WouldBlock),
            ),
            TryLockError::Error(source) => cannot("lock the data folder")(source),
        })?;
        let library = Self { dir, options, changing: Mutex::new(()), _lock: lock };
        let mut open = Vec::new();
        for name in library.names_in("collections", true)? {
            let store = Store::open_with(library.folder(&name), library.options.clone())?;
            open.push((name, OpenCollection::live(store)));
        }
        Ok((library, open))
    }

    /// Makes an empty collection in the spaces that its encoder leads to, and opens it for searches and writes.
    ///
    /// # Errors
    /// [`EngineError::BadName`], [`EngineError::NameTaken`], [`EngineError::UnknownEncoder`], [`EngineError::NotLoaded`],
    /// [`EngineError::Index`] for parameters of the index, [`EngineError::Snapshot`] where the disk refuses.
    pub fn create(&self, engine: &Engine, new: &NewCollection) -> Result<(), EngineError> {
        ensure_name(&new.name)?;
        let _one = self.lock();
        if engine.collections().contains_key(&new.name) {
            return Err(EngineError::NameTaken { name: new.name.clone() });
        }
        let collection = empty_collection(engine, new)?;
        let (partial, folder) = (self.folder(&format!(".new-{}", new.name)), self.folder(&new.name));
        remove_if_there(&partial)?;
        collection.save(&partial)?;
        fs::rename(&partial, &folder).map_err(cannot("name the folder of the collection"))?;
        self.sync("collections")?;
        let store = Store::open_with(&folder, self.options.clone())?;
        engine.add_collection(&new.name, OpenCollection::live(store))
    }

    /// Deletes a collection of this folder with all of its records; its backups stay. Searches that use it end first.
    ///
    /// # Errors
    /// [`EngineError::UnknownCollection`], [`EngineError::NotOurs`], [`EngineError::InUse`], [`EngineError::Io`].
    pub fn delete(&self, engine: &Engine, name: &str) -> Result<(), EngineError> {
        let _one = self.lock();
        let (_, open) = engine.collection(Some(name), None)?;
        let folder = self.folder(name);
        if open.store().is_none_or(|store| store.dir() != folder) {
            return Err(EngineError::NotOurs { name: name.to_owned() });
        }
        drop(open);
        let Some(open) = engine.take_collection(name) else { return Ok(()) };
        // The store must be at rest before its folder goes: a rebuild would write into one of the same name.
        let store = match open.into_store().map(alone) {
            None => return Ok(()),
            Some(Ok(store)) => store,
            Some(Err(store)) => {
                engine.add_collection(name, OpenCollection::shared(store))?;
                return Err(EngineError::InUse { name: name.to_owned() });
            }
        };
        drop(store);
        if let Some(monitor) = engine.recall() {
            monitor.forget(name);
        }
        let gone = self.folder(&format!(".deleted-{name}"));
        remove_if_there(&gone)?;
        if let Err(source) = fs::rename(&folder, &gone) {
            // It is still there, so it is still served.
            let store = Store::open_with(&folder, self.options.clone())?;
            engine.add_collection(name, OpenCollection::live(store))?;
            return Err(cannot("take the collection out of the data folder")(source));
        }
        self.sync("collections")?;
        remove_if_there(&gone)
    }

    /// Copies a collection as it is now, verified, while it is searched and written to.
    ///
    /// # Errors
    /// [`EngineError::UnknownCollection`], [`EngineError::ReadOnly`], [`EngineError::Store`] where the disk refuses.
    pub fn make_snapshot(&self, engine: &Engine, name: &str) -> Result<Snapshot, EngineError> {
        let _one = self.lock();
        let (_, open) = engine.collection(Some(name), None)?;
        let store = open.store().ok_or_else(|| EngineError::ReadOnly { name: name.to_owned() })?;
        let of_this = self.dir.join("backups").join(name);
        fs::create_dir_all(&of_this).map_err(cannot("create the folder of backups"))?;
        let number = self.numbers(name)?.last().map_or(1, |last| last + 1);
        let (partial, folder) = (of_this.join(format!(".new-{number}")), of_this.join(number.to_string()));
        remove_if_there(&partial)?;
        let report = store.backup_to(&partial)?;
        if !report.is_sound() {
            remove_if_there(&partial)?;
            return Err(cannot("verify the copy")(io::Error::other("the copy is damaged")));
        }
        fs::rename(&partial, &folder).map_err(cannot("name the backup"))?;
        protect(&of_this)?;
        describe(&folder, number)
    }

    /// The copies of a collection, oldest first; also of one that was deleted.
    ///
    /// # Errors
    /// [`EngineError::BadName`], or [`EngineError::Io`].
    pub fn snapshots(&self, name: &str) -> Result<Vec<Snapshot>, EngineError> {
        ensure_name(name)?;
        let folder = self.dir.join("backups").join(name);
        self.numbers(name)?
            .into_iter()
            .map(|number| describe(&folder.join(number.to_string()), number))
            .collect()
    }

    fn numbers(&self, name: &str) -> Result<Vec<u64>, EngineError> {
        let names = self.names_in(&format!("backups/{name}"), false)?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| name.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Folders below `part`, in the order of their names; work in progress is removed where that is asked for.
    fn names_in(&self, part: &str, tidy: bool) -> Result<Vec<String>, EngineError> {
        let folder = self.dir.join(part);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(cannot("list the data folder")(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(cannot("list the data folder"))?;
            match entry.file_name().into_string() {
                Ok(name) if name.starts_with(".new-") || name.starts_with(".deleted-") => {
                    if tidy {
                        remove_if_there(&entry.path())?;
                    }
                }
                Ok(name) if !name.starts_with('.') && entry.path().is_dir() => names.push(name),
                _ => tracing::warn!(file = ?entry.file_name(), "this is no collection; it is left alone"),
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.dir.join("collections").join(name)
    }

    fn sync(&self, part: &str) -> Result<(), EngineError> {
        protect(&self.dir.join(part))
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        // The mutex guards no data, only the order.
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The store, once nobody else uses it; given back after [`DELETE_WAIT`].
fn alone(mut store: Arc<Store>) -> Result<Store, Arc<Store>> {
    let started = Instant::now();
    loop {
        store = match Arc::try_unwrap(store) {
            Ok(store) => return Ok(store),
            Err(shared) => shared,
        };
        if started.elapsed() > DELETE_WAIT {
            return Err(store);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The encoder that records of a new collection are embedded by.
pub(crate) fn embedder_for<'a>(engine: &'a Engine, new: &NewCollection) -> Result<&'a Embedder, EngineError> {
    let embedder = engine.embedder(new.encoder.as_deref(), new.holds.modality())?;
    if embedder.encoder().modality() != new.holds.modality() {
        let reads = if embedder.encoder().modality() == Modality::Protein { "proteins" } else { "texts" };
        return Err(EngineError::WrongEncoder {
            encoder: embedder.encoder().id().to_owned(),
            reads,
            wanted: new.holds,
        });
    }
    Ok(embedder)
}

fn empty_collection(engine: &Engine, new: &NewCollection) -> Result<protext_index::Collection, EngineError> {
    let embedder = embedder_for(engine, new)?;
    let missing =
        || EngineError::NotLoaded { what: "projection for this encoder", instead: "another encoder" };
    let mut spaces = embedder.joint_spaces().cloned();
    let mut builder = CollectionBuilder::new(spaces.next().ok_or_else(missing)?, new.index)?;
    for space in spaces {
        builder.add_space(space)?;
    }
    builder.set_metadata("encoder", embedder.encoder().id());
    new.holds.mark(&mut builder);
    Ok(builder.build(&mut |_| ())?)
}

pub(crate) fn ensure_name(name: &str) -> Result<(), EngineError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_good = name.len() <= MAX_NAME_CHARS
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(is_plain);
    if is_good { Ok(()) } else { Err(EngineError::BadName { name: name.chars().take(80).collect() }) }
}

fn describe(folder: &Path, number: u64) -> Result<Snapshot, EngineError> {
    let about = fs::metadata(folder).map_err(cannot("read a backup"))?;
    let since_1970 = about.modified().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    Ok(Snapshot {
        number,
        n_bytes: bytes_in(folder).map_err(cannot("read a backup"))?,
        created_unix_s: since_1970.map_or(0, |time| time.as_secs()),
    })
}

fn bytes_in(folder: &Path) -> io::Result<u64> {
    let mut n_bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let about = entry.metadata()?;
        n_bytes += if about.is_dir() { bytes_in(&entry.path())? } else { about.len() };
    }
    Ok(n_bytes)
}

fn remove_if_there(folder: &Path) -> Result<(), EngineError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(cannot("remove what was left half done in the data folder")(error))
        }
        _ => Ok(()),
    }
}

/// Waits until the disk knows the names in a folder.
fn protect(folder: &Path) -> Result<(), EngineError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(cannot("sync the data folder"))
}

fn cannot(what: &'static str) -> impl FnOnce(io::Error) -> EngineError {
    move |source| EngineError::Io { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["a", "Human-2026_01.v2", "9"] {
            ensure_name(good).unwrap();
        }
        let long = "x".repeat(65);
        for bad in ["", ".hidden", "..", "a/b", "a b", "-a", "\u{e9}", &long] {
            assert!(matches!(ensure_name(bad), Err(EngineError::BadName { .. })), "{bad:?}");
        }
    }

    #[test]
    fn a_folder_has_one_owner_and_is_tidied_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let half_done = folder.path().join("collections/.new-half");
        fs::create_dir_all(&half_done).unwrap();
        let (library, open) = Library::open(folder.path(), StoreOptions::default()).unwrap();
        assert!(open.is_empty() && !half_done.exists());
        assert!(library.snapshots("nothing").unwrap().is_empty());
        let second = Library::open(folder.path(), StoreOptions::default()).map(|_| ()).unwrap_err();
        assert!(second.to_string().contains("another process"), "{second}");
        drop(library);
        Library::open(folder.path(), StoreOptions::default()).unwrap();
    }
}
