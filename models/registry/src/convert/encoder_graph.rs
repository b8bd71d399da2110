//! What every encoder's graph shares: inputs, padding, attention, pooling, outputs.
//!
//! Inputs `token_ids [batch, tokens]`, `lengths [batch]` (positions from there on are padding) and `weights
//! [batch, tokens]` (share in pooling). Outputs `mean [batch, dim]`, `hidden [batch, tokens, dim]` and, with
//! statistics layers, `layer_means` and `layer_variances [batch, layers * dim]`.
//!
//! Attention comes in two branches, with and without a key mask: ONNX Runtime's fast kernel takes no mask, and a
//! batch without padding needs none.
//!
//! Packed graphs take sequences one behind the other: `token_ids`, `weights`, `positions` (in its sequence) and `sequences` (which
//! it is of), all `[tokens]`; `cumulative_lengths [batch + 1]`, where sequences begin and the last ends; `token_offset [batch,
//! longest]`, where tokens would be in a padded batch and, after all of them, where padding would. `hidden` is `[1, tokens, dim]`.

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
    /// `[batch, tokens]`, int64; of a packed graph `[1, tokens]`.
    pub(super) token_ids: Value,
    /// Of each token in its sequence, `[tokens]`, int64.
    pub(super) positions: Value,
    layout: Layout,
    /// Weights that sum to one, `[batch, 1, tokens]`; of a packed graph `[batch, tokens]`.
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

