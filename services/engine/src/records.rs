//! Writing and reading the records of a collection that is open for writing.
//!
//! A record is embedded here, with the collection's own encoder, into every space of the collection for which it brings no
//! vector. A vector that it brings must name its space. All records of a request are checked before anything is encoded,
//! and all or none are written: [`upsert`] returns once the disk has them and searches find them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures_util::future::join_all;
use protext_core::{Encoded, EncoderInput, JointVector, Modality, ProteinSequence, Space, Text, VectorError};
use protext_index::{CollectionStore, CollectionView, IndexError, MAX_ID_BYTES, Record, Upsert, WriteReport};

use crate::collections::OpenCollection;
use crate::embedder::{EmbedOptions, Embedder};
use crate::engine::Engine;
use crate::error::{BadRecord, EngineError};

/// Bad records that are told one by one; of the others only the number is told.
pub const MAX_BAD_RECORDS: usize = 100;

/// A record to write.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewRecord {
    /// What the collection keeps. Sequences are kept as the residue rules leave them, and `length` is theirs.
    pub record: Record,
    /// Vectors of one's own; what has none is embedded.
    pub vectors: Vec<NamedVector>,
}

/// A vector that says where it lives.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedVector {
    /// Fingerprint or name of a space of the collection.
    pub space: String,
    /// Components, of any norm but 0.
    pub values: Vec<f32>,
}

/// A record after validation: the vectors that it brought, by space, and what is to be embedded for the others.
struct Checked {
    record: Record,
    given: Vec<Option<JointVector>>,
    input: Option<EncoderInput>,
}

/// What a collection keeps of the further columns of a record, by name in lower case, and where the record says that it
/// comes from. A column of a name that every record has says nothing more.
#[must_use]
pub fn free_fields(metadata: Vec<(String, String)>) -> (BTreeMap<String, String>, Option<String>) {
    // Of columns of one name the first counts.
    let named = metadata.into_iter().rev();
    let mut fields: BTreeMap<String, String> =
        named.map(|(name, value)| (name.trim().to_ascii_lowercase(), value)).collect();
    let source = fields.remove("source");
    fields.retain(|name, _| !Record::has_field_of_its_own(name));
    (fields, source)
}

/// Embeds and writes records.
///
/// # Errors
/// [`EngineError::BadRecords`] naming each bad record, field and rule; [`EngineError::UnknownCollection`],
/// [`EngineError::ReadOnly`], [`EngineError::Busy`], or [`EngineError::Store`] where the disk refuses.
pub async fn upsert(
    engine: &Arc<Engine>,
    collection: &str,
    records: Vec<NewRecord>,
) -> Result<WriteReport, EngineError> {
    let (open, store) = writable(engine, collection)?;
    let view = store.state();
    let embedder = embedder_of(engine, &open, &*view);
    let checked = check_all(engine, &open, &*view, records)?;
    let encoded = match (&embedder, checked.iter().any(|one| one.input.is_some())) {
        (_, false) => checked.iter().map(|_| None).collect(),
        (Ok(embedder), true) => encode_all(embedder, &checked).await?,
        (Err(_), true) => return embedder.map(|_| WriteReport::default()),
    };
    let mut upserts = Vec::with_capacity(checked.len());
    for (one, encoded) in checked.into_iter().zip(encoded) {
        let embedder = embedder.as_ref().ok().copied();
        let vectors = vectors_of(one.given, encoded.as_ref(), view.spaces(), embedder)?;
        upserts.push(Upsert { record: one.record, vectors });
    }
    let written = tokio::task::spawn_blocking(move || store.write(upserts)).await;
    Ok(written.map_err(|_| EngineError::WorkerLost)??)
}

/// Deletes records by id; ids that no record has are reported, and are no error.
///
/// # Errors
/// As [`upsert`].
pub async fn delete(engine: &Engine, collection: &str, ids: Vec<String>) -> Result<WriteReport, EngineError> {
    let (_, store) = writable(engine, collection)?;
    let delete = move || store.remove(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    let deleted = tokio::task::spawn_blocking(delete).await;
    Ok(deleted.map_err(|_| EngineError::WorkerLost)??)
}

/// The state of a collection that is named.
///
/// # Errors
/// [`EngineError::UnknownCollection`].
pub fn view_of(engine: &Engine, collection: &str) -> Result<Arc<dyn CollectionView>, EngineError> {
    Ok(engine.collection(Some(collection), None)?.1.view())
}

fn writable(engine: &Engine, name: &str) -> Result<(OpenCollection, Arc<dyn CollectionStore>), EngineError> {
    let (_, open) = engine.collection(Some(name), None)?;
    let store = open.writer().ok_or_else(|| EngineError::ReadOnly { name: name.to_owned() })?;
    Ok((open, store))
}

/// The encoder that a collection was built with, else the one for what it holds.
fn embedder_of<'a>(
    engine: &'a Engine,
    open: &OpenCollection,
    view: &dyn CollectionView,
) -> Result<&'a Embedder, EngineError> {
    let info = view.info();
    let named = info.metadata.get("encoder").map(String::as_str);
    engine.embedder(named, open.target.modality())
}

