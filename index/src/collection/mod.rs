//! Collections: records, their vectors and an index over them, in one space or several.
//!
//! The first space is the main one, whose vectors every record has; further spaces hold other vectors of the same
//! records, such as the joint space beside the protein space. A query is answered in the space it lives in.
//!
//! Made by a [`CollectionBuilder`], written with [`Collection::save`] and read with [`Collection::open`]
//! (the files are described in [`crate::snapshot`]). A collection in memory never changes.

mod builder;
mod record;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use protext_core::{JointVector, Space};
use serde::{Deserialize, Serialize};

pub use builder::{AUTO_EXACT_MAX_ROWS, CollectionBuilder, IndexKind};
pub(crate) use record::ensure_id;
pub use record::{MAX_FIELD_NAME_BYTES, MAX_FIELDS, MAX_ID_BYTES, Record};

use crate::error::{IndexError, SnapshotError};
use crate::exact::ExactIndex;
use crate::hnsw::HnswIndex;
use crate::records::Records;
use crate::snapshot::{self, OpenOptions};
use crate::vector_index::{Neighbour, SearchParams, VectorIndex};
use crate::vector_table::VectorTable;

/// Records with their vectors, searchable.
#[derive(Debug, Clone)]
pub struct Collection {
    pub(crate) records: Records,
    /// One a space, the main one first.
    pub(crate) indexes: Vec<StoredIndex>,
    pub(crate) created_unix_s: u64,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// The indexes that have a form on disk.
#[derive(Debug, Clone)]
pub(crate) enum StoredIndex {
    Exact(ExactIndex),
    Hnsw(HnswIndex),
}

impl StoredIndex {
    pub(crate) fn as_index(&self) -> &dyn VectorIndex {
        match self {
            StoredIndex::Exact(index) => index,
            StoredIndex::Hnsw(index) => index,
        }
    }

    pub(crate) fn table(&self) -> &VectorTable {
        match self {
            StoredIndex::Exact(index) => index.table(),
            StoredIndex::Hnsw(index) => index.exact_twin().table(),
        }
    }

    pub(crate) fn describe(&self) -> IndexDescription {
        match self {
            StoredIndex::Exact(_) => IndexDescription::Exact,
            StoredIndex::Hnsw(index) => {
                let params = index.params();
                IndexDescription::Hnsw { m: params.m, ef_construction: params.ef_construction }
            }
        }
    }
}

/// Which index a collection has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum IndexDescription {
    /// Every row is compared.
    Exact,
    /// A neighbour graph.
    Hnsw {
        /// Links of a row on upper layers, twice as many on the base layer.
        m: usize,
        /// Candidates kept while a row was inserted.
        ef_construction: usize,
    },
    /// A Qdrant server's; no collection on disk has it.
    Qdrant {
        /// Parts that it is cut into.
        shards: u32,
        /// Nodes that hold each part.
        replicas: u32,
    },
}

/// What there is to know about a collection without its records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CollectionInfo {
    /// Main space of its vectors.
    pub space: Space,
    /// Records.
    pub n_records: u64,
    /// The index of the main space.
    pub index: IndexDescription,
    /// Further spaces with their indexes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<FurtherSpace>,
    /// When it was built, in seconds since 1970.
    pub created_unix_s: u64,
    /// Where it comes from: encoder id, projection id, hash of the input file.
    pub metadata: BTreeMap<String, String>,
}

/// A space beside the main one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FurtherSpace {
    /// Space of the vectors.
    pub space: Space,
    /// Their index.
    pub index: IndexDescription,
}

/// One answer of a collection.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The record found.
    pub record: Arc<Record>,
    /// Its 0-based row.
    pub row: u32,
    /// Cosine with the query, in -1..=1.
    pub cosine: f32,
    /// 1 for the best.
    pub rank: usize,
}

