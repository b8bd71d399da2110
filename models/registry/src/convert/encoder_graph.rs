//! What every encoder's graph shares: inputs, padding, attention, pooling, outputs.
//!
//! Inputs `token_ids [batch, tokens]`, `lengths [batch]` (positions from there on are padding) and `weights
//! [batch, tokens]` (share in pooling). Outputs `mean [batch, dim]`, `hidden [batch, tokens, dim]` and, with
//! statistics layers, `layer_means` and `layer_variances [batch, layers * dim]`.
//!
//! Attention comes in two branches, with and without a key mask: ONNX Runtime's fast kernel takes no mask, and a
//! batch without padding needs none.

use protext_graph::{Branch, ElementType, GraphBuilder, LayerNorm, Linear, MICROSOFT, Value};

use super::config::{Activation, EncoderShape};
use super::{Dialect, GraphOptions};

/// Domain of Protext's own operators.
const PROTEXT: &str = "protext";
/// Added to the scores of padding: their share after softmax is exactly zero in 32 bits.
const MASKED_SCORE: f32 = -10_000.0;

/// A graph under construction, with the values that all blocks use.
pub(super) struct EncoderGraph<'w> {
    pub(super) builder: GraphBuilder<'w>,
    pub(super) shape: EncoderShape,
    dialect: Dialect,
    statistics_layers: Vec<u32>,
    /// `[batch, tokens]`, int64.
    pub(super) token_ids: Value,
    /// `[batch]`, int64.
    pub(super) lengths: Value,
    /// Tokens in the padded batch, `[]`, int64.
    pub(super) n_tokens: Value,
    /// `0, 1, ...`, `[tokens]`, int64.
    pub(super) positions: Value,
    /// Which positions are tokens, `[batch, tokens]`, bool.
    pub(super) is_token: Value,
    padding: Padding,
    /// Weights that sum to one, `[batch, 1, tokens]`.
    shares: Value,
    /// Layer, its mean and its variance `[batch, dim]`.
    statistics: Vec<(u32, Value, Value)>,
}

/// What a whole block is made of.
pub(super) struct BlockParts {
    pub(super) norms: [LayerNorm; 2],
    pub(super) linears: [Linear; 6],
    pub(super) norm_first: bool,
    /// Tables of cosines and sines, `[tokens, head_dim / 2]`.
    pub(super) rotary: Option<(Value, Value)>,
}

/// How attention is kept off padding.
enum Padding {
    /// Two branches: `no_padding []` chooses, `key_mask [batch, tokens]` (int32, 1 for tokens) masks.
    Branches { no_padding: Value, key_mask: Value },
    /// `[batch, 1, 1, tokens]` is added to all scores.
    Scores(Value),
    /// Blocks know the lengths.
    Inside,
}

impl<'w> EncoderGraph<'w> {
    pub(super) fn new(family: &str, shape: EncoderShape, options: &GraphOptions) -> Self {
        let mut g = GraphBuilder::new(family);
        let batch_tokens = ["batch".into(), "tokens".into()];
        let token_ids = g.input("token_ids", ElementType::Int64, &batch_tokens);
        let lengths = g.input("lengths", ElementType::Int64, ["batch".into()]);
        let weights = g.input("weights", ElementType::Float32, &batch_tokens);
        g.set_scope("input");
        let sizes = g.node("Shape", [&token_ids]).output();
        let (zero, one) = (g.i64_scalar(0), g.i64_scalar(1));
        let n_tokens = g.gather(&sizes, &one);
        let positions = g.node("Range", [&zero, &n_tokens, &one]).output();
        let (column, row) = (g.unsqueeze(&lengths, &[1]), g.unsqueeze(&positions, &[0]));
        let is_token = g.node("Less", [&row, &column]).output();
        let padding = match options.dialect {
            Dialect::OnnxRuntime | Dialect::Halves => {
                padding_branches(&mut g, &lengths, &n_tokens, &is_token)
            }
            Dialect::Standard => padding_scores(&mut g, &is_token),
            Dialect::Blocks => Padding::Inside,
        };
        let total = g.reduce_sum(&weights, &[1]);
        let shares = g.div(&weights, &total);
        let shares = g.unsqueeze(&shares, &[1]);
        Self {
            builder: g,
            shape,
            dialect: options.dialect,
            statistics_layers: options.statistics_layers.clone(),
            token_ids,
            lengths,
            n_tokens,
            positions,
            is_token,
            padding,
            shares,
            statistics: Vec::new(),
        }
    }

