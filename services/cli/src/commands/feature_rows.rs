//! What heads read, for training and evaluation: vectors of proteins and texts in several spaces, side by side.
//!
//! Encoder rows come through the row cache, joint vectors by projecting them; rows that somebody made beforehand come from
//! files. The same sources are opened again from a head's card, and refused where their spaces are not the card's.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::ValueEnum;
use ndarray::{Array2, Axis};
use protext_core::{
    EncoderRow, FeatureCard, FeatureKind, FeatureRows, HeadCard, Modality, Projection as _, RowKind, Space,
};
use protext_engine::eval::TextPair;
use protext_onnx::{OnnxProjection, OnnxRuntime};

use super::pair_rows::DEFAULT_TEXT_ENCODER;
use super::row_source::{RowFile, RowSource};
use crate::fault::UsageError;
use crate::wiring::{self, ModelArgs};

/// Vectors that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FeatureArg {
    /// Mean over residues of the last layer.
    Pooled,
    /// Mean and deviation over residues of several layers.
    Statistics,
    /// Vector of the protein in the joint space of proteins and texts.
    Joint,
    /// Row of the text encoder.
    Text,
    /// Vector of the text in the joint space.
    TextJoint,
}

impl FeatureArg {
    fn modality(self) -> Modality {
        match self {
            Self::Pooled | Self::Statistics | Self::Joint => Modality::Protein,
            Self::Text | Self::TextJoint => Modality::Text,
        }
    }

    fn kind(self) -> FeatureKind {
        match self {
            Self::Pooled | Self::Text => FeatureKind::Pooled,
            Self::Statistics => FeatureKind::Statistics,
            Self::Joint | Self::TextJoint => FeatureKind::Joint,
        }
    }
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct FeatureArgs {
    /// Vectors that the head reads, side by side in this order; separated by commas. By default statistics, or of an
    /// encoder without them pooled.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) features: Vec<FeatureArg>,
    /// Rows that were made beforehand, by id (HDF5, Parquet, NPZ or JSON lines), beside or instead of --features.
    #[arg(long, value_name = "FILE")]
    pub(crate) rows: Option<PathBuf>,
    /// What --rows holds, if the file does not say: a name for encoder and pooling.
    #[arg(long, value_name = "NAME", requires = "rows")]
    pub(crate) rows_space: Option<String>,
    /// Text encoder.
    #[arg(long, value_name = "ID", default_value = DEFAULT_TEXT_ENCODER)]
    pub(crate) text_encoder: String,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
}

/// A record by what vectors are made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Content<'a> {
    pub(crate) id: &'a str,
    pub(crate) sequence: &'a str,
    pub(crate) text: &'a str,
}

/// Opened sources, in the order of the features.
pub(crate) struct FeatureSources {
    protein: Option<RowSource>,
    text: Option<RowSource>,
    file: Option<RowFile>,
    parts: Vec<Part>,
}

struct Part {
    card: FeatureCard,
    /// Of joint vectors, the tower and the rows that it reads.
    tower: Option<OnnxProjection>,
}

impl FeatureSources {
    /// Opens what is asked for.
    pub(crate) fn open(args: &FeatureArgs, runtime: &OnnxRuntime) -> anyhow::Result<Self> {
        let file = args.rows.as_deref();
        let file = file.map(|path| RowFile::open(path, args.rows_space.as_deref(), Modality::Protein));
        let file = file.transpose()?;
        let wanted: Vec<(Modality, FeatureKind)> =
            args.features.iter().map(|feature| (feature.modality(), feature.kind())).collect();
        Self::open_parts(wanted, file, &args.model, &args.text_encoder, runtime)
    }

    /// Opens what `head` reads, and refuses vectors of other spaces.
    pub(crate) fn for_head(
        head: &HeadCard,
        model: &ModelArgs,
        runtime: &OnnxRuntime,
    ) -> anyhow::Result<Self> {
        let wanted: Vec<(Modality, FeatureKind)> =
            head.features.iter().map(|feature| (feature.modality, feature.kind)).collect();
        if wanted.iter().any(|(_, kind)| matches!(kind, FeatureKind::File | FeatureKind::Residue)) {
            let said =
                format!("head {} reads rows of files, which only its own training can give it", head.id);
            return Err(UsageError(said).into());
        }
        let text = head.features.iter().find(|feature| feature.modality == Modality::Text);
        let text = text.map_or(DEFAULT_TEXT_ENCODER, |feature| feature.encoder.as_str()).to_owned();
        let sources = Self::open_parts(wanted, None, model, &text, runtime)?;
        head.ensure_reads(&sources.spaces())?;
        Ok(sources)
    }

    fn open_parts(
        mut wanted: Vec<(Modality, FeatureKind)>,
        file: Option<RowFile>,
        model: &ModelArgs,
        text_encoder: &str,
        runtime: &OnnxRuntime,
    ) -> anyhow::Result<Self> {
        let mut sources = Self { protein: None, text: None, file, parts: Vec::new() };
        if wanted.is_empty() && sources.file.is_none() {
            let source = start(model)?;
            let kind = match source.default_kind() {
                RowKind::LayerStatistics => FeatureKind::Statistics,
                RowKind::Pooled | RowKind::PooledAndWords => FeatureKind::Pooled,
            };
            sources.protein = Some(source);
            wanted.push((Modality::Protein, kind));
        }
        for (modality, kind) in wanted {
            let args = model.for_modality(modality, text_encoder);
            let slot = if modality == Modality::Protein { &mut sources.protein } else { &mut sources.text };
            if slot.is_none() {
                *slot = Some(start(&args)?);
            }
            let source = slot.as_ref().context("the source was opened above")?;
            sources.parts.push(part(source, modality, kind, &args, runtime)?);
        }
        if let Some(file) = &sources.file {
            sources.parts.push(Part { card: file.feature_card(), tower: None });
        }
        Ok(sources)
    }

