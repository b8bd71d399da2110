//! Pairs of protein and text: what training and evaluation of the joint space read.
//!
//! The table of pairs is joined with sequences and, where they are given, with rows that were made beforehand.

use std::path::{Path, PathBuf};

use protext_core::Modality;
use protext_engine::eval::{PairOptions, PairTable, TextPair};
use protext_onnx::DeviceChoice;

use super::row_source::{RowFile, RowSource};
use crate::wiring::{self, ModelArgs};

/// Text encoder unless another is named: package registries carry it.
pub(crate) const DEFAULT_TEXT_ENCODER: &str = "all-MiniLM-L6-v2";

/// Which pairs, and which encoders or rows.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PairArgs {
    /// Table with accession, text and, if it has them, sequence, split, group or cluster30, and text_dup: TSV, CSV, JSON
    /// lines or Parquet, plain or gzip.
    #[arg(long, visible_alias = "pairs", value_name = "FILE")]
    pub(crate) data: PathBuf,
    /// FASTA or tables with accession and sequence, where --data has no sequences; by default the tables in ../proteins
    /// beside it, or in $PROTEXT_SHARED/data/proteins.
    #[arg(long, value_name = "FILE")]
    pub(crate) sequences: Vec<PathBuf>,
    /// Embeddings of the proteins by accession (HDF5, Parquet, NPZ or JSON lines) instead of a protein encoder.
    #[arg(long, value_name = "FILE")]
    pub(crate) protein_rows: Option<PathBuf>,
    /// Embeddings of the texts by accession instead of a text encoder.
    #[arg(long, value_name = "FILE")]
    pub(crate) text_rows: Option<PathBuf>,
    /// What --protein-rows holds, if the file does not say: a name for encoder and pooling.
    #[arg(long, value_name = "NAME", requires = "protein_rows")]
    pub(crate) protein_space: Option<String>,
    /// What --text-rows holds, if the file does not say.
    #[arg(long, value_name = "NAME", requires = "text_rows")]
    pub(crate) text_space: Option<String>,
    /// Protein encoder.
    #[arg(long, value_name = "ID", env = "PROTEXT_ENCODER", default_value = wiring::DEFAULT_PROTEIN_ENCODER)]
    pub(crate) encoder: String,
    /// Text encoder.
    #[arg(long, value_name = "ID", default_value = DEFAULT_TEXT_ENCODER)]
    pub(crate) text_encoder: String,
    /// Device: auto, cpu, openvino or cuda, with its numbers if they matter: cpu:bf16x3, cpu:int16, cpu:bf16, cpu:int8, cuda:fp16.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub(crate) device: DeviceChoice,
}

/// Files of rows that stand for encoders.
#[derive(Debug, Default)]
pub(crate) struct RowFiles {
    pub(crate) protein: Option<RowFile>,
    pub(crate) text: Option<RowFile>,
}

impl PairArgs {
    /// Reads the files of rows, if there are any.
    pub(crate) fn row_files(&self) -> anyhow::Result<RowFiles> {
        let open = |path: &Option<PathBuf>, space: &Option<String>, modality| {
            path.as_deref().map(|path| RowFile::open(path, space.as_deref(), modality)).transpose()
        };
        Ok(RowFiles {
            protein: open(&self.protein_rows, &self.protein_space, Modality::Protein)?,
            text: open(&self.text_rows, &self.text_space, Modality::Text)?,
        })
    }

    /// Reads the pairs and says what was left out.
    pub(crate) fn read(&self, files: &RowFiles) -> anyhow::Result<PairTable> {
        self.read_table(&self.data, files, false)
    }

    /// Reads further pairs, which may hold several texts of one protein.
    pub(crate) fn read_extra(&self, path: &Path, files: &RowFiles) -> anyhow::Result<PairTable> {
        // Rows of texts go by accession, so that a second text of a protein would have the row of the first.
        self.read_table(path, files, files.text.is_none())
    }

    fn read_table(&self, path: &Path, files: &RowFiles, several_texts: bool) -> anyhow::Result<PairTable> {
        let sequences =
            if self.sequences.is_empty() { find_sequences(&self.data) } else { self.sequences.clone() };
        let without_sequence = files.protein.is_some();
        let mut table = PairTable::read(path, &PairOptions { sequences, without_sequence, several_texts })?;
        for (n, why) in [
            (table.n_without_sequence, "have no sequence"),
            (table.n_without_text, "have no text"),
            (table.n_repeated, "repeat an earlier one"),
        ] {
            if n > 0 {
                eprintln!("{}: {n} rows {why} and are left out", path.display());
            }
        }
        for file in files.protein.iter().chain(&files.text) {
            file.keep_known(path, &mut table.pairs)?;
        }
        Ok(table)
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

    /// Where rows of proteins and of texts come from: the files, else encoders at work.
    pub(crate) fn row_sources(&self, files: RowFiles) -> anyhow::Result<[RowSource; 2]> {
        let open = |file: Option<RowFile>, encoder: &str| match file {
            Some(file) => Ok(RowSource::File(Box::new(file))),
            None => wiring::start_embedder(&self.model(encoder), false)
                .map(|embedder| RowSource::Encoder(Box::new(embedder))),
        };
        Ok([open(files.protein, &self.encoder)?, open(files.text, &self.text_encoder)?])
    }
}

/// Equal numbers for equal sequences, or for equal accessions where no sequence is known.
pub(crate) fn sequence_or_accession(pair: &TextPair) -> &str {
    if pair.sequence.is_empty() { &pair.accession } else { &pair.sequence }
}

/// Tables of proteins beside the pairs, or in the shared data.
pub(crate) fn find_sequences(data: &Path) -> Vec<PathBuf> {
    let beside = data.parent().map(|folder| folder.join("../proteins"));
    let shared = std::env::var_os("PROTEXT_SHARED").map_or_else(|| PathBuf::from("../shared"), PathBuf::from);
    for folder in beside.into_iter().chain([shared.join("data/proteins")]) {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let is_proteins = |path: &PathBuf| path.to_string_lossy().ends_with("_swissprot.tsv.gz");
        let mut found: Vec<PathBuf> = entries.filter(is_proteins).collect();
        found.sort();
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}
