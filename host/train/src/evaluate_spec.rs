//! What an evaluation is to do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{Result, TrainError};

/// What an evaluation is to do: one model, one dataset, any number of evaluators.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluateSpec {
    /// Name of the run, for people.
    pub name: Option<String>,
    /// Its experiment, created where there is none of that name.
    pub experiment: Option<String>,
    /// The model: `name`, `name@2`, `name@alias` or `run:ID`.
    #[schema(required)]
    pub model: String,
    /// Who judges it.
    #[schema(required)]
    pub evaluators: Vec<EvaluatorSpec>,
    /// Rows to judge it on: `name[@version][#split]`; split `dev` where none is named.
    #[schema(required)]
    pub dataset: String,
    /// The recipe's column → the dataset's column, where their names differ. Evaluators see both.
    pub columns: BTreeMap<String, String>,
    /// Rows that are used, from the beginning; nothing: all.
    pub rows: Option<u64>,
    /// Rows that an evaluator is shown at a time.
    pub batch_rows: usize,
    /// Of the evaluators' random numbers.
    pub seed: u64,
    /// Labels of the run.
    pub tags: BTreeMap<String, String>,
}

/// One evaluator of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluatorSpec {
    /// The evaluator: `owner/name`, `owner/name@version` or `sha256:…`.
    #[schema(required)]
    pub plugin: String,
    /// What its metrics' names begin with; nothing: the plugin's name without its owner.
    pub label: Option<String>,
    /// Its configuration.
    #[schema(value_type = Object)]
    pub config: Value,
    /// The datasets that it may read: the name that it uses → `name[@version][#split]`.
    pub datasets: BTreeMap<String, String>,
}

impl Default for EvaluateSpec {
    fn default() -> Self {
        Self {
            name: None,
            experiment: None,
            model: String::new(),
            evaluators: Vec::new(),
            dataset: String::new(),
            columns: BTreeMap::new(),
            rows: None,
            batch_rows: 256,
            seed: 0,
            tags: BTreeMap::new(),
        }
    }
}

impl Default for EvaluatorSpec {
    fn default() -> Self {
        Self {
            plugin: String::new(),
            label: None,
            config: json!({}),
            datasets: BTreeMap::new(),
        }
    }
}

impl EvaluateSpec {
    /// Refuses what cannot be meant, whatever the data folder holds.
    pub(crate) fn check(&self) -> Result<()> {
        let set = |name: &str, reason: &str| Err(TrainError::setting(name, reason));
        if self.model.is_empty() {
            return set("model", "is missing: name the model to evaluate");
        }
        if self.dataset.is_empty() {
            return set("dataset", "is missing: name the dataset to evaluate on");
        }
        if self.evaluators.is_empty() {
            return set("evaluators", "is empty: name at least one evaluator");
        }
        if self.evaluators.iter().any(|one| one.plugin.is_empty()) {
            return set("evaluators", "has an entry without a `plugin`");
        }
        if self.rows == Some(0) {
            return set("rows", "is 0, but must be at least 1");
        }
        if self.batch_rows == 0 {
            return set("batch_rows", "is 0, but must be at least 1");
        }
        Ok(())
    }
}
