//! Collections that are made and deleted over HTTP and lie on a server, as those of a [`crate::library::Library`] lie in a folder.

use protext_index::{CollectionHost, IndexKind, RemoteError};

use crate::collections::OpenCollection;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::library::{NewCollection, embedder_for, ensure_name};

/// Makes an empty collection in the spaces that its encoder leads to, and opens it for searches and writes. Blocks.
///
/// # Errors
/// [`EngineError::BadName`], [`EngineError::NameTaken`], [`EngineError::UnknownEncoder`], [`EngineError::NotLoaded`], and
/// [`EngineError::Index`] where the server refuses, or an index is asked for: the server has its own.
pub fn create(engine: &Engine, host: &dyn CollectionHost, new: &NewCollection) -> Result<(), EngineError> {
    ensure_name(&new.name)?;
    if engine.collections().contains_key(&new.name) {
        return Err(EngineError::NameTaken { name: new.name.clone() });
    }
    if new.index != IndexKind::Auto {
        let instead = "leave it out; the server chooses by size";
        return Err(EngineError::Index(
            RemoteError::NotThere { what: "choice between kinds of index", instead }.into(),
        ));
    }
    let embedder = embedder_for(engine, new)?;
    let spaces: Vec<_> = embedder.joint_spaces().cloned().collect();
    if spaces.is_empty() {
        return Err(EngineError::NotLoaded {
            what: "projection for this encoder",
            instead: "another encoder",
        });
    }
    let metadata = new.holds.metadata(embedder.encoder().id());
    let store = host.create(&new.name, &spaces, metadata)?;
    engine.add_collection(&new.name, OpenCollection::elsewhere(store, false))
}

/// Deletes a collection that lies on the server, with all of its records.
///
/// # Errors
/// [`EngineError::UnknownCollection`], [`EngineError::NotOurs`] for one that lies in a folder or is served for reading only, or as
/// the server refuses.
pub fn delete(engine: &Engine, host: &dyn CollectionHost, name: &str) -> Result<(), EngineError> {
    let (_, open) = engine.collection(Some(name), None)?;
    if open.store().is_some() || open.writer().is_none() {
        return Err(EngineError::NotOurs { name: name.to_owned() });
    }
    host.delete(name)?;
    drop(engine.take_collection(name));
    if let Some(monitor) = engine.recall() {
        monitor.forget(name);
    }
    Ok(())
}
