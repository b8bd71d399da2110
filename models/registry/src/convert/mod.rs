//! Turns a checkpoint and its `config.json` into an ONNX encoder.
//!
//! The step between fetching a model and opening it: [`convert`] reads safetensors or PyTorch files (the latter
//! without executing anything), builds the family's graph, and writes it whole or not at all. The same input gives
//! the same bytes; [`content_key`] names them before they exist, so that a cache can be asked first.

mod bert;
mod checkpoint;
pub mod config;
mod encoder_graph;
mod error;
mod esm;
mod lm_head;
mod weights;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use protext_core::Fingerprint;
use protext_graph::WriteOptions;
use sha2::{Digest, Sha256};

use checkpoint::{Checkpoint, read_error};
use config::ModelConfig;
pub use error::{ConfigError, ConvertError, PickleError};
use weights::Weights;

/// Raised whenever the same checkpoint would give other bytes; part of [`content_key`].
pub const CONVERTER_VERSION: u32 = 2;

/// Which operators the graph is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dialect {
    /// Standard ones and ONNX Runtime's own: fastest there, on CPU and CUDA.
    #[default]
    OnnxRuntime,
    /// Standard ones only, without branches: for runtimes that know no others (OpenVINO), also in bfloat16.
    Standard,
    /// Those of ONNX Runtime with numbers of 16 bits in every block, for GPUs; tables, angles, pooling and outputs in 32.
    Halves,
    /// Those of ONNX Runtime's CUDA provider, which attends over sequences that lie one behind the other, without padding.
    Packed,
    /// The same with numbers as [`Dialect::Halves`] has them.
    PackedHalves,
    /// Whole transformer blocks as one operator of Protext's own, which computes in bfloat16 (`protext-kernels`).
    Blocks,
}

impl Dialect {
    /// A short name, as kept in the model's metadata.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OnnxRuntime => "onnxruntime",
            Self::Standard => "standard",
            Self::Halves => "halves",
            Self::Packed => "packed",
            Self::PackedHalves => "packed halves",
            Self::Blocks => "blocks",
        }
    }

    /// Whether blocks compute in 16 bits.
    fn is_in_halves(self) -> bool {
        matches!(self, Self::Halves | Self::PackedHalves)
    }

    /// Whether sequences lie one behind the other.
    fn is_packed(self) -> bool {
        matches!(self, Self::Packed | Self::PackedHalves)
    }

    /// Whether GPUs are what it is made for.
    fn is_for_gpus(self) -> bool {
        self.is_in_halves() || self.is_packed()
    }
}

/// What the graph computes beyond the pooled last layer, and with which operators.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct GraphOptions {
    /// Layers, from 1, whose weighted mean and variance become outputs, in this order; empty for none. Layer `i`
    /// is `hidden_states[i]` of transformers, the last one after the final normalization.
    pub statistics_layers: Vec<u32>,
    /// Operators.
    pub dialect: Dialect,
}

/// One conversion.
#[derive(Debug, Clone)]
pub struct ConvertRequest {
    /// One file, several shards, or an index (`*.index.json`) with its shards beside it.
    pub checkpoint: Vec<PathBuf>,
    /// The Hugging Face `config.json`; its `model_type` decides the family.
    pub config: PathBuf,
    /// What to compute.
    pub options: GraphOptions,
    /// Where the model goes, such as `.../model.onnx`.
    pub output: PathBuf,
    /// When weights move to a second file, `<output>.data`.
    pub layout: WriteOptions,
}

/// A finished conversion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted {
    /// The model.
    pub model: PathBuf,
    /// Its weights, where they did not fit in the model: both files belong together, under these names.
    pub data: Option<PathBuf>,
    /// `esm` or `bert`.
    pub family: &'static str,
    /// Width of a row.
    pub dim: usize,
    /// Transformer blocks.
    pub n_layers: usize,
    /// Most tokens in one sequence, special ones included; `None` if the graph sets no limit.
    pub max_tokens: Option<usize>,
}

