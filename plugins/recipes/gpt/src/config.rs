//! The sizes of the model and the text that it learns.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tenon_sdk::{Error, Result, recipe::PieceConfig};

/// Sizes of the model, and what its sequences are made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Transformer blocks.
    #[schemars(range(min = 1, max = 1000))]
    pub layers: u32,
    /// Width of the residual stream; a multiple of `heads`.
    #[schemars(range(min = 1, max = 65536))]
    pub width: u32,
    /// Attention heads.
    #[schemars(range(min = 1, max = 1024))]
    pub heads: u32,
    /// The longest sequence in tokens: as many positions are learnt.
    #[schemars(range(min = 2, max = 1_048_576))]
    pub context: u32,
    /// Dropout of embeddings, attention weights and residuals in training.
    #[schemars(range(min = 0.0, max = 0.95))]
    pub dropout: f32,
    /// How far the target distribution is pulled towards uniform in training.
    #[schemars(range(min = 0.0, max = 0.95))]
    pub label_smoothing: f32,
    /// What a sequence is made of. The learnt pieces count in the loss, are scored by evaluators, and
    /// are what serving generates after the given ones.
    #[schemars(length(min = 1))]
    pub sequence: Vec<PieceConfig>,
    /// Whether several short documents may share a row in training. They do not see each other.
    pub packing: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            layers: 4,
            width: 256,
            heads: 4,
            context: 256,
            dropout: 0.1,
            label_smoothing: 0.0,
            sequence: vec![
                PieceConfig::Special {
                    special: "<bos>".into(),
                    learnt: false,
                },
                PieceConfig::Column {
                    column: "text".into(),
                    learnt: true,
                },
                PieceConfig::Special {
                    special: "<eos>".into(),
                    learnt: true,
                },
            ],
            packing: true,
        }
    }
}

impl Config {
    /// What the schema cannot say.
    pub(crate) fn check(&self, vocabulary: u32) -> Result<()> {
        if vocabulary == 0 {
            return Err(Error::invalid(
                "a language model needs a tokenizer: give the job one",
            ));
        }
        if !self.width.is_multiple_of(self.heads) {
            return Err(Error::invalid(format!(
                "`width` ({}) must be a multiple of `heads` ({})",
                self.width, self.heads
            )));
        }
        let learnt = |piece: &PieceConfig| match piece {
            PieceConfig::Special { learnt, .. } | PieceConfig::Column { learnt, .. } => *learnt,
        };
        if !self.sequence.iter().any(learnt) {
            return Err(Error::invalid(
                "no piece of `sequence` is learnt: mark at least one with \"learnt\": true",
            ));
        }
        Ok(())
    }

    /// The special tokens that end a sequence: those that are learnt.
    pub(crate) fn stop(&self) -> Vec<String> {
        let mut stop = Vec::new();
        for piece in &self.sequence {
            if let PieceConfig::Special {
                special,
                learnt: true,
            } = piece
                && !stop.contains(special)
            {
                stop.push(special.clone());
            }
        }
        stop
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
        assert_eq!(config.stop(), ["<eos>"]);
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
        assert!(refused(r#"{"sequence": [{"column": "text"}]}"#, 10).contains("learnt"));
    }
}