    /// Whether the tables of rotary positions are computed as the model runs.
    pub(super) fn has_any_positions(&self) -> bool {
        self.dialect != Dialect::Standard
    }

    /// What blocks compute with.
    fn element(&self) -> ElementType {
        if self.dialect == Dialect::Halves { ElementType::Float16 } else { ElementType::Float32 }
    }

    /// A value in 32 bits as blocks take it.
    pub(super) fn narrowed(&mut self, x: &Value) -> Value {
        match self.element() {
            ElementType::Float32 => x.clone(),
            element => self.builder.cast(x, element),
        }
    }

    /// A block's value in 32 bits.
    fn widened(&mut self, x: &Value) -> Value {
        match self.element() {
            ElementType::Float32 => x.clone(),
            _ => self.builder.cast(x, ElementType::Float32),
        }
    }

    /// Whether blocks are one operator each.
    pub(super) fn has_whole_blocks(&self) -> bool {
        self.dialect == Dialect::Blocks
    }

    /// A block as one operator: `norms` are of its attention and its feed-forward part, `linears` the query (scaled), key, value,
    /// output, and the two of the feed-forward part.
    pub(super) fn whole_block(&mut self, hidden: &Value, parts: &BlockParts) -> Value {
        let [attention_norm, feed_forward_norm] = &parts.norms;
        let [query, key, value, output, widen, narrow] = &parts.linears;
        let norm = |norm: &LayerNorm| [norm.weight.clone(), norm.bias.clone()];
        let linear = |linear: &Linear| [linear.weight.clone(), linear.bias.clone()];
        let mut inputs = vec![hidden.clone(), self.lengths.clone()];
        inputs.extend(norm(attention_norm));
        inputs.extend([query, key, value, output].into_iter().flat_map(linear));
        inputs.extend(norm(feed_forward_norm));
        inputs.extend([widen, narrow].into_iter().flat_map(linear));
        inputs.extend(parts.rotary.iter().flat_map(|(cos, sin)| [cos.clone(), sin.clone()]));
        let block = self.builder.node("EncoderBlock", &inputs).domain(PROTEXT);
        block
            .attribute("num_heads", self.shape.n_heads as i64)
            .attribute("epsilon", self.shape.norm_epsilon)
            .attribute("norm_first", i64::from(parts.norm_first))
            .output()
    }

    /// Attention over heads; `query` is already scaled. All `[batch, tokens, dim]`.
    pub(super) fn attention(&mut self, query: &Value, key: &Value, value: &Value) -> Value {
        let element = self.element();
        let g = &mut self.builder;
        let n_heads = self.shape.n_heads as i64;
        match &self.padding {
            Padding::Branches { no_padding, key_mask } => {
                let absent = Value::absent();
                let whole = attention_branch(g, ("whole", element), n_heads, &[query, key, value]);
                let padded = attention_branch(
                    g,
                    ("padded", element),
                    n_heads,
                    &[query, key, value, &absent, key_mask],
                );
                let choice = g.node("If", [no_padding]);
                choice.attribute("then_branch", whole).attribute("else_branch", padded).output()
            }
            Padding::Scores(mask) => {
                let head_dim = self.shape.head_dim() as i64;
                let mut heads = |x: &Value, axes: [i64; 4]| {
                    let split = g.reshape(x, &[0, 0, n_heads, head_dim]);
                    g.transpose(&split, axes)
                };
                let (query, value) = (heads(query, [0, 2, 1, 3]), heads(value, [0, 2, 1, 3]));
                let key = heads(key, [0, 2, 3, 1]);
                let scores = g.matmul(&query, &key);
                let scores = g.add(&scores, mask);
                let shares = g.softmax(&scores);
                let mixed = g.matmul(&shares, &value);
                let mixed = g.transpose(&mixed, [0, 2, 1, 3]);
                g.reshape(&mixed, &[0, 0, self.shape.dim as i64])
            }
            Padding::Inside => unreachable!("blocks are whole"),
        }
    }

    /// `skip + x * weight + bias`.
    pub(super) fn residual(&mut self, x: &Value, layer: &Linear, skip: &Value) -> Value {
        let update = self.builder.linear(x, layer);
        if self.dialect == Dialect::Halves {
            // On GPUs the fused operator is the faster one.
            return self.builder.add(&update, skip);
        }
        // `Sum`, not `Add`: ONNX Runtime would fuse an `Add` into SkipLayerNormalization, whose CPU kernel is
        // several times slower than the two nodes that it replaces.
        self.builder.node("Sum", [&update, skip]).output()
    }

