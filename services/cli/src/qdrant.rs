//! Collections that are named by `qdrant://host:6333/name` where a folder could be named.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use protext_engine::OpenCollection;
use protext_index::{CollectionStore, OpenOptions, Store};
use protext_qdrant::{QdrantAddress, QdrantServer, QdrantSettings, QdrantStore, Quantization};
use serde::Deserialize;

use crate::fault::UsageError;

/// How collections are laid out on a Qdrant server; the section `[qdrant]` of the settings, `PROTEXT_QDRANT_<NAME>`, and flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct QdrantLayout {
    /// Parts that a new collection in Qdrant is cut into.
    #[arg(long = "qdrant-shards", value_name = "N", env = "PROTEXT_QDRANT_SHARDS", default_value_t = 1)]
    pub(crate) shards: u32,
    /// Nodes that hold each part.
    #[arg(long = "qdrant-replicas", value_name = "N", env = "PROTEXT_QDRANT_REPLICAS", default_value_t = 1)]
    pub(crate) replicas: u32,
    /// Nodes that must have a write before it is acknowledged.
    #[arg(
        long = "qdrant-write-consistency",
        value_name = "N",
        env = "PROTEXT_QDRANT_WRITE_CONSISTENCY",
        default_value_t = 1
    )]
    pub(crate) write_consistency: u32,
    /// Coarser copies of vectors in Qdrant: none, int8 or binary. Hits are compared again with full vectors.
    #[arg(
        long = "qdrant-quantization",
        value_name = "KIND",
        env = "PROTEXT_QDRANT_QUANTIZATION",
        default_value_t = Quantization::None
    )]
    pub(crate) quantization: Quantization,
}

impl Default for QdrantLayout {
    fn default() -> Self {
        Self { shards: 1, replicas: 1, write_consistency: 1, quantization: Quantization::None }
    }
}

impl QdrantLayout {
    /// With key and the rest of the settings, which come from the environment.
    pub(crate) fn settings(self) -> anyhow::Result<QdrantSettings> {
        let Self { shards, replicas, write_consistency, quantization } = self;
        let settings =
            QdrantSettings { shards, replicas, write_consistency, quantization, ..QdrantSettings::default() };
        Ok(settings.with_key_of(|name| std::env::var(name).ok())?)
    }
}

/// The address, if a folder's place in the arguments holds one.
pub(crate) fn address(folder: &Path) -> anyhow::Result<Option<QdrantAddress>> {
    match folder.to_str().filter(|text| QdrantAddress::is_one(text)) {
        Some(text) => Ok(Some(QdrantAddress::parse(text)?)),
        None => Ok(None),
    }
}

/// Refuses what only collections in folders can do.
pub(crate) fn ensure_folder(folder: &Path, what: &str) -> anyhow::Result<()> {
    match address(folder)? {
        Some(address) => Err(UsageError(format!(
            "{address} lies on a server, and {what} is for collections in folders; the server has its own ways"
        ))
        .into()),
        None => Ok(()),
    }
}

/// Opens a collection for writing.
pub(crate) fn open(address: &QdrantAddress) -> anyhow::Result<QdrantStore> {
    Ok(QdrantStore::open(address, &QdrantLayout::default().settings()?, None)?)
}

/// A collection in a folder or on a server, to be read.
pub(crate) fn open_to_read(folder: &Path) -> anyhow::Result<OpenCollection> {
    Ok(match address(folder)? {
        Some(address) => OpenCollection::elsewhere(Arc::new(open(&address)?), true),
        None => OpenCollection::new(Store::read(folder, &OpenOptions::default())?),
    })
}

/// A name for a collection, from where it lies.
pub(crate) fn name_of(folder: &Path) -> anyhow::Result<String> {
    if let Some(address) = address(folder)? {
        return Ok(address.name()?.to_owned());
    }
    Ok(folder.file_stem().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned())
}

/// The server of the setting `index`, and the collections that it has.
pub(crate) fn open_server(
    text: &str,
    layout: QdrantLayout,
    read_only: bool,
) -> anyhow::Result<(QdrantServer, Vec<(String, OpenCollection)>)> {
    let address = QdrantAddress::parse(text).context("setting index")?;
    if address.has_name() {
        let message = format!("setting index: {address} names a collection; name the server alone");
        return Err(UsageError(message).into());
    }
    let server = QdrantServer::new(&address, &layout.settings()?)?;
    let open = server.open_all()?.into_iter().map(|(name, store)| {
        let store: Arc<dyn CollectionStore> = Arc::new(store);
        (name, OpenCollection::elsewhere(store, read_only))
    });
    let open = open.collect();
    Ok((server, open))
}
