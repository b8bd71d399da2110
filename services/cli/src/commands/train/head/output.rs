//! A trained head's files: `head.onnx`, then `card.toml`, which names its hash.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use protext_core::{HeadCard, HeadFigure};
use protext_engine::eval::{BinaryMetrics, Interval};
use protext_registry::Cache;
use protext_registry::cache::sha256_of;

/// Names the files of `folder` with their hashes in the card and writes it.
pub(crate) fn write_card(folder: &Path, mut card: HeadCard, files: &[&str]) -> anyhow::Result<HeadCard> {
    for name in files {
        card.files.insert((*name).to_owned(), sha256_of(&folder.join(name))?);
    }
    Cache::put(&folder.join("card.toml"), toml::to_string(&card)?.as_bytes())?;
    Ok(card)
}

/// Makes the folder of a head.
pub(crate) fn make_folder(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

/// The head's name: the one given, else the folder's.
pub(crate) fn name(id: Option<&str>, folder: &Path) -> String {
    let of_folder = || folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    id.map_or_else(of_folder, str::to_owned)
}

/// A figure with its interval.
pub(crate) fn figure(interval: Interval) -> HeadFigure {
    HeadFigure { value: interval.mean, low: Some(interval.low), high: Some(interval.high) }
}

/// Figures of yes-or-no predictions, named after the part that they were measured on.
pub(crate) fn binary_figures(part: &str, found: &BinaryMetrics) -> BTreeMap<String, HeadFigure> {
    let named = found.intervals.iter().map(|(name, interval)| (format!("{part}_{name}"), figure(*interval)));
    let n = HeadFigure { value: found.n as f64, low: None, high: None };
    named.chain([(format!("{part}_n"), n)]).collect()
}

/// Prints what a card says of itself.
pub(crate) fn print(card: &HeadCard) {
    println!("{}: {}", card.id, card.method);
    for (name, figure) in &card.metrics {
        match (figure.low, figure.high) {
            (Some(low), Some(high)) => println!("{name:<32} {:.3} [{low:.3}, {high:.3}]", figure.value),
            _ => println!("{name:<32} {}", figure.value),
        }
    }
}
