//! Collections on a Qdrant server: for more vectors than one machine holds.
//!
//! | to read about | start at |
//! |---|---|
//! | a collection that is searched and written to | [`QdrantStore`], [`QdrantView`] |
//! | making one, and replacing one in one step | [`QdrantBuild`] |
//! | the server: which collections it has | [`QdrantServer`], [`QdrantAddress`] |
//! | shards, replicas, quantization, keys | [`QdrantSettings`] |
//! | what is stored of a record | `payload.rs` |
//! | filters in Qdrant's words | `filter.rs` |
//! | requests, further tries, time limits | `client.rs` |
//!
//! The engine sees the traits of `protext_index` only: `CollectionView` and `CollectionStore`. Calls block on answers; a caller
//! on an async thread moves them to a blocking one. `docs/decisions/qdrant.md` says why it is so.

mod about;
mod address;
mod build;
mod client;
mod filter;
mod payload;
mod points;
mod server;
mod settings;
mod store;
mod view;

pub use address::QdrantAddress;
pub use build::QdrantBuild;
pub use server::QdrantServer;
pub use settings::{QdrantSettings, Quantization};
pub use store::QdrantStore;
pub use view::QdrantView;
