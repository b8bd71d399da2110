//! Encoder rows of protein-text pairs: what training and evaluation of the joint space start from.
//!
//! Rows are kept in the cache, so a second run starts at once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use ndarray::Array2;
use protext_core::{LongPolicy, ResiduePolicy, RowKind};
use protext_engine::cached_rows::{NamedContent, RowsError, rows_of};
use protext_engine::eval::{PairTable, TextPair};
use protext_engine::input::Payload;
use protext_engine::row_cache::RowCache;
use protext_engine::{EmbedOptions, EmbedRecordsSettings, Embedder};
use protext_onnx::Device;
use protext_registry::Cache;
use protext_texts::function_sentences;
use protext_train::contrastive::mean_rows;

use crate::fault::UsageError;
use crate::wiring::{self, ModelArgs};
use crate::{interrupt, progress};

/// Text encoder unless another is named: package registries carry it.
pub(crate) const DEFAULT_TEXT_ENCODER: &str = "all-MiniLM-L6-v2";
/// How texts of pairs are prepared, for cards.
pub(crate) const TEXT_RECIPE: &str = "summary without authors, notes and sentences about transcripts and pseudogenes; \
                                      mean of the rows of its sentences";

/// Which pairs, and which encoders.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PairArgs {
    /// Table with accession, text and, if it has them, sequence, split and group.
    #[arg(long, visible_alias = "pairs", value_name = "FILE")]
    pub(crate) data: PathBuf,
    /// Tables with accession and sequence, where --data has no sequences; by default those in ../proteins beside it,
    /// or in $PROTEXT_SHARED/data/proteins.
    #[arg(long, value_name = "FILE")]
    pub(crate) sequences: Vec<PathBuf>,
    /// Protein encoder.
    #[arg(long, value_name = "ID", env = "PROTEXT_ENCODER", default_value = wiring::DEFAULT_PROTEIN_ENCODER)]
    pub(crate) encoder: String,
    /// Text encoder.
    #[arg(long, value_name = "ID", default_value = DEFAULT_TEXT_ENCODER)]
    pub(crate) text_encoder: String,
    /// Device: auto, cpu, openvino or cuda.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub(crate) device: Device,
}

impl PairArgs {
    /// Reads the pairs and says what was left out.
    pub(crate) fn read(&self) -> anyhow::Result<PairTable> {
        let sequences =
            if self.sequences.is_empty() { self.find_sequences() } else { self.sequences.clone() };
        let table = PairTable::read(&self.data, &sequences)?;
        if table.n_without_sequence > 0 {
            eprintln!(
                "{}: {} rows have no sequence and are left out",
                self.data.display(),
                table.n_without_sequence
            );
        }
        if table.n_without_text > 0 {
            eprintln!("{}: {} rows have no text and are left out", self.data.display(), table.n_without_text);
        }
        Ok(table)
    }

    /// Tables of proteins beside the pairs, or in the shared data.
    fn find_sequences(&self) -> Vec<PathBuf> {
        let beside = self.data.parent().map(|folder| folder.join("../proteins"));
        let shared =
            std::env::var_os("PROTEXT_SHARED").map_or_else(|| PathBuf::from("../shared"), PathBuf::from);
        for folder in beside.into_iter().chain([shared.join("data/proteins")]) {
            let entries =
                std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
            let is_proteins = |path: &PathBuf| path.to_string_lossy().ends_with("_swissprot.tsv.gz");
            let mut found: Vec<PathBuf> = entries.filter(is_proteins).collect();
            found.sort();
            if !found.is_empty() {
                return found;
            }
        }
        Vec::new()
    }

    fn model(&self, encoder: &str) -> ModelArgs {
        ModelArgs {
            encoder: encoder.to_owned(),
            device: self.device,
            workers: 0,
            projection: None,
            towers: None,
        }
    }

    /// The protein encoder at work, without a projection.
    pub(crate) fn protein_embedder(&self) -> anyhow::Result<Embedder> {
        wiring::start_embedder(&self.model(&self.encoder), false)
    }

