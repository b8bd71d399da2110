//! BERT: a table of positions, normalization after each part.
//!
//! Source: Devlin et al. 2019 and the `BertModel` of Hugging Face transformers, whose hidden states the graph
//! reproduces. All tokens are of type 0: one text at a time.

use protext_graph::{BoxError, GraphBuilder, Value};

use super::GraphOptions;
use super::config::{Activation, BertConfig};
use super::encoder_graph::EncoderGraph;
use super::error::ConvertError;
use super::esm::block_parts;
use super::weights::Weights;

pub(super) fn build<'w>(
    config: &BertConfig,
    weights: Weights<'w>,
    options: &GraphOptions,
) -> Result<GraphBuilder<'w>, ConvertError> {
    let mut graph = EncoderGraph::new("bert", config.shape, options);
    let mut hidden = embed(&mut graph, config, weights)?;
    for layer in 1..=config.shape.n_layers {
        hidden = block(&mut graph, config, weights, layer, &hidden)?;
        graph.record(layer, &hidden);
    }
    Ok(graph.finish(&hidden))
}

fn embed<'w>(
    graph: &mut EncoderGraph<'w>,
    config: &BertConfig,
    weights: Weights<'w>,
) -> Result<Value, ConvertError> {
    let shape = config.shape;
    let types =
        weights.tensor("embeddings.token_type_embeddings.weight", &[config.n_token_types, shape.dim])?;
    let g = &mut graph.builder;
    g.set_scope("embeddings");
    let words =
        weights.table(g, "embeddings.word_embeddings.weight", [shape.vocab_size, shape.dim], |_| Ok(()))?;
    // Every token is of type 0, so that row is added to the positions once and for all.
    let position_shape = [config.max_tokens, shape.dim];
    let positions =
        weights.table(g, "embeddings.position_embeddings.weight", position_shape, move |positions| {
            let types = types.load()?;
            let first_type = types.get(..shape.dim).ok_or("there is no token type 0")?;
            for row in positions.chunks_exact_mut(shape.dim) {
                row.iter_mut().zip(first_type).for_each(|(value, add)| *value += add);
            }
            Ok::<(), BoxError>(())
        })?;
    let (start, axis) = (g.i64_list(&[0]), g.i64_list(&[0]));
    let end = g.unsqueeze(&graph.n_tokens, &[0]);
    let positions = g.node("Slice", [&positions, &start, &end, &axis]).output();
    let rows = g.gather(&words, &graph.token_ids);
    let sum = g.add(&rows, &positions);
    let norm = weights.layer_norm(g, "embeddings.LayerNorm", shape.dim, shape.norm_epsilon)?;
    Ok(g.layer_norm(&sum, &norm))
}

/// One block; `layer` counts from 1.
fn block<'w>(
    graph: &mut EncoderGraph<'w>,
    config: &BertConfig,
    weights: Weights<'w>,
    layer: usize,
    hidden: &Value,
) -> Result<Value, ConvertError> {
    let shape = config.shape;
    let (dim, wide) = (shape.dim, shape.feed_forward_dim);
    let name = format!("encoder.layer.{}", layer - 1);
    graph.builder.set_scope(&name);
    if graph.has_whole_blocks() {
        if config.activation != Activation::GeluErf {
            return Err(ConvertError::NoBlocks);
        }
        let norms = [format!("{name}.attention.output.LayerNorm"), format!("{name}.output.LayerNorm")];
        let parts = block_parts(graph, weights, &name, &norms)?;
        return Ok(graph.whole_block(hidden, &parts));
    }
    let g = &mut graph.builder;
    let query_scale = (shape.head_dim() as f32).sqrt().recip();
    let mut projected = |part: &str, scale: f32| {
        let linear = weights.linear(g, &format!("{name}.attention.self.{part}"), [dim, dim], scale)?;
        Ok::<Value, ConvertError>(g.linear(hidden, &linear))
    };
    let (query, key, value) =
        (projected("query", query_scale)?, projected("key", 1.0)?, projected("value", 1.0)?);
    let mixed = graph.attention(&query, &key, &value);
    let output = format!("{name}.attention.output");
    let dense = weights.linear(&mut graph.builder, &format!("{output}.dense"), [dim, dim], 1.0)?;
    let attended = graph.residual(&mixed, &dense, hidden);

    let g = &mut graph.builder;
    let norm = weights.layer_norm(g, &format!("{output}.LayerNorm"), dim, shape.norm_epsilon)?;
    let attended = g.layer_norm(&attended, &norm);
    let widen = weights.linear(g, &format!("{name}.intermediate.dense"), [dim, wide], 1.0)?;
    let narrow = weights.linear(g, &format!("{name}.output.dense"), [wide, dim], 1.0)?;
    let activated = graph.activated(&attended, &widen, config.activation);
    let summed = graph.residual(&activated, &narrow, &attended);
    let g = &mut graph.builder;
    let norm = weights.layer_norm(g, &format!("{name}.output.LayerNorm"), dim, shape.norm_epsilon)?;
    Ok(g.layer_norm(&summed, &norm))
}
