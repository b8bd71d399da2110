//! Reads a Hugging Face `config.json` and refuses what the graphs do not compute.
//!
//! A choice that is not known is an error, never a guess: a model that runs and is subtly wrong is worse than none.

use serde::Deserialize;

use super::error::ConfigError;

/// Element-wise function between the two dense layers of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// GELU by the error function.
    GeluErf,
    /// GELU by the hyperbolic tangent.
    GeluTanh,
    /// Rectifier.
    Relu,
}

/// Sizes that every family has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EncoderShape {
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// Width of a hidden state.
    pub dim: usize,
    /// Transformer blocks.
    pub n_layers: usize,
    /// Attention heads; divides `dim`.
    pub n_heads: usize,
    /// Width between the two dense layers of a block.
    pub feed_forward_dim: usize,
    /// Added to variances in layer normalization.
    pub norm_epsilon: f32,
}

impl EncoderShape {
    /// Width of one attention head.
    #[must_use]
    pub fn head_dim(&self) -> usize {
        self.dim / self.n_heads
    }
}

/// An ESM-2 model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EsmConfig {
    /// Sizes.
    pub shape: EncoderShape,
    /// Zero the embedding of `<mask>` and rescale the rest, as in training.
    pub token_dropout: bool,
    /// Normalize embeddings before the first block.
    pub norm_before: bool,
    /// Token id of `<mask>`.
    pub mask_token: i64,
    /// Base of the rotary frequencies, where the checkpoint has none of its own.
    pub rope_theta: f32,
}

/// A BERT model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BertConfig {
    /// Sizes.
    pub shape: EncoderShape,
    /// Rows of the position table: the most tokens that one sequence can have.
    pub max_tokens: usize,
    /// Rows of the token type table.
    pub n_token_types: usize,
    /// Activation.
    pub activation: Activation,
}

/// A configuration of one of the families.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ModelConfig {
    /// ESM-2.
    Esm(EsmConfig),
    /// BERT.
    Bert(BertConfig),
}

impl ModelConfig {
    /// Reads the family from `model_type`, then its own fields.
    ///
    /// # Errors
    /// [`ConfigError`] for anything that the graphs do not compute.
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        #[derive(Deserialize)]
        struct Family {
            model_type: String,
        }
        let family: Family = serde_json::from_slice(json)?;
        match family.model_type.as_str() {
            "esm" => EsmConfig::parse(json).map(Self::Esm),
            "bert" => BertConfig::parse(json).map(Self::Bert),
            _ => Err(ConfigError::Family { model_type: family.model_type }),
        }
    }

    /// Sizes.
    #[must_use]
    pub fn shape(&self) -> &EncoderShape {
        match self {
            Self::Esm(config) => &config.shape,
            Self::Bert(config) => &config.shape,
        }
    }

    /// `esm` or `bert`, as in the configuration.
    #[must_use]
    pub fn family(&self) -> &'static str {
        match self {
            Self::Esm(_) => "esm",
            Self::Bert(_) => "bert",
        }
    }
}

/// Fields of either family; a missing one means what transformers takes it to mean.
#[derive(Deserialize)]
struct Fields {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    layer_norm_eps: Option<f32>,
    hidden_act: Option<String>,
    position_embedding_type: Option<String>,
    max_position_embeddings: Option<usize>,
    type_vocab_size: Option<usize>,
    emb_layer_norm_before: Option<bool>,
    token_dropout: Option<bool>,
    mask_token_id: Option<i64>,
    rope_theta: Option<f32>,
    is_folding_model: Option<bool>,
    is_decoder: Option<bool>,
    add_cross_attention: Option<bool>,
}

impl Fields {
    fn shape(&self) -> Result<EncoderShape, ConfigError> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
        ];
        if let Some(&(field, found)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Err(ConfigError::Inconsistent { field, found, rule: "it must be at least 1" });
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            let (field, found) = ("hidden_size", self.hidden_size);
            return Err(ConfigError::Inconsistent {
                field,
                found,
                rule: "num_attention_heads must divide it",
            });
        }
        self.refuse_decoders()?;
        Ok(EncoderShape {
            vocab_size: self.vocab_size,
            dim: self.hidden_size,
            n_layers: self.num_hidden_layers,
            n_heads: self.num_attention_heads,
            feed_forward_dim: self.intermediate_size,
            norm_epsilon: self.layer_norm_eps.unwrap_or(1e-12),
        })
    }

    fn refuse_decoders(&self) -> Result<(), ConfigError> {
        let choices = [
            ("is_decoder", self.is_decoder),
            ("add_cross_attention", self.add_cross_attention),
            ("is_folding_model", self.is_folding_model),
        ];
        match choices.into_iter().find(|(_, choice)| *choice == Some(true)) {
            Some((field, _)) => {
                Err(ConfigError::Unsupported { field, found: "true".to_owned(), supported: "false" })
            }
            None => Ok(()),
        }
    }

    fn require_positions(&self, supported: &'static str) -> Result<(), ConfigError> {
        match self.position_embedding_type.as_deref().unwrap_or("absolute") {
            found if found == supported => Ok(()),
            found => Err(ConfigError::Unsupported {
                field: "position_embedding_type",
                found: format!("{found:?}"),
                supported,
            }),
        }
    }

    fn activation(&self) -> Result<Activation, ConfigError> {
        match self.hidden_act.as_deref().unwrap_or("gelu") {
            "gelu" | "gelu_python" => Ok(Activation::GeluErf),
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
            "relu" => Ok(Activation::Relu),
            found => Err(ConfigError::Unsupported {
                field: "hidden_act",
                found: format!("{found:?}"),
                supported: "gelu, gelu_new, gelu_fast, gelu_pytorch_tanh and relu",
            }),
        }
    }
}

