//! A server and the collections on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use protext_core::Space;
use protext_index::{CollectionHost, CollectionStore, IndexError, RemoteError};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::about::About;
use crate::address::QdrantAddress;
use crate::build::QdrantBuild;
use crate::client::Client;
use crate::settings::QdrantSettings;
use crate::store::QdrantStore;

/// A Qdrant server that keeps collections of ours, perhaps among others.
#[derive(Debug)]
pub struct QdrantServer {
    client: Client,
    address: QdrantAddress,
    settings: QdrantSettings,
}

impl QdrantServer {
    /// Sets up the line to a server; nothing is asked yet.
    ///
    /// # Errors
    /// [`RemoteError::Setting`] or [`RemoteError::PlainKey`].
    pub fn new(address: &QdrantAddress, settings: &QdrantSettings) -> Result<Self, RemoteError> {
        settings.check()?;
        let client = Client::new(address, settings)?;
        Ok(Self { client, address: address.clone(), settings: settings.clone() })
    }

    /// Opens every collection of ours, by name. Those of other programs are passed over.
    ///
    /// # Errors
    /// As requests fail, and [`RemoteError::Newer`].
    pub fn open_all(&self) -> Result<Vec<(String, QdrantStore)>, IndexError> {
        let mut open = Vec::new();
        for name in aliases(&self.client)?.into_keys() {
            let Ok(address) = self.address.with_name(&name) else { continue };
            match About::read(&self.client, &name) {
                Err(RemoteError::Foreign { .. }) => continue,
                about => about?,
            };
            open.push((name, QdrantStore::open(&address, &self.settings, None)?));
        }
        Ok(open)
    }
}

impl CollectionHost for QdrantServer {
    fn create(
        &self,
        name: &str,
        spaces: &[Space],
        metadata: BTreeMap<String, String>,
    ) -> Result<Arc<dyn CollectionStore>, IndexError> {
        let address = self.address.with_name(name)?;
        QdrantBuild::begin(&address, &self.settings, spaces, metadata, None)?.finish()?;
        Ok(Arc::new(QdrantStore::open(&address, &self.settings, None)?))
    }

    /// Nothing of another program is removed: [`RemoteError::Foreign`].
    fn delete(&self, name: &str) -> Result<(), IndexError> {
        About::read(&self.client, name)?;
        let missing = || RemoteError::Foreign { place: self.client.place.clone(), name: name.to_owned() };
        let collection = aliases(&self.client)?.remove(name).ok_or_else(missing)?;
        let actions = json!({"actions": [{"delete_alias": {"alias_name": name}}]});
        self.client.send::<Value>(Method::POST, "/collections/aliases", &actions)?;
        Ok(remove(&self.client, &collection)?)
    }
}

/// Collections by alias.
pub(crate) fn aliases(client: &Client) -> Result<BTreeMap<String, String>, RemoteError> {
    #[derive(Deserialize)]
    struct Alias {
        alias_name: String,
        collection_name: String,
    }
    #[derive(Deserialize)]
    struct Aliases {
        aliases: Vec<Alias>,
    }
    let found: Aliases = client.send(Method::GET, "/aliases", &())?;
    Ok(found.aliases.into_iter().map(|one| (one.alias_name, one.collection_name)).collect())
}

/// Names of all collections; aliases are not among them.
pub(crate) fn collections(client: &Client) -> Result<Vec<String>, RemoteError> {
    #[derive(Deserialize)]
    struct Collection {
        name: String,
    }
    #[derive(Deserialize)]
    struct Collections {
        collections: Vec<Collection>,
    }
    let found: Collections = client.send(Method::GET, "/collections", &())?;
    Ok(found.collections.into_iter().map(|one| one.name).collect())
}

/// Removes a collection; one that is not there is no error.
pub(crate) fn remove(client: &Client, collection: &str) -> Result<(), RemoteError> {
    match client.send::<Value>(Method::DELETE, &format!("/collections/{collection}"), &()) {
        Ok(_) | Err(RemoteError::Refused { status: 404, .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
