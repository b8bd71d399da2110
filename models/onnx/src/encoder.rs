//! An encoder made of a tokenizer and an `.onnx` file that Protext's converter wrote.
//!
//! [`OnnxEncoder::open`] checks the file's interface once; workers are then opened from it. The spec says what
//! the manifest says, already parsed: this crate reads no manifest.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use protext_core::window::cut;
use protext_core::{
    EncodeError, Encoded, Encoder, EncoderInput, EncoderRow, EncoderWorker, Fingerprint, LongPolicy,
    Modality, N_WORD_COMPONENTS, Packing, Piece, PieceOutput, Prepared, RowKind, Running, Space, join,
    word_row,
};
use protext_kernels::{Isa, Operands};

use crate::batch::Layout;
use crate::blocks::PackedBlocks;
use crate::calibrate;
use crate::device::{Device, Precision, SessionPlan};
use crate::error::ModelError;
use crate::golden;
use crate::placement::nodes_by_provider;
use crate::runtime::OnnxRuntime;
use crate::session::{SessionWorker, Shared, open_planned};
use crate::shared_weights::SharedWeights;
use crate::tokenize::{EsmAlphabet, TextTokenizer};

/// How records become tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tokenization {
    /// The ESM-2 alphabet.
    Esm,
    /// A Hugging Face `tokenizer.json`.
    TokenizerFile {
        /// The file.
        path: PathBuf,
        /// Its sha256, which enters the space's fingerprint.
        sha256: String,
        /// Token id used to fill batches.
        pad_token: i64,
    },
}

/// Which tokens the pooled row averages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenPooling {
    /// Residues only, without BOS and EOS: ESM-2 as in ProteinCLIP.
    MeanOfResidues,
    /// Every token, special ones included: sentence-transformers' mean.
    MeanOfTokens,
    /// The first token.
    Cls,
}

/// Everything that defines an encoder, from its manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncoderSpec {
    /// Manifest id.
    pub id: String,
    /// What it reads.
    pub modality: Modality,
    /// The converted graph.
    pub onnx: PathBuf,
    /// The graph that the CPU's answer is taken from where a device has to prove itself, if it is another than `onnx`.
    pub reference: Option<PathBuf>,
    /// sha256 of the checkpoint that the graph was made from.
    pub weights_sha256: String,
    /// Width of a row.
    pub dim: usize,
    /// Residues or tokens in one piece, special tokens not counted.
    pub window: usize,
    /// Residues or tokens that neighbouring windows share.
    pub overlap: usize,
    /// Tokens.
    pub tokenization: Tokenization,
    /// Pooling.
    pub pooling: TokenPooling,
    /// Scale the pooled row to unit norm, as sentence encoders do.
    pub normalize: bool,
    /// 1-based layers whose mean and deviation are given; empty for none.
    pub statistics_layers: Vec<u32>,
}

enum Tokens {
    Esm,
    Text(Box<TextTokenizer>),
}

/// Of a batch without padding: matrices of all tokens by sequences, by which it is pooled, then take 128 MB each at most.
const MOST_SEQUENCES: usize = 1 << 10;

/// A loaded encoder.
pub struct OnnxEncoder {
    spec: EncoderSpec,
    plan: SessionPlan,
    layout: Layout,
    runtime: OnnxRuntime,
    /// Blocks in bfloat16 or bytes, where the plan is so on the CPU provider; their weights are packed once for all workers.
    blocks: Option<Arc<PackedBlocks>>,
    /// Workers that were opened so far: on several GPUs the next goes to the next.
    n_opened: AtomicUsize,
    /// Elsewhere on the CPU, for as long as a worker uses them.
    weights: Mutex<Weak<SharedWeights>>,
    tokens: Tokens,
    pooled_space: Space,
    statistics_space: Option<Space>,
    /// Of texts.
    words_space: Option<Space>,
    running: Running,
}