    /// `activation(x * weight + bias)`.
    pub(super) fn activated(&mut self, x: &Value, layer: &Linear, activation: Activation) -> Value {
        let g = &mut self.builder;
        let fused = match activation {
            Activation::GeluErf => Some("BiasGelu"),
            Activation::GeluTanh => Some("FastGelu"),
            Activation::Relu => None,
        };
        if let (Some(op), Dialect::OnnxRuntime | Dialect::Halves) = (fused, self.dialect) {
            let product = g.matmul(x, &layer.weight);
            return g.node(op, [&product, &layer.bias]).domain(MICROSOFT).output();
        }
        let sum = g.linear(x, layer);
        match activation {
            Activation::GeluErf => g.gelu(&sum),
            Activation::GeluTanh => g.node("Gelu", [&sum]).attribute("approximate", "tanh").output(),
            Activation::Relu => g.node("Relu", [&sum]).output(),
        }
    }

    /// Takes the moments of a layer's hidden state if they are asked for. `layer` counts from 1.
    pub(super) fn record(&mut self, layer: usize, hidden: &Value) {
        let Some(&wanted) = self.statistics_layers.iter().find(|&&wanted| wanted as usize == layer) else {
            return;
        };
        self.builder.set_scope(format!("statistics.{layer}"));
        let hidden = self.widened(hidden);
        let g = &mut self.builder;
        let mean = g.matmul(&self.shares, &hidden);
        let centered = g.sub(&hidden, &mean);
        let squared = g.mul(&centered, &centered);
        let variance = g.matmul(&self.shares, &squared);
        let (mean, variance) = (g.squeeze(&mean, &[1]), g.squeeze(&variance, &[1]));
        self.statistics.push((wanted, mean, variance));
    }

    /// Adds the outputs; `hidden` is the last layer.
    pub(super) fn finish(mut self, hidden: &Value) -> GraphBuilder<'w> {
        self.builder.set_scope("output");
        let hidden = self.widened(hidden);
        let g = &mut self.builder;
        let dim = self.shape.dim;
        let mean = g.matmul(&self.shares, &hidden);
        let mean = g.squeeze(&mean, &[1]);
        g.output("mean", &mean, ElementType::Float32, ["batch".into(), dim.into()]);
        g.output("hidden", &hidden, ElementType::Float32, ["batch".into(), "tokens".into(), dim.into()]);
        if !self.statistics_layers.is_empty() {
            let width = self.statistics_layers.len() * dim;
            let order = |layer: u32| self.statistics_layers.iter().position(|&wanted| wanted == layer);
            self.statistics.sort_by_key(|&(layer, ..)| order(layer));
            let (means, variances): (Vec<_>, Vec<_>) =
                self.statistics.into_iter().map(|(_, mean, variance)| (mean, variance)).unzip();
            for (name, parts) in [("layer_means", means), ("layer_variances", variances)] {
                let joined = g.concat(&parts, -1);
                g.output(name, &joined, ElementType::Float32, ["batch".into(), width.into()]);
            }
        }
        self.builder
    }
}

fn padding_branches(
    g: &mut GraphBuilder<'_>,
    lengths: &Value,
    n_tokens: &Value,
    is_token: &Value,
) -> Padding {
    let shortest = g.node("ReduceMin", [lengths]).attribute("keepdims", 0).output();
    let no_padding = g.node("Equal", [&shortest, n_tokens]).output();
    Padding::Branches { no_padding, key_mask: g.cast(is_token, ElementType::Int32) }
}

fn padding_scores(g: &mut GraphBuilder<'_>, is_token: &Value) -> Padding {
    let is_token = g.unsqueeze(is_token, &[1, 2]);
    let (shown, masked) = (g.f32_scalar(0.0), g.f32_scalar(MASKED_SCORE));
    Padding::Scores(g.node("Where", [&is_token, &shown, &masked]).output())
}

fn attention_branch(
    g: &mut GraphBuilder<'_>,
    (name, element): (&str, ElementType),
    n_heads: i64,
    inputs: &[&Value],
) -> Branch {
    g.branch(name, element, |g| {
        g.node("MultiHeadAttention", inputs.iter().copied())
            .domain(MICROSOFT)
            .attribute("num_heads", n_heads)
            .attribute("scale", 1.0)
            .attribute("mask_filter_value", MASKED_SCORE)
            .output()
    })
}
