//! ESM-2: token dropout, rotary positions, normalization before each part, one more at the end.
//!
//! Source: Lin et al. 2023 (ESM-2) and the `EsmModel` of Hugging Face transformers, whose hidden states the graph
//! reproduces.

use protext_graph::{ElementType, GraphBuilder, MICROSOFT, Value};

use super::GraphOptions;
use super::config::{Activation, EsmConfig};
use super::encoder_graph::{BlockParts, EncoderGraph};
use super::error::ConvertError;
use super::weights::Weights;

/// Share of tokens that training masked: embeddings are scaled down to what the model saw then.
/// Source: ESM-2's training, 15% chosen, 80% of them masked.
const TRAINED_MASK_SHARE: f32 = 0.15 * 0.8;

/// Rows of the stored rotary tables, four times what ESM-2 was trained on: the most tokens in one sequence where
/// the tables are not computed as the model runs.
pub(super) const STORED_POSITIONS: usize = 4096;

pub(super) fn build<'w>(
    config: &EsmConfig,
    weights: Weights<'w>,
    options: &GraphOptions,
) -> Result<GraphBuilder<'w>, ConvertError> {
    let mut graph = EncoderGraph::new("esm", config.shape, options);
    let rotation = Rotation::new(&mut graph, config, weights)?;
    let mut hidden = embed(&mut graph, config, weights)?;
    for layer in 1..=config.shape.n_layers {
        hidden = block(&mut graph, weights, &rotation, layer, &hidden)?;
        if layer < config.shape.n_layers {
            graph.record(layer, &hidden);
        }
    }
    let g = &mut graph.builder;
    g.set_scope("encoder");
    let norm =
        weights.layer_norm(g, "encoder.emb_layer_norm_after", config.shape.dim, config.shape.norm_epsilon)?;
    let last = g.layer_norm(&hidden, &norm);
    graph.record(config.shape.n_layers, &last);
    Ok(graph.finish(&last))
}

fn embed<'w>(
    graph: &mut EncoderGraph<'w>,
    config: &EsmConfig,
    weights: Weights<'w>,
) -> Result<Value, ConvertError> {
    let shape = config.shape;
    let name = "embeddings.word_embeddings.weight";
    graph.builder.set_scope("embeddings");
    let mut embedded = if config.token_dropout {
        let mask_row = config.mask_token as usize * shape.dim;
        let table =
            weights.table(&mut graph.builder, name, [shape.vocab_size, shape.dim], move |values| {
                values.iter_mut().for_each(|value| *value *= 1.0 - TRAINED_MASK_SHARE);
                values[mask_row..mask_row + shape.dim].fill(0.0);
                Ok(())
            })?;
        let unmasked = unmasked_share(graph, config.mask_token);
        let rows = graph.builder.gather(&table, &graph.token_ids);
        graph.builder.div(&rows, &unmasked)
    } else {
        let table = weights.table(&mut graph.builder, name, [shape.vocab_size, shape.dim], |_| Ok(()))?;
        graph.builder.gather(&table, &graph.token_ids)
    };
    embedded = graph.narrowed(&embedded);
    if config.norm_before {
        let norm =
            weights.layer_norm(&mut graph.builder, "embeddings.layer_norm", shape.dim, shape.norm_epsilon)?;
        embedded = graph.builder.layer_norm(&embedded, &norm);
    }
    Ok(embedded)
}

/// One less the share of `<mask>` among a sequence's tokens, BOS and EOS counted, as [`EncoderGraph::share_of_others`] has it.
fn unmasked_share(graph: &mut EncoderGraph<'_>, mask_token: i64) -> Value {
    let g = &mut graph.builder;
    let mask = g.i64_scalar(mask_token);
    let is_mask = g.node("Equal", [&graph.token_ids, &mask]).output();
    graph.share_of_others(&is_mask)
}

