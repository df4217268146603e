//! BERT's `config.json`, and what the model reads.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tenon_sdk::{
    Error, Result,
    recipe::hub::{self, Activation, Others, unsupported},
};

/// The classes of `transformers` that this recipe is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Architecture {
    BertForMaskedLM,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
}

/// BERT's `config.json`, and what the model reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// The class of `transformers`: hidden words, classes of texts, classes of tokens, or sentence
    /// embeddings (`BertModel`).
    pub architectures: Vec<Architecture>,
    /// `bert`.
    pub model_type: Option<String>,
    /// Rows of the embedding; nothing: as many as the tokenizer has tokens.
    #[schemars(range(min = 1, max = 16_777_216))]
    pub vocab_size: Option<u32>,
    /// Width of the model; a multiple of `num_attention_heads`.
    #[schemars(range(min = 1, max = 65536))]
    pub hidden_size: u32,
    /// Transformer blocks.
    #[schemars(range(min = 1, max = 1000))]
    pub num_hidden_layers: u32,
    /// Attention heads.
    #[schemars(range(min = 1, max = 1024))]
    pub num_attention_heads: u32,
    /// Width inside the feed-forward blocks.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub intermediate_size: u32,
    /// Of the feed-forward blocks and the head of hidden words.
    pub hidden_act: String,
    /// Dropout in training.
    #[schemars(range(min = 0.0, max = 0.95))]
    pub hidden_dropout_prob: f32,
    /// Dropout of the attention weights in training.
    #[schemars(range(min = 0.0, max = 0.95))]
    pub attention_probs_dropout_prob: f32,
    /// Dropout before the classifier in training; nothing: `hidden_dropout_prob`.
    #[schemars(range(min = 0.0, max = 0.95))]
    pub classifier_dropout: Option<f32>,
    /// The longest sequence in tokens: as many positions are learnt.
    #[schemars(range(min = 3, max = 1_048_576))]
    pub max_position_embeddings: u32,
    /// Kinds of text that are told apart: the second of two texts is of kind 1.
    #[schemars(range(min = 1, max = 1024))]
    pub type_vocab_size: u32,
    /// The standard deviation of new weights.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub initializer_range: f32,
    /// Added to the variance.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub layer_norm_eps: f32,
    /// `absolute`.
    pub position_embedding_type: Option<String>,
    /// The names of the classes.
    pub id2label: Option<BTreeMap<String, String>>,
    /// How many classes there are, where `id2label` does not name them; nothing: 2.
    pub num_labels: Option<u32>,
    /// `single_label_classification`, `multi_label_classification` or `regression`; nothing: regression
    /// where there is one label, else a class.
    pub problem_type: Option<String>,
    /// The column of the text, or of the first of two.
    pub text: String,
    /// The column of a second text of the same sequence.
    pub text_pair: Option<String>,
    /// The column of what is learnt: a class, numbers, or a list with a class for each token.
    pub label: String,
    /// A class of a token that does not count.
    pub ignored_label: Option<u32>,
    /// The column of a text that means the same as `text`: what sentence embeddings learn from.
    pub positive: Option<String>,
    /// What similarities are multiplied by when sentence embeddings learn.
    #[schemars(range(min = 0.001, max = 1000.0))]
    pub similarity_scale: f32,
    /// The token that begins every sequence.
    pub cls_token: String,
    /// The token that ends every text.
    pub sep_token: String,
    /// The token that stands for a hidden word.
    pub mask_token: String,
    /// The share of the tokens that are hidden.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub masked: f32,
    /// How far the target distribution is pulled towards uniform in training.
    #[schemars(range(min = 0.0, max = 0.95))]
    pub label_smoothing: f32,
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
            hidden_size: 256,
            num_hidden_layers: 4,
            num_attention_heads: 4,
            intermediate_size: 1024,
            hidden_act: "gelu".into(),
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            classifier_dropout: None,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            initializer_range: 0.02,
            layer_norm_eps: 1e-12,
            position_embedding_type: None,
            id2label: None,
            num_labels: None,
            problem_type: None,
            text: "text".into(),
            text_pair: None,
            label: "label".into(),
            ignored_label: None,
            positive: None,
            similarity_scale: 20.0,
            cls_token: "[CLS]".into(),
            sep_token: "[SEP]".into(),
            mask_token: "[MASK]".into(),
            masked: 0.15,
            label_smoothing: 0.0,
            others: Others::default(),
        }
    }
}

/// What the model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Which words are hidden.
    Words,
    /// Which of so many classes a text is of.
    Class(u32),
    /// Which of so many classes apply to a text, each on its own.
    Classes(u32),
    /// So many numbers that a text says.
    Numbers(u32),
    /// Which of so many classes each token is of.
    Tags(u32),
    /// Where texts lie in a space in which similar ones are close.
    Embedding,
}

/// What follows from a configuration, once it is known to fit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Shape {
    pub(crate) vocabulary: u32,
    pub(crate) activation: Activation,
    pub(crate) task: Task,
}

