//! What a collection says of itself, in the payload of a point without vectors.
//!
//! Searches never meet that point, having no vector to compare; listings and counts leave it out by its id. It lies in the
//! collection, so it goes with it when an alias is switched.

use std::collections::{BTreeMap, BTreeSet};

use protext_core::{Space, SpaceMismatch};
use protext_index::RemoteError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::client::Client;
use crate::payload::{about_point, key_of};

/// Form of what is stored.
pub(crate) const VERSION: u32 = 1;

/// What a collection is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct About {
    pub(crate) version: u32,
    /// The main one first.
    pub(crate) spaces: Vec<Space>,
    /// As of embedded collections: encoder, what it holds.
    pub(crate) metadata: BTreeMap<String, String>,
    /// Names of free fields, by the key that they are stored under.
    #[serde(default)]
    pub(crate) fields: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) has_taxonomy: bool,
    /// Residues of all records.
    #[serde(default)]
    pub(crate) n_residues: u64,
    pub(crate) created_unix_s: u64,
    /// Parts that it was cut into.
    pub(crate) shards: u32,
    /// Nodes that hold each part.
    pub(crate) replicas: u32,
    pub(crate) quantization: String,
}

#[derive(Deserialize)]
struct Point {
    payload: Option<Value>,
}

impl About {
    /// Names of the free fields.
    pub(crate) fn field_names(&self) -> BTreeSet<&str> {
        self.fields.values().map(String::as_str).collect()
    }

    /// The point to store.
    pub(crate) fn as_point(&self) -> Value {
        json!({"id": about_point(), "vector": {}, "payload": {"about": self}})
    }

    /// Refuses a collection whose main space is not `expected`.
    ///
    /// # Errors
    /// [`SpaceMismatch`], as for an embedded collection.
    pub(crate) fn ensure_space(&self, expected: &Space) -> Result<(), SpaceMismatch> {
        self.spaces[0].ensure_same("the collection", expected, "what it is opened for")
    }

    /// Reads what a collection says of itself.
    ///
    /// # Errors
    /// [`RemoteError::NoCollection`], [`RemoteError::Foreign`] or [`RemoteError::Newer`]; otherwise as requests fail.
    pub(crate) fn read(client: &Client, name: &str) -> Result<Self, RemoteError> {
        let body = json!({"ids": [about_point()], "with_payload": true, "with_vector": false});
        let path = format!("/collections/{name}/points");
        let found: Result<Vec<Point>, _> = client.send(reqwest::Method::POST, &path, &body);
        let (place, name) = (client.place.clone(), name.to_owned());
        let found = match found {
            Err(RemoteError::Refused { status: 404, .. }) => {
                return Err(RemoteError::NoCollection { place, name });
            }
            found => found?,
        };
        let about = found.into_iter().next().and_then(|point| point.payload?.get("about").cloned());
        let Some(about) = about else { return Err(RemoteError::Foreign { place, name }) };
        let version = about["version"].as_u64().unwrap_or_default();
        if version > u64::from(VERSION) {
            let found = u32::try_from(version).unwrap_or(u32::MAX);
            return Err(RemoteError::Newer { place, name, found, supported: VERSION });
        }
        let read: Self = serde_json::from_value(about)
            .map_err(|error| RemoteError::Answer { place: place.clone(), what: error.to_string() })?;
        if read.spaces.is_empty() {
            return Err(RemoteError::Foreign { place, name });
        }
        Ok(read)
    }

    /// Adds names of free fields on the server, beside those that others add.
    ///
    /// # Errors
    /// As requests fail.
    pub(crate) fn add_fields<'a>(
        client: &Client,
        collection: &str,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<(), RemoteError> {
        let fields: BTreeMap<String, &str> = names.map(|name| (key_of(name), name)).collect();
        if fields.is_empty() {
            return Ok(());
        }
        set(client, collection, "about.fields", &json!(fields))
    }

    /// Tells the server how many residues there are.
    ///
    /// # Errors
    /// As requests fail.
    pub(crate) fn set_residues(
        client: &Client,
        collection: &str,
        n_residues: u64,
    ) -> Result<(), RemoteError> {
        set(client, collection, "about", &json!({"n_residues": n_residues}))
    }
}

/// Puts values beside those that stand at `key`.
fn set(client: &Client, collection: &str, key: &str, values: &Value) -> Result<(), RemoteError> {
    let body = json!({"payload": values, "points": [about_point()], "key": key});
    let path = format!("/collections/{collection}/points/payload?wait=true");
    client.send::<Value>(reqwest::Method::POST, &path, &body).map(|_| ())
}
