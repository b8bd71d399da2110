//! The language head of an ESM-2 checkpoint as a graph of its own, so that encoders without a request for it pay nothing.
//!
//! Input `rows [batch, dim]` (residues of the last layer), output `logits [batch, 20]`: the columns of the standard amino
//! acids in alphabetic order, taken out of the vocabulary. Source: `EsmLMHead` of Hugging Face transformers.

use protext_core::AminoAcid;
use protext_graph::{Dim, ElementType, GraphBuilder, Linear};

use super::checkpoint::Checkpoint;
use super::config::EsmConfig;
use super::error::ConvertError;
use super::weights::Weights;

/// The vocabulary of ESM-2 from its fifth token on: the standard amino acids.
/// Source: `vocab.txt` of facebook/esm2_t6_8M_UR50D.
const FIRST_LETTERS: &[u8; 20] = b"LAGVSERTIDPKQNFYMHWC";
/// Tokens before them: `<cls>`, `<pad>`, `<eos>`, `<unk>`.
const FIRST_LETTER_TOKEN: usize = 4;

/// The graph of the checkpoint's head; `None` if it has none.
pub(super) fn build<'w>(
    config: &EsmConfig,
    checkpoint: &'w Checkpoint,
) -> Result<Option<GraphBuilder<'w>>, ConvertError> {
    let shape = config.shape;
    let dim = shape.dim;
    // The head stands beside the encoder, so its names have no prefix.
    let head = Weights::unprefixed(checkpoint);
    if head.find("lm_head.dense.weight").is_none() {
        return Ok(None);
    }
    let mut g = GraphBuilder::new("lm_head");
    let rows = g.input("rows", ElementType::Float32, [Dim::from("batch"), dim.into()]);
    let dense = head.linear(&mut g, "lm_head.dense", [dim, dim], 1.0)?;
    let norm = head.layer_norm(&mut g, "lm_head.layer_norm", dim, shape.norm_epsilon)?;
    let hidden = g.gemm(&rows, &dense);
    let hidden = g.gelu(&hidden);
    let hidden = g.layer_norm(&hidden, &norm);

    // Decoder and embeddings are one matrix; files that keep it once keep it as the embeddings.
    let tied = "embeddings.word_embeddings.weight";
    let decoder = match head.find("lm_head.decoder.weight") {
        Some(_) => head.tensor("lm_head.decoder.weight", &[shape.vocab_size, dim])?,
        None => Weights::new(checkpoint, "esm.").tensor(tied, &[shape.vocab_size, dim])?,
    };
    let bias = head.tensor("lm_head.bias", &[shape.vocab_size])?;
    let weight = g.deferred_f32("decoder.weight", [dim, AminoAcid::COUNT], move || {
        let table = decoder.load()?;
        let places = (0..dim).flat_map(|row| tokens().map(move |token| token * dim + row));
        Ok(places.map(|place| table[place]).collect())
    });
    let bias = g.deferred_f32("decoder.bias", [AminoAcid::COUNT], move || {
        let biases = bias.load()?;
        Ok(tokens().map(|token| biases[token]).collect())
    });
    let logits = g.gemm(&hidden, &Linear { weight, bias });
    g.output("logits", &logits, ElementType::Float32, [Dim::from("batch"), AminoAcid::COUNT.into()]);
    Ok(Some(g))
}

/// Tokens of the standard amino acids, in alphabetic order of their letters.
fn tokens() -> impl Iterator<Item = usize> {
    AminoAcid::all().map(|amino_acid| {
        let place = FIRST_LETTERS.iter().position(|&letter| letter == amino_acid.letter());
        FIRST_LETTER_TOKEN + place.expect("all 20 letters are in the vocabulary")
    })
}

#[cfg(test)]
mod tests {
    use super::tokens;

    #[test]
    fn each_amino_acid_has_its_token() {
        // A is 5, C 23, W 22, Y 19 in the published vocabulary.
        let tokens: Vec<usize> = tokens().collect();
        assert_eq!((tokens[0], tokens[1], tokens[18], tokens[19]), (5, 23, 22, 19));
        let mut sorted = tokens;
        sorted.sort_unstable();
        assert_eq!(sorted, (4..24).collect::<Vec<_>>());
    }
}
