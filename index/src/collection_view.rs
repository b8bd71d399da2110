//! What every collection can be asked and told, wherever its records and vectors lie.
//!
//! [`View`] and [`Store`] are the embedded collection; `protext-qdrant` has the one on a Qdrant server. The engine knows
//! these traits only, and one suite of tests (`index/qdrant/tests/conformance.rs`) holds both kinds to them.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use protext_core::{JointVector, Space};

use crate::collection::{CollectionInfo, Record};
use crate::error::IndexError;
use crate::filter::Filter;
use crate::keywords::Keywords;
use crate::store::{Entry, Selection, Store, StoreError, Upsert, View, ViewHit, ViewSearch, WriteReport};

/// A record with its vectors, read from wherever it lies.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRecord {
    /// The record.
    pub record: Arc<Record>,
    /// Its vector in every space of the collection, in their order; empty where they were not asked for.
    pub vectors: Vec<JointVector>,
}

/// An answer to keywords.
#[derive(Debug, Clone, PartialEq)]
pub struct WordHit {
    /// The record, with its vectors.
    pub stored: StoredRecord,
    /// BM25, above 0; compares records of one answer, and nothing else.
    pub score: f64,
}

/// Records that a filter allows, as the collection that chose them keeps them. It fits the state that made it and no other.
#[derive(Debug)]
pub struct Chosen {
    n_records: usize,
    kept: Box<dyn Any + Send + Sync>,
}

impl Chosen {
    /// Of `n_records` records, which are `kept` in a form of the collection's own.
    #[must_use]
    pub fn new(n_records: usize, kept: impl Any + Send + Sync) -> Self {
        Self { n_records, kept: Box::new(kept) }
    }

    /// Records that it allows.
    #[must_use]
    pub fn count(&self) -> usize {
        self.n_records
    }

    /// The form in which a collection keeps it.
    ///
    /// # Errors
    /// [`IndexError::FilterRows`] if a collection of another kind chose them.
    pub fn kept<T: 'static>(&self) -> Result<&T, IndexError> {
        let foreign = IndexError::FilterRows { found: self.n_records, expected: 0 };
        self.kept.downcast_ref().ok_or(foreign)
    }
}

/// What to look for in a collection.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Hits wanted, at least 1; more than there are gives all of them.
    pub k: usize,
    /// Records that may be hits; `None` allows all.
    pub within: Option<&'a Chosen>,
    /// Compare with every allowed record.
    pub exact: bool,
}

impl Wanted<'_> {
    /// The best `k` of all.
    #[must_use]
    pub fn new(k: usize) -> Self {
        Self { k, within: None, exact: false }
    }
}

/// A state of a collection that can be searched and read.
///
/// An embedded state never changes. One on a server shows what the server has when it is asked, so two questions may see
/// different states while others write; each hit is a record as it was stored, with the cosine of its stored vector, and none
/// comes twice. Hits come cosine descending. With `n` records allowed, `min(k, n)` come back.
///
/// Calls may wait for a disk or a network and are not for async threads; [`CollectionView::info`], the spaces and the counts
/// never wait.
pub trait CollectionView: fmt::Debug + Send + Sync {
    /// What the collection is.
    fn info(&self) -> CollectionInfo;

    /// Every space, the main one first; at least one.
    fn spaces(&self) -> &[Space];

    /// Records, as far as this process knows.
    fn len(&self) -> usize;

    /// Residues of all records, as far as this process knows.
    fn n_residues(&self) -> u64;

    /// Changes that cost searches time until the index is made anew.
    fn n_changes(&self) -> usize;

    /// Whether a search without `exact` compares with every record.
    ///
    /// # Errors
    /// [`IndexError::Space`].
    fn is_exact(&self, space: &Space) -> Result<bool, IndexError>;

    /// The record with this id.
    ///
    /// # Errors
    /// [`IndexError::Records`] or [`IndexError::Remote`] where it cannot be read.
    fn get(&self, id: &str) -> Result<Option<StoredRecord>, IndexError>;

    /// The first record of a gene, by its symbol in any case.
    ///
    /// # Errors
    /// As [`CollectionView::get`].
    fn first_of_gene(&self, symbol: &str) -> Result<Option<StoredRecord>, IndexError>;

