//! Trained predictors: those that ship, and those in folders of their own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use protext_core::{HeadCard, HeadTask};

use super::{parse, unpack};
use crate::cache::Cache;
use crate::error::RegistryError;

/// A head that ships: its card, and the files that the card names.
struct ShippedPredictor {
    card: &'static str,
    files: &'static [(&'static str, &'static [u8])],
}

const SHIPPED: &[ShippedPredictor] = &[
    ShippedPredictor {
        card: include_str!("../../../heads/protext-ppi-2/card.toml"),
        files: &[
            ("head.onnx", include_bytes!("../../../heads/protext-ppi-2/head.onnx")),
            ("pair.onnx", include_bytes!("../../../heads/protext-ppi-2/pair.onnx")),
            ("training.bin", include_bytes!("../../../heads/protext-ppi-2/training.bin")),
        ],
    },
    ShippedPredictor {
        card: include_str!("../../../heads/protext-replogle-k562/card.toml"),
        files: &[
            ("head.onnx", include_bytes!("../../../heads/protext-replogle-k562/head.onnx")),
            ("text.onnx", include_bytes!("../../../heads/protext-replogle-k562/text.onnx")),
            ("details.json", include_bytes!("../../../heads/protext-replogle-k562/details.json")),
        ],
    },
    ShippedPredictor {
        card: include_str!("../../../heads/protext-replogle-rpe1/card.toml"),
        files: &[
            ("head.onnx", include_bytes!("../../../heads/protext-replogle-rpe1/head.onnx")),
            ("text.onnx", include_bytes!("../../../heads/protext-replogle-rpe1/text.onnx")),
            ("details.json", include_bytes!("../../../heads/protext-replogle-rpe1/details.json")),
        ],
    },
    ShippedPredictor {
        card: include_str!("../../../heads/protext-screens/card.toml"),
        files: &[
            ("head.onnx", include_bytes!("../../../heads/protext-screens/head.onnx")),
            ("text.onnx", include_bytes!("../../../heads/protext-screens/text.onnx")),
            ("details.json", include_bytes!("../../../heads/protext-screens/details.json")),
        ],
    },
    ShippedPredictor {
        card: include_str!("../../../heads/protext-horlbeck/card.toml"),
        files: &[
            ("head.onnx", include_bytes!("../../../heads/protext-horlbeck/head.onnx")),
            ("pair.onnx", include_bytes!("../../../heads/protext-horlbeck/pair.onnx")),
            ("text.onnx", include_bytes!("../../../heads/protext-horlbeck/text.onnx")),
            ("text_pair.onnx", include_bytes!("../../../heads/protext-horlbeck/text_pair.onnx")),
            ("details.json", include_bytes!("../../../heads/protext-horlbeck/details.json")),
        ],
    },
    ShippedPredictor {
        card: include_str!("../../../heads/protext-norman/card.toml"),
        files: &[
            ("head.onnx", include_bytes!("../../../heads/protext-norman/head.onnx")),
            ("pair.onnx", include_bytes!("../../../heads/protext-norman/pair.onnx")),
            ("text.onnx", include_bytes!("../../../heads/protext-norman/text.onnx")),
            ("text_pair.onnx", include_bytes!("../../../heads/protext-norman/text_pair.onnx")),
            ("details.json", include_bytes!("../../../heads/protext-norman/details.json")),
        ],
    },
];

/// A head that can be opened.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadyPredictor {
    /// Its card.
    pub card: HeadCard,
    /// Its files by name, checked against the card.
    pub files: BTreeMap<String, PathBuf>,
}

impl ReadyPredictor {
    /// One of its files.
    ///
    /// # Errors
    /// [`RegistryError::Manifest`] if the card names no such file.
    pub fn file(&self, name: &str) -> Result<&Path, RegistryError> {
        self.files.get(name).map(PathBuf::as_path).ok_or_else(|| RegistryError::Manifest {
            name: self.card.id.clone(),
            rule: format!("its card names no file {name}; train the head again"),
        })
    }
}

/// The heads of one task that ship and read vectors of `encoder`, unpacked; perhaps none.
///
/// # Errors
/// [`RegistryError::Manifest`] if a card does not fit its files, [`RegistryError::Cache`].
pub fn predictors_for(
    cache: &Cache,
    task: HeadTask,
    encoder: &str,
) -> Result<Vec<ReadyPredictor>, RegistryError> {
    let mut ready = Vec::new();
    for shipped in SHIPPED {
        let card: HeadCard = parse(shipped.card, "shipped card")?;
        if card.task == task && card.features.iter().any(|feature| feature.encoder == encoder) {
            ready.push(unpack_all(cache, card, shipped.files)?);
        }
    }
    Ok(ready)
}

/// The head of that name that ships, unpacked.
///
/// # Errors
/// As [`predictors_for`].
pub fn predictor_named(cache: &Cache, id: &str) -> Result<Option<ReadyPredictor>, RegistryError> {
    for shipped in SHIPPED {
        let card: HeadCard = parse(shipped.card, "shipped card")?;
        if card.id == id {
            return unpack_all(cache, card, shipped.files).map(Some);
        }
    }
    Ok(None)
}

fn unpack_all(
    cache: &Cache,
    card: HeadCard,
    files: &[(&str, &[u8])],
) -> Result<ReadyPredictor, RegistryError> {
    let mut ready = BTreeMap::new();
    for (name, expected) in &card.files {
        let bytes = files.iter().find(|(known, _)| known == name).map(|(_, bytes)| *bytes);
        let missing =
            || RegistryError::Manifest { name: card.id.clone(), rule: format!("{name} does not ship") };
        let path = unpack(cache, &format!("{}-{name}", card.id), expected, bytes.ok_or_else(missing)?)?;
        ready.insert(name.clone(), path);
    }
    Ok(ReadyPredictor { card, files: ready })
}

/// Opens a head from a folder with `card.toml` and the files that it names.
///
/// # Errors
/// [`RegistryError::Read`], [`RegistryError::Manifest`], or [`RegistryError::Corrupt`] if a hash does not fit.
pub fn predictor_from_folder(folder: &Path) -> Result<ReadyPredictor, RegistryError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        |source| RegistryError::Read { path, source }
    };
    let card_path = folder.join("card.toml");
    let text = std::fs::read_to_string(&card_path).map_err(unreadable(&card_path))?;
    let card: HeadCard = parse(&text, &card_path.display().to_string())?;
    let mut files = BTreeMap::new();
    for (name, expected) in &card.files {
        if Path::new(name).file_name().is_none_or(|plain| plain != name.as_str()) {
            let rule = format!("{name:?} is no plain file name");
            return Err(RegistryError::Manifest { name: card.id, rule });
        }
        let path = folder.join(name);
        let found = crate::cache::sha256_of(&path).map_err(unreadable(&path))?;
        if found != *expected {
            return Err(RegistryError::Corrupt { id: card.id, path, expected: expected.clone(), found });
        }
        files.insert(name.clone(), path);
    }
    Ok(ReadyPredictor { card, files })
}
