//! Where rows of proteins and texts come from: an encoder, whose rows are kept in the cache, or a file of embeddings that
//! somebody made beforehand. Training and evaluation of the joint space read both alike.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use ndarray::{Array2, ArrayView1};
use protext_core::card::CardRows;
use protext_core::{
    FeatureCard, FeatureKind, Fingerprint, LongPolicy, Modality, ResiduePolicy, RowKind, Space,
};
use protext_engine::cached_rows::{NamedContent, RowsError, rows_of};
use protext_engine::eval::TextPair;
use protext_engine::input::Payload;
use protext_engine::output::{VectorFile, VectorMetadata, read_vectors};
use protext_engine::row_cache::RowCache;
use protext_engine::{EmbedOptions, EmbedRecordsSettings, Embedder};
use protext_registry::Cache;
use protext_registry::cache::sha256_of;
use protext_texts::function_sentences;
use protext_train::contrastive::mean_rows;

use crate::fault::UsageError;
use crate::{interrupt, progress};

/// How texts of pairs are prepared, for cards.
pub(crate) const TEXT_RECIPE: &str = "summary without authors, notes and sentences about transcripts and pseudogenes; \
                                      mean of the rows of its sentences";

/// A file of rows by accession.
#[derive(Debug)]
pub(crate) struct RowFile {
    path: PathBuf,
    modality: Modality,
    encoder: String,
    space: Space,
    sha256: String,
    file: VectorFile,
    places: HashMap<String, usize>,
}

impl RowFile {
    /// Reads the file. What its rows are is what the file says, else what is `declared`.
    pub(crate) fn open(path: &Path, declared: Option<&str>, modality: Modality) -> anyhow::Result<Self> {
        let file = read_vectors(path)?;
        let stated = stated_space(&file.metadata, file.dim);
        let space = match (stated, declared) {
            (Some(stated), Some(declared)) if stated.name != declared => {
                let said = format!(
                    "{}: says that it holds rows of {}, but --{modality}-space says {declared}; leave it out",
                    path.display(),
                    stated.name
                );
                return Err(UsageError(said).into());
            }
            (Some(stated), _) => stated,
            (None, Some(declared)) => Space {
                name: declared.to_owned(),
                dim: file.dim,
                fingerprint: Fingerprint::of(["declared rows", declared]),
            },
            (None, None) => {
                let said = format!(
                    "{}: does not say what made its rows; name encoder and pooling by --{modality}-space",
                    path.display()
                );
                return Err(UsageError(said).into());
            }
        };
        let places = file.ids.iter().enumerate().map(|(place, id)| (id.clone(), place)).collect();
        let encoder = file.metadata.encoder.clone().unwrap_or_else(|| space.name.clone());
        Ok(Self { path: path.to_owned(), modality, encoder, space, sha256: sha256_of(path)?, file, places })
    }

    /// Leaves pairs without a row out, and says how many.
    pub(crate) fn keep_known(&self, table: &Path, pairs: &mut Vec<TextPair>) -> anyhow::Result<()> {
        let n_before = pairs.len();
        let first = pairs.iter().find(|pair| !self.places.contains_key(&pair.accession)).cloned();
        pairs.retain(|pair| self.places.contains_key(&pair.accession));
        let (Some(first), n_missing) = (first, n_before - pairs.len()) else { return Ok(()) };
        let (table, rows) = (table.display(), self.path.display());
        let said = format!("{table}: {n_missing} pairs have no {} row in {rows}", self.modality);
        if pairs.is_empty() {
            let (ours, theirs) = (first.accession, &self.file.ids[0]);
            let said = format!(
                "{said}, which is all of them: pairs have accessions such as {ours}, rows such as {theirs}"
            );
            return Err(UsageError(said).into());
        }
        eprintln!("{said} and are left out, {} the first", first.accession);
        Ok(())
    }

    /// Refuses a file whose rows are of another width than those that a tower reads.
    fn ensure_width(&self, expected: usize) -> anyhow::Result<()> {
        if self.file.dim == expected {
            return Ok(());
        }
        Err(UsageError(format!(
            "{}: record {}: the row has {} components, but the {} tower reads {expected}; give rows of {expected}",
            self.path.display(),
            self.file.ids[0],
            self.file.dim,
            self.modality,
        ))
        .into())
    }

    /// What it holds, for the card of a head.
    pub(crate) fn feature_card(&self) -> FeatureCard {
        let (encoder, space) = (self.encoder.clone(), self.space.clone());
        FeatureCard { kind: FeatureKind::File, modality: self.modality, encoder, space }
    }

    /// Rows of `pairs`, `[n, dim]`; one that is not here is named.
    pub(crate) fn rows_by_id(&self, pairs: &[&TextPair]) -> anyhow::Result<Array2<f32>> {
        let missing: Vec<_> =
            pairs.iter().filter(|pair| !self.places.contains_key(&pair.accession)).collect();
        if let Some(first) = missing.first() {
            let (n, id, path) = (missing.len(), &first.accession, self.path.display());
            return Err(
                UsageError(format!("{path}: {n} records have no row, {id} the first; add them")).into()
            );
        }
        self.rows(pairs)
    }

    /// Rows of `pairs`, `[n, dim]`.
    fn rows(&self, pairs: &[&TextPair]) -> anyhow::Result<Array2<f32>> {
        let mut rows = Array2::zeros((pairs.len(), self.file.dim));
        for (mut row, pair) in rows.rows_mut().into_iter().zip(pairs) {
            let place = self.places.get(&pair.accession);
            let found = place.and_then(|&place| self.file.vector(place));
            row.assign(&ArrayView1::from(found.context("pairs without a row were left out")?));
        }
        Ok(rows)
    }
}

