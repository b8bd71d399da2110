//! Blocks of bytes are calibrated: what rounding takes from weights is given back for inputs as they are on average.
//!
//! The encoder answers fixed inputs in bfloat16, and its blocks record what goes into their layers. No data set is needed: inputs of a
//! transformer's layers are far from zero on average whatever is read, and proteins made at random by the shares of residues in
//! nature give nearly the averages of real ones (`docs/decisions/blocks.md`).

use std::sync::Arc;

use protext_core::{Encoder as _, EncoderWorker as _, Modality};
use protext_kernels::Operands;

use crate::blocks::PackedBlocks;
use crate::encoder::{OnnxEncoder, isa};
use crate::error::ModelError;
use crate::golden::{failed, first_pieces};

/// Residues and how many of 10,000 they are. Source: composition of UniProtKB/Swiss-Prot.
const RESIDUES: [(char, u64); 20] = [
    ('A', 825),
    ('Q', 393),
    ('L', 965),
    ('S', 665),
    ('R', 553),
    ('E', 672),
    ('K', 580),
    ('T', 536),
    ('N', 406),
    ('G', 707),
    ('M', 241),
    ('W', 110),
    ('D', 546),
    ('H', 227),
    ('F', 386),
    ('Y', 292),
    ('C', 138),
    ('I', 591),
    ('P', 474),
    ('V', 686),
];
const N_PROTEINS: usize = 16;
const N_RESIDUES: usize = 250;
const TEXTS: [&str; 8] = [
    "Catalyzes the transfer of a phosphate group from ATP to serine residues of its substrates.",
    "A membrane protein that carries copper ions into the cell.",
    "Belongs to the family of short-chain dehydrogenases.",
    "Regulates transcription of genes that are needed when oxygen is scarce; binds DNA as a homodimer.",
    "Tumor protein p53",
    "This gene encodes a receptor of the immune system. Mutations in it have been found in patients with severe infections. Several \
     variants of its transcript are known.",
    "Component of the large ribosomal subunit, where proteins are made.",
    "muscle contraction; cytoskeleton; calcium ion binding",
];

/// The encoder's blocks in bytes; the encoder's own are those that record.
pub(crate) fn blocks_of_bytes(encoder: &OnnxEncoder) -> Result<Arc<PackedBlocks>, ModelError> {
    let pieces = match encoder.modality() {
        Modality::Protein => first_pieces(encoder, &proteins())?,
        Modality::Text => first_pieces(encoder, &TEXTS)?,
    };
    let mut worker = encoder.worker_on(&encoder.spec().onnx, encoder.plan())?;
    for piece in &pieces {
        worker.run(&[piece], false).map_err(|error| failed(encoder, &error))?;
    }
    let means = encoder.blocks().map(PackedBlocks::take_recorded).unwrap_or_default();
    Ok(PackedBlocks::new(isa()?, Operands::Int8, means))
}

/// Proteins that are the same each time.
fn proteins() -> Vec<String> {
    let total: u64 = RESIDUES.iter().map(|(_, share)| share).sum();
    let mut state = 1_u64;
    let mut residue = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut drawn = (state >> 33) % total;
        let of_share = |&&(_, share): &&(char, u64)| {
            let is_it = drawn < share;
            drawn = drawn.wrapping_sub(share);
            is_it
        };
        RESIDUES.iter().find(of_share).map_or('A', |(residue, _)| *residue)
    };
    (0..N_PROTEINS).map(|_| (0..N_RESIDUES).map(|_| residue()).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proteins_are_drawn_by_the_shares_of_residues() {
        let (drawn, total) = (proteins().concat(), RESIDUES.iter().map(|(_, share)| share).sum::<u64>());
        for (residue, share) in RESIDUES {
            let expected = share as f64 / total as f64 * drawn.len() as f64;
            let found = drawn.matches(residue).count() as f64;
            assert!((found - expected).abs() < 5.0 * expected.sqrt(), "{residue}: {found}, not {expected}");
        }
    }
}
