//! The hub's `config.json` as a recipe's configuration.
//!
//! Fields have the names that `transformers` gives them, so that a checkpoint's `config.json` can be
//! taken as it is. Fields that a recipe does not read are kept in [`Others`]; a value that it does not
//! support is [`unsupported`], never taken for another.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, Result, host, tensor::Tensor};

/// The error for a value that a recipe does not support: it names the field, what was found and what
/// is supported.
pub fn unsupported(field: &str, found: impl std::fmt::Display, supported: &[&str]) -> Error {
    Error::invalid(format!(
        "`{field}` is {found}, which this recipe does not support; it supports {}",
        supported.join(", ")
    ))
}

/// The rows of the embedding and of the output layer: `vocab_size`, or the tokenizer's size where
/// nothing is said.
///
/// # Errors
/// No tokenizer; more tokens than the model has rows for.
pub fn vocabulary(vocab_size: Option<u32>, tokenizer: u32) -> Result<u32> {
    if tokenizer == 0 {
        return Err(Error::invalid(
            "a language model needs a tokenizer: give the job one",
        ));
    }
    match vocab_size {
        Some(size) if size < tokenizer => Err(Error::invalid(format!(
            "`vocab_size` is {size}, but the tokenizer has {tokenizer} tokens: leave it out, or take the \
             checkpoint's own tokenizer"
        ))),
        Some(size) => Ok(size),
        None => Ok(tokenizer),
    }
}

/// `whole` / `parts`, where heads share a width.
///
/// # Errors
/// What does not divide, by the fields' names.
pub fn divided(whole: (&str, u32), parts: (&str, u32)) -> Result<u32> {
    if parts.1 > 0 && whole.1.is_multiple_of(parts.1) {
        return Ok(whole.1 / parts.1);
    }
    Err(Error::invalid(format!(
        "`{}` ({}) must be a multiple of `{}` ({})",
        whole.0, whole.1, parts.0, parts.1
    )))
}

/// The architecture that a configuration is for: the first of `architectures`, or the one that
/// `model_type` belongs to, or the recipe's `default`. `known`: every architecture that the recipe
/// supports and its `model_type`.
///
/// # Errors
/// A `model_type` that is unknown, or is not that of the architecture.
pub fn architecture<A: Copy + PartialEq + std::fmt::Debug>(
    architectures: &[A],
    model_type: Option<&str>,
    known: &[(A, &str)],
    default: A,
) -> Result<A> {
    let of = |wanted: A| known.iter().filter(move |(a, _)| *a == wanted);
    match (architectures.first(), model_type) {
        (Some(first), None) => Ok(*first),
        (Some(first), Some(kind)) if of(*first).any(|(_, known)| *known == kind) => Ok(*first),
        (Some(first), Some(kind)) => {
            let kinds: Vec<&str> = of(*first).map(|(_, kind)| *kind).collect();
            Err(Error::invalid(format!(
                "`model_type` is {kind:?}, but `architectures` says {first:?}, whose `model_type` is {}",
                kinds.join(" or ")
            )))
        }
        (None, Some(kind)) => known
            .iter()
            .find(|(_, known)| *known == kind)
            .map(|(architecture, _)| *architecture)
            .ok_or_else(|| {
                let kinds: BTreeSet<&str> = known.iter().map(|(_, kind)| *kind).collect();
                let kinds: Vec<&str> = kinds.into_iter().collect();
                unsupported("model_type", format!("{kind:?}"), &kinds)
            }),
        (None, None) => Ok(default),
    }
}

/// How many classes a head tells apart: as many as `id2label` names, else `num_labels`, else
/// transformers' default of 2.
///
/// # Errors
/// `num_labels` that contradicts `id2label`.
pub fn labels(id2label: Option<&BTreeMap<String, String>>, num_labels: Option<u32>) -> Result<u32> {
    match (id2label.map(BTreeMap::len), num_labels) {
        (Some(named), Some(count)) if named != count as usize => Err(Error::invalid(format!(
            "`num_labels` is {count}, but `id2label` names {named} classes: leave one of them out"
        ))),
        (Some(0), _) | (None, Some(0)) => Err(Error::invalid(
            "there must be a class at least: give `num_labels`, or name them in `id2label`",
        )),
        (Some(named), _) => Ok(named as u32),
        (None, count) => Ok(count.unwrap_or(2)),
    }
}

