//! A device proves itself: it answers golden inputs as the CPU does in 32 bits, before anyone gets its answers.
//!
//! The inputs are fixed, of different lengths in one batch, so that padding is tried as well. Called when an encoder is
//! opened on a device.

use protext_core::{
    Encoder as _, EncoderInput, EncoderWorker as _, LongPolicy, Modality, Piece, PieceOutput,
    ProteinSequence, ResiduePolicy, Text,
};

use crate::device::SessionPlan;
use crate::encoder::OnnxEncoder;
use crate::error::ModelError;

/// Human ubiquitin, insulin's chains and a stretch of low complexity.
const PROTEINS: [&str; 3] = [
    "MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG",
    "GIVEQCCTSICSLYQLENYCNFVNQHLCGSHLVEALYLVCGERGFFYTPKT",
    "GSGSGSGSGSGSGSGS",
];
const TEXTS: [&str; 2] = [
    "Ubiquitin is a small protein that marks others for degradation by the proteasome.",
    "Lowers the concentration of glucose in blood.",
];

/// Least cosine of the device's answers with the CPU's.
pub(crate) fn prove(encoder: &OnnxEncoder) -> Result<f32, ModelError> {
    let spec = encoder.spec();
    let device = encoder.plan().device;
    let pieces = inputs(encoder)?;
    let reference = spec.reference.as_ref().unwrap_or(&spec.onnx);
    let expected = answers(encoder, reference, &SessionPlan::default(), &pieces)?;
    let found = answers(encoder, &spec.onnx, encoder.plan(), &pieces)?;
    let mut least = 1.0_f32;
    for (expected, found) in expected.iter().zip(&found) {
        let rows = [
            (&expected.mean, &found.mean),
            (&expected.layer_means, &found.layer_means),
            (&expected.layer_variances, &found.layer_variances),
        ];
        for (expected, found) in rows.into_iter().filter(|(expected, _)| !expected.is_empty()) {
            let cosine = cosine(expected, found);
            // One that is no number stays.
            if cosine.is_nan() || cosine < least {
                least = cosine;
            }
        }
    }
    let wanted = encoder.plan().precision.least_cosine();
    if least >= wanted {
        return Ok(least);
    }
    let reason = format!(
        "{} answers the golden inputs with a cosine of {least} with the CPU's, and {wanted} is wanted",
        spec.id
    );
    Err(ModelError::Device { device, reason })
}

fn answers(
    encoder: &OnnxEncoder,
    onnx: &std::path::Path,
    plan: &SessionPlan,
    pieces: &[Piece],
) -> Result<Vec<PieceOutput>, ModelError> {
    let mut worker = encoder.worker_on(onnx, plan)?;
    worker.run(&pieces.iter().collect::<Vec<_>>(), false).map_err(|error| failed(encoder, &error))
}

fn inputs(encoder: &OnnxEncoder) -> Result<Vec<Piece>, ModelError> {
    first_pieces(
        encoder,
        match encoder.modality() {
            Modality::Protein => &PROTEINS,
            Modality::Text => &TEXTS,
        },
    )
}

/// Of proteins or texts, as the encoder reads them.
pub(crate) fn first_pieces(
    encoder: &OnnxEncoder,
    inputs: &[impl AsRef<str>],
) -> Result<Vec<Piece>, ModelError> {
    let inputs = inputs.iter().map(|input| match encoder.modality() {
        Modality::Protein => protein(input.as_ref()),
        Modality::Text => text(input.as_ref()),
    });
    let mut pieces = Vec::new();
    for input in inputs {
        // A short window cuts an input in several; the first will do.
        pieces.extend(cut(encoder, &input)?.into_iter().take(1));
    }
    Ok(pieces)
}

fn cut(encoder: &OnnxEncoder, input: &EncoderInput) -> Result<Vec<Piece>, ModelError> {
    let prepared = encoder.prepare(input, LongPolicy::Window).map_err(|error| failed(encoder, &error))?;
    Ok(prepared.pieces)
}

pub(crate) fn failed(encoder: &OnnxEncoder, error: &dyn std::error::Error) -> ModelError {
    let mut reason = format!("{} cannot answer an input of its own: {error}", encoder.spec().id);
    let mut cause = error.source();
    while let Some(error) = cause {
        reason.push_str(&format!(": {error}"));
        cause = error.source();
    }
    ModelError::Device { device: encoder.plan().device, reason }
}

fn protein(residues: &str) -> EncoderInput {
    let parsed = ProteinSequence::parse(residues, ResiduePolicy::default());
    EncoderInput::Protein(parsed.expect("golden inputs are proteins").0)
}

fn text(sentence: &str) -> EncoderInput {
    EncoderInput::Text(Text::parse(sentence).expect("golden inputs are texts"))
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot =
        |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
    (dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cosine_of_what_is_no_number_is_none() {
        assert!((cosine(&[1.0, 2.0], &[2.0, 4.0]) - 1.0).abs() < 1e-7);
        assert!(cosine(&[1.0, 2.0], &[f32::NAN, 4.0]).is_nan());
        assert!(cosine(&[0.0, 0.0], &[1.0, 4.0]).is_nan());
    }
}
