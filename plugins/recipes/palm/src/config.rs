//! The sizes of the model and the texts that it reads and writes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tenon_sdk::{
    Error, Result,
    recipe::{PieceConfig, check_learnt},
};

/// Sizes of the model, and what its sequences are made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Width of encoder and decoder; a multiple of `heads` and `decoder_heads`, and even.
    #[schemars(range(min = 2, max = 65536))]
    pub width: u32,
    /// Blocks of the encoder.
    #[schemars(range(min = 1, max = 1000))]
    pub encoder_layers: u32,
    /// Blocks of the decoder.
    #[schemars(range(min = 1, max = 1000))]
    pub decoder_layers: u32,
    /// Attention heads of the encoder.
    #[schemars(range(min = 1, max = 1024))]
    pub heads: u32,
    /// Attention heads of the decoder; nothing: those of the encoder.
    #[schemars(range(min = 1, max = 1024))]
    pub decoder_heads: Option<u32>,
    /// Width of the feed-forward layers; nothing: four times `width`.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub feed_forward: Option<u32>,
    /// The longest source in tokens: as many positions are learnt.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub source_length: u32,
    /// The longest target in tokens.
    #[schemars(range(min = 2, max = 1_048_576))]
    pub target_length: u32,
    /// Whether the decoder uses the encoder's word embeddings. PALM 2.0's checkpoints have embeddings
    /// of the decoder's own.
    pub share_embeddings: bool,
    /// Dropout of embeddings, attention weights and residuals in training.
    #[schemars(range(min = 0.0, max = 0.95))]
    pub dropout: f32,
    /// How far the target distribution is pulled towards uniform in training.
    #[schemars(range(min = 0.0, max = 0.95))]
    pub label_smoothing: f32,
    /// What the encoder reads.
    #[schemars(length(min = 1))]
    pub source: Vec<PieceConfig>,
    /// What the decoder writes. The learnt pieces count in the loss, are scored by evaluators, and are
    /// what serving generates after the given ones.
    #[schemars(length(min = 1))]
    pub target: Vec<PieceConfig>,
    /// Whether several short pairs may share a row in training. They do not see each other.
    pub packing: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            width: 256,
            encoder_layers: 4,
            decoder_layers: 4,
            heads: 4,
            decoder_heads: None,
            feed_forward: None,
            source_length: 128,
            target_length: 128,
            share_embeddings: true,
            dropout: 0.1,
            label_smoothing: 0.0,
            source: vec![
                PieceConfig::special("<bos>"),
                PieceConfig::column("src_txt"),
                PieceConfig::special("<eos>"),
            ],
            target: vec![
                PieceConfig::special("<bos>"),
                PieceConfig::column("tgt_txt").learnt(),
                PieceConfig::special("<eos>").learnt(),
            ],
            packing: true,
        }
    }
}

impl Config {
    pub(crate) fn decoder_heads(&self) -> u32 {
        self.decoder_heads.unwrap_or(self.heads)
    }

    pub(crate) fn feed_forward(&self) -> u32 {
        self.feed_forward.unwrap_or(4 * self.width)
    }

    /// What the schema cannot say.
    pub(crate) fn check(&self, vocabulary: u32) -> Result<()> {
        if vocabulary == 0 {
            return Err(Error::invalid(
                "a model of texts needs a tokenizer: give the job one",
            ));
        }
        for (name, heads) in [
            ("heads", self.heads),
            ("decoder_heads", self.decoder_heads()),
        ] {
            if !self.width.is_multiple_of(heads) {
                return Err(Error::invalid(format!(
                    "`width` ({}) must be a multiple of `{name}` ({heads})",
                    self.width
                )));
            }
        }
        if !self.width.is_multiple_of(2) {
            return Err(Error::invalid(format!(
                "`width` ({}) must be even: the decoder's positions are pairs of a sine and a cosine",
                self.width
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
                 that is not \"learnt\", such as {\"special\": \"<bos>\"}",
            ));
        }
        check_learnt("target", &self.target)
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
        config.check(100).unwrap();
        assert_eq!((config.decoder_heads(), config.feed_forward()), (4, 1024));
    }

    #[test]
    fn what_the_schema_cannot_say_is_checked() {
        let refused = |config: &str, vocabulary: u32| {
            serde_json::from_str::<Config>(config)
                .unwrap()
                .check(vocabulary)
                .unwrap_err()
                .to_string()
        };
        assert!(refused("{}", 0).contains("tokenizer"));
        assert!(refused(r#"{"width": 100, "heads": 3}"#, 10).contains("multiple of `heads` (3)"));
        assert!(refused(r#"{"decoder_heads": 7}"#, 10).contains("`decoder_heads` (7)"));
        assert!(refused(r#"{"width": 9, "heads": 3}"#, 10).contains("even"));
        assert!(refused(r#"{"target": [{"special": "<bos>"}]}"#, 10).contains("learnt"));
        let first = r#"{"target": [{"column": "t", "learnt": true}]}"#;
        assert!(refused(first, 10).contains("first piece of `target`"));
        let source = r#"{"source": [{"column": "s", "learnt": true}]}"#;
        assert!(refused(source, 10).contains("`source`"));
    }
}
