//! The hub's `config.json` of Llama and its relatives, and the text that the model learns.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tenon_sdk::recipe::{PieceConfig, hub::Others, text};

use crate::rope::RopeParameters;

/// The classes of `transformers` that this recipe is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Architecture {
    LlamaForCausalLM,
    MistralForCausalLM,
    Qwen2ForCausalLM,
    Qwen3ForCausalLM,
}

/// Llama's `config.json`, and what its sequences are made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// The class of `transformers`: it decides about biases, norms of queries and keys, and windows.
    pub architectures: Vec<Architecture>,
    /// `llama`, `mistral`, `qwen2` or `qwen3`.
    pub model_type: Option<String>,
    /// Rows of the embedding; nothing: as many as the tokenizer has tokens.
    #[schemars(range(min = 1, max = 16_777_216))]
    pub vocab_size: Option<u32>,
    /// Width of the residual stream.
    #[schemars(range(min = 1, max = 65536))]
    pub hidden_size: u32,
    /// Width inside the feed-forward blocks.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub intermediate_size: u32,
    /// Transformer blocks.
    #[schemars(range(min = 1, max = 1000))]
    pub num_hidden_layers: u32,
    /// Query heads.
    #[schemars(range(min = 1, max = 1024))]
    pub num_attention_heads: u32,
    /// Key and value heads, which divide the query heads; nothing: as many.
    #[schemars(range(min = 1, max = 1024))]
    pub num_key_value_heads: Option<u32>,
    /// Width of a head, even; nothing: `hidden_size` / `num_attention_heads`, in Qwen 3: 128.
    #[schemars(range(min = 2, max = 65536))]
    pub head_dim: Option<u32>,
    /// Of the feed-forward blocks.
    pub hidden_act: String,
    /// The longest sequence in tokens.
    #[schemars(range(min = 2, max = 16_777_216))]
    pub max_position_embeddings: u32,
    /// The standard deviation of new weights.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub initializer_range: f32,
    /// Added to the mean square.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub rms_norm_eps: f32,
    /// Whether the output layer is the embedding.
    pub tie_word_embeddings: bool,
    /// The base of the rotary frequencies; nothing: 10,000.
    #[schemars(range(min = 1.0))]
    pub rope_theta: Option<f64>,
    /// How a longer context was reached: transformers up to 4.
    pub rope_scaling: Option<RopeParameters>,
    /// Base and scaling of the rotary frequencies: transformers from 5 on.
    pub rope_parameters: Option<RopeParameters>,
    /// Whether the projections of attention have biases. Qwen 2 has them for queries, keys and values,
    /// whatever is said here.
    pub attention_bias: bool,
    /// Whether the projections of the feed-forward blocks have biases (Llama).
    pub mlp_bias: bool,
    /// Dropout of the attention weights in training.
    #[schemars(range(min = 0.0, max = 0.95))]
    pub attention_dropout: f32,
    /// How many tokens attention sees, its own included (Mistral; Qwen with `use_sliding_window`).
    #[schemars(range(min = 1))]
    pub sliding_window: Option<u32>,
    /// Whether Qwen's blocks from `max_window_layers` on have the window.
    pub use_sliding_window: bool,
    /// The first of Qwen's blocks with a window.
    pub max_window_layers: Option<u32>,
    /// `full_attention` or `sliding_attention` for each block (Qwen); nothing: as the fields before
    /// say.
    pub layer_types: Option<Vec<String>>,
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
    /// Small sizes; everything else as transformers reads a `config.json` that does not say it.
    fn default() -> Self {
        Self {
            architectures: vec![],
            model_type: None,
            vocab_size: None,
            hidden_size: 256,
            intermediate_size: 688,
            num_hidden_layers: 4,
            num_attention_heads: 8,
            num_key_value_heads: None,
            head_dim: None,
            hidden_act: "silu".into(),
            max_position_embeddings: 1024,
            initializer_range: 0.02,
            rms_norm_eps: 1e-6,
            tie_word_embeddings: false,
            rope_theta: None,
            rope_scaling: None,
            rope_parameters: None,
            attention_bias: false,
            mlp_bias: false,
            attention_dropout: 0.0,
            sliding_window: None,
            use_sliding_window: false,
            max_window_layers: None,
            layer_types: None,
            label_smoothing: 0.0,
            sequence: text(),
            packing: true,
            others: Others::default(),
        }
    }
}
