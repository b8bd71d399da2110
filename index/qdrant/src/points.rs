//! Points of a collection: written in bounded requests, read back, counted.

use std::collections::{BTreeMap, HashMap};

use protext_core::{JointVector, Space};
use protext_index::{Record, RemoteError, StoredRecord};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::client::Client;
use crate::filter::records_only;
use crate::payload::payload_of;

/// Most records of one request.
pub(crate) const MAX_BATCH_RECORDS: usize = 256;
/// Most bytes of one request, about; a server takes 32 MB unless it is told otherwise.
const MAX_BATCH_BYTES: usize = 8 << 20;
/// Longest text of a component.
const COMPONENT_BYTES: usize = 14;

/// A record as it goes over the wire: vectors by the fingerprint of their space.
#[derive(Debug, Serialize)]
pub(crate) struct NewPoint<'a> {
    id: &'a str,
    vector: BTreeMap<String, &'a [f32]>,
    payload: Value,
}

impl<'a> NewPoint<'a> {
    pub(crate) fn new(
        point: &'a str,
        (record, lineage): (&Record, &[u32]),
        spaces: &[Space],
        vectors: &'a [JointVector],
    ) -> Self {
        let named = spaces.iter().zip(vectors);
        let vector = named.map(|(space, vector)| (vector_name(space), vector.as_slice())).collect();
        Self { id: point, vector, payload: payload_of(record, lineage) }
    }

    fn n_bytes(&self) -> usize {
        let components: usize = self.vector.values().map(|values| values.len()).sum();
        components * COMPONENT_BYTES + self.payload.to_string().len()
    }
}

/// The name of a space's vectors. A vector of another space has no place in the collection.
pub(crate) fn vector_name(space: &Space) -> String {
    space.fingerprint.to_string()
}

/// Writes points, part by part; each part is kept and visible when the next is sent.
///
/// # Errors
/// [`RemoteError::Partial`] once a part was written, otherwise as requests fail.
pub(crate) fn write(client: &Client, collection: &str, points: &[NewPoint<'_>]) -> Result<(), RemoteError> {
    #[derive(Serialize)]
    struct Body<'a> {
        points: &'a [NewPoint<'a>],
    }
    let path = format!("/collections/{collection}/points?wait=true");
    let mut n_written = 0;
    while n_written < points.len() {
        let n = part(&points[n_written..]);
        let body = Body { points: &points[n_written..n_written + n] };
        if let Err(source) = client.send::<Value>(Method::PUT, &path, &body) {
            return Err(match n_written {
                0 => source,
                _ => RemoteError::Partial { n_written, n_records: points.len(), source: Box::new(source) },
            });
        }
        n_written += n;
    }
    Ok(())
}

/// How many of these points, at least one, go into a request.
fn part(points: &[NewPoint<'_>]) -> usize {
    let mut n_bytes = 0;
    let fits = |point: &&NewPoint<'_>| {
        n_bytes += point.n_bytes();
        n_bytes <= MAX_BATCH_BYTES
    };
    points.iter().take(MAX_BATCH_RECORDS).take_while(fits).count().max(1)
}

/// A point as it comes back.
#[derive(Debug, Deserialize)]
pub(crate) struct Point {
    pub(crate) id: Value,
    #[serde(default)]
    pub(crate) score: f32,
    #[serde(default)]
    pub(crate) payload: Option<Payload>,
    #[serde(default)]
    vector: Option<HashMap<String, Vec<f32>>>,
}

/// What is read of a payload.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Payload {
    pub(crate) record: Option<Record>,
    #[serde(default)]
    pub(crate) lineage: Vec<u32>,
    #[serde(default)]
    pub(crate) n: BTreeMap<String, f64>,
}

impl Point {
    /// The record of the point.
    ///
    /// # Errors
    /// [`RemoteError::Answer`] for a point that holds none.
    pub(crate) fn record(&mut self, place: &str) -> Result<Record, RemoteError> {
        let record = self.payload.as_mut().and_then(|payload| payload.record.take());
        let what = || format!("point {} holds no record", self.id);
        record.ok_or_else(|| RemoteError::Answer { place: place.to_owned(), what: what() })
    }

    /// The record with its vectors, which are left out where they were not asked for.
    ///
    /// # Errors
    /// [`RemoteError::Answer`] for a point that lacks something.
    pub(crate) fn into_stored(
        mut self,
        place: &str,
        spaces: &[Space],
        with_vectors: bool,
    ) -> Result<StoredRecord, RemoteError> {
        let record = self.record(place)?.into();
        let mut found = self.vector.take().unwrap_or_default();
        let wrong = |what: String| RemoteError::Answer { place: place.to_owned(), what };
        let mut vectors = Vec::new();
        for space in spaces.iter().filter(|_| with_vectors) {
            let values = found.remove(&vector_name(space));
            let values = values.filter(|values| values.len() == space.dim);
            let values =
                values.ok_or_else(|| wrong(format!("point {} has no vector in {space}", self.id)))?;
            vectors.push(JointVector::normalized(values).map_err(|error| wrong(error.to_string()))?);
        }
        Ok(StoredRecord { record, vectors })
    }
}

/// Points by id, with these parts of their payload.
///
/// # Errors
/// As requests fail.
pub(crate) fn retrieve(
    client: &Client,
    collection: &str,
    ids: &[String],
    (payload, with_vector): (&[&str], bool),
) -> Result<Vec<Point>, RemoteError> {
    let path = format!("/collections/{collection}/points");
    let body = json!({"ids": ids, "with_payload": payload, "with_vector": with_vector});
    client.send(Method::POST, &path, &body)
}

/// Records for which `filter` holds.
///
/// # Errors
/// As requests fail.
pub(crate) fn count(client: &Client, collection: &str, filter: Option<&Value>) -> Result<usize, RemoteError> {
    #[derive(Deserialize)]
    struct Count {
        count: usize,
    }
    let path = format!("/collections/{collection}/points/count");
    let body = json!({"filter": records_only(filter), "exact": true});
    Ok(client.send::<Count>(Method::POST, &path, &body)?.count)
}

/// A page of points, and where the next begins.
#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    pub(crate) points: Vec<Point>,
    pub(crate) next_page_offset: Option<Value>,
}

/// Points for which `filter` holds, in the order of their ids.
///
/// # Errors
/// As requests fail.
pub(crate) fn scroll(
    client: &Client,
    collection: &str,
    filter: Option<&Value>,
    (from, limit): (Option<&Value>, usize),
    (payload, with_vector): (&[&str], bool),
) -> Result<Page, RemoteError> {
    let path = format!("/collections/{collection}/points/scroll");
    let mut body = json!({
        "filter": records_only(filter), "limit": limit, "with_payload": payload, "with_vector": with_vector,
    });
    if let Some(from) = from {
        body["offset"] = from.clone();
    }
    if payload.is_empty() {
        body["with_payload"] = json!(false);
    }
    client.send(Method::POST, &path, &body)
}
