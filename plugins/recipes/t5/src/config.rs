//! T5's `config.json`, and the texts that the model reads and writes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tenon_sdk::{
    Error, Result,
    recipe::{
        PieceConfig, check_learnt,
        hub::{self, Activation, Others, unsupported},
    },
};

/// The classes of `transformers` that this recipe is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Architecture {
    T5ForConditionalGeneration,
}

/// T5's `config.json`, and what its sequences are made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// The class of `transformers`.
    pub architectures: Vec<Architecture>,
    /// `t5`.
    pub model_type: Option<String>,
    /// Rows of the embedding; nothing: as many as the tokenizer has tokens.
    #[schemars(range(min = 1, max = 16_777_216))]
    pub vocab_size: Option<u32>,
    /// Width of the residual stream.
    #[schemars(range(min = 1, max = 65536))]
    pub d_model: u32,
    /// Width of a head; it need not divide `d_model`.
    #[schemars(range(min = 1, max = 65536))]
    pub d_kv: u32,
    /// Width inside the feed-forward blocks.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub d_ff: u32,
    /// Blocks of the encoder.
    #[schemars(range(min = 1, max = 1000))]
    pub num_layers: u32,
    /// Blocks of the decoder; nothing: as many.
    #[schemars(range(min = 1, max = 1000))]
    pub num_decoder_layers: Option<u32>,
    /// Attention heads.
    #[schemars(range(min = 1, max = 1024))]
    pub num_heads: u32,
    /// Kinds of distance that are told apart; a multiple of 4.
    #[schemars(range(min = 4, max = 65536))]
    pub relative_attention_num_buckets: u32,
    /// Everything farther away is one kind.
    #[schemars(range(min = 2, max = 16_777_216))]
    pub relative_attention_max_distance: u32,
    /// Dropout in training.
    #[schemars(range(min = 0.0, max = 0.95))]
    pub dropout_rate: f32,
    /// Added to the mean square.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub layer_norm_epsilon: f32,
    /// Times the standard deviation of new weights.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub initializer_factor: f32,
    /// `relu` (T5 1.0), `gated-gelu` (T5 1.1) or another activation, gated or not.
    pub feed_forward_proj: String,
    /// Whether the output layer is the embedding (T5 1.0). Else it is `lm_head.weight`.
    pub tie_word_embeddings: bool,
    /// Whether states are divided by the root of their width before the output layer; nothing: where the
    /// output layer is the embedding.
    pub scale_decoder_outputs: Option<bool>,
    /// What the encoder reads.
    #[schemars(length(min = 1))]
    pub source: Vec<PieceConfig>,
    /// What the decoder writes. The learnt pieces count in the loss, are scored by evaluators, and are
    /// what serving generates after the given ones.
    #[schemars(length(min = 1))]
    pub target: Vec<PieceConfig>,
    /// The longest source in tokens.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub source_length: u32,
    /// The longest target in tokens.
    #[schemars(range(min = 2, max = 1_048_576))]
    pub target_length: u32,
    /// How far the target distribution is pulled towards uniform in training.
    #[schemars(range(min = 0.0, max = 0.95))]
    pub label_smoothing: f32,
    /// Whether several short pairs may share a row in training. They do not see each other.
    pub packing: bool,
    /// Fields of `config.json` that say nothing about what is computed here.
    #[serde(flatten)]
    pub others: Others,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            architectures: vec![],
            model_type: None,
            vocab_size: None,
            d_model: 256,
            d_kv: 64,
            d_ff: 1024,
            num_layers: 4,
            num_decoder_layers: None,
            num_heads: 4,
            relative_attention_num_buckets: 32,
            relative_attention_max_distance: 128,
            dropout_rate: 0.1,
            layer_norm_epsilon: 1e-6,
            initializer_factor: 1.0,
            feed_forward_proj: "relu".into(),
            tie_word_embeddings: true,
            scale_decoder_outputs: None,
            source: vec![PieceConfig::column("source"), PieceConfig::special("</s>")],
            target: vec![
                PieceConfig::special("<pad>"),
                PieceConfig::column("target").learnt(),
                PieceConfig::special("</s>").learnt(),
            ],
            source_length: 512,
            target_length: 512,
            label_smoothing: 0.0,
            packing: true,
            others: Others::default(),
        }
    }
}