/// How sequences lie in a batch.
enum Layout {
    Padded {
        /// `[batch]`, int64.
        lengths: Value,
        /// Tokens in the padded batch, `[]`, int64.
        n_tokens: Value,
        /// Which positions are tokens, `[batch, tokens]`, bool.
        is_token: Value,
        padding: Padding,
    },
    Packed {
        /// Which sequence a token is of, `[tokens]`, int64.
        sequences: Value,
        /// 1 where it is of the row's sequence, `[batch, tokens]`, float32.
        members: Value,
        /// `[batch, longest]`, int32.
        token_offset: Value,
        /// `[batch + 1]`, int32.
        cumulative_lengths: Value,
    },
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
        let (token_ids, positions, layout, shares) =
            if options.dialect.is_packed() { packed(&mut g) } else { padded(&mut g, options.dialect) };
        Self {
            builder: g,
            shape,
            dialect: options.dialect,
            statistics_layers: options.statistics_layers.clone(),
            token_ids,
            positions,
            layout,
            shares,
            statistics: Vec::new(),
        }
    }

    /// Rows of a table `[positions, dim]` at the positions of tokens, for all sequences alike or for each token.
    pub(super) fn at_positions(&mut self, table: &Value) -> Value {
        let g = &mut self.builder;
        match &self.layout {
            Layout::Padded { n_tokens, .. } => {
                let (start, axis) = (g.i64_list(&[0]), g.i64_list(&[0]));
                let end = g.unsqueeze(n_tokens, &[0]);
                g.node("Slice", [table, &start, &end, &axis]).output()
            }
            Layout::Packed { .. } => g.gather(table, &self.positions),
        }
    }

    /// Tokens in the longest sequence, `[]`, int64, where sequences are padded to it.
    pub(super) fn n_tokens(&self) -> &Value {
        match &self.layout {
            Layout::Padded { n_tokens, .. } => n_tokens,
            Layout::Packed { .. } => unreachable!("tables are not stored for packed sequences"),
        }
    }

    /// One less the share of the tokens of a sequence that `is_such [batch, tokens]` holds for, `[batch, 1, 1]`; of a packed graph of
    /// each token's sequence, `[1, tokens, 1]`.
    pub(super) fn share_of_others(&mut self, is_such: &Value) -> Value {
        let g = &mut self.builder;
        let (n_such, lengths) = match &self.layout {
            Layout::Padded { lengths, is_token, .. } => {
                let is_such = g.node("And", [is_such, is_token]).output();
                let is_such = g.cast(&is_such, ElementType::Float32);
                let n_such = g.reduce_sum(&is_such, &[1]);
                let lengths = g.cast(lengths, ElementType::Float32);
                (n_such, g.unsqueeze(&lengths, &[1]))
            }
            Layout::Packed { members, .. } => {
                let is_such = g.cast(is_such, ElementType::Float32);
                let is_such = g.mul(members, &is_such);
                (g.reduce_sum(&is_such, &[1]), g.reduce_sum(members, &[1]))
            }
        };
        let share = g.div(&n_such, &lengths);
        let one = g.f32_scalar(1.0);
        let others = g.sub(&one, &share);
        match &self.layout {
            Layout::Padded { .. } => g.unsqueeze(&others, &[2]),
            Layout::Packed { sequences, .. } => {
                let others = g.gather(&others, sequences);
                g.unsqueeze(&others, &[0])
            }
        }
    }

    /// Whether the tables of rotary positions are computed as the model runs.
    pub(super) fn has_any_positions(&self) -> bool {
        self.dialect != Dialect::Standard
    }

    /// What blocks compute with.
    fn element(&self) -> ElementType {
        if self.dialect.is_in_halves() { ElementType::Float16 } else { ElementType::Float32 }
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
        let Layout::Padded { lengths, .. } = &self.layout else { unreachable!("blocks know lengths") };
        let mut inputs = vec![hidden.clone(), lengths.clone()];
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
        let padding = match &self.layout {
            Layout::Padded { padding, .. } => padding,
            Layout::Packed { token_offset, cumulative_lengths, .. } => {
                let dim = self.shape.dim as i64;
                let [query, key, value] = [query, key, value].map(|x| g.reshape(x, &[-1, dim]));
                let inputs = [&query, &key, &value, &Value::absent(), token_offset, cumulative_lengths];
                let mixed = g.node("PackedMultiHeadAttention", inputs).domain(MICROSOFT);
                let mixed = mixed.attribute("num_heads", n_heads).attribute("scale", 1.0).output();
                return g.unsqueeze(&mixed, &[0]);
            }
        };
        match padding {
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
        if self.dialect.is_for_gpus() {
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
        let has_fused = self.dialect == Dialect::OnnxRuntime || self.dialect.is_for_gpus();
        if let (Some(op), true) = (fused, has_fused) {
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
        let mean = self.pooled(&hidden);
        let g = &mut self.builder;
        let center = match &self.layout {
            Layout::Padded { .. } => mean.clone(),
            Layout::Packed { sequences, .. } => {
                g.node("Gather", [&mean, sequences]).attribute("axis", 1).output()
            }
        };
        let centered = g.sub(&hidden, &center);
        let squared = g.mul(&centered, &centered);
        let variance = self.pooled(&squared);
        let (mean, variance) = (self.rows(&mean), self.rows(&variance));
        self.statistics.push((wanted, mean, variance));
    }

    /// The weighted mean of each sequence's rows, `[batch, 1, dim]`; of a packed graph `[1, batch, dim]`.
    fn pooled(&mut self, hidden: &Value) -> Value {
        self.builder.matmul(&self.shares, hidden)
    }

    /// What was pooled, `[batch, dim]`.
    fn rows(&mut self, pooled: &Value) -> Value {
        let axis = if self.dialect.is_packed() { 0 } else { 1 };
        self.builder.squeeze(pooled, &[axis])
    }

    /// Adds the outputs; `hidden` is the last layer.
    pub(super) fn finish(mut self, hidden: &Value) -> GraphBuilder<'w> {
        self.builder.set_scope("output");
        let hidden = self.widened(hidden);
        let mean = self.pooled(&hidden);
        let mean = self.rows(&mean);
        let (g, dim) = (&mut self.builder, self.shape.dim);
        g.output("mean", &mean, ElementType::Float32, ["batch".into(), dim.into()]);
        let n_padded = if self.dialect.is_packed() { 1.into() } else { "batch".into() };
        g.output("hidden", &hidden, ElementType::Float32, [n_padded, "tokens".into(), dim.into()]);
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

/// Sequences side by side: token ids, positions, layout and shares.
fn padded(g: &mut GraphBuilder<'_>, dialect: Dialect) -> (Value, Value, Layout, Value) {
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
    let padding = match dialect {
        Dialect::Standard => padding_scores(g, &is_token),
        Dialect::Blocks => Padding::Inside,
        _ => padding_branches(g, &lengths, &n_tokens, &is_token),
    };
    let total = g.reduce_sum(&weights, &[1]);
    let shares = g.div(&weights, &total);
    let shares = g.unsqueeze(&shares, &[1]);
    (token_ids, positions, Layout::Padded { lengths, n_tokens, is_token, padding }, shares)
}

/// Sequences one behind the other: token ids, positions, layout and shares.
fn packed(g: &mut GraphBuilder<'_>) -> (Value, Value, Layout, Value) {
    let token_ids = g.input("token_ids", ElementType::Int64, ["tokens".into()]);
    let positions = g.input("positions", ElementType::Int64, ["tokens".into()]);
    let sequences = g.input("sequences", ElementType::Int64, ["tokens".into()]);
    let weights = g.input("weights", ElementType::Float32, ["tokens".into()]);
    let token_offset = g.input("token_offset", ElementType::Int32, ["batch".into(), "longest".into()]);
    let cumulative_lengths = g.input("cumulative_lengths", ElementType::Int32, ["ends".into()]);
    g.set_scope("input");
    let token_ids = g.unsqueeze(&token_ids, &[0]);
    let sizes = g.node("Shape", [&token_offset]).output();
    let (zero, one) = (g.i64_scalar(0), g.i64_scalar(1));
    let n_sequences = g.gather(&sizes, &zero);
    let rows = g.node("Range", [&zero, &n_sequences, &one]).output();
    let (rows, columns) = (g.unsqueeze(&rows, &[1]), g.unsqueeze(&sequences, &[0]));
    let members = g.node("Equal", [&rows, &columns]).output();
    let members = g.cast(&members, ElementType::Float32);
    let weights = g.mul(&members, &weights);
    let total = g.reduce_sum(&weights, &[1]);
    let shares = g.div(&weights, &total);
    (token_ids, positions, Layout::Packed { sequences, members, token_offset, cumulative_lengths }, shares)
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
