//! From a query to a vector in a space that the searched collection has vectors in.
//!
//! Sequences and texts come encoded; ids and genes are looked up, first in the searched collection, then in the others:
//! so a protein of one collection finds texts of another.

use protext_core::{Encoded, JointVector, LongReport, Modality, ResidueNotes, Space, VectorError};
use protext_index::{Collection, Record};

use crate::engine::{Engine, OpenCollection};
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
    pub(crate) collection: &'a Collection,
}

/// In the first space that the query's encoder leads to and the collection has vectors in.
pub(crate) fn locate_encoded(
    engine: &Engine,
    searched: Searched<'_>,
    query: EncodedQuery,
) -> Result<Located, EngineError> {
    let embedder = engine.embedder(None, query.modality)?;
    let is_shared = |space: &&Space| searched.collection.index_in(space).is_ok();
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
    let found = find(engine, searched, &|_| true, &|collection| collection.by_id(id));
    let missing = || EngineError::UnknownRecord { collection: searched.name.to_owned(), id: id.to_owned() };
    locate_record(searched, found.ok_or_else(missing)?)
}

/// The first record of a gene as the query; collections of genes are asked before others.
pub(crate) fn locate_gene(
    engine: &Engine,
    searched: Searched<'_>,
    symbol: &str,
) -> Result<Located, EngineError> {
    let is_it =
        |record: &Record| record.gene.as_deref().is_some_and(|gene| gene.eq_ignore_ascii_case(symbol.trim()));
    let row = |collection: &Collection| collection.records().iter().position(is_it).map(|row| row as u32);
    let found = find(engine, searched, &|open| open.target == Target::Genes, &row)
        .or_else(|| find(engine, searched, &|_| true, &row));
    let missing =
        || EngineError::UnknownGene { collection: searched.name.to_owned(), symbol: symbol.to_owned() };
    locate_record(searched, found.ok_or_else(missing)?)
}

/// A vector given by the caller is of the space that has its width, the main one first.
pub(crate) fn locate_vector(searched: Searched<'_>, values: &[f32]) -> Result<Located, EngineError> {
    let (expected, found) = (searched.collection.space().dim, values.len());
    let space = searched.collection.spaces().find(|space| space.dim == found);
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

/// A collection and the row in it that is asked with.
type Found<'a> = (&'a Collection, u32);

/// The row, first in the searched collection, then in the others that may be asked, in the order of their names.
fn find<'a>(
    engine: &'a Engine,
    searched: Searched<'a>,
    may_ask: &dyn Fn(&OpenCollection) -> bool,
    row_of: &dyn Fn(&Collection) -> Option<u32>,
) -> Option<Found<'a>> {
    let others = engine.collections().values().filter(|open| may_ask(open)).map(|open| &*open.collection);
    let all = std::iter::once(searched.collection).chain(others);
    all.filter_map(|collection| Some((collection, row_of(collection)?))).next()
}

fn locate_record(searched: Searched<'_>, (source, row): Found<'_>) -> Result<Located, EngineError> {
    let is_own = std::ptr::eq(source, searched.collection);
    // In the main space of the searched collection where the record has a vector there, else in another that both have.
    let mut spaces = searched.collection.spaces();
    let space = spaces.find(|space| source.index_in(space).is_ok());
    let space = space.unwrap_or_else(|| searched.collection.space());
    let record = &source.records()[row as usize];
    Ok(Located {
        vector: source.index_in(space)?.vector(row)?,
        space: space.clone(),
        sequence: record.sequence.clone(),
        exclude: is_own.then(|| record.id.clone()),
        long: None,
        residues: None,
    })
}
