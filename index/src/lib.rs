//! Nearest neighbours of joint vectors, and the collections that keep them on disk.
//!
//! | to read about | start at |
//! |---|---|
//! | what every index promises | [`VectorIndex`] |
//! | the exact answer | [`ExactIndex`] |
//! | the approximate answer | [`HnswIndex`]: built by `hnsw_rs`, searched on a flat, checked graph |
//! | records with their vectors | [`Collection`], made by [`CollectionBuilder`] |
//! | the files, and what survives a crash | [`snapshot`] |
//! | writing while searching | [`store`], [`Store`] |
//! | which records a search may return | [`Filter`] |
//! | names and descriptions by their words | [`Keywords`] |
//! | what every collection can be asked, wherever it lies | [`CollectionView`], [`CollectionStore`] |
//!
//! This is the only crate that names `hnsw_rs`. Nothing here is async; a caller on an async thread moves the
//! call to a blocking one.

mod collection;
mod collection_view;
mod error;
mod exact;
mod filter;
mod hnsw;
mod kernel;
mod keywords;
mod ranking;
mod records;
mod remote;
mod row_set;
mod slab;
pub mod snapshot;
pub mod store;
mod taxonomy;
mod vector_index;
mod vector_table;

pub use collection::{
    AUTO_EXACT_MAX_ROWS, Collection, CollectionBuilder, CollectionInfo, FurtherSpace, Hit, IndexDescription,
    IndexKind, MAX_FIELD_NAME_BYTES, MAX_FIELDS, MAX_ID_BYTES, Record,
};
pub use collection_view::{
    Chosen, CollectionHost, CollectionStore, CollectionView, StoredRecord, Wanted, WordHit,
};
pub use error::{GraphFault, IndexError, SnapshotError};
pub use exact::ExactIndex;
pub use filter::{
    Comparison, Condition, Expression, Field, Filter, FilterError, FilterFault, Holds, MAX_FILTER_BYTES,
    MAX_FILTER_DEPTH, MAX_FILTER_VALUES, Operand, number_in,
};
pub use hnsw::{HnswIndex, HnswParams};
pub use keywords::{Keywords, KeywordsError, MAX_KEYWORD_BYTES, MAX_KEYWORDS};
pub use remote::RemoteError;
pub use row_set::RowSet;
pub use snapshot::{OpenOptions, Verify, VerifyReport, inspect, verify};
pub use store::{
    KeywordHit, Nearest, Selection, Store, StoreError, StoreOptions, SyncPolicy, Upsert, View, ViewHit,
    ViewSearch, WriteReport, check_upserts,
};
pub use taxonomy::Taxonomy;
pub use vector_index::{Neighbour, Precision, SearchParams, VectorIndex};
pub use vector_table::{MAX_ROWS, VectorTable};