impl OnnxEncoder {
    /// Reads the tokenizer and checks the graph. A device other than the CPU answers the golden inputs as the CPU does, or
    /// is refused.
    ///
    /// # Errors
    /// [`ModelError`] if a file is unreadable, or is not what `spec` says, or if the device cannot be used.
    pub fn open(runtime: &OnnxRuntime, spec: EncoderSpec, plan: SessionPlan) -> Result<Self, ModelError> {
        let tokens = match &spec.tokenization {
            Tokenization::Esm => Tokens::Esm,
            Tokenization::TokenizerFile { path, .. } => {
                Tokens::Text(Box::new(TextTokenizer::from_file(path)?))
            }
        };
        let blocks = blocks_of(&plan)?;
        let shared = Shared { blocks: blocks.clone(), weights: None };
        let session = open_planned(runtime, &spec.onnx, (&plan, 0), &shared)?;
        check_interface(&session, &spec)?;
        let pooled_space = pooled_space(&spec);
        let statistics_space = statistics_space(&spec, &pooled_space);
        let words_space = (spec.modality == Modality::Text).then(|| words_space(&spec, &pooled_space));
        let (nodes, layout, runtime) = (nodes_by_provider(&session), Layout::of(&session), runtime.clone());
        let provider = plan.device.provider();
        if !nodes.is_empty() && !nodes.contains_key(provider) {
            let reason = format!("{provider} takes none of the nodes of {}", spec.id);
            return Err(ModelError::Device { device: plan.device, reason });
        }
        let running = Running {
            device: plan.device.to_string(),
            provider: provider.to_owned(),
            precision: plan.precision.to_string(),
            nodes,
            proof: None,
        };
        let mut encoder = Self {
            spec,
            plan,
            layout,
            runtime,
            blocks,
            n_opened: AtomicUsize::new(0),
            weights: Mutex::default(),
            tokens,
            pooled_space,
            statistics_space,
            words_space,
            running,
        };
        if plan.precision == Precision::Int8 {
            encoder.blocks = Some(calibrate::blocks_of_bytes(&encoder)?);
        }
        if plan != SessionPlan::default() {
            let proof = golden::prove(&encoder)?;
            encoder.running.proof = Some(proof);
        }
        Ok(encoder)
    }

    pub(crate) fn blocks(&self) -> Option<&PackedBlocks> {
        self.blocks.as_deref()
    }

    pub(crate) fn plan(&self) -> &SessionPlan {
        &self.plan
    }

    /// A worker on another graph or device than its own.
    pub(crate) fn worker_on(&self, onnx: &Path, plan: &SessionPlan) -> Result<SessionWorker, ModelError> {
        let shared =
            if *plan == self.plan && onnx == self.spec.onnx { self.shared()? } else { Shared::default() };
        let number = self.n_opened.fetch_add(1, Ordering::Relaxed);
        let session = open_planned(&self.runtime, onnx, (plan, number), &shared)?;
        let pad_token = match &self.spec.tokenization {
            Tokenization::Esm => 1,
            Tokenization::TokenizerFile { pad_token, .. } => *pad_token,
        };
        let opened = SessionWorker::new(
            self.spec.id.clone(),
            (session, shared),
            pad_token,
            self.statistics_space.is_some(),
        );
        opened.map_err(|source| ModelError::Open { path: onnx.to_owned(), source })
    }

    /// What its workers have in common. Blocks pack weights of their own, and other devices hold theirs elsewhere.
    fn shared(&self) -> Result<Shared, ModelError> {
        let blocks = self.blocks.clone();
        if blocks.is_some() || self.plan.device != Device::Cpu {
            return Ok(Shared { blocks, weights: None });
        }
        let mut known = self.weights.lock().unwrap_or_else(PoisonError::into_inner);
        let weights = match known.upgrade() {
            Some(weights) => Some(weights),
            None => SharedWeights::of(&self.spec.onnx)?,
        };
        *known = weights.as_ref().map(Arc::downgrade).unwrap_or_default();
        Ok(Shared { blocks, weights })
    }

    /// What it was opened with.
    #[must_use]
    pub fn spec(&self) -> &EncoderSpec {
        &self.spec
    }