/// A non-linearity, by the name that `config.json` gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x · Φ(x): `gelu`.
    Gelu,
    /// Its tanh form: `gelu_new`, `gelu_pytorch_tanh`, `gelu_fast`.
    GeluTanh,
    /// `relu`.
    Relu,
    /// x · σ(x): `silu`, `swish`.
    Silu,
    /// `tanh`.
    Tanh,
}

impl Activation {
    /// The activation that `field` names.
    ///
    /// # Errors
    /// A name that is unknown; the message lists those that are not.
    pub fn named(field: &str, name: &str) -> Result<Self> {
        Ok(match name {
            "gelu" => Self::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Self::GeluTanh,
            "relu" => Self::Relu,
            "silu" | "swish" => Self::Silu,
            "tanh" => Self::Tanh,
            _ => {
                let known = [
                    "gelu",
                    "gelu_new",
                    "gelu_pytorch_tanh",
                    "gelu_fast",
                    "relu",
                    "silu",
                    "swish",
                    "tanh",
                ];
                return Err(unsupported(field, format!("{name:?}"), &known));
            }
        })
    }

    /// Element by element.
    ///
    /// # Errors
    /// As the operation itself.
    #[track_caller]
    pub fn apply(self, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Gelu => x.gelu(false)?,
            Self::GeluTanh => x.gelu(true)?,
            Self::Relu => x.relu()?,
            Self::Silu => x.silu()?,
            Self::Tanh => x.tanh()?,
        })
    }

    /// activation(gate) · up: the inside of a gated feed-forward layer.
    ///
    /// # Errors
    /// As the operations themselves.
    #[track_caller]
    pub fn gate(self, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        match self {
            Self::Silu => Ok(gate.silu_mul(up)?),
            _ => Ok(self.apply(gate)?.mul(up)?),
        }
    }
}

/// The fields of a configuration that a recipe has no use for. Put it last, with `#[serde(flatten)]`:
/// it also tells the schema that there may be others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Others(BTreeMap<String, Value>);

impl JsonSchema for Others {
    fn schema_name() -> Cow<'static, str> {
        "Others".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "additionalProperties": true})
    }
}

/// Fields that most `config.json` have and that say nothing about what the model computes.
const COMMON: [&str; 37] = [
    "_name_or_path",
    "attn_implementation",
    "_attn_implementation",
    "bos_token_id",
    "chunk_size_feed_forward",
    "decoder_start_token_id",
    "dtype",
    "eos_token_id",
    "finetuning_task",
    "gradient_checkpointing",
    "id2label",
    "is_encoder_decoder",
    "label2id",
    "max_length",
    "model_type",
    "n_ctx",
    "n_positions",
    "num_labels",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "pad_token_id",
    "pretraining_tp",
    "problem_type",
    "return_dict",
    "sep_token_id",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "task_specific_params",
    "tokenizer_class",
    "torch_dtype",
    "transformers_version",
    "use_bfloat16",
    "use_cache",
];

impl Others {
    /// What was given under that name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Refuses fields that change what a model computes in ways that the recipe does not know.
    /// `fields`: a field, and what it would ask for. Values that ask for nothing (null, false, 0, an
    /// empty list) are fine.
    ///
    /// # Errors
    /// The first field that asks for something.
    pub fn refuse(&self, fields: &[(&str, &str)]) -> Result<()> {
        for (field, what) in fields {
            let Some(value) = self.0.get(*field) else {
                continue;
            };
            let nothing = match value {
                Value::Null | Value::Bool(false) => true,
                Value::Number(number) => number.as_f64() == Some(0.0),
                Value::Array(items) => items.is_empty(),
                Value::Object(items) => items.is_empty(),
                _ => false,
            };
            if !nothing {
                return Err(Error::invalid(format!(
                    "`{field}` is {value}: this recipe does not support {what}"
                )));
            }
        }
        Ok(())
    }