fn check_all(
    engine: &Engine,
    open: &OpenCollection,
    view: &dyn CollectionView,
    records: Vec<NewRecord>,
) -> Result<Vec<Checked>, EngineError> {
    let (n_records, mut bad, mut n_bad) = (records.len(), Vec::new(), 0);
    let mut checked = Vec::with_capacity(n_records);
    let mut first_of: HashMap<String, usize> = HashMap::with_capacity(n_records);
    for (index, new) in records.into_iter().enumerate() {
        let (number, id) = (index + 1, shown(&new.record.id));
        let first = *first_of.entry(new.record.id.clone()).or_insert(number);
        let one = if first == number {
            check(engine, open.target.modality(), view.spaces(), new, number)
        } else {
            let twice =
                IndexError::DuplicateId { id: id.clone(), first_record: first, second_record: number };
            Err(("id", twice.into()))
        };
        match one {
            Ok(one) => checked.push(one),
            Err((field, error)) => {
                n_bad += 1;
                if bad.len() < MAX_BAD_RECORDS {
                    bad.push(BadRecord { record: number, id, field, error });
                }
            }
        }
    }
    if n_bad > 0 {
        return Err(EngineError::BadRecords { bad, n_bad, n_records });
    }
    Ok(checked)
}

/// The start of an id, for a message.
fn shown(id: &str) -> String {
    id.chars().take(40).collect()
}

/// One record against every rule; the field at fault with the error.
fn check(
    engine: &Engine,
    modality: Modality,
    spaces: &[Space],
    new: NewRecord,
    number: usize,
) -> Result<Checked, (&'static str, EngineError)> {
    let NewRecord { mut record, vectors } = new;
    check_id(&record.id, number).map_err(|error| ("id", error.into()))?;
    let mut given: Vec<Option<JointVector>> = spaces.iter().map(|_| None).collect();
    for vector in vectors {
        let (place, vector) = place_vector(spaces, vector).map_err(|error| ("vectors", error))?;
        given[place] = Some(vector);
    }
    let input = match modality {
        Modality::Protein => {
            record.text = None;
            record.sequence.take().map(|raw| {
                let (sequence, _) = ProteinSequence::parse(&raw, engine.residue_policy())?;
                record.length = u32::try_from(sequence.len()).unwrap_or(u32::MAX);
                record.sequence = Some(sequence.as_str().to_owned());
                Ok(EncoderInput::Protein(sequence))
            })
        }
        Modality::Text => {
            (record.length, record.sequence) = (0, None);
            record.text.as_ref().map(|raw| Text::parse(raw).map(EncoderInput::Text))
        }
    };
    let field = if modality == Modality::Protein { "sequence" } else { "text" };
    let input = input.transpose().map_err(|error: protext_core::ParseError| (field, error.into()))?;
    let open_space = spaces.iter().zip(&given).find(|(_, given)| given.is_none());
    match (open_space, input) {
        (None, _) => Ok(Checked { record, given, input: None }),
        (Some((space, _)), None) => {
            Err((field, EngineError::NothingToEmbed { missing: field, space: space.name.clone() }))
        }
        (Some(_), input) => Ok(Checked { record, given, input }),
    }
}

fn check_id(id: &str, record: usize) -> Result<(), IndexError> {
    match id.len() {
        0 => Err(IndexError::EmptyId { record }),
        n_bytes if n_bytes > MAX_ID_BYTES => {
            Err(IndexError::LongId { record, n_bytes, max_bytes: MAX_ID_BYTES })
        }
        _ => Ok(()),
    }
}

/// The position of the space that a vector names, and the vector at unit norm.
fn place_vector(spaces: &[Space], vector: NamedVector) -> Result<(usize, JointVector), EngineError> {
    let NamedVector { space: name, values } = vector;
    let is_it = |space: &Space| space.fingerprint.to_string() == name || space.name == name;
    let place = spaces.iter().position(is_it).ok_or_else(|| {
        let known = spaces.iter().map(|space| format!("{} ({})", space.name, space.fingerprint));
        EngineError::ForeignSpace {
            given: name.chars().take(80).collect(),
            known: known.collect::<Vec<_>>().join(", "),
        }
    })?;
    let (expected, found) = (spaces[place].dim, values.len());
    if expected != found {
        return Err(VectorError::WrongDim { expected, found }.into());
    }
    Ok((place, JointVector::normalized(values)?))
}

/// All records go to the batcher before the first is waited for, so that they can share batches.
async fn encode_all(embedder: &Embedder, checked: &[Checked]) -> Result<Vec<Option<Encoded>>, EngineError> {
    // As `protext index build` reads them, so that a record has one vector however it comes.
    let options = EmbedOptions::to_project(Engine::default_long(embedder.encoder().modality()));
    let encoded = join_all(checked.iter().map(|one| async {
        match &one.input {
            Some(input) => embedder.embed(input, options).await.map(Some),
            None => Ok(None),
        }
    }));
    encoded.await.into_iter().collect()
}

fn vectors_of(
    given: Vec<Option<JointVector>>,
    encoded: Option<&Encoded>,
    spaces: &[Space],
    embedder: Option<&Embedder>,
) -> Result<Vec<JointVector>, EngineError> {
    let missing =
        || EngineError::NotLoaded { what: "encoder of this collection", instead: "vectors of your own" };
    let in_space = |(given, space): (Option<JointVector>, &Space)| match (given, encoded, embedder) {
        (Some(vector), _, _) => Ok(vector),
        (None, Some(encoded), Some(embedder)) => Ok(embedder.project(&[encoded], space)?.swap_remove(0)),
        (None, _, _) => Err(missing()),
    };
    given.into_iter().zip(spaces).map(in_space).collect()
}
