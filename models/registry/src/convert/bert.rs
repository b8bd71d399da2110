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
    let positions = graph.at_positions(&positions);
    let g = &mut graph.builder;
    let rows = g.gather(&words, &graph.token_ids);
    let sum = g.add(&rows, &positions);
    let sum = graph.narrowed(&sum);
    let g = &mut graph.builder;
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
    let name = format!("encoder.layer.{}", layer - 1);
    graph.builder.set_scope(&name);
    if graph.has_whole_blocks() && config.activation != Activation::GeluErf {
        return Err(ConvertError::NoBlocks);
    }
    let norms = [format!("{name}.attention.output.LayerNorm"), format!("{name}.output.LayerNorm")];
    let parts = block_parts(graph, weights, &name, &norms)?;
    if graph.has_whole_blocks() {
        return Ok(graph.whole_block(hidden, &parts));
    }
    let [attention_norm, feed_forward_norm] = &parts.norms;
    let [query, key, value, output, widen, narrow] = &parts.linears;
    let g = &mut graph.builder;
    let [query, key, value] = [query, key, value].map(|linear| g.linear(hidden, linear));
    let mixed = graph.attention(&query, &key, &value);
    let attended = graph.residual(&mixed, output, hidden);
    let attended = graph.builder.layer_norm(&attended, attention_norm);

    let activated = graph.activated(&attended, widen, config.activation);
    let summed = graph.residual(&activated, narrow, &attended);
    Ok(graph.builder.layer_norm(&summed, feed_forward_norm))
}