impl EsmConfig {
    /// Reads the configuration of an ESM-2 model.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let fields: Fields = serde_json::from_slice(json)?;
        let shape = fields.shape()?;
        fields.require_positions("rotary")?;
        if fields.activation()? != Activation::GeluErf {
            let found = format!("{:?}", fields.hidden_act.unwrap_or_default());
            return Err(ConfigError::Unsupported { field: "hidden_act", found, supported: "gelu" });
        }
        if !shape.head_dim().is_multiple_of(2) {
            let (field, found) = ("hidden_size", shape.dim);
            return Err(ConfigError::Inconsistent { field, found, rule: "rotary heads need an even width" });
        }
        Ok(Self {
            shape,
            token_dropout: fields.token_dropout.unwrap_or(false),
            norm_before: fields.emb_layer_norm_before.unwrap_or(false),
            mask_token: mask_token(fields.mask_token_id, shape.vocab_size)?,
            rope_theta: fields.rope_theta.unwrap_or(10_000.0),
        })
    }
}

/// The alphabet of ESM-2 ends with `<mask>` at 32, which is what a missing field means.
fn mask_token(given: Option<i64>, vocab_size: usize) -> Result<i64, ConfigError> {
    let token = given.unwrap_or(32);
    match usize::try_from(token) {
        Ok(row) if row < vocab_size => Ok(token),
        _ => Err(ConfigError::Unsupported {
            field: "mask_token_id",
            found: token.to_string(),
            supported: "a row of the vocabulary",
        }),
    }
}

impl BertConfig {
    /// Reads the configuration of a BERT model.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let fields: Fields = serde_json::from_slice(json)?;
        fields.require_positions("absolute")?;
        Ok(Self {
            shape: fields.shape()?,
            max_tokens: fields.max_position_embeddings.unwrap_or(512),
            n_token_types: fields.type_vocab_size.unwrap_or(2),
            activation: fields.activation()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn esm(changes: &[(&str, serde_json::Value)]) -> Result<ModelConfig, ConfigError> {
        let mut json = serde_json::json!({
            "model_type": "esm", "vocab_size": 33, "hidden_size": 16, "num_hidden_layers": 3,
            "num_attention_heads": 2, "intermediate_size": 32, "layer_norm_eps": 1e-5,
            "position_embedding_type": "rotary", "token_dropout": true, "mask_token_id": 32,
            "emb_layer_norm_before": null
        });
        for (field, value) in changes {
            json[field] = value.clone();
        }
        ModelConfig::parse(json.to_string().as_bytes())
    }

    #[test]
    fn fields_are_read_and_null_means_missing() {
        let ModelConfig::Esm(config) = esm(&[]).unwrap() else { panic!("family") };
        assert_eq!((config.shape.dim, config.shape.head_dim(), config.mask_token), (16, 8, 32));
        assert!(config.token_dropout && !config.norm_before);
        assert_eq!(config.rope_theta, 10_000.0);
    }

    #[test]
    fn what_the_graphs_do_not_compute_is_refused_by_field() {
        let cases: [(&str, serde_json::Value); 10] = [
            ("model_type", "t5".into()),
            ("position_embedding_type", "absolute".into()),
            ("position_embedding_type", "relative_key".into()),
            ("hidden_act", "silu".into()),
            ("hidden_act", "relu".into()),
            ("is_folding_model", true.into()),
            ("num_attention_heads", 0.into()),
            ("num_attention_heads", 3.into()),
            ("num_attention_heads", 16.into()),
            ("mask_token_id", 33.into()),
        ];
        for (field, value) in cases {
            let error = esm(&[(field, value)]).unwrap_err().to_string();
            let told = if field == "num_attention_heads" { "num_attention_heads hidden_size" } else { field };
            assert!(told.split(' ').any(|name| error.contains(name)), "{field}: {error}");
        }
        assert!(matches!(esm(&[("hidden_size", "wide".into())]), Err(ConfigError::Json(_))));
    }

    #[test]
    fn bert_takes_its_activations() {
        for (name, expected) in
            [("gelu", Activation::GeluErf), ("gelu_new", Activation::GeluTanh), ("relu", Activation::Relu)]
        {
            let json = serde_json::json!({
                "model_type": "bert", "vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 1,
                "num_attention_heads": 2, "intermediate_size": 32, "hidden_act": name
            });
            let ModelConfig::Bert(config) = ModelConfig::parse(json.to_string().as_bytes()).unwrap() else {
                panic!("family")
            };
            assert_eq!(config.activation, expected);
            assert_eq!((config.max_tokens, config.n_token_types), (512, 2));
        }
    }
}
