//! What follows from a configuration: the variant of the architecture, its sizes and its windows.

use tenon_sdk::{
    Error, Result,
    recipe::{
        check_learnt,
        hub::{self, Activation, unsupported},
    },
};

use crate::{
    config::{Architecture, Config},
    rope::Rope,
};

/// Every architecture and its `model_type`.
const KNOWN: [(Architecture, &str); 4] = [
    (Architecture::LlamaForCausalLM, "llama"),
    (Architecture::MistralForCausalLM, "mistral"),
    (Architecture::Qwen2ForCausalLM, "qwen2"),
    (Architecture::Qwen3ForCausalLM, "qwen3"),
];

/// Sizes and variants of a model whose configuration fits.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shape {
    pub(crate) vocabulary: u32,
    pub(crate) kv_heads: u32,
    pub(crate) head_dim: u32,
    pub(crate) activation: Activation,
    /// Whether queries, keys and values have biases, and whether the projection back has one.
    pub(crate) biases: [bool; 2],
    /// Of the feed-forward blocks.
    pub(crate) feed_forward_bias: bool,
    /// Whether queries and keys are normalised, head by head, before they are turned.
    pub(crate) normed_heads: bool,
    pub(crate) rope: Rope,
    /// For each block, how far back its attention sees.
    pub(crate) windows: Vec<Option<u32>>,
}

impl Shape {
    /// What the schema cannot say is checked here.
    pub(crate) fn new(config: &Config, tokenizer: u32) -> Result<Self> {
        use Architecture::{
            LlamaForCausalLM as Llama, Qwen2ForCausalLM as Qwen2, Qwen3ForCausalLM as Qwen3,
        };
        let kind = hub::architecture(
            &config.architectures,
            config.model_type.as_deref(),
            &KNOWN,
            Llama,
        )?;
        config.others.refuse(&[
            ("num_experts", "mixtures of experts"),
            ("num_local_experts", "mixtures of experts"),
            ("quantization_config", "quantised weights"),
        ])?;
        check_learnt("sequence", &config.sequence)?;
        let heads = config.num_attention_heads;
        let kv_heads = config.num_key_value_heads.unwrap_or(heads);
        hub::divided(
            ("num_attention_heads", heads),
            ("num_key_value_heads", kv_heads),
        )?;
        let head_dim = match (config.head_dim, kind) {
            (Some(dim), _) => dim,
            (None, Qwen3) => 128,
            (None, _) => hub::divided(
                ("hidden_size", config.hidden_size),
                ("num_attention_heads", heads),
            )?,
        };
        if !head_dim.is_multiple_of(2) {
            return Err(Error::invalid(format!(
                "a head is {head_dim} wide, but must be even, since rotary positions turn pairs: change \
                 `head_dim`, or `hidden_size` ({}) and `num_attention_heads` ({heads})",
                config.hidden_size
            )));
        }
        let shape = Self {
            vocabulary: hub::vocabulary(config.vocab_size, tokenizer)?,
            kv_heads,
            head_dim,
            activation: Activation::named("hidden_act", &config.hidden_act)?,
            biases: match kind {
                Llama | Qwen3 => [config.attention_bias; 2],
                Qwen2 => [true, false],
                Architecture::MistralForCausalLM => [false; 2],
            },
            feed_forward_bias: kind == Llama && config.mlp_bias,
            normed_heads: kind == Qwen3,
            rope: Rope::new(config, head_dim)?,
            windows: windows(config, kind)?,
        };
        config.others.report();
        Ok(shape)
    }
}

