//! What a deployment is made from.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tenon_model::Settings;
use tenon_plugin::processor::Generation;
use utoipa::ToSchema;

use crate::{Result, ServeError};

/// Sequences of one step.
const MOST_ROWS: usize = 1024;
/// Requests that may wait.
const LONGEST_QUEUE: usize = 100_000;
/// Seconds that one call of a processor may take.
const LONGEST_CALL: f64 = 3600.0;

/// What a deployment is made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeploymentSpec {
    /// Its name: part of its address.
    pub name: String,
    /// A registered model (`name`, `name@2`, `name@alias`) or `run:ID`; what it means now is what stays
    /// deployed.
    pub model: String,
    /// What stands between the clients and the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor: Option<ProcessorSpec>,
    /// How to generate where a request says nothing.
    #[serde(default, skip_serializing_if = "GenerationSpec::is_empty")]
    pub generation: GenerationSpec,
    /// Sequences that are generated side by side; a beam or a sample counts as one.
    #[serde(default = "max_batch")]
    pub max_batch: usize,
    /// Requests that may wait while `max_batch` are being served; more are refused.
    #[serde(default = "queue")]
    pub queue: usize,
}

/// A processor and what it is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProcessorSpec {
    /// `name`, `name@version` or `sha256:…`; the component that it means now stays deployed.
    pub plugin: String,
    /// Its configuration, checked against its schema.
    #[serde(default = "empty")]
    #[schema(value_type = Object)]
    pub config: Value,
    /// The datasets that it may read: the name that it asks for (`dataset:NAME`) and what stands behind
    /// it (`name[@version][#split]`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub datasets: BTreeMap<String, String>,
    /// Seconds that one call may take, opening it included: while a constraint runs, everybody waits.
    #[serde(default = "call_seconds")]
    pub call_seconds: f64,
}

/// How to generate; what is left out is decided by whoever comes next: the request, the processor, the
/// deployment, and at last the defaults (greedy, one candidate, as long as the model can).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GenerationSpec {
    /// Tokens at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// No ending before this many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_tokens: Option<u32>,
    /// 0: always the likeliest token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Only the `k` likeliest tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Only the likeliest tokens that together reach this probability.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// More than 1: beam search.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beams: Option<u32>,
    /// Candidates to return.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Of the sampling; without one, every request has its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

fn max_batch() -> usize {
    32
}

fn queue() -> usize {
    256
}

fn empty() -> Value {
    json!({})
}

fn call_seconds() -> f64 {
    5.0
}

impl DeploymentSpec {
    /// A deployment of that name with the defaults.
    pub fn new(name: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            model: model.into(),
            processor: None,
            generation: GenerationSpec::default(),
            max_batch: max_batch(),
            queue: queue(),
        }
    }

    /// Whether every field is within its range.
    ///
    /// # Errors
    /// [`ServeError::Invalid`] naming the field, its value and its range.
    pub fn check(&self) -> Result<()> {
        let wrong = |text: String| Err(ServeError::Invalid(text));
        let letters = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !(1..=100).contains(&self.name.len())
            || !self.name.chars().all(letters)
            || self.name.starts_with('.')
        {
            return wrong(format!(
                "`{}` is not a name for a deployment: 1 to 100 of a–z, A–Z, 0–9, `.`, `_`, `-`, not beginning \
                 with a dot",
                self.name.escape_debug()
            ));
        }
        if !(1..=MOST_ROWS).contains(&self.max_batch) {
            return wrong(format!(
                "max_batch is {}; it lies between 1 and {MOST_ROWS}",
                self.max_batch
            ));
        }
        if self.queue > LONGEST_QUEUE {
            return wrong(format!(
                "queue is {}; it lies between 0 and {LONGEST_QUEUE}",
                self.queue
            ));
        }
        if let Some(processor) = &self.processor {
            let seconds = processor.call_seconds;
            if !(seconds > 0.0 && seconds <= LONGEST_CALL) {
                return wrong(format!(
                    "processor.call_seconds is {seconds}; it lies above 0 and at most at {LONGEST_CALL}"
                ));
            }
        }
        Ok(self.settings().check()?)
    }

    /// The settings of a request that says nothing.
    pub(crate) fn settings(&self) -> Settings {
        Settings::default().overridden(&self.generation.to_contract())
    }
}

impl ProcessorSpec {
    /// A processor with its default configuration and no grants.
    pub fn new(plugin: impl Into<String>) -> Self {
        Self {
            plugin: plugin.into(),
            config: empty(),
            datasets: BTreeMap::new(),
            call_seconds: call_seconds(),
        }
    }

    pub(crate) fn call_time(&self) -> Duration {
        Duration::from_secs_f64(self.call_seconds)
    }
}

impl GenerationSpec {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// As the contract has it.
    pub(crate) fn to_contract(self) -> Generation {
        Generation {
            max_tokens: self.max_tokens,
            min_tokens: self.min_tokens,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            beams: self.beams,
            count: self.count,
            seed: self.seed,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_short_specification_is_enough() {
        let spec: DeploymentSpec =
            serde_json::from_value(json!({"name": "couplets", "model": "couplets@best"})).unwrap();
        assert_eq!(spec, DeploymentSpec::new("couplets", "couplets@best"));
        spec.check().unwrap();
        assert_eq!(spec.settings(), Settings::default());
        let written = serde_json::to_value(&spec).unwrap();
        assert_eq!(
            written,
            json!({"name": "couplets", "model": "couplets@best", "max_batch": 32, "queue": 256})
        );
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let refused = |change: &dyn Fn(&mut DeploymentSpec)| {
            let mut spec = DeploymentSpec::new("a", "m");
            change(&mut spec);
            spec.check().unwrap_err().to_string()
        };
        assert!(refused(&|s| s.name = "a/b".into()).contains("`a/b`"));
        assert!(refused(&|s| s.name = "..".into()).contains("dot"));
        assert!(refused(&|s| s.max_batch = 0).contains("max_batch is 0"));
        assert!(refused(&|s| s.queue = usize::MAX).contains("queue is"));
        assert!(refused(&|s| s.generation.temperature = Some(-1.0)).contains("temperature is -1"));
        assert!(
            refused(&|s| {
                s.processor = Some(ProcessorSpec {
                    call_seconds: f64::NAN,
                    ..ProcessorSpec::new("a/b")
                });
            })
            .contains("call_seconds is NaN")
        );
        let unknown = json!({"name": "a", "model": "m", "generation": {"max_token": 3}});
        assert!(serde_json::from_value::<DeploymentSpec>(unknown).is_err());
    }
}
