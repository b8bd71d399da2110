//! The head for pairs of proteins at work: opened from what ships or from a folder, fed through the row cache.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use protext_core::{HeadTask, ProteinSequence, ResiduePolicy};
use protext_engine::heads::InteractionTable;
use protext_engine::ppi::{Partner, PpiPredictor, TrainingProteins};
use protext_onnx::{OnnxPairHead, OnnxRuntime, ensure_task};
use protext_registry::Cache;
use protext_registry::heads::{ReadyPredictor, predictor_from_folder, predictors_for};

use super::feature_rows::{Content, FeatureSources};
use crate::fault::UsageError;
use crate::wiring::ModelArgs;

/// Graph that compares two codes, and the proteins that were trained on.
pub(crate) const PAIR_GRAPH: &str = "pair.onnx";
pub(crate) const TRAINING_PROTEINS: &str = "training.bin";

/// The head of `folder`, else the one that ships for the encoder, else none.
pub(crate) fn find(
    cache: &Cache,
    model: &ModelArgs,
    folder: Option<&Path>,
) -> anyhow::Result<Option<ReadyPredictor>> {
    Ok(match folder {
        Some(folder) => Some(predictor_from_folder(folder)?),
        None => predictors_for(cache, HeadTask::Pair, &model.encoder)?.into_iter().next(),
    })
}

/// Opens a head with its training proteins.
pub(crate) fn open(runtime: &OnnxRuntime, ready: &ReadyPredictor) -> anyhow::Result<PpiPredictor> {
    ensure_task(&ready.card, HeadTask::Pair)?;
    let (head, pair) = (ready.file("head.onnx")?, ready.file(PAIR_GRAPH)?);
    let training = TrainingProteins::read(ready.file(TRAINING_PROTEINS)?)?;
    let head = OnnxPairHead::open(runtime, ready.card.clone(), head, pair)?;
    Ok(PpiPredictor::new(Arc::new(head), training)?)
}

/// As [`find`], opened; none is an error that says what to do.
pub(crate) fn open_for(
    cache: &Cache,
    runtime: &OnnxRuntime,
    model: &ModelArgs,
    folder: Option<&PathBuf>,
) -> anyhow::Result<PpiPredictor> {
    let ready = find(cache, model, folder.map(PathBuf::as_path))?;
    let missing = || {
        UsageError(format!(
            "no head for pairs ships for {}; train one (protext train head --task pair) and give it by --head FOLDER",
            model.encoder
        ))
    };
    open(runtime, &ready.ok_or_else(missing)?)
}

/// Proteins of a list, each once: id and residues as the encoder reads them.
pub(crate) fn parsed(proteins: &[(String, String)]) -> anyhow::Result<Vec<(String, String)>> {
    let parse = |(id, raw): &(String, String)| {
        let parsed = ProteinSequence::parse(raw, ResiduePolicy::default());
        let (sequence, _) =
            parsed.map_err(|error| anyhow::Error::from(error).context(format!("protein {id:?}")))?;
        Ok((id.clone(), sequence.as_str().to_owned()))
    };
    proteins.iter().map(parse).collect()
}

/// Proteins as the head sees them.
pub(crate) fn partners(
    predictor: &PpiPredictor,
    sources: &FeatureSources,
    proteins: &[(String, String)],
) -> anyhow::Result<Vec<Partner>> {
    let contents: Vec<Content<'_>> =
        proteins.iter().map(|(id, sequence)| Content { id, sequence, text: "" }).collect();
    let rows = sources.feature_rows(&contents)?;
    let named: Vec<(&str, &str)> = proteins.iter().map(|(id, seq)| (id.as_str(), seq.as_str())).collect();
    Ok(predictor.partners(&named, &rows)?)
}

/// Says what a table of pairs left out.
pub(crate) fn tell_left_out(path: &Path, table: &InteractionTable) {
    if table.n_without_sequence > 0 {
        let first = table.without_sequence.first().map_or("", String::as_str);
        eprintln!(
            "{}: {} pairs are left out: {} proteins have no sequence ({first} the first)",
            path.display(),
            table.n_without_sequence,
            table.without_sequence.len()
        );
    }
    if table.n_repeated > 0 {
        eprintln!("{}: {} pairs repeat an earlier one and are left out", path.display(), table.n_repeated);
    }
}
