//! The table of genes that ships: what heads of genes read.

use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use crate::cache::Cache;
use crate::error::RegistryError;

const TABLE: &[u8] = include_bytes!("../../../heads/human-genes/genes.parquet");

/// The table that ships, unpacked into the cache when first used.
///
/// # Errors
/// [`RegistryError::Cache`].
pub fn gene_table(cache: &Cache) -> Result<PathBuf, RegistryError> {
    let sha256 = hex::encode(Sha256::digest(TABLE));
    let path = cache.folder("heads")?.join(format!("human-genes-{}.parquet", &sha256[..16]));
    if !path.metadata().is_ok_and(|metadata| metadata.len() == TABLE.len() as u64) {
        Cache::put(&path, TABLE)?;
    }
    Ok(path)
}