impl Config {
    /// What the schema cannot say.
    pub(crate) fn shape(&self, tokenizer: u32) -> Result<Shape> {
        self.others.refuse(&[
            ("is_decoder", "a decoder: take `tenon/gpt` or `tenon/llama`"),
            ("add_cross_attention", "an encoder beside it"),
            ("quantization_config", "quantised weights"),
        ])?;
        match self.position_embedding_type.as_deref() {
            None | Some("absolute") => {}
            Some(other) => {
                let found = format!("{other:?}");
                return Err(unsupported("position_embedding_type", found, &["absolute"]));
            }
        }
        hub::divided(
            ("hidden_size", self.hidden_size),
            ("num_attention_heads", self.num_attention_heads),
        )?;
        let shape = Shape {
            vocabulary: hub::vocabulary(self.vocab_size, tokenizer)?,
            activation: Activation::named("hidden_act", &self.hidden_act)?,
            task: self.task()?,
        };
        if self.text_pair.is_some() && self.type_vocab_size < 2 {
            return Err(Error::invalid(
                "`text_pair` needs two kinds of text, but `type_vocab_size` is 1",
            ));
        }
        if shape.task == Task::Embedding && self.text_pair.is_some() {
            return Err(Error::invalid(
                "a sentence embedding is of one text: use `positive` in place of `text_pair` for a text that means \
                 the same",
            ));
        }
        if matches!(shape.task, Task::Tags(_)) && self.text_pair.is_some() {
            return Err(Error::invalid(
                "tokens are classified in one text: leave `text_pair` out",
            ));
        }
        if shape.task == Task::Words
            && self
                .others
                .get("tie_word_embeddings")
                .is_some_and(|tied| tied == false)
        {
            return Err(unsupported("tie_word_embeddings", false, &["true"]));
        }
        self.others.report();
        Ok(shape)
    }

    fn task(&self) -> Result<Task> {
        use Architecture::{
            BertForMaskedLM, BertForSequenceClassification, BertForTokenClassification, BertModel,
        };
        let architecture = hub::architecture(
            &self.architectures,
            self.model_type.as_deref(),
            &[
                (BertForMaskedLM, "bert"),
                (BertForSequenceClassification, "bert"),
                (BertForTokenClassification, "bert"),
                (BertModel, "bert"),
            ],
            BertForMaskedLM,
        )?;
        let labels = || hub::labels(self.id2label.as_ref(), self.num_labels);
        Ok(match architecture {
            BertForMaskedLM => Task::Words,
            BertModel => Task::Embedding,
            BertForTokenClassification => Task::Tags(labels()?),
            BertForSequenceClassification => match (self.problem_type.as_deref(), labels()?) {
                (None, 1) => Task::Numbers(1),
                (None | Some("single_label_classification"), labels) => Task::Class(labels),
                (Some("multi_label_classification"), labels) => Task::Classes(labels),
                (Some("regression"), labels) => Task::Numbers(labels),
                (Some(other), _) => {
                    let known = [
                        "single_label_classification",
                        "multi_label_classification",
                        "regression",
                    ];
                    return Err(unsupported("problem_type", format!("{other:?}"), &known));
                }
            },
        })
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
    fn the_architecture_says_what_the_model_is_for() {
        let task = |config: &str| shape(config).unwrap().task;
        assert_eq!(task("{}"), Task::Words);
        assert_eq!(task(r#"{"architectures": ["BertModel"]}"#), Task::Embedding);
        let classes = |more: &str| {
            task(&format!(
                r#"{{"architectures": ["BertForSequenceClassification"], {more}}}"#
            ))
        };
        assert_eq!(classes(r#""hidden_size": 8"#), Task::Class(2));
        assert_eq!(classes(r#""num_labels": 1"#), Task::Numbers(1));
        let named = r#""id2label": {"0": "a", "1": "b", "2": "c"}"#;
        assert_eq!(classes(named), Task::Class(3));
        let several = format!(r#"{named}, "problem_type": "multi_label_classification""#);
        assert_eq!(classes(&several), Task::Classes(3));
        let tags = r#"{"architectures": ["BertForTokenClassification"], "num_labels": 9}"#;
        assert_eq!(task(tags), Task::Tags(9));
    }

    #[test]
    fn what_the_schema_cannot_say_is_checked() {
        let refused = |config: &str| shape(config).unwrap_err().to_string();
        assert!(refused(r#"{"hidden_size": 10}"#).contains("`num_attention_heads` (4)"));
        assert!(refused(r#"{"is_decoder": true}"#).contains("`is_decoder`"));
        assert!(refused(r#"{"hidden_act": "x"}"#).contains("`hidden_act` is \"x\""));
        let places = r#"{"position_embedding_type": "relative_key"}"#;
        assert!(refused(places).contains("relative_key"));
        assert!(refused(r#"{"text_pair": "b", "type_vocab_size": 1}"#).contains("type_vocab_size"));
        let problem =
            r#"{"architectures": ["BertForSequenceClassification"], "problem_type": "ranking"}"#;
        assert!(refused(problem).contains("\"ranking\""));
        let pair = r#"{"architectures": ["BertModel"], "text_pair": "b"}"#;
        assert!(refused(pair).contains("`positive`"));
    }
}
