//! The cache of embeddings that the service and jobs of this machine share.

use std::path::PathBuf;
use std::sync::Arc;

use protext_engine::Embedder;
use protext_engine::row_cache::EmbeddingCache;
use protext_registry::Cache;

/// Where embeddings are kept, and how many.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct EmbeddingCacheArgs {
    /// File that embeddings are kept in, on a local disk; one beside the models by default.
    #[arg(long = "embedding-cache", value_name = "FILE", env = "PROTEXT_EMBEDDING_CACHE")]
    pub(crate) file: Option<PathBuf>,
    /// Its size in MiB; 0 keeps none.
    #[arg(long = "embedding-cache-mib", value_name = "N", env = "PROTEXT_EMBEDDING_CACHE_MIB", default_value_t = Self::DEFAULT_MIB)]
    pub(crate) mib: u64,
}

impl EmbeddingCacheArgs {
    /// About 85,000 proteins of the default encoder.
    pub(crate) const DEFAULT_MIB: u64 = 1_024;

    /// Opens it. Everything works without, so a cache that cannot be had is told about and no more.
    pub(crate) fn open(&self, models: &Cache) -> Option<Arc<EmbeddingCache>> {
        if self.mib == 0 {
            return None;
        }
        let open = || -> anyhow::Result<EmbeddingCache> {
            let file = match &self.file {
                Some(file) => file.clone(),
                None => models.folder("embeddings")?.join("embeddings-1.sqlite"),
            };
            Ok(EmbeddingCache::open(&file, self.mib.saturating_mul(1 << 20))?)
        };
        match open() {
            Ok(cache) => Some(Arc::new(cache)),
            Err(error) => {
                tracing::info!(reason = crate::fault::message(&error), "embeddings are not kept on disk");
                None
            }
        }
    }
}

/// The embedder with the cache, if there is one. An encoder that runs elsewhere has a cache of its own.
pub(crate) fn keeping(embedder: Embedder, cache: Option<&Arc<EmbeddingCache>>) -> Embedder {
    match cache {
        Some(cache) if embedder.encoder().running().is_some() => embedder.keeping(Arc::clone(cache)),
        _ => embedder,
    }
}