    /// Whether [`CollectionView::choose`] would take the filter, without looking at records.
    ///
    /// # Errors
    /// As [`CollectionView::choose`].
    fn ensure_takes(&self, filter: &Filter) -> Result<(), IndexError>;

    /// The records for which a filter holds.
    ///
    /// # Errors
    /// [`IndexError::Filter`] for a field that no record has, or taxa that are not known; as [`CollectionView::get`].
    fn choose(&self, filter: &Filter) -> Result<Chosen, IndexError>;

    /// The records nearest to a query of `space`.
    ///
    /// # Errors
    /// [`IndexError::Space`], [`IndexError::ZeroK`], [`IndexError::WrongDim`], [`IndexError::FilterRows`] for records chosen
    /// from another state; as [`CollectionView::get`].
    fn find(
        &self,
        space: &Space,
        query: &JointVector,
        wanted: &Wanted<'_>,
    ) -> Result<Vec<ViewHit>, IndexError>;

    /// Cosines of all records with a query, greatest first, and the best `k` records.
    ///
    /// # Errors
    /// As [`CollectionView::find`].
    fn compare_all(
        &self,
        space: &Space,
        query: &JointVector,
        k: usize,
    ) -> Result<(Vec<f32>, Vec<ViewHit>), IndexError>;

    /// The `n` records that match best by their words, best first.
    ///
    /// # Errors
    /// [`IndexError::FilterRows`], or [`IndexError::Remote`] from a collection that is not searched by words.
    fn find_words(
        &self,
        keywords: &Keywords,
        n: usize,
        within: Option<&Chosen>,
    ) -> Result<Vec<WordHit>, IndexError>;

    /// Shows records one by one until `visit` has enough: of those after the first `offset` every `step`-th (at least 1), where
    /// `places` is `(offset, step)`. The order is the collection's own and stays the same while nobody writes. Vectors are read
    /// where asked for.
    ///
    /// # Errors
    /// As [`CollectionView::get`].
    fn each(
        &self,
        places: (usize, usize),
        with_vectors: bool,
        visit: &mut dyn FnMut(StoredRecord) -> ControlFlow<()>,
    ) -> Result<(), IndexError>;

    /// The main space.
    fn space(&self) -> &Space {
        &self.spaces()[0]
    }

    /// True without records.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Position of a space among [`CollectionView::spaces`].
    ///
    /// # Errors
    /// [`IndexError::Space`] naming the main space if the collection has no vectors in that one.
    fn position_of(&self, space: &Space) -> Result<usize, IndexError> {
        let spaces = self.spaces();
        let position = spaces.iter().position(|own| own.fingerprint == space.fingerprint).unwrap_or(0);
        spaces[position].ensure_same("the collection", space, "the query")?;
        Ok(position)
    }

    /// The checks that all searches share: the position of the query's space.
    ///
    /// # Errors
    /// [`IndexError::ZeroK`], [`IndexError::Space`], [`IndexError::WrongDim`].
    fn ensure_askable(&self, space: &Space, query: &JointVector, k: usize) -> Result<usize, IndexError> {
        if k == 0 {
            return Err(IndexError::ZeroK);
        }
        let position = self.position_of(space)?;
        let (own, found) = (&self.spaces()[position], query.as_slice().len());
        if found != own.dim {
            return Err(IndexError::WrongDim { found, space: Box::new(own.clone()) });
        }
        Ok(position)
    }
}

/// A collection that takes writes.
pub trait CollectionStore: fmt::Debug + Send + Sync {
    /// What is there now.
    fn state(&self) -> Arc<dyn CollectionView>;

    /// Inserts records, or puts them in place of those with their ids. Returns once they are kept and searches find them. Bad
    /// input refuses the batch whole.
    ///
    /// # Errors
    /// [`StoreError`]; from a server, [`StoreError::Remote`] may tell that a part of the batch was written.
    fn write(&self, batch: Vec<Upsert>) -> Result<WriteReport, StoreError>;

    /// Deletes records by id; an id that no record has is reported, not an error.
    ///
    /// # Errors
    /// [`StoreError`].
    fn remove(&self, ids: &[&str]) -> Result<WriteReport, StoreError>;
}

