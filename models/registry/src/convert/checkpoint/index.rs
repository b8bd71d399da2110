//! Shard indexes: `model.safetensors.index.json` and `pytorch_model.bin.index.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::{ConvertError, read_error};

#[derive(Deserialize)]
struct Index {
    /// Tensor to file name.
    weight_map: BTreeMap<String, String>,
}

/// Puts the shards that an index names in its place. Shards may be given as well; each is read once.
pub(super) fn expand(files: &[PathBuf]) -> Result<BTreeSet<PathBuf>, ConvertError> {
    let mut expanded = BTreeSet::new();
    let (indexes, shards): (Vec<_>, Vec<_>) = files.iter().partition(|path| is_index(path));
    for index in indexes {
        for name in shard_names(index)? {
            let given = shards.iter().find(|path| path.file_name().is_some_and(|file| *file == *name));
            let shard = given.map_or_else(|| index.with_file_name(&name), |path| (*path).clone());
            if !shard.is_file() {
                let rule = format!("shard {name:?} is neither among the files given nor beside the index");
                return Err(ConvertError::Index { path: index.clone(), rule });
            }
            expanded.insert(shard);
        }
    }
    expanded.extend(shards.into_iter().cloned());
    Ok(expanded)
}

fn is_index(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(".index.json"))
}

/// File names only: an index never reaches outside its folder.
fn shard_names(path: &Path) -> Result<BTreeSet<String>, ConvertError> {
    let broken = |rule: String| ConvertError::Index { path: path.to_owned(), rule };
    let json = std::fs::read(path).map_err(|source| read_error(path, source))?;
    let index: Index = serde_json::from_slice(&json).map_err(|error| broken(error.to_string()))?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    let is_plain = |name: &str| {
        let mut parts = Path::new(name).components();
        matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
    };
    match names.iter().find(|name| !is_plain(name)) {
        Some(name) => Err(broken(format!("shard {name:?} is not a plain file name"))),
        None => Ok(names),
    }
}
