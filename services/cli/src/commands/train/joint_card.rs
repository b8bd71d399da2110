//! What trained towers say of themselves: their graphs and `card.toml`.

use std::collections::BTreeMap;
use std::path::Path;

use protext_core::RowKind;
use protext_core::card::{Calibration, CardData, JointCard, TowerCard};
use protext_engine::eval::{Retrieval, RetrievalMetrics};
use protext_registry::Cache;
use protext_registry::cache::sha256_of;
use protext_train::contrastive::{ContrastiveSettings, Trained};

use crate::commands::row_source::RowSource;

/// What the card is made of, beside the towers.
pub(super) struct Origin<'a> {
    pub(super) id: Option<String>,
    pub(super) settings: &'a ContrastiveSettings,
    /// Sources of protein and text rows.
    pub(super) sources: &'a [RowSource; 2],
    pub(super) data: CardData,
    pub(super) extra: Vec<CardData>,
    /// Name of the validation part.
    pub(super) validate: &'a str,
}

/// Writes `protein.onnx` and `text.onnx`, then `card.toml`, which names their hashes.
pub(super) fn write(
    folder: &Path,
    trained: &Trained,
    (measured, calibration): &(Retrieval, Calibration),
    origin: Origin<'_>,
) -> anyhow::Result<JointCard> {
    let files = [folder.join("protein.onnx"), folder.join("text.onnx")];
    trained.protein.write(&files[0])?;
    trained.text.write(&files[1])?;
    let [protein, text] = origin.sources;
    let folder_name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let card = JointCard {
        id: origin.id.unwrap_or(folder_name),
        dim: trained.protein.dim(),
        method: describe(origin.settings),
        text_recipe: text.text_recipe(),
        measured_by: "protext train projection".to_owned(),
        protein: tower(protein, protein.default_kind(), &files[0])?,
        text: tower(text, origin.settings.text_kind(), &files[1])?,
        data: origin.data,
        calibration: Some(*calibration),
        extra: origin.extra,
        metrics: metrics(origin.validate, measured),
    };
    Cache::put(&folder.join("card.toml"), toml::to_string(&card)?.as_bytes())?;
    Ok(card)
}

fn tower(source: &RowSource, row_kind: RowKind, file: &Path) -> anyhow::Result<TowerCard> {
    Ok(TowerCard {
        encoder: source.encoder().to_owned(),
        row_kind,
        sha256: sha256_of(file)?,
        rows: source.card_rows(),
        input_space: source.space(row_kind)?.clone(),
    })
}

fn describe(settings: &ContrastiveSettings) -> String {
    format!("two towers, symmetric InfoNCE with several positives; {}", serde_json::json!(settings))
}

fn metrics(part: &str, measured: &Retrieval) -> BTreeMap<String, f64> {
    let sides =
        [("protein_to_text", &measured.protein_to_text), ("text_to_protein", &measured.text_to_protein)];
    let of = |(side, found): (&str, &RetrievalMetrics)| {
        [
            (format!("{part}_{side}_recall_at_1"), found.recall_at_1),
            (format!("{part}_{side}_recall_at_10"), found.recall_at_10),
            (format!("{part}_{side}_mrr"), found.mrr),
        ]
    };
    sides.into_iter().flat_map(of).collect()
}
