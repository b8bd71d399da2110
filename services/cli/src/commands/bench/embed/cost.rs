//! What embedding takes: floating-point operations of a model, and seconds before it runs.

use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use protext_core::{EncoderInput, LongPolicy};
use protext_engine::Embedder;
use protext_engine::input::InputRecord;
use protext_registry::convert::config::{EncoderShape, ModelConfig};

/// Tokens around each sequence.
const N_SPECIAL: usize = 2;

/// Operations of matrix products for all records, without padding: two for a multiplication and its addition.
pub(super) fn flops(config: &Path, records: &[InputRecord]) -> anyhow::Result<f64> {
    let json = std::fs::read(config).with_context(|| config.display().to_string())?;
    let config = ModelConfig::parse(&json)?;
    let lengths = records.iter().map(|record| record.payload.as_str().len() + N_SPECIAL);
    Ok(lengths.map(|n_tokens| of_one(config.shape(), n_tokens)).sum())
}

/// Query, key, value, output and the two dense layers of each token; scores and their mixing of each pair.
fn of_one(shape: &EncoderShape, n_tokens: usize) -> f64 {
    let [dim, wide, n] = [shape.dim, shape.feed_forward_dim, n_tokens].map(|size| size as f64);
    shape.n_layers as f64 * (2.0 * n * (4.0 * dim * dim + 2.0 * dim * wide) + 4.0 * n * n * dim)
}

/// Seconds that preparing all inputs takes on this thread.
pub(super) fn preparing_s(embedder: &Embedder, inputs: &[EncoderInput]) -> anyhow::Result<f64> {
    let began = Instant::now();
    for input in inputs {
        std::hint::black_box(embedder.encoder().prepare(input, LongPolicy::Window)?);
    }
    Ok(began.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_those_of_the_layers_and_of_attention() {
        let shape = EncoderShape {
            vocab_size: 33,
            dim: 1280,
            n_layers: 33,
            n_heads: 20,
            feed_forward_dim: 5120,
            norm_epsilon: 1e-5,
        };
        // Two for each of the 649 million weights in blocks.
        let without_attention = of_one(&shape, 1) - 33.0 * 4.0 * 1280.0;
        assert_eq!(without_attention, 2.0 * 33.0 * 12.0 * 1280.0 * 1280.0);
        assert_eq!(of_one(&shape, 1000) - 1000.0 * without_attention, 33.0 * 4.0 * 1e6 * 1280.0);
    }
}