    /// The text encoder at work.
    pub(crate) fn text_embedder(&self) -> anyhow::Result<Embedder> {
        wiring::start_embedder(&self.model(&self.text_encoder), false)
    }
}

/// Rows of the proteins of `pairs`, of the kind that towers read.
pub(crate) fn protein_rows(embedder: &Embedder, pairs: &[&TextPair]) -> anyhow::Result<Array2<f32>> {
    let records = pairs.iter().map(|pair| NamedContent {
        id: pair.accession.clone(),
        payload: Payload::Sequence(pair.sequence.clone()),
    });
    rows(embedder, protein_row_kind(embedder), &records.collect::<Vec<_>>(), "embedding proteins")
}

/// Layer statistics where the encoder has them.
pub(crate) fn protein_row_kind(embedder: &Embedder) -> RowKind {
    let has_statistics = embedder.encoder().space(RowKind::LayerStatistics).is_some();
    if has_statistics { RowKind::LayerStatistics } else { RowKind::Pooled }
}

/// Rows of the sentences of texts that were prepared by [`TEXT_RECIPE`], and which of them make each text.
pub(crate) struct SentenceRows {
    /// `[sentences, inputs]`.
    pub(crate) sentences: Array2<f32>,
    /// Rows of `sentences` of each text.
    pub(crate) texts: Vec<Vec<u32>>,
}

impl SentenceRows {
    /// Rows of the texts, `[n, inputs]`: each the mean of its sentences.
    pub(crate) fn text_rows(&self) -> Array2<f32> {
        mean_rows(&self.sentences, self.texts.iter().map(Vec::as_slice))
    }
}

/// Pooled rows of every sentence of the texts of `pairs`.
pub(crate) fn sentence_rows(embedder: &Embedder, pairs: &[&TextPair]) -> anyhow::Result<SentenceRows> {
    let mut numbers = HashMap::new();
    let mut records = Vec::new();
    let mut texts = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let mut text = Vec::new();
        for sentence in function_sentences(&pair.text) {
            let next = u32::try_from(records.len()).context("more sentences than 32 bits count")?;
            text.push(*numbers.entry(sentence.clone()).or_insert(next));
            if text.last() == Some(&next) {
                records.push(NamedContent { id: pair.accession.clone(), payload: Payload::Text(sentence) });
            }
        }
        texts.push(text);
    }
    let sentences = rows(embedder, RowKind::Pooled, &records, "embedding sentences")?;
    Ok(SentenceRows { sentences, texts })
}

/// Rows of records in their order, from the row cache where it has them.
pub(crate) fn rows(
    embedder: &Embedder,
    kind: RowKind,
    records: &[NamedContent],
    what: &str,
) -> anyhow::Result<Array2<f32>> {
    let space = embedder.encoder().space(kind);
    let space = space.ok_or_else(|| UsageError(format!("{} has no such rows", embedder.encoder().id())))?;
    let mut cache = RowCache::open(&cache_folder()?, space)?;
    let settings = EmbedRecordsSettings {
        options: EmbedOptions::new(LongPolicy::Window),
        residues: ResiduePolicy::default(),
        joint: false,
    };
    let total = records.iter().map(|record| record.payload.as_str().len() as u64).sum();
    let bar = progress::residues(Some(total), what);
    let stop = interrupt::flag()?;
    let rows = rows_of(embedder, &mut cache, kind, records, &settings, |n_residues| {
        bar.inc(n_residues as u64);
        !stop.load(std::sync::atomic::Ordering::Relaxed)
    });
    bar.finish_and_clear();
    match rows {
        Err(RowsError::Stopped) => Err(interrupt::Interrupted.into()),
        other => Ok(other?),
    }
}

fn cache_folder() -> anyhow::Result<PathBuf> {
    Ok(Cache::from_environment()?.folder(Path::new("rows"))?)
}