/// Converts a checkpoint. Blocking; memory stays near the size of the largest tensor.
///
/// # Errors
/// [`ConvertError`]; nothing is left at the output path then.
pub fn convert(request: &ConvertRequest) -> Result<Converted, ConvertError> {
    let config = read_config(&request.config)?;
    let shape = *config.shape();
    check_statistics_layers(&request.options.statistics_layers, shape.n_layers)?;
    let checkpoint = Checkpoint::open(&request.checkpoint)?;
    let in_halves = request.options.dialect.is_in_halves();
    let weights = |prefix| Weights::new(&checkpoint, prefix).in_halves(in_halves);
    let mut graph = match &config {
        ModelConfig::Esm(config) => esm::build(config, weights("esm."), &request.options)?,
        ModelConfig::Bert(config) => bert::build(config, weights("bert."), &request.options)?,
    };
    graph.metadata("protext.converter", CONVERTER_VERSION.to_string());
    graph.metadata("protext.family", config.family());
    graph.metadata("protext.dialect", request.options.dialect.name());
    graph.metadata("protext.statistics_layers", listed(&request.options.statistics_layers));
    let written = graph.finish()?.write(&request.output, &request.layout)?;
    let max_tokens = match (&config, request.options.dialect) {
        (ModelConfig::Esm(_), Dialect::Standard) => Some(esm::STORED_POSITIONS),
        (ModelConfig::Esm(_), _) => None,
        (ModelConfig::Bert(config), _) => Some(config.max_tokens),
    };
    Ok(Converted {
        model: written.model,
        data: written.data,
        family: config.family(),
        dim: shape.dim,
        n_layers: shape.n_layers,
        max_tokens,
    })
}

/// Converts the language head of the request's checkpoint into a graph of its own at `output`; `None` if the checkpoint has
/// none, as those that were fine-tuned for something else. Blocking.
///
/// # Errors
/// [`ConvertError`]; nothing is left at `output` then.
pub fn convert_language_head(
    request: &ConvertRequest,
    output: &Path,
) -> Result<Option<PathBuf>, ConvertError> {
    let ModelConfig::Esm(config) = read_config(&request.config)? else { return Ok(None) };
    let checkpoint = Checkpoint::open(&request.checkpoint)?;
    let Some(mut graph) = lm_head::build(&config, &checkpoint)? else { return Ok(None) };
    graph.metadata("protext.converter", CONVERTER_VERSION.to_string());
    Ok(Some(graph.finish()?.write(output, &request.layout)?.model))
}

/// Names the result of [`convert`] by its content: 64 hexadecimal digits.
///
/// `checkpoint_sha256` are the hexadecimal digests of the checkpoint files, in any order; see [`file_sha256`].
#[must_use]
pub fn content_key<S: AsRef<str>>(
    checkpoint_sha256: &[S],
    config_json: &[u8],
    options: &GraphOptions,
) -> String {
    let mut digests: Vec<String> =
        checkpoint_sha256.iter().map(|digest| digest.as_ref().to_ascii_lowercase()).collect();
    digests.sort();
    let parts = [
        format!("protext converter {CONVERTER_VERSION}"),
        digests.join(","),
        hex::encode(Sha256::digest(config_json)),
        listed(&options.statistics_layers),
        options.dialect.name().to_owned(),
    ];
    Fingerprint::of(parts).to_string()
}

/// sha256 of a file as 64 hexadecimal digits.
///
/// # Errors
/// [`ConvertError::Read`].
pub fn file_sha256(path: &Path) -> Result<String, ConvertError> {
    let failed = |source| read_error(path, source);
    let mut file = File::open(path).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        match file.read(&mut chunk).map_err(failed)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            n_bytes => hasher.update(&chunk[..n_bytes]),
        }
    }
}

impl ConvertRequest {
    /// A request with default options: no statistics layers, ONNX Runtime's operators.
    #[must_use]
    pub fn new(checkpoint: Vec<PathBuf>, config: PathBuf, output: PathBuf) -> Self {
        let (options, layout) = (GraphOptions::default(), WriteOptions::default());
        Self { checkpoint, config, options, output, layout }
    }

    /// [`content_key`] of this request; reads all its files.
    ///
    /// # Errors
    /// [`ConvertError::Read`].
    pub fn content_key(&self) -> Result<String, ConvertError> {
        let config = std::fs::read(&self.config).map_err(|source| read_error(&self.config, source))?;
        let digests: Vec<String> =
            self.checkpoint.iter().map(|path| file_sha256(path)).collect::<Result<_, _>>()?;
        Ok(content_key(&digests, &config, &self.options))
    }
}

fn read_config(path: &Path) -> Result<ModelConfig, ConvertError> {
    let json = std::fs::read(path).map_err(|source| read_error(path, source))?;
    ModelConfig::parse(&json).map_err(|source| ConvertError::Config { path: path.to_owned(), source })
}

fn check_statistics_layers(layers: &[u32], n_layers: usize) -> Result<(), ConvertError> {
    for (index, &layer) in layers.iter().enumerate() {
        let is_known = (1..=n_layers).contains(&(layer as usize));
        if !is_known || layers[..index].contains(&layer) {
            return Err(ConvertError::StatisticsLayer { layer, n_layers });
        }
    }
    Ok(())
}

fn listed(layers: &[u32]) -> String {
    layers.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}