impl Collection {
    /// Reads and fully verifies the collection in `dir`.
    ///
    /// # Errors
    /// [`SnapshotError`] naming the file and what to do.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, SnapshotError> {
        Self::open_with(dir, &OpenOptions::default())
    }

    /// Reads the collection in `dir`.
    ///
    /// # Errors
    /// [`SnapshotError`] naming the file and what to do.
    pub fn open_with(dir: impl AsRef<Path>, options: &OpenOptions) -> Result<Self, SnapshotError> {
        snapshot::open(dir.as_ref(), options)
    }

    /// Writes the collection to `dir`, in place of the one that may be there. A crash at any point leaves the
    /// old or the new one; programs that have the old one open are not disturbed.
    ///
    /// # Errors
    /// [`SnapshotError`]; what was there before still opens.
    pub fn save(&self, dir: impl AsRef<Path>) -> Result<(), SnapshotError> {
        snapshot::save(self, dir.as_ref())
    }

    /// What it is.
    #[must_use]
    pub fn info(&self) -> CollectionInfo {
        CollectionInfo {
            space: self.space().clone(),
            n_records: self.len() as u64,
            index: self.indexes[0].describe(),
            further: self.indexes[1..]
                .iter()
                .map(|index| FurtherSpace {
                    space: index.as_index().space().clone(),
                    index: index.describe(),
                })
                .collect(),
            created_unix_s: self.created_unix_s,
            metadata: self.metadata.clone(),
        }
    }

    /// Where it comes from and what it holds, by key.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The main space.
    #[must_use]
    pub fn space(&self) -> &Space {
        self.index().space()
    }

    /// Every space, the main one first.
    pub fn spaces(&self) -> impl Iterator<Item = &Space> {
        self.indexes.iter().map(|index| index.as_index().space())
    }

    /// The index of the main space; row `i` is [`Collection::record`] `i`.
    #[must_use]
    pub fn index(&self) -> &dyn VectorIndex {
        self.indexes[0].as_index()
    }

    /// The index of a space.
    ///
    /// # Errors
    /// [`IndexError::Space`] naming the main space if the collection has no vectors in that one.
    pub fn index_in(&self, space: &Space) -> Result<&dyn VectorIndex, IndexError> {
        let mut indexes = self.indexes.iter().map(StoredIndex::as_index);
        let found = indexes.find(|index| index.space().fingerprint == space.fingerprint);
        let index = found.unwrap_or_else(|| self.index());
        index.space().ensure_same("the collection", space, "the query")?;
        Ok(index)
    }

    /// The record of a 0-based row.
    ///
    /// # Errors
    /// [`IndexError::UnknownRow`], or [`IndexError::Records`] where the snapshot cannot be read.
    pub fn record(&self, row: u32) -> Result<Arc<Record>, IndexError> {
        self.records.record(row)
    }

    /// The records, in the order in which they came, read one by one.
    pub fn records(&self) -> impl Iterator<Item = Result<Arc<Record>, IndexError>> {
        (0..self.len() as u32).map(|row| self.record(row))
    }

    /// Records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True without records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Row of the record with this id.
    ///
    /// # Errors
    /// [`IndexError::Records`] where the snapshot cannot be read.
    pub fn by_id(&self, id: &str) -> Result<Option<u32>, IndexError> {
        self.records.row_of(id)
    }

    /// Vector of the record with this id in the main space.
    ///
    /// # Errors
    /// [`IndexError::UnknownId`], or as [`Collection::by_id`].
    pub fn vector_of(&self, id: &str) -> Result<JointVector, IndexError> {
        let row = self.by_id(id)?.ok_or_else(|| IndexError::UnknownId { id: id.into() })?;
        self.index().vector(row)
    }

    /// The records nearest to a query of `query_space`.
    ///
    /// # Errors
    /// [`IndexError::Space`] for a space that it has no vectors in, [`IndexError::Records`] where the snapshot cannot be
    /// read, otherwise as [`VectorIndex::search`].
    pub fn search(
        &self,
        query_space: &Space,
        query: &JointVector,
        params: &SearchParams<'_>,
    ) -> Result<Vec<Hit>, IndexError> {
        self.hits(&self.index_in(query_space)?.search(query, params)?)
    }

    /// The records nearest to each query, in the order of the queries, searched in parallel.
    ///
    /// # Errors
    /// As [`Collection::search`].
    pub fn search_batch(
        &self,
        query_space: &Space,
        queries: &[JointVector],
        params: &SearchParams<'_>,
    ) -> Result<Vec<Vec<Hit>>, IndexError> {
        let found = self.index_in(query_space)?.search_batch(queries, params)?;
        found.iter().map(|neighbours| self.hits(neighbours)).collect()
    }

    fn hits(&self, neighbours: &[Neighbour]) -> Result<Vec<Hit>, IndexError> {
        let rows: Vec<u32> = neighbours.iter().map(|found| found.row).collect();
        let records = self.records.read(&rows)?;
        let to_hit = |(i, (found, record)): (usize, (&Neighbour, Arc<Record>))| Hit {
            record,
            row: found.row,
            cosine: found.cosine,
            rank: i + 1,
        };
        Ok(neighbours.iter().zip(records).enumerate().map(to_hit).collect())
    }
}