/// What follows from a configuration, once it is known to fit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Shape {
    pub(crate) vocabulary: u32,
    pub(crate) decoder_layers: u32,
    pub(crate) activation: Activation,
    pub(crate) gated: bool,
    pub(crate) scaled: bool,
}

impl Config {
    /// What the schema cannot say.
    pub(crate) fn shape(&self, tokenizer: u32) -> Result<Shape> {
        hub::architecture(
            &self.architectures,
            self.model_type.as_deref(),
            &[(Architecture::T5ForConditionalGeneration, "t5")],
            Architecture::T5ForConditionalGeneration,
        )?;
        self.others.refuse(&[
            ("num_experts", "mixtures of experts"),
            ("quantization_config", "quantised weights"),
        ])?;
        let (buckets, farthest) = (
            self.relative_attention_num_buckets,
            self.relative_attention_max_distance,
        );
        if !buckets.is_multiple_of(4) || farthest <= buckets / 2 {
            return Err(Error::invalid(format!(
                "`relative_attention_num_buckets` ({buckets}) must be a multiple of 4, and \
                 `relative_attention_max_distance` ({farthest}) more than half of it"
            )));
        }
        if self.source.iter().any(PieceConfig::is_learnt) {
            return Err(Error::invalid(
                "`source` is only read: no piece of it can be \"learnt\"; mark those of `target`",
            ));
        }
        if self.target.first().is_some_and(PieceConfig::is_learnt) {
            return Err(Error::invalid(
                "the first piece of `target` has nothing before it to be predicted from: begin with a special token \
                 that is not \"learnt\", such as {\"special\": \"<pad>\"}",
            ));
        }
        check_learnt("target", &self.target)?;
        let (activation, gated) = self.feed_forward()?;
        let shape = Shape {
            vocabulary: hub::vocabulary(self.vocab_size, tokenizer)?,
            decoder_layers: self.num_decoder_layers.unwrap_or(self.num_layers),
            activation,
            gated,
            scaled: self
                .scale_decoder_outputs
                .unwrap_or(self.tie_word_embeddings),
        };
        self.others.report();
        Ok(shape)
    }

    fn feed_forward(&self) -> Result<(Activation, bool)> {
        let name = self.feed_forward_proj.as_str();
        match name.split_once('-') {
            // What the files call "gelu" is its tanh form.
            Some(("gated", "gelu")) => Ok((Activation::GeluTanh, true)),
            Some(("gated", other)) => Ok((Activation::named("feed_forward_proj", other)?, true)),
            Some(_) => Err(unsupported(
                "feed_forward_proj",
                format!("{name:?}"),
                &["an activation", "gated-<activation>"],
            )),
            None => Ok((Activation::named("feed_forward_proj", name)?, false)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shape(config: &str) -> Result<Shape> {
        serde_json::from_str::<Config>(config).unwrap().shape(100)
    }

    #[test]
    fn both_versions_are_told_apart() {
        let old = shape("{}").unwrap();
        assert_eq!(
            (old.activation, old.gated, old.scaled),
            (Activation::Relu, false, true)
        );
        let new = shape(r#"{"feed_forward_proj": "gated-gelu", "tie_word_embeddings": false}"#);
        let new = new.unwrap();
        assert_eq!(
            (new.activation, new.gated, new.scaled),
            (Activation::GeluTanh, true, false)
        );
        let swish = shape(r#"{"feed_forward_proj": "gated-silu"}"#).unwrap();
        assert_eq!(swish.activation, Activation::Silu);
    }

    #[test]
    fn what_the_schema_cannot_say_is_checked() {
        let refused = |config: &str| shape(config).unwrap_err().to_string();
        assert!(refused(r#"{"relative_attention_num_buckets": 6}"#).contains("multiple of 4"));
        let feed = refused(r#"{"feed_forward_proj": "gated-mish"}"#);
        assert!(feed.contains("`feed_forward_proj` is \"mish\""), "{feed}");
        assert!(refused(r#"{"feed_forward_proj": "big-relu"}"#).contains("\"big-relu\""));
        assert!(refused(r#"{"source": [{"column": "s", "learnt": true}]}"#).contains("`source`"));
        assert!(
            refused(r#"{"target": [{"column": "t", "learnt": true}]}"#).contains("first piece")
        );
        assert!(refused(r#"{"num_experts": 8}"#).contains("mixtures"));
    }
}