/// How far back each block's attention sees. A `sliding_window` counts the token itself; a distance
/// does not.
fn windows(config: &Config, kind: Architecture) -> Result<Vec<Option<u32>>> {
    let distance = config.sliding_window.map(|tokens| tokens - 1);
    let layers = config.num_hidden_layers as usize;
    match (kind, &config.layer_types) {
        // Llama has no windows: transformers does not look at the field either.
        (Architecture::LlamaForCausalLM, _) => Ok(vec![None; layers]),
        (Architecture::MistralForCausalLM, _) => Ok(vec![distance; layers]),
        (_, Some(types)) if types.len() != layers => Err(Error::invalid(format!(
            "`layer_types` has {} entries for {layers} blocks (`num_hidden_layers`)",
            types.len()
        ))),
        (_, Some(types)) => types
            .iter()
            .map(|name| match (name.as_str(), distance) {
                ("full_attention", _) => Ok(None),
                ("sliding_attention", Some(distance)) => Ok(Some(distance)),
                ("sliding_attention", None) => Err(Error::invalid(
                    "`layer_types` has \"sliding_attention\", but there is no `sliding_window`",
                )),
                (other, _) => Err(unsupported(
                    "layer_types",
                    format!("{other:?}"),
                    &["full_attention", "sliding_attention"],
                )),
            })
            .collect(),
        (_, None) => {
            // Qwen's own default is 28.
            let first = config.max_window_layers.unwrap_or(28) as usize;
            let window = distance.filter(|_| config.use_sliding_window);
            Ok((0..layers)
                .map(|layer| window.filter(|_| layer >= first))
                .collect())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shape(config: &str) -> Result<Shape> {
        Shape::new(&serde_json::from_str(config).unwrap(), 100)
    }

    fn refused(config: &str) -> String {
        shape(config).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_configuration_is_a_small_llama() {
        let config: Config = serde_json::from_str("{}").unwrap();
        assert_eq!(config, Config::default());
        let shape = shape("{}").unwrap();
        assert_eq!(
            (shape.kv_heads, shape.head_dim, shape.vocabulary),
            (8, 32, 100)
        );
        assert_eq!((shape.biases, shape.normed_heads), ([false; 2], false));
        assert_eq!(shape.windows, [None; 4]);
    }

    #[test]
    fn the_architecture_decides_about_biases_and_norms() {
        let qwen2 = shape(r#"{"architectures": ["Qwen2ForCausalLM"], "attention_bias": false}"#);
        assert_eq!(qwen2.unwrap().biases, [true, false]);
        let qwen3 = shape(r#"{"model_type": "qwen3"}"#).unwrap();
        assert_eq!((qwen3.normed_heads, qwen3.head_dim), (true, 128));
        let llama = shape(r#"{"attention_bias": true, "mlp_bias": true}"#).unwrap();
        assert_eq!((llama.biases, llama.feed_forward_bias), ([true; 2], true));
    }

    #[test]
    fn windows_are_those_of_the_architecture() {
        let windows = |config: &str| shape(config).unwrap().windows;
        let mistral = r#"{"model_type": "mistral", "num_hidden_layers": 2, "sliding_window": 8}"#;
        assert_eq!(windows(mistral), [Some(7); 2]);
        let qwen = |more: &str| {
            windows(&format!(
                r#"{{"model_type": "qwen2", "num_hidden_layers": 3, "sliding_window": 8, {more}}}"#
            ))
        };
        assert_eq!(qwen(r#""use_sliding_window": false"#), [None; 3]);
        assert_eq!(
            qwen(r#""use_sliding_window": true, "max_window_layers": 2"#),
            [None, None, Some(7)]
        );
        assert_eq!(
            qwen(r#""layer_types": ["full_attention", "sliding_attention", "full_attention"]"#),
            [None, Some(7), None]
        );
        assert_eq!(
            windows(r#"{"num_hidden_layers": 2, "sliding_window": 8}"#),
            [None; 2]
        );
    }

    #[test]
    fn what_the_schema_cannot_say_is_checked() {
        assert!(
            refused(r#"{"num_attention_heads": 3}"#)
                .contains("multiple of `num_attention_heads` (3)")
        );
        assert!(refused(r#"{"num_key_value_heads": 3}"#).contains("`num_key_value_heads` (3)"));
        assert!(refused(r#"{"hidden_size": 24, "num_attention_heads": 8}"#).contains("even"));
        assert!(refused(r#"{"hidden_act": "relu2"}"#).contains("`hidden_act` is \"relu2\""));
        assert!(refused(r#"{"num_local_experts": 8}"#).contains("mixtures of experts"));
        let types = r#"{"model_type": "qwen3", "num_hidden_layers": 1, "layer_types": ["chunked_attention"]}"#;
        assert!(refused(types).contains("chunked_attention"));
        assert!(
            refused(r#"{"architectures": ["LlamaForCausalLM"], "model_type": "qwen2"}"#)
                .contains("\"qwen2\"")
        );
        assert!(refused(r#"{"sequence": [{"column": "text"}]}"#).contains("learnt"));
    }
}
