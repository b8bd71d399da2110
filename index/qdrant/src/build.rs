//! Making a collection, and putting it in place of the one with its name in one step.
//!
//! Records go into a collection `<name>-<generation>` of its own. When all are there, the alias `<name>` is set to it by one
//! request, which is atomic, and generations before it are removed. Searches see the old records or the new ones, whole.

use std::collections::{BTreeMap, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};

use protext_core::{JointVector, Space};
use protext_index::{IndexError, Record, RemoteError, StoreError, Taxonomy, Upsert, check_upserts};
use reqwest::Method;
use serde_json::{Value, json};

use crate::about::{About, VERSION};
use crate::address::QdrantAddress;
use crate::client::Client;
use crate::payload::{key_of, point_of};
use crate::points::{self, MAX_BATCH_RECORDS, NewPoint};
use crate::server::{aliases, collections, remove};
use crate::settings::QdrantSettings;

/// Free fields that the server keeps an index of; filters on further ones are right, and slower.
const MAX_INDEXED_FIELDS: usize = 64;

/// A collection that is being made. Dropped before [`QdrantBuild::finish`], it is removed.
#[derive(Debug)]
pub struct QdrantBuild {
    client: Client,
    alias: String,
    collection: String,
    about: About,
    taxonomy: Option<Taxonomy>,
    waiting: Vec<Upsert>,
    /// 1-based record of each point.
    number_of: HashMap<String, usize>,
    is_finished: bool,
}

impl QdrantBuild {
    /// Begins a collection with vectors in `spaces`, the main one first. What has its name stays as it is until it is finished.
    ///
    /// # Errors
    /// [`IndexError::NoComponents`] without a space; [`IndexError::Remote`]: [`RemoteError::Foreign`] where a collection that is
    /// no alias has the name; otherwise as requests fail.
    pub fn begin(
        address: &QdrantAddress,
        settings: &QdrantSettings,
        spaces: &[Space],
        metadata: BTreeMap<String, String>,
        taxonomy: Option<Taxonomy>,
    ) -> Result<Self, IndexError> {
        settings.check()?;
        if let Some(empty) = spaces.iter().find(|space| space.dim == 0) {
            return Err(IndexError::NoComponents(Box::new(empty.clone())));
        }
        let client = Client::new(address, settings)?;
        let alias = address.name()?.to_owned();
        let about = About {
            version: VERSION,
            spaces: spaces.to_vec(),
            metadata,
            fields: BTreeMap::new(),
            has_taxonomy: taxonomy.is_some(),
            n_residues: 0,
            created_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
            shards: settings.shards,
            replicas: settings.replicas,
            quantization: settings.quantization.to_string(),
        };
        let collection = create(&client, &alias, &about, settings)?;
        let build = Self {
            client,
            alias,
            collection,
            about,
            taxonomy,
            waiting: Vec::with_capacity(MAX_BATCH_RECORDS),
            number_of: HashMap::new(),
            is_finished: false,
        };
        index_own_fields(&build.client, &build.collection)?;
        let body = json!({"points": [build.about.as_point()]});
        let path = format!("/collections/{}/points?wait=true", build.collection);
        build.client.send::<Value>(Method::PUT, &path, &body)?;
        Ok(build)
    }

    /// Adds a record with its vector in every space.
    ///
    /// # Errors
    /// [`StoreError`] for a record that breaks a rule or repeats an id, or as requests fail.
    pub fn push(&mut self, record: Record, vectors: Vec<JointVector>) -> Result<(), StoreError> {
        let number = self.number_of.len() + 1;
        let one = check_upserts(vec![Upsert { record, vectors }], &self.about.spaces)?;
        for one in one {
            if let Some(&first_record) = self.number_of.get(&point_of(&one.record.id)) {
                let id = one.record.id;
                return Err(StoreError::DuplicateId { id, first_record, second_record: number });
            }
            self.number_of.insert(point_of(&one.record.id), number);
            self.waiting.push(one);
        }
        if self.waiting.len() >= MAX_BATCH_RECORDS { Ok(self.send()?) } else { Ok(()) }
    }