    fn prepare_protein(&self, residues: &str, policy: LongPolicy) -> Result<Prepared, EncodeError> {
        let residues = residues.as_bytes();
        let (windows, report) = cut(residues.len(), self.spec.window, self.spec.overlap, policy, "residues")?;
        let pieces = windows
            .into_iter()
            .map(|window| {
                let token_ids = EsmAlphabet::tokens(&residues[window.range.clone()]);
                let weights = match self.spec.pooling {
                    TokenPooling::MeanOfResidues => [&[0.0], window.weights.as_slice(), &[0.0]].concat(),
                    other => share_of_tokens(other, token_ids.len()),
                };
                Piece { start: window.range.start, token_ids, weights, text: None }
            })
            .collect();
        Ok(Prepared { pieces, report })
    }

    fn prepare_text(
        &self,
        tokenizer: &TextTokenizer,
        text: &str,
        policy: LongPolicy,
    ) -> Result<Prepared, EncodeError> {
        let body = tokenizer.body(text)?;
        let (windows, report) = cut(body.len(), self.spec.window, self.spec.overlap, policy, "tokens")?;
        let pieces = windows
            .into_iter()
            .map(|window| {
                let token_ids = tokenizer.wrap(&body[window.range.clone()]);
                let weights = share_of_tokens(self.spec.pooling, token_ids.len());
                Piece { start: window.range.start, token_ids, weights, text: None }
            })
            .collect();
        Ok(Prepared { pieces, report })
    }
}

impl Encoder for OnnxEncoder {
    fn id(&self) -> &str {
        &self.spec.id
    }

    fn modality(&self) -> Modality {
        self.spec.modality
    }

    fn space(&self, kind: RowKind) -> Option<&Space> {
        match kind {
            RowKind::Pooled => Some(&self.pooled_space),
            RowKind::LayerStatistics => self.statistics_space.as_ref(),
            RowKind::PooledAndWords => self.words_space.as_ref(),
        }
    }

    fn window(&self) -> usize {
        self.spec.window
    }

    fn packing(&self) -> Packing {
        match self.layout {
            Layout::Padded => Packing::Padded,
            Layout::Packed => Packing::Unpadded { max_pieces: MOST_SEQUENCES },
        }
    }

    fn running(&self) -> Option<&Running> {
        Some(&self.running)
    }

    fn prepare(&self, input: &EncoderInput, policy: LongPolicy) -> Result<Prepared, EncodeError> {
        match (input, &self.tokens) {
            (EncoderInput::Protein(sequence), Tokens::Esm) => self.prepare_protein(sequence.as_str(), policy),
            (EncoderInput::Text(text), Tokens::Text(tokenizer)) => {
                self.prepare_text(tokenizer, text.as_str(), policy)
            }
            _ => Err(EncodeError::WrongModality {
                encoder: self.spec.id.clone(),
                expected: self.spec.modality,
                found: input.modality(),
            }),
        }
    }

    fn open_worker(&self) -> Result<Box<dyn EncoderWorker>, EncodeError> {
        match self.worker_on(&self.spec.onnx, &self.plan) {
            Ok(worker) => Ok(Box::new(worker)),
            Err(error) => {
                Err(EncodeError::Runtime { encoder: self.spec.id.clone(), source: Box::new(error) })
            }
        }
    }

    fn release(&self) {
        self.blocks.iter().for_each(|blocks| blocks.release());
        give_memory_back();
    }

    fn join(&self, prepared: &Prepared, outputs: Vec<PieceOutput>) -> Result<Encoded, EncodeError> {
        let residues_of = (self.spec.modality == Modality::Protein).then_some(self.spec.dim);
        let mut encoded = join(&self.spec.id, prepared, outputs, self.spec.normalize, residues_of)?;
        if let Tokens::Text(tokenizer) = &self.tokens {
            let tokens = prepared.pieces.iter().flat_map(|piece| tokenizer.unwrap(&piece.token_ids));
            let row = [encoded.pooled.as_slice(), &word_row(tokens.copied())].concat();
            let not_finite = |_| EncodeError::NotFinite { encoder: self.spec.id.clone() };
            encoded.statistics = Some(EncoderRow::new(row).map_err(not_finite)?);
        }
        Ok(encoded)
    }
}