/// The space that a file's metadata name: by fingerprint, else by encoder, space and pooling.
fn stated_space(metadata: &VectorMetadata, dim: usize) -> Option<Space> {
    let VectorMetadata { encoder, space, fingerprint, pooling, .. } = metadata;
    let name = space.as_ref().or(encoder.as_ref())?.clone();
    let stated = fingerprint.as_deref().and_then(Fingerprint::parse);
    let parts = || [encoder, space, pooling].map(|part| part.as_deref().unwrap_or_default());
    let fingerprint = stated.unwrap_or_else(|| Fingerprint::of(parts()));
    Some(Space { name, dim, fingerprint })
}

/// Where rows of one modality come from.
pub(crate) enum RowSource {
    Encoder(Box<Embedder>),
    File(Box<RowFile>),
}

impl RowSource {
    /// The encoder's id, or what the file says of it.
    pub(crate) fn encoder(&self) -> &str {
        match self {
            Self::Encoder(embedder) => embedder.encoder().id(),
            Self::File(file) => &file.encoder,
        }
    }

    /// The rows that towers are trained on: layer statistics where the encoder has them.
    pub(crate) fn default_kind(&self) -> RowKind {
        match self {
            Self::Encoder(embedder) if embedder.encoder().space(RowKind::LayerStatistics).is_some() => {
                RowKind::LayerStatistics
            }
            _ => RowKind::Pooled,
        }
    }

    /// The space of its rows of this kind.
    pub(crate) fn space(&self, kind: RowKind) -> anyhow::Result<&Space> {
        match self {
            Self::Encoder(embedder) => Ok(embedder
                .encoder()
                .space(kind)
                .ok_or_else(|| UsageError(format!("{} has no such rows", embedder.encoder().id())))?),
            Self::File(file) => Ok(&file.space),
        }
    }

    /// Accepts a tower that reads these rows; others are refused by name.
    pub(crate) fn ensure_read_by(&self, input_space: &Space, kind: RowKind) -> anyhow::Result<()> {
        if let Self::File(file) = self {
            file.ensure_width(input_space.dim)?;
        }
        let space = match self.space(kind) {
            Ok(space) => space,
            // Without such rows the encoder is another one; its pooled rows tell which.
            Err(_) => self.space(RowKind::Pooled)?,
        };
        Ok(space.ensure_same("the rows", input_space, "the tower's input")?)
    }

    /// The file, for cards.
    pub(crate) fn card_rows(&self) -> Option<CardRows> {
        let Self::File(file) = self else { return None };
        let name = file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Some(CardRows { file: name, sha256: file.sha256.clone() })
    }

    /// How texts became rows, for cards.
    pub(crate) fn text_recipe(&self) -> String {
        match self.card_rows() {
            Some(CardRows { file, .. }) => format!("one row a text, as {file} has it"),
            None => TEXT_RECIPE.to_owned(),
        }
    }

    /// Rows of the proteins of `pairs`.
    pub(crate) fn protein_rows(&self, pairs: &[&TextPair], kind: RowKind) -> anyhow::Result<Array2<f32>> {
        let embedder = match self {
            Self::Encoder(embedder) => embedder,
            Self::File(file) => return file.rows(pairs),
        };
        let records = pairs.iter().map(|pair| NamedContent {
            id: pair.accession.clone(),
            payload: Payload::Sequence(pair.sequence.clone()),
        });
        rows(embedder, kind, &records.collect::<Vec<_>>(), "embedding proteins")
    }

    /// Rows of one kind of every sentence of the texts of `pairs`; a file has one row for each text.
    pub(crate) fn sentence_rows(&self, pairs: &[&TextPair], kind: RowKind) -> anyhow::Result<SentenceRows> {
        let embedder = match self {
            Self::Encoder(embedder) => embedder,
            Self::File(file) => {
                let n = u32::try_from(pairs.len()).context("more texts than 32 bits count")?;
                return Ok(SentenceRows {
                    sentences: file.rows(pairs)?,
                    texts: (0..n).map(|row| vec![row]).collect(),
                });
            }
        };
        let mut numbers = HashMap::new();
        let mut records = Vec::new();
        let mut texts = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let mut text = Vec::new();
            for sentence in function_sentences(&pair.text) {
                let next = u32::try_from(records.len()).context("more sentences than 32 bits count")?;
                text.push(*numbers.entry(sentence.clone()).or_insert(next));
                if text.last() == Some(&next) {
                    records
                        .push(NamedContent { id: pair.accession.clone(), payload: Payload::Text(sentence) });
                }
            }
            texts.push(text);
        }
        let sentences = rows(embedder, kind, &records, "embedding sentences")?;
        Ok(SentenceRows { sentences, texts })
    }
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

/// Rows of records in their order, from the row cache where it has them.
pub(crate) fn rows(
    embedder: &Embedder,
    kind: RowKind,
    records: &[NamedContent],
    what: &str,
) -> anyhow::Result<Array2<f32>> {
    let space = embedder.encoder().space(kind);
    let space = space.ok_or_else(|| UsageError(format!("{} has no such rows", embedder.encoder().id())))?;
    let mut cache = RowCache::open(&cache_folder(embedder)?, space)?;
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

/// One for each kind of numbers: rows in bytes are not those in 32 bits.
fn cache_folder(embedder: &Embedder) -> anyhow::Result<PathBuf> {
    let numbers = match embedder.encoder().running() {
        Some(running) => format!("{}-{}", running.device, running.precision),
        None => "elsewhere".to_owned(),
    };
    Ok(Cache::from_environment()?.folder(Path::new("rows").join(numbers))?)
}