    /// Records so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.number_of.len()
    }

    /// True before the first record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.number_of.is_empty()
    }

    fn send(&mut self) -> Result<(), RemoteError> {
        let batch = std::mem::take(&mut self.waiting);
        let fields = batch.iter().flat_map(|one| one.record.fields.keys());
        let mut new: Vec<String> =
            fields.filter(|name| !self.about.fields.contains_key(&key_of(name))).cloned().collect();
        new.sort_unstable();
        new.dedup();
        let names = new.iter().map(String::as_str);
        index_fields(&self.client, &self.collection, names, self.about.fields.len())?;
        self.about.fields.extend(new.into_iter().map(|name| (key_of(&name), name)));
        let ids: Vec<String> = batch.iter().map(|one| point_of(&one.record.id)).collect();
        let lineage = |one: &Upsert| match (&self.taxonomy, one.record.taxon_id) {
            (Some(taxonomy), Some(taxon)) => taxonomy.lineage(taxon),
            _ => Vec::new(),
        };
        let lineages: Vec<Vec<u32>> = batch.iter().map(lineage).collect();
        let spaces = &self.about.spaces;
        let new: Vec<NewPoint<'_>> = ids
            .iter()
            .zip(batch.iter().zip(&lineages))
            .map(|(id, (one, line))| NewPoint::new(id, (&one.record, line), spaces, &one.vectors))
            .collect();
        points::write(&self.client, &self.collection, &new)?;
        self.about.n_residues += batch.iter().map(|one| u64::from(one.record.length)).sum::<u64>();
        Ok(())
    }

    /// Writes what is left, gives the collection its name and removes earlier generations. Records that are there now.
    ///
    /// # Errors
    /// As requests fail; what had the name before has it still, unless only the removal of earlier generations failed, which is
    /// logged and is no error.
    pub fn finish(mut self) -> Result<usize, RemoteError> {
        if !self.waiting.is_empty() {
            self.send()?;
        }
        let path = format!("/collections/{}/points?wait=true", self.collection);
        self.client.send::<Value>(Method::PUT, &path, &json!({"points": [self.about.as_point()]}))?;
        let (n_sent, n_there) = (self.len(), points::count(&self.client, &self.collection, None)?);
        if n_sent != n_there {
            let what = format!("{n_sent} records were written, and {n_there} are there");
            return Err(RemoteError::Answer { place: self.client.place.clone(), what });
        }
        let had_one = aliases(&self.client)?.contains_key(&self.alias);
        let create = json!({"create_alias": {"collection_name": self.collection, "alias_name": self.alias}});
        let mut actions = vec![create];
        if had_one {
            actions.insert(0, json!({"delete_alias": {"alias_name": self.alias}}));
        }
        let switched =
            self.client.send::<Value>(Method::POST, "/collections/aliases", &json!({"actions": actions}));
        // An answer may be lost although the work is done.
        if let Err(error) = switched
            && aliases(&self.client)?.get(&self.alias) != Some(&self.collection)
        {
            return Err(error);
        }
        self.is_finished = true;
        if let Err(error) = self.remove_earlier() {
            tracing::warn!(%error, collection = self.alias, "an earlier generation could not be removed");
        }
        Ok(n_there)
    }

    /// Generations before this one that have no name, among them those of builds that were cut off.
    fn remove_earlier(&self) -> Result<(), RemoteError> {
        let named: Vec<String> = aliases(&self.client)?.into_values().collect();
        let own = generation(&self.alias, &self.collection);
        for other in collections(&self.client)? {
            if generation(&self.alias, &other) < own
                && !named.contains(&other)
                && is_ours(&self.alias, &other)
            {
                remove(&self.client, &other)?;
            }
        }
        Ok(())
    }
}

impl Drop for QdrantBuild {
    fn drop(&mut self) {
        if !self.is_finished
            && let Err(error) = remove(&self.client, &self.collection)
        {
            tracing::warn!(%error, collection = self.collection, "a collection that is half made is left over");
        }
    }
}

/// The number at the end of a generation's name; 0 for other names.
fn generation(alias: &str, collection: &str) -> u64 {
    let digits = collection.strip_prefix(alias).and_then(|rest| rest.strip_prefix('-'));
    digits.filter(|digits| digits.len() == 6).and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn is_ours(alias: &str, collection: &str) -> bool {
    generation(alias, collection) > 0
}

/// Makes the collection of the next generation; its name.
fn create(
    client: &Client,
    alias: &str,
    about: &About,
    settings: &QdrantSettings,
) -> Result<String, RemoteError> {
    let there = collections(client)?;
    if there.iter().any(|name| name == alias) {
        return Err(RemoteError::Foreign { place: client.place.clone(), name: alias.to_owned() });
    }
    let vector = |space: &Space| (points::vector_name(space), json!({"size": space.dim, "distance": "Dot"}));
    let vectors: BTreeMap<String, Value> = about.spaces.iter().map(vector).collect();
    let mut body = json!({
        "vectors": vectors,
        "shard_number": settings.shards,
        "replication_factor": settings.replicas,
        "write_consistency_factor": settings.write_consistency,
        "on_disk_payload": true,
    });
    if let Some(config) = settings.quantization.config() {
        body["quantization_config"] = config;
    }
    let last = there.iter().map(|name| generation(alias, name)).max().unwrap_or(0);
    // Another build may take the number at the same time.
    for number in last + 1..last + 9 {
        let name = format!("{alias}-{number:06}");
        match client.send::<Value>(Method::PUT, &format!("/collections/{name}"), &body) {
            Ok(_) => return Ok(name),
            Err(RemoteError::Refused { status: 409, .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let what = "every name for a new generation is taken".to_owned();
    Err(RemoteError::Answer { place: client.place.clone(), what })
}

fn index_own_fields(client: &Client, collection: &str) -> Result<(), RemoteError> {
    let texts = ["id", "t.organism", "t.gene", "t.source"].map(|key| (key.to_owned(), "keyword"));
    let numbers = ["n.taxon", "n.length", "lineage"].map(|key| (key.to_owned(), "integer"));
    index(client, collection, texts.into_iter().chain(numbers))
}

/// Has the server keep an index of free fields, as text and as numbers, as long as there are not too many.
pub(crate) fn index_fields<'a>(
    client: &Client,
    collection: &str,
    names: impl Iterator<Item = &'a str>,
    n_known: usize,
) -> Result<(), RemoteError> {
    let names = names.take(MAX_INDEXED_FIELDS.saturating_sub(n_known));
    let both =
        |name: &str| [(format!("t.{}", key_of(name)), "keyword"), (format!("n.{}", key_of(name)), "float")];
    index(client, collection, names.flat_map(both))
}

fn index(
    client: &Client,
    collection: &str,
    fields: impl Iterator<Item = (String, &'static str)>,
) -> Result<(), RemoteError> {
    for (key, schema) in fields {
        let body = json!({"field_name": key, "field_schema": schema});
        let path = format!("/collections/{collection}/index?wait=true");
        client.send::<Value>(Method::PUT, &path, &body)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_are_told_from_other_collections() {
        assert_eq!(generation("demo", "demo-000012"), 12);
        for other in ["demo", "demo-12", "demo-0000012", "other-000001", "demo-x00001", "demo-two-000001"] {
            assert!(!is_ours("demo", other), "{other}");
        }
    }
}