/// A place on a server in which collections can be made.
pub trait CollectionHost: fmt::Debug + Send + Sync {
    /// Makes an empty collection with vectors in these spaces, the main one first, and opens it.
    ///
    /// # Errors
    /// [`IndexError::Remote`].
    fn create(
        &self,
        name: &str,
        spaces: &[Space],
        metadata: BTreeMap<String, String>,
    ) -> Result<Arc<dyn CollectionStore>, IndexError>;

    /// Removes a collection with all of its records.
    ///
    /// # Errors
    /// [`IndexError::Remote`].
    fn delete(&self, name: &str) -> Result<(), IndexError>;
}

fn stored(entry: Entry<'_>, with_vectors: bool) -> Result<StoredRecord, IndexError> {
    let n_spaces = if with_vectors { entry.n_spaces() } else { 0 };
    let vectors = (0..n_spaces).map(|space| entry.vector(space)).collect::<Result<_, _>>()?;
    Ok(StoredRecord { record: entry.record()?, vectors })
}

fn selection(within: Option<&Chosen>) -> Result<Option<&Selection>, IndexError> {
    within.map(Chosen::kept).transpose()
}

impl CollectionView for View {
    fn info(&self) -> CollectionInfo {
        self.info()
    }

    fn spaces(&self) -> &[Space] {
        self.spaces()
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn n_residues(&self) -> u64 {
        self.n_residues()
    }

    fn n_changes(&self) -> usize {
        self.n_changes()
    }

    fn is_exact(&self, space: &Space) -> Result<bool, IndexError> {
        self.is_exact(space)
    }

    fn get(&self, id: &str) -> Result<Option<StoredRecord>, IndexError> {
        self.get(id)?.map(|entry| stored(entry, true)).transpose()
    }

    fn first_of_gene(&self, symbol: &str) -> Result<Option<StoredRecord>, IndexError> {
        self.first_of_gene(symbol)?.map(|entry| stored(entry, true)).transpose()
    }

    fn ensure_takes(&self, filter: &Filter) -> Result<(), IndexError> {
        self.ensure_selectable(filter)
    }

    fn choose(&self, filter: &Filter) -> Result<Chosen, IndexError> {
        let selection = self.select_where(filter)?;
        Ok(Chosen::new(selection.count(), selection))
    }

    fn find(
        &self,
        space: &Space,
        query: &JointVector,
        wanted: &Wanted<'_>,
    ) -> Result<Vec<ViewHit>, IndexError> {
        let within = selection(wanted.within)?;
        self.search(space, query, &ViewSearch { exact: wanted.exact, within, ..ViewSearch::new(wanted.k) })
    }

    fn compare_all(
        &self,
        space: &Space,
        query: &JointVector,
        k: usize,
    ) -> Result<(Vec<f32>, Vec<ViewHit>), IndexError> {
        let nearest = self.nearest(space, query, &ViewSearch::new(self.len().max(1)).exactly())?;
        let cosines = nearest.iter().map(|hit| hit.cosine).collect();
        let hit = |(index, hit): (usize, &crate::store::Nearest<'_>)| {
            Ok(ViewHit { record: hit.entry.record()?, cosine: hit.cosine, rank: index + 1 })
        };
        Ok((cosines, nearest.iter().take(k).enumerate().map(hit).collect::<Result<_, IndexError>>()?))
    }

    fn find_words(
        &self,
        keywords: &Keywords,
        n: usize,
        within: Option<&Chosen>,
    ) -> Result<Vec<WordHit>, IndexError> {
        let hits = self.search_keywords(keywords, n, selection(within)?)?;
        hits.into_iter()
            .map(|hit| Ok(WordHit { stored: stored(hit.entry, true)?, score: hit.score }))
            .collect()
    }

    fn each(
        &self,
        (offset, step): (usize, usize),
        with_vectors: bool,
        visit: &mut dyn FnMut(StoredRecord) -> ControlFlow<()>,
    ) -> Result<(), IndexError> {
        for entry in self.entries().skip(offset).step_by(step) {
            if visit(stored(entry, with_vectors)?).is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl CollectionStore for Store {
    fn state(&self) -> Arc<dyn CollectionView> {
        self.view()
    }

    fn write(&self, batch: Vec<Upsert>) -> Result<WriteReport, StoreError> {
        self.upsert(batch)
    }

    fn remove(&self, ids: &[&str]) -> Result<WriteReport, StoreError> {
        self.delete(ids.iter().copied())
    }
}