    /// What the head's card says of them.
    pub(crate) fn cards(&self) -> Vec<FeatureCard> {
        self.parts.iter().map(|part| part.card.clone()).collect()
    }

    /// Where the parts of a row live.
    pub(crate) fn spaces(&self) -> Vec<Space> {
        self.parts.iter().map(|part| part.card.space.clone()).collect()
    }

    /// Rows of records, `[n, sum of widths]`. Ids for which a file has no row are an error that names them.
    pub(crate) fn rows(&self, records: &[Content<'_>]) -> anyhow::Result<Array2<f32>> {
        let pairs: Vec<TextPair> = records.iter().map(as_pair).collect();
        let pairs: Vec<&TextPair> = pairs.iter().collect();
        let mut parts = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            parts.push(self.rows_of(part, &pairs)?);
        }
        let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
        Ok(ndarray::concatenate(Axis(1), &views)?)
    }

    /// As [`FeatureSources::rows`], with their spaces.
    pub(crate) fn feature_rows(&self, records: &[Content<'_>]) -> anyhow::Result<FeatureRows> {
        let rows = self.rows(records)?;
        Ok(FeatureRows::new(self.spaces(), rows.into_iter().collect())?)
    }

    fn rows_of(&self, part: &Part, pairs: &[&TextPair]) -> anyhow::Result<Array2<f32>> {
        if part.card.kind == FeatureKind::File {
            return self.file.as_ref().context("the file was opened")?.rows_by_id(pairs);
        }
        let rows = match part.card.modality {
            Modality::Protein => {
                let source = self.protein.as_ref().context("the protein encoder was opened")?;
                ensure_content(pairs, "sequence", |pair| &pair.sequence)?;
                let kind = match (&part.tower, part.card.kind) {
                    (Some(tower), _) => tower.row_kind(),
                    (None, FeatureKind::Statistics) => RowKind::LayerStatistics,
                    (None, _) => RowKind::Pooled,
                };
                source.protein_rows(pairs, kind)?
            }
            Modality::Text => {
                ensure_content(pairs, "text", |pair| &pair.text)?;
                let kind = part.tower.as_ref().map_or(RowKind::Pooled, |tower| tower.row_kind());
                let source = self.text.as_ref().context("the text encoder was opened")?;
                source.sentence_rows(pairs, kind)?.text_rows()
            }
        };
        match &part.tower {
            Some(tower) => project(tower, &rows),
            None => Ok(rows),
        }
    }
}

fn start(args: &ModelArgs) -> anyhow::Result<RowSource> {
    Ok(RowSource::Encoder(Box::new(wiring::start_embedder(args, false)?)))
}

fn part(
    source: &RowSource,
    modality: Modality,
    kind: FeatureKind,
    args: &ModelArgs,
    runtime: &OnnxRuntime,
) -> anyhow::Result<Part> {
    let encoder = source.encoder().to_owned();
    let (space, tower) = match kind {
        FeatureKind::Joint => {
            let towers = wiring::find_towers(wiring::registry()?.cache(), args)?;
            let missing =
                || UsageError(format!("no towers ship for {encoder}; give some by --towers FOLDER"));
            let tower = wiring::open_tower(runtime, &towers.ok_or_else(missing)?, modality)?;
            source.ensure_read_by(tower.input_space(), tower.row_kind())?;
            (tower.space().clone(), Some(tower))
        }
        FeatureKind::Statistics => (source.space(RowKind::LayerStatistics)?.clone(), None),
        FeatureKind::Pooled | FeatureKind::Residue | FeatureKind::File => {
            (source.space(RowKind::Pooled)?.clone(), None)
        }
    };
    Ok(Part { card: FeatureCard { kind, modality, encoder, space }, tower })
}

fn as_pair(content: &Content<'_>) -> TextPair {
    TextPair {
        accession: content.id.to_owned(),
        sequence: content.sequence.to_owned(),
        text: content.text.to_owned(),
        ..TextPair::default()
    }
}

fn ensure_content(
    pairs: &[&TextPair],
    what: &str,
    content: impl Fn(&TextPair) -> &String,
) -> anyhow::Result<()> {
    let without: Vec<&&TextPair> = pairs.iter().filter(|pair| content(pair).is_empty()).collect();
    let Some(first) = without.first() else { return Ok(()) };
    let (n, id) = (without.len(), &first.accession);
    let way_out = if what == "sequence" { "; add a column sequence, or give --sequences FILE" } else { "" };
    Err(UsageError(format!("{n} records have no {what} ({id} the first){way_out}")).into())
}

/// Rows to vectors of a joint space.
pub(crate) fn project(tower: &OnnxProjection, rows: &Array2<f32>) -> anyhow::Result<Array2<f32>> {
    let rows = rows.rows().into_iter().map(|row| EncoderRow::new(row.to_vec()));
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    let vectors = tower.project(&rows.iter().collect::<Vec<_>>())?;
    let values: Vec<f32> = vectors.iter().flat_map(|vector| vector.as_slice()).copied().collect();
    Ok(Array2::from_shape_vec((vectors.len(), tower.space().dim), values)?)
}
