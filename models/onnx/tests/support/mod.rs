//! What the tests of real sessions share: the runtime, tiny checkpoints, the models of the cache.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test file uses a part")]

pub mod spelled;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use protext_core::Modality;
use protext_graph::WriteOptions;
use protext_onnx::{
    Device, DeviceChoice, EncoderSpec, OnnxEncoder, OnnxRuntime, Precision, SessionPlan, TokenPooling,
    Tokenization,
};
use protext_registry::convert::{ConvertRequest, Dialect, GraphOptions, convert};
use protext_registry::{Cache, ReadyModel, Registry, runtime};

/// The runtime of the cache; without it a test says loudly that it did not run.
pub fn runtime_or_say(test: &str) -> Option<OnnxRuntime> {
    let located = Cache::from_environment()
        .ok()
        .and_then(|cache| runtime::locate(&cache, runtime::RuntimeKind::Cpu).ok());
    let Some(path) = located else {
        let _ = writeln!(
            std::io::stderr(),
            "NOT RUN: {test}: ONNX Runtime is not installed; type `protext runtime install cpu`"
        );
        return None;
    };
    Some(OnnxRuntime::load(&path).unwrap())
}

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../registry/tests/fixtures")
}

/// Converts a tiny fixture to `folder` and gives a spec for it.
pub fn tiny_spec(family: &str, config: &str, layers: &[u32], folder: &Path) -> EncoderSpec {
    tiny_spec_in(Dialect::default(), family, config, layers, folder)
}

/// The same of the operators of a dialect.
pub fn tiny_spec_in(
    dialect: Dialect,
    family: &str,
    config: &str,
    layers: &[u32],
    folder: &Path,
) -> EncoderSpec {
    let source = fixtures().join(family);
    let onnx = folder.join(format!("{family}-{config}-{}.onnx", dialect.name()));
    let mut request =
        ConvertRequest::new(vec![source.join("model.safetensors")], source.join(config), onnx.clone());
    request.options = GraphOptions { statistics_layers: layers.to_vec(), dialect };
    // As the registry lays models out.
    request.layout = WriteOptions { max_inline_bytes: 0 };
    let converted = convert(&request).unwrap();
    EncoderSpec {
        id: family.to_owned(),
        modality: Modality::Protein,
        onnx,
        reference: None,
        weights_sha256: "tiny".to_owned(),
        dim: converted.dim,
        window: 30,
        overlap: 10,
        tokenization: Tokenization::Esm,
        pooling: TokenPooling::MeanOfResidues,
        normalize: false,
        statistics_layers: layers.to_vec(),
    }
}

pub fn open(runtime: &OnnxRuntime, spec: EncoderSpec) -> OnnxEncoder {
    OnnxEncoder::open(runtime, spec, SessionPlan::default()).unwrap()
}

/// A model that was pulled; without it a test says loudly that it did not run.
pub fn ready_or_say(id: &str) -> Option<ReadyModel> {
    let ready =
        Cache::from_environment().ok().and_then(|cache| Registry::open(cache, None).ok()?.ready(id).ok());
    if ready.is_none() {
        let _ = writeln!(std::io::stderr(), "NOT RUN: {id}: type `protext models pull {id}`");
    }
    ready
}

fn real_spec(ready: &ReadyModel, modality: Modality) -> EncoderSpec {
    let manifest = &ready.manifest;
    let tokenization = match &ready.files.tokenizer {
        Some(path) => Tokenization::TokenizerFile {
            path: path.clone(),
            sha256: String::new(),
            pad_token: manifest.pad_token,
        },
        None => Tokenization::Esm,
    };
    let is_protein = modality == Modality::Protein;
    EncoderSpec {
        id: manifest.id.clone(),
        modality,
        onnx: ready.onnx.clone(),
        reference: None,
        weights_sha256: ready.files.weights_sha256.clone(),
        dim: manifest.dim,
        window: manifest.window,
        overlap: manifest.overlap,
        tokenization,
        pooling: if is_protein { TokenPooling::MeanOfResidues } else { TokenPooling::MeanOfTokens },
        normalize: manifest.normalize,
        statistics_layers: manifest.statistics_layers.clone(),
    }
}

/// Opens a model on the CPU provider; said loudly if this processor has no such numbers.
pub fn open_real(
    runtime: &OnnxRuntime,
    ready: &ReadyModel,
    modality: Modality,
    precision: Precision,
) -> Option<OnnxEncoder> {
    let mut spec = real_spec(ready, modality);
    if precision == Precision::Fp32 {
        return Some(open(runtime, spec));
    }
    let registry = Registry::open(Cache::from_environment().unwrap(), None).unwrap();
    let mut on = |dialect| {
        let onnx = registry.graph(ready, dialect).unwrap();
        spec.reference = Some(std::mem::replace(&mut spec.onnx, onnx));
    };
    if precision == Precision::Fp16 {
        // The graph that GPUs are for; the CPU provider computes in 32 bits where it has no kernels for 16, and rounds between.
        on(Dialect::Halves);
        let plan = SessionPlan { precision, ..SessionPlan::default() };
        return Some(OnnxEncoder::open(runtime, spec, plan).unwrap());
    }
    let choice = DeviceChoice { device: Device::Cpu, precision: Some(precision) };
    let Ok(plan) = SessionPlan::on(choice) else {
        let _ = writeln!(std::io::stderr(), "NOT RUN: {} in {precision}: this processor has none", spec.id);
        return None;
    };
    on(Dialect::Blocks);
    Some(OnnxEncoder::open(runtime, spec, plan).unwrap())
}

/// Opens a model's graph for packed sequences on the CPU provider, CUDA's attention spelled out in `folder`.
pub fn open_packed(
    runtime: &OnnxRuntime,
    ready: &ReadyModel,
    modality: Modality,
    precision: Precision,
    folder: &Path,
) -> OnnxEncoder {
    let registry = Registry::open(Cache::from_environment().unwrap(), None).unwrap();
    let dialect = if precision == Precision::Fp16 { Dialect::PackedHalves } else { Dialect::Packed };
    let mut spec = real_spec(ready, modality);
    let folder = folder.join(format!("{}-{precision}", spec.id));
    std::fs::create_dir(&folder).unwrap();
    let packed = spelled::spell_out(&registry.graph(ready, dialect).unwrap(), &folder);
    spec.reference = Some(std::mem::replace(&mut spec.onnx, packed));
    let plan = SessionPlan { precision, ..SessionPlan::default() };
    OnnxEncoder::open(runtime, spec, plan).unwrap()
}

pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(&p, &q)| f64::from(p) * f64::from(q)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

pub fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}