/// What was freed goes back to the system: glibc keeps it for this process otherwise.
fn give_memory_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it looks at free memory alone, under the allocator's own locks.
    let _ = unsafe { libc::malloc_trim(0) };
}

/// The plan's blocks; for bytes those that record what they are calibrated with.
fn blocks_of(plan: &SessionPlan) -> Result<Option<Arc<PackedBlocks>>, ModelError> {
    Ok(match plan.precision.operands().filter(|_| plan.device == Device::Cpu) {
        Some(Operands::Int8) => Some(PackedBlocks::recording(isa()?)),
        Some(operands) => Some(PackedBlocks::new(isa()?, operands, HashMap::new())),
        None => None,
    })
}

/// The processor's instructions for blocks.
pub(crate) fn isa() -> Result<Isa, ModelError> {
    let reason = "this processor has no AVX2".to_owned();
    Isa::detect().ok_or(ModelError::Device { device: Device::Cpu, reason })
}

fn share_of_tokens(pooling: TokenPooling, n_tokens: usize) -> Vec<f32> {
    let mut weights = vec![if pooling == TokenPooling::Cls { 0.0 } else { 1.0 }; n_tokens];
    weights[0] = 1.0;
    weights
}

fn pooled_space(spec: &EncoderSpec) -> Space {
    let tokenization = match &spec.tokenization {
        Tokenization::Esm => EsmAlphabet::NAME.to_owned(),
        Tokenization::TokenizerFile { sha256, .. } => format!("tokenizer.json {sha256}"),
    };
    let pooling = match spec.pooling {
        TokenPooling::MeanOfResidues => "mean of residues",
        TokenPooling::MeanOfTokens => "mean of tokens",
        TokenPooling::Cls => "first token",
    };
    let norm = if spec.normalize { "unit norm" } else { "as it is" };
    let parts = ["encoder", &spec.weights_sha256, &tokenization, pooling, norm];
    Space { name: spec.id.clone(), dim: spec.dim, fingerprint: Fingerprint::of(parts) }
}

fn statistics_space(spec: &EncoderSpec, pooled: &Space) -> Option<Space> {
    if spec.statistics_layers.is_empty() {
        return None;
    }
    let layers = spec.statistics_layers.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let parts = ["layer statistics", &pooled.fingerprint.to_string(), &layers];
    Some(Space {
        name: format!("{}/statistics", spec.id),
        dim: 2 * spec.statistics_layers.len() * spec.dim,
        fingerprint: Fingerprint::of(parts),
    })
}

fn words_space(spec: &EncoderSpec, pooled: &Space) -> Space {
    let n_words = N_WORD_COMPONENTS.to_string();
    Space {
        name: format!("{}/words", spec.id),
        dim: spec.dim + N_WORD_COMPONENTS,
        fingerprint: Fingerprint::of(["pooled and words", &pooled.fingerprint.to_string(), &n_words]),
    }
}

fn check_interface(session: &ort::session::Session, spec: &EncoderSpec) -> Result<(), ModelError> {
    let missing = |direction, name| ModelError::Interface { path: spec.onnx.clone(), direction, name };
    for &name in Layout::of(session).inputs() {
        if !session.inputs().iter().any(|input| input.name() == name) {
            return Err(missing("input", name));
        }
    }
    let width = |name: &'static str| -> Result<i64, ModelError> {
        let output =
            session.outputs().iter().find(|output| output.name() == name).ok_or(missing("output", name))?;
        Ok(output.dtype().tensor_shape().and_then(|shape| shape.last().copied()).unwrap_or(-1))
    };
    let expect = |name, expected: usize| match width(name)? {
        found if found == expected as i64 => Ok(()),
        found => Err(ModelError::Dim { path: spec.onnx.clone(), expected, found }),
    };
    expect("mean", spec.dim)?;
    expect("hidden", spec.dim)?;
    if !spec.statistics_layers.is_empty() {
        let expected = spec.statistics_layers.len() * spec.dim;
        expect("layer_means", expected)?;
        expect("layer_variances", expected)?;
    }
    Ok(())
}
