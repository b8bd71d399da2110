//! From a query to a vector in a space that the searched collection has vectors in.
//!
//! Sequences and texts come encoded; ids and genes are looked up, first in the searched collection, then in the others:
//! so a protein of one collection finds texts of another.

use std::sync::Arc;

use protext_core::{Encoded, JointVector, LongReport, Modality, ResidueNotes, Space, VectorError};
use protext_index::{CollectionView, IndexError, StoredRecord};

use crate::collections::OpenCollection;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::target::Target;

/// A sequence or text after validation and encoding.
pub(crate) struct EncodedQuery {
    pub(crate) modality: Modality,
    /// Residues, for alignment.
    pub(crate) sequence: Option<String>,
    pub(crate) encoded: Encoded,
    pub(crate) notes: Option<ResidueNotes>,
}

/// A query turned into a vector.
pub(crate) struct Located {
    pub(crate) vector: JointVector,
    /// Where the vector lives.
    pub(crate) space: Space,
    /// Residues, for alignment.
    pub(crate) sequence: Option<String>,
    /// The record to leave out.
    pub(crate) exclude: Option<String>,
    pub(crate) long: Option<LongReport>,
    pub(crate) residues: Option<ResidueNotes>,
}

/// The collection that is searched, by name.
#[derive(Clone, Copy)]
pub(crate) struct Searched<'a> {
    pub(crate) name: &'a str,
    pub(crate) view: &'a Arc<dyn CollectionView>,
}

/// In the first space that the query's encoder leads to and the collection has vectors in.
pub(crate) fn locate_encoded(
    engine: &Engine,
    searched: Searched<'_>,
    query: EncodedQuery,
) -> Result<Located, EngineError> {
    let embedder = engine.embedder(None, query.modality)?;
    let is_shared = |space: &&Space| searched.view.position_of(space).is_ok();
    // Where none is shared, the collection refuses the main one by name.
    let space = embedder.joint_spaces().find(is_shared).or_else(|| embedder.joint_space());
    let space = space.ok_or(EngineError::NotLoaded {
        what: "projection for this encoder",
        instead: "a search by id or vector",
    })?;
    Ok(Located {
        vector: embedder.project(&[&query.encoded], space)?.swap_remove(0),
        space: space.clone(),
        sequence: query.sequence,
        exclude: None,
        long: Some(query.encoded.report),
        residues: query.notes,
    })
}

/// A record as the query, by its id.
pub(crate) fn locate_id(engine: &Engine, searched: Searched<'_>, id: &str) -> Result<Located, EngineError> {
    let found = find(engine, searched, &|_| true, &|view| view.get(id))?;
    let missing = || EngineError::UnknownRecord { collection: searched.name.to_owned(), id: id.to_owned() };
    locate_record(searched, found.ok_or_else(missing)?)
}

/// The first record of a gene as the query; collections of genes are asked before others.
pub(crate) fn locate_gene(
    engine: &Engine,
    searched: Searched<'_>,
    symbol: &str,
) -> Result<Located, EngineError> {
    let first = |view: &dyn CollectionView| view.first_of_gene(symbol.trim());
    let found = match find(engine, searched, &|open| open.target == Target::Genes, &first)? {
        None => find(engine, searched, &|_| true, &first)?,
        found => found,
    };
    let missing =
        || EngineError::UnknownGene { collection: searched.name.to_owned(), symbol: symbol.to_owned() };
    locate_record(searched, found.ok_or_else(missing)?)
}

/// A vector given by the caller is of the space that has its width, the main one first.
pub(crate) fn locate_vector(searched: Searched<'_>, values: &[f32]) -> Result<Located, EngineError> {
    let (expected, found) = (searched.view.space().dim, values.len());
    let space = searched.view.spaces().iter().find(|space| space.dim == found);
    let space = space.ok_or(VectorError::WrongDim { expected, found })?;
    Ok(Located {
        vector: JointVector::normalized(values.to_vec())?,
        space: space.clone(),
        sequence: None,
        exclude: None,
        long: None,
        residues: None,
    })
}

/// Looks for a record in a collection.
type RecordIn<'a> = dyn Fn(&dyn CollectionView) -> Result<Option<StoredRecord>, IndexError> + 'a;

/// A collection and the record in it that is asked with.
type Found = (Arc<dyn CollectionView>, StoredRecord);

/// The record, first in the searched collection, then in the others that may be asked, in the order of their names.
fn find(
    engine: &Engine,
    searched: Searched<'_>,
    may_ask: &dyn Fn(&OpenCollection) -> bool,
    record_in: &RecordIn<'_>,
) -> Result<Option<Found>, IndexError> {
    let collections = engine.collections();
    let others = collections.values().filter(|open| may_ask(open)).map(OpenCollection::view);
    let mut all = std::iter::once(Arc::clone(searched.view)).chain(others);
    all.find_map(|view| record_in(&*view).map(|found| found.map(|record| (view, record))).transpose())
        .transpose()
}

fn locate_record(searched: Searched<'_>, (source, found): Found) -> Result<Located, EngineError> {
    let is_own = Arc::ptr_eq(&source, searched.view);
    // In the main space of the searched collection where the record has a vector there, else in another that both have.
    let space = searched.view.spaces().iter().find(|space| source.position_of(space).is_ok());
    let space = space.unwrap_or_else(|| searched.view.space());
    let StoredRecord { record, mut vectors } = found;
    Ok(Located {
        vector: vectors.swap_remove(source.position_of(space)?),
        space: space.clone(),
        sequence: record.sequence.clone(),
        exclude: is_own.then(|| record.id.clone()),
        long: None,
        residues: None,
    })
}