/// One block; `layer` counts from 1.
fn block<'w>(
    graph: &mut EncoderGraph<'w>,
    weights: Weights<'w>,
    rotation: &Rotation,
    layer: usize,
    hidden: &Value,
) -> Result<Value, ConvertError> {
    let name = format!("encoder.layer.{}", layer - 1);
    graph.builder.set_scope(&name);
    let norms = [format!("{name}.attention.LayerNorm"), format!("{name}.LayerNorm")];
    let parts = block_parts(graph, weights, &name, &norms)?;
    if let (true, Rotation::Fused { cos, sin, .. }) = (graph.has_whole_blocks(), rotation) {
        let rotary = Some((cos.clone(), sin.clone()));
        return Ok(graph.whole_block(hidden, &BlockParts { norm_first: true, rotary, ..parts }));
    }
    let [attention_norm, feed_forward_norm] = &parts.norms;
    let [query, key, value, output, widen, narrow] = &parts.linears;
    let g = &mut graph.builder;
    let normed = g.layer_norm(hidden, attention_norm);
    let [query, key, value] = [query, key, value].map(|linear| g.linear(&normed, linear));
    let (query, key) = (rotation.apply(graph, &query), rotation.apply(graph, &key));
    let mixed = graph.attention(&query, &key, &value);
    let attended = graph.residual(&mixed, output, hidden);

    let normed = graph.builder.layer_norm(&attended, feed_forward_norm);
    let activated = graph.activated(&normed, widen, Activation::GeluErf);
    Ok(graph.residual(&activated, narrow, &attended))
}

/// The parts of the block `name` of a checkpoint by their names in Hugging Face transformers, which ESM-2 shares with BERT but for
/// those of its norms.
pub(super) fn block_parts<'w>(
    graph: &mut EncoderGraph<'w>,
    weights: Weights<'w>,
    name: &str,
    norms: &[String; 2],
) -> Result<BlockParts, ConvertError> {
    let shape = graph.shape;
    let (dim, wide) = (shape.dim, shape.feed_forward_dim);
    let query_scale = (shape.head_dim() as f32).sqrt().recip();
    let g = &mut graph.builder;
    let norm = |g: &mut GraphBuilder<'w>, name: &str| weights.layer_norm(g, name, dim, shape.norm_epsilon);
    let linear = |g: &mut GraphBuilder<'w>, part: &str, dims: [usize; 2], scale: f32| {
        weights.linear(g, &format!("{name}.{part}"), dims, scale)
    };
    let attention_norm = norm(g, &norms[0])?;
    let query = linear(g, "attention.self.query", [dim, dim], query_scale)?;
    let key = linear(g, "attention.self.key", [dim, dim], 1.0)?;
    let value = linear(g, "attention.self.value", [dim, dim], 1.0)?;
    let output = linear(g, "attention.output.dense", [dim, dim], 1.0)?;
    let feed_forward_norm = norm(g, &norms[1])?;
    let widen = linear(g, "intermediate.dense", [dim, wide], 1.0)?;
    let narrow = linear(g, "output.dense", [wide, dim], 1.0)?;
    let (norms, linears) = ([attention_norm, feed_forward_norm], [query, key, value, output, widen, narrow]);
    Ok(BlockParts { norms, linears, norm_first: false, rotary: None })
}

/// Rotary positions: each head's two halves are turned against each other by position times frequency.
enum Rotation {
    /// For ONNX Runtime's operator: tables `[tokens, head_dim / 2]`, and the first position `[1]`.
    Fused { first: Value, cos: Value, sin: Value },
    /// Tables `[tokens, 1, head_dim]`, both halves alike.
    Spelled { cos: Value, sin: Value },
}