    /// Tells the log which fields are ignored, but for those that every `config.json` has: so that a
    /// misspelt one is not silence.
    pub fn report(&self) {
        let unknown: Vec<&str> = self
            .0
            .keys()
            .map(String::as_str)
            .filter(|name| !COMMON.contains(name))
            .collect();
        if !unknown.is_empty() {
            host::warn(&format!(
                "fields of the configuration that this recipe ignores: {}",
                unknown.join(", ")
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Kind {
        A,
        B,
        C,
    }

    const KNOWN: [(Kind, &str); 3] = [(Kind::A, "a"), (Kind::B, "b"), (Kind::C, "a")];

    #[test]
    fn the_architecture_follows_from_its_name_or_from_the_model_type() {
        let of = |architectures: &[Kind], kind| architecture(architectures, kind, &KNOWN, Kind::C);
        assert_eq!(of(&[Kind::B, Kind::A], None).unwrap(), Kind::B);
        assert_eq!(of(&[Kind::C], Some("a")).unwrap(), Kind::C);
        assert_eq!(of(&[], Some("b")).unwrap(), Kind::B);
        assert_eq!(of(&[], None).unwrap(), Kind::C);
        let both = of(&[Kind::A], Some("b")).unwrap_err().to_string();
        assert!(both.contains("\"b\"") && both.contains("A"), "{both}");
        let unknown = of(&[], Some("x")).unwrap_err().to_string();
        assert!(unknown.contains("\"x\"") && unknown.contains("a, b"));
    }

    #[test]
    fn a_vocabulary_may_be_larger_than_the_tokenizers_but_not_smaller() {
        assert_eq!(vocabulary(None, 7).unwrap(), 7);
        assert_eq!(vocabulary(Some(9), 7).unwrap(), 9);
        let small = vocabulary(Some(5), 7).unwrap_err().to_string();
        assert!(small.contains("`vocab_size` is 5") && small.contains("7 tokens"));
        assert!(
            vocabulary(Some(5), 0)
                .unwrap_err()
                .to_string()
                .contains("tokenizer")
        );
    }

    #[test]
    fn classes_are_named_or_counted() {
        let named = |count: u32| (0..count).map(|id| (id.to_string(), format!("class {id}")));
        let three: BTreeMap<String, String> = named(3).collect();
        assert_eq!(labels(Some(&three), None).unwrap(), 3);
        assert_eq!(labels(Some(&three), Some(3)).unwrap(), 3);
        assert_eq!(labels(None, None).unwrap(), 2);
        assert!(labels(Some(&three), Some(4)).is_err());
        assert!(labels(None, Some(0)).is_err());
    }

    #[test]
    fn unknown_activations_are_refused_by_name() {
        assert_eq!(
            Activation::named("hidden_act", "swish").unwrap(),
            Activation::Silu
        );
        let error = Activation::named("hidden_act", "mish")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`hidden_act` is \"mish\"") && error.contains("gelu_new"),
            "{error}"
        );
    }

    #[test]
    fn other_fields_are_kept_and_some_are_refused() {
        #[derive(Deserialize, JsonSchema)]
        struct Config {
            size: u32,
            #[serde(flatten)]
            others: Others,
        }
        let config: Config =
            serde_json::from_str(r#"{"size": 3, "num_experts": 8, "use_cache": true, "x": null}"#)
                .unwrap();
        assert_eq!(config.size, 3);
        assert_eq!(config.others.get("use_cache"), Some(&Value::Bool(true)));
        config
            .others
            .refuse(&[("x", "an x"), ("y", "a y")])
            .unwrap();
        let experts = config.others.refuse(&[("num_experts", "experts")]);
        assert!(
            experts
                .unwrap_err()
                .to_string()
                .contains("`num_experts` is 8")
        );
        let schema = schemars::schema_for!(Config).to_value();
        assert_eq!(schema["additionalProperties"], Value::Bool(true));
        assert!(schema["properties"]["size"].is_object());
    }
}
