//! The sizes of the model and the text that it learns.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tenon_sdk::{
    Error, Result,
    recipe::{
        PieceConfig, check_learnt,
        hub::{self, Activation, Others},
        text,
    },
};

/// The classes of `transformers` that this recipe is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Architecture {
    GPT2LMHeadModel,
}

/// GPT-2's `config.json`, and what its sequences are made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
// The class has the parameters under a prefix that the hub's own checkpoint lacks.
#[schemars(extend("x-transformers-prefix" = "transformer."))]
pub struct Config {
    /// The class of `transformers`.
    pub architectures: Vec<Architecture>,
    /// `gpt2`.
    pub model_type: Option<String>,
    /// Rows of the embedding; nothing: as many as the tokenizer has tokens.
    #[schemars(range(min = 1, max = 16_777_216))]
    pub vocab_size: Option<u32>,
    /// Transformer blocks.
    #[schemars(range(min = 1, max = 1000))]
    pub n_layer: u32,
    /// Width of the residual stream; a multiple of `n_head`.
    #[schemars(range(min = 1, max = 65536))]
    pub n_embd: u32,
    /// Attention heads.
    #[schemars(range(min = 1, max = 1024))]
    pub n_head: u32,
    /// Width inside the feed-forward blocks; nothing: four times `n_embd`.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub n_inner: Option<u32>,
    /// The longest sequence in tokens: as many positions are learnt.
    #[schemars(range(min = 2, max = 1_048_576))]
    pub n_positions: u32,
    /// Of the feed-forward blocks.
    pub activation_function: String,
    /// Dropout of the embeddings in training.
    #[schemars(range(min = 0.0, max = 0.95))]
    pub embd_pdrop: f32,
    /// Dropout of the attention weights in training.
    #[schemars(range(min = 0.0, max = 0.95))]
    pub attn_pdrop: f32,
    /// Dropout of what each block adds in training.
    #[schemars(range(min = 0.0, max = 0.95))]
    pub resid_pdrop: f32,
    /// Added to the variance.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub layer_norm_epsilon: f32,
    /// The standard deviation of new weights.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub initializer_range: f32,
    /// Whether scores are divided by the root of a head's width.
    pub scale_attn_weights: bool,
    /// Whether scores are divided by the block's number, from 1, too.
    pub scale_attn_by_inverse_layer_idx: bool,
    /// Whether the output layer is the embedding.
    pub tie_word_embeddings: bool,
    /// How far the target distribution is pulled towards uniform in training.
    #[schemars(range(min = 0.0, max = 0.95))]
    pub label_smoothing: f32,
    /// What a sequence is made of. The learnt pieces count in the loss, are scored by evaluators, and
    /// are what serving generates after the given ones.
    #[schemars(length(min = 1))]
    pub sequence: Vec<PieceConfig>,
    /// Whether several short documents may share a row in training. They do not see each other.
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
            n_layer: 4,
            n_embd: 256,
            n_head: 4,
            n_inner: None,
            n_positions: 256,
            activation_function: "gelu_new".into(),
            embd_pdrop: 0.1,
            attn_pdrop: 0.1,
            resid_pdrop: 0.1,
            layer_norm_epsilon: 1e-5,
            initializer_range: 0.02,
            scale_attn_weights: true,
            scale_attn_by_inverse_layer_idx: false,
            tie_word_embeddings: true,
            label_smoothing: 0.0,
            sequence: text(),
            packing: true,
            others: Others::default(),
        }
    }
}

/// What follows from a configuration, once it is known to fit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sizes {
    pub(crate) vocabulary: u32,
    pub(crate) inner: u32,
    pub(crate) head_width: u32,
    pub(crate) activation: Activation,
}

impl Config {
    /// What the schema cannot say.
    pub(crate) fn sizes(&self, tokenizer: u32) -> Result<Sizes> {
        hub::architecture(
            &self.architectures,
            self.model_type.as_deref(),
            &[(Architecture::GPT2LMHeadModel, "gpt2")],
            Architecture::GPT2LMHeadModel,
        )?;
        self.others.refuse(&[
            ("add_cross_attention", "an encoder beside it"),
            ("quantization_config", "quantised weights"),
        ])?;
        if self.others.get("dropout").is_some() {
            return Err(Error::invalid(
                "`dropout` is unknown: GPT-2 has three, `embd_pdrop`, `attn_pdrop` and `resid_pdrop`",
            ));
        }
        check_learnt("sequence", &self.sequence)?;
        let sizes = Sizes {
            vocabulary: hub::vocabulary(self.vocab_size, tokenizer)?,
            inner: self.n_inner.unwrap_or(4 * self.n_embd),
            head_width: hub::divided(("n_embd", self.n_embd), ("n_head", self.n_head))?,
            activation: Activation::named("activation_function", &self.activation_function)?,
        };
        self.others.report();
        Ok(sizes)
    }

    /// What scores are multiplied by in a block.
    pub(crate) fn scale(&self, head_width: u32, layer: u32) -> f32 {
        let mut scale = 1.0;
        if self.scale_attn_weights {
            scale /= (head_width as f32).sqrt();
        }
        if self.scale_attn_by_inverse_layer_idx {
            scale /= (layer + 1) as f32;
        }
        scale
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_empty_configuration_is_the_default_and_fits() {
        let config: Config = serde_json::from_str("{}").unwrap();
        assert_eq!(config, Config::default());
        let sizes = config.sizes(100).unwrap();
        assert_eq!(
            (sizes.vocabulary, sizes.inner, sizes.head_width),
            (100, 1024, 64)
        );
    }

    #[test]
    fn the_hubs_configuration_is_taken_as_it_is() {
        let config: Config = serde_json::from_str(
            r#"{"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": 50257,
                "n_layer": 12, "n_embd": 768, "n_head": 12, "n_positions": 1024, "n_ctx": 1024,
                "n_inner": null, "activation_function": "gelu_new", "bos_token_id": 50256,
                "task_specific_params": {"text-generation": {"do_sample": true}}}"#,
        )
        .unwrap();
        assert_eq!(config.sizes(50_257).unwrap().inner, 3072);
        assert_eq!(config.scale(64, 5), 0.125);
    }

    #[test]
    fn what_the_schema_cannot_say_is_checked() {
        let refused = |config: &str, vocabulary: u32| {
            serde_json::from_str::<Config>(config)
                .unwrap()
                .sizes(vocabulary)
                .unwrap_err()
                .to_string()
        };
        assert!(refused("{}", 0).contains("tokenizer"));
        let heads = r#"{"n_embd": 100, "n_head": 3}"#;
        assert!(refused(heads, 10).contains("multiple of `n_head` (3)"));
        assert!(refused(r#"{"sequence": [{"column": "text"}]}"#, 10).contains("learnt"));
        assert!(refused(r#"{"vocab_size": 9}"#, 10).contains("`vocab_size` is 9"));
        let activation = refused(r#"{"activation_function": "mish"}"#, 10);
        assert!(activation.contains("`activation_function` is \"mish\""));
        assert!(refused(r#"{"add_cross_attention": true}"#, 10).contains("add_cross_attention"));
        assert!(refused(r#"{"dropout": 0.1}"#, 10).contains("resid_pdrop"));
        assert!(refused(r#"{"model_type": "gptj"}"#, 10).contains("\"gptj\""));
    }
}