impl Rotation {
    fn new<'w>(
        graph: &mut EncoderGraph<'w>,
        config: &EsmConfig,
        weights: Weights<'w>,
    ) -> Result<Self, ConvertError> {
        let frequencies = frequencies(config, weights)?;
        graph.builder.set_scope("rotary");
        Ok(match graph.has_any_positions() {
            true => Self::fused(graph, frequencies),
            false => Self::spelled(graph, &frequencies),
        })
    }

    /// Tables computed as the model runs, for any number of tokens.
    fn fused(graph: &mut EncoderGraph<'_>, frequencies: Vec<f32>) -> Self {
        let g = &mut graph.builder;
        let frequencies = g.f32("rotary_embeddings.inv_freq", [1, frequencies.len()], frequencies);
        let positions = g.cast(&graph.positions, ElementType::Float32);
        let positions = g.unsqueeze(&positions, &[1]);
        let angles = g.mul(&positions, &frequencies);
        let (cos, sin) = (g.node("Cos", [&angles]).output(), g.node("Sin", [&angles]).output());
        let first = g.i64_list(&[0]);
        Self::Fused { first, cos: graph.narrowed(&cos), sin: graph.narrowed(&sin) }
    }

    /// Tables stored with the model. A runtime that computes in bfloat16 would round positions past 256, and
    /// with them the angles; the rounding of a stored cosine does no harm.
    fn spelled(graph: &mut EncoderGraph<'_>, frequencies: &[f32]) -> Self {
        let n_tokens = graph.n_tokens().clone();
        let g = &mut graph.builder;
        let dims = [STORED_POSITIONS, 1, 2 * frequencies.len()];
        let both_halves = || frequencies.iter().chain(frequencies);
        let angles: Vec<f32> = (0..STORED_POSITIONS)
            .flat_map(|position| both_halves().map(move |frequency| position as f32 * frequency))
            .collect();
        let cos = g.f32("rotary_embeddings.cos", dims, angles.iter().map(|angle| angle.cos()).collect());
        let sin = g.f32("rotary_embeddings.sin", dims, angles.iter().map(|angle| angle.sin()).collect());
        let zero = g.i64_list(&[0]);
        let end = g.unsqueeze(&n_tokens, &[0]);
        let mut rows = |table: &Value| g.node("Slice", [table, &zero, &end, &zero]).output();
        Self::Spelled { cos: rows(&cos), sin: rows(&sin) }
    }

    /// `[batch, tokens, dim]` to the same.
    fn apply(&self, graph: &mut EncoderGraph<'_>, x: &Value) -> Value {
        let shape = graph.shape;
        let g = &mut graph.builder;
        match self {
            Self::Fused { first, cos, sin } => {
                let inputs = [x, first, cos, sin];
                g.node("RotaryEmbedding", inputs).domain(MICROSOFT).attribute("interleaved", 0).output()
            }
            Self::Spelled { cos, sin } => {
                let heads = g.reshape(x, &[0, 0, shape.n_heads as i64, shape.head_dim() as i64]);
                let halves = g.node("Split", [&heads]).attribute("axis", -1).attribute("num_outputs", 2);
                let [left, right] = halves.outputs();
                let right = g.node("Neg", [&right]).output();
                let turned = g.concat(&[right, left], -1);
                let (along, across) = (g.mul(&heads, cos), g.mul(&turned, sin));
                let rotated = g.add(&along, &across);
                g.reshape(&rotated, &[0, 0, shape.dim as i64])
            }
        }
    }
}

/// The checkpoint's own frequencies where it has them: published ones are rounded to 16 bits, and the
/// model was trained with the rounded values.
fn frequencies(config: &EsmConfig, weights: Weights<'_>) -> Result<Vec<f32>, ConvertError> {
    let head_dim = config.shape.head_dim();
    let n_frequencies = head_dim / 2;
    // A layer has many tensors, so a config that claims more layers than there are tensors is not followed here.
    let n_layers = config.shape.n_layers.min(weights.n_tensors());
    let names = (0..n_layers)
        .map(|layer| format!("encoder.layer.{layer}.attention.self.rotary_embeddings.inv_freq"))
        .chain([
            // Transformers 5 keeps one for all layers, and saves it under a name with a star in it.
            "encoder.layer.*.attention.self.rotary_embeddings.inv_freq".to_owned(),
            "rotary_embeddings.inv_freq".to_owned(),
        ]);
    let mut stored: Option<Vec<f32>> = None;
    for name in names {
        if weights.find(&name).is_none() {
            continue;
        }
        let tensor = weights.tensor(&name, &[n_frequencies])?;
        let values = tensor.load()?;
        match &stored {
            Some(first) if *first != values => {
                return Err(ConvertError::RotaryDiffers { name: tensor.name().to_owned() });
            }
            _ => stored = Some(values),
        }
    }
    let computed = || {
        let exponent = |index: usize| 2.0 * index as f32 / head_dim as f32;
        (0..n_frequencies).map(|index| config.rope_theta.powf(exponent(index)).recip()).collect()
    };
    Ok(stored.unwrap_or_else(computed))
}
