//! What a training job is to do.

mod lora;
mod optimizer;
mod precision;
mod preference;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tenon_data::collate::BatchOptions;
use tenon_tensor::{
    optim::{Ema, OptimizerConfig, Schedule, ScheduleKind},
    params::{Lora, patterns},
};
use utoipa::ToSchema;

pub use lora::{LoraSpec, QuantizationSpec};
use optimizer::OptimizerSchema;
pub use precision::Precision;
pub use preference::PreferenceSpec;

use crate::{Result, TrainError};

/// What a training job is to do. Everything but `dataset` and one of `recipe` and `from` has a default;
/// at least one of `steps`, `epochs` and `minutes` is needed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrainSpec {
    /// Name of the run, for people.
    pub name: Option<String>,
    /// Its experiment, created where there is none of that name.
    pub experiment: Option<String>,
    /// The recipe: `owner/name`, `owner/name@version` or `sha256:…`. Not with `from`, unless it is the
    /// recipe that the model has.
    pub recipe: Option<String>,
    /// The recipe's configuration; with `from`, merged over the one that the model has.
    #[schema(value_type = Object)]
    pub recipe_config: Value,
    /// The model to go on from: `name`, `name@2`, `name@alias` or `run:ID`. Recipe, configuration,
    /// tokenizer and weights come from it.
    pub from: Option<String>,
    /// The tokenizer: `name` or `name@2`. Not with `from`.
    pub tokenizer: Option<String>,
    /// Rows to learn: `name[@version][#split]`; split `train` where none is named.
    #[schema(required)]
    pub dataset: String,
    /// Rows to measure on while training: `name[@version][#split]`. Nothing: the dataset's own split
    /// `dev`, where there is one.
    pub eval_dataset: Option<String>,
    /// The recipe's column → the dataset's column, where their names differ.
    pub columns: BTreeMap<String, String>,
    /// Steps of the optimiser.
    pub steps: Option<u64>,
    /// Walks over the dataset.
    pub epochs: Option<f64>,
    /// Minutes of training. Whichever of the limits comes first ends the job, and the learning rate's
    /// schedule follows it.
    pub minutes: Option<f64>,
    /// How batches are made.
    pub batch: BatchOptions,
    /// Batches of one step. Their losses count by their weights, so that the step is that of one large
    /// batch.
    pub accumulate: usize,
    /// The optimiser.
    #[schema(value_type = OptimizerSchema)]
    pub optimizer: OptimizerConfig,
    /// The learning rate after the warm-up.
    pub learning_rate: f64,
    /// How the learning rate goes on.
    pub schedule: ScheduleSpec,
    /// The precision of matrix products and convolutions: `float32`, `bfloat16` or `float16`.
    pub precision: Precision,
    /// Whether layers keep nothing for their gradients and are computed again in the backward pass:
    /// up to a third more time, a fraction of the memory, the same numbers.
    pub gradient_checkpointing: bool,
    /// The largest norm of a step's gradient; null: not limited.
    pub clip_norm: Option<f64>,
    /// Regular expressions: parameters whose names one of them finds are not trained.
    pub freeze: Vec<String>,
    /// Trains low-rank adapters instead of the weights. The model of the run has them merged in; the
    /// adapters themselves are artifacts of the run, in PEFT's layout.
    pub lora: Option<LoraSpec>,
    /// Learns which of two answers is better instead of what the recipe's own loss says.
    pub preference: Option<PreferenceSpec>,
    /// Of the initial weights, the order of rows, dropout and the recipe's own random numbers.
    pub seed: u64,
    /// Steps between points of the training metrics.
    pub log_every: u64,
    /// Steps between points of the statistics: the root mean square of every gradient, of every trained
    /// weight and of what every layer gives, and the largest magnitude of the latter; nothing: none.
    pub statistics_every: Option<u64>,
    /// Steps between evaluations; nothing: only at the end.
    pub eval_every: Option<u64>,
    /// Rows of the evaluation set that are used, from its beginning; nothing: all.
    pub eval_rows: Option<u64>,
    /// Steps between checkpoints; one is also written every few minutes, when the job is stopped, and
    /// at the end.
    pub checkpoint_every: u64,
    /// Whether the model is made of the weights with the lowest evaluation loss instead of the last.
    pub keep_best: bool,
    /// Ends the job when evaluations bring no progress any more; needs `eval_every`.
    pub early_stopping: Option<EarlyStopping>,
    /// Averages the weights with this decay, for example 0.999: evaluations and the model use the
    /// averages.
    pub ema: Option<f64>,
    /// Registers the model under this name at the end.
    pub register: Option<String>,
    /// Labels of the run.
    pub tags: BTreeMap<String, String>,
}

impl Default for TrainSpec {
    fn default() -> Self {
        Self {
            name: None,
            experiment: None,
            recipe: None,
            recipe_config: json!({}),
            from: None,
            tokenizer: None,
            dataset: String::new(),
            eval_dataset: None,
            columns: BTreeMap::new(),
            steps: None,
            epochs: None,
            minutes: None,
            batch: BatchOptions::default(),
            accumulate: 1,
            optimizer: OptimizerConfig::default(),
            learning_rate: 3e-4,
            schedule: ScheduleSpec::default(),
            precision: Precision::default(),
            gradient_checkpointing: false,
            clip_norm: Some(1.0),
            freeze: Vec::new(),
            lora: None,
            preference: None,
            seed: 0,
            log_every: 10,
            statistics_every: None,
            eval_every: None,
            eval_rows: None,
            checkpoint_every: 200,
            keep_best: false,
            early_stopping: None,
            ema: None,
            register: None,
            tags: BTreeMap::new(),
        }
    }
}

/// When a training ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EarlyStopping {
    /// So many evaluations without a lower loss end the job.
    pub patience: u64,
    /// By how much the loss must be lower to count as progress; 0.
    #[serde(default)]
    pub min_delta: f64,
}

/// How the learning rate goes on: it rises linearly during the warm-up, then follows `kind` to the end
/// of the job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleSpec {
    /// The shape after the warm-up: `cosine` (the default), `linear` or `constant`.
    #[schema(value_type = ScheduleKindSchema)]
    pub kind: ScheduleKind,
    /// Steps of the warm-up.
    pub warmup_steps: u64,
    /// Where it ends, as a part of the full learning rate.
    pub min_ratio: f64,
}

impl ScheduleSpec {
    /// The schedule of a job of so many steps.
    pub(crate) fn over(&self, total_steps: u64) -> Schedule {
        Schedule {
            kind: self.kind,
            warmup_steps: self.warmup_steps,
            total_steps,
            min_ratio: self.min_ratio,
        }
    }
}

/// For the schema: [`ScheduleKind`].
#[derive(ToSchema)]
#[schema(as = ScheduleKind, rename_all = "snake_case")]
#[allow(dead_code)]
enum ScheduleKindSchema {
    Constant,
    Cosine,
    Linear,
}

impl TrainSpec {
    /// Refuses what cannot be meant, whatever the data folder holds.
    pub(crate) fn check(&self) -> Result<()> {
        let set = |name: &str, reason: &str| Err(TrainError::setting(name, reason));
        if self.dataset.is_empty() {
            return set("dataset", "is missing: name the dataset to train on");
        }
        if !self.recipe_config.is_object() {
            return set("recipe_config", "must be a JSON object");
        }
        match (&self.recipe, &self.from) {
            (None, None) => {
                return set(
                    "recipe",
                    "is missing: name a recipe, or with `from` a model to go on from",
                );
            }
            (_, Some(_)) if self.tokenizer.is_some() => {
                return set(
                    "tokenizer",
                    "cannot be chosen with `from`: a model keeps the tokenizer that it was trained with",
                );
            }
            _ => {}
        }
        self.check_limits()?;
        self.check_steps()?;
        self.optimizer.check()?;
        if let Some(decay) = self.ema {
            Ema::check(decay)?;
        }
        if let Some(early) = self.early_stopping {
            if early.patience == 0 {
                return set("early_stopping.patience", "is 0, but must be at least 1");
            }
            if !(early.min_delta.is_finite() && early.min_delta >= 0.0) {
                return set("early_stopping.min_delta", "must be a number of at least 0");
            }
            if self.eval_every.is_none() {
                return set(
                    "early_stopping",
                    "needs evaluations to go by: set `eval_every`",
                );
            }
        }
        patterns("`freeze`", &self.freeze)?;
        if let Some(lora) = &self.lora {
            Lora::from(lora).check()?;
            if self.from.is_none() {
                return set(
                    "lora",
                    "adapts weights that are there already: name a model with `from`",
                );
            }
        }
        if let Some(preference) = &self.preference {
            preference.check(self)?;
        }
        self.schedule.over(self.steps.unwrap_or(u64::MAX)).check()?;
        Ok(())
    }

    fn check_limits(&self) -> Result<()> {
        let positive = |name: &str, value: Option<f64>| match value {
            Some(value) if !(value.is_finite() && value > 0.0) => Err(TrainError::setting(
                name,
                format!("is {value}, but must be a number above 0"),
            )),
            _ => Ok(()),
        };
        if self.steps.is_none() && self.epochs.is_none() && self.minutes.is_none() {
            return Err(TrainError::Invalid(
                "nothing says when the training ends: give `steps`, `epochs` or `minutes`".into(),
            ));
        }
        if self.steps == Some(0) {
            return Err(TrainError::setting("steps", "is 0, but must be at least 1"));
        }
        positive("epochs", self.epochs)?;
        positive("minutes", self.minutes)?;
        positive("learning_rate", Some(self.learning_rate))?;
        positive("clip_norm", self.clip_norm)
    }

    fn check_steps(&self) -> Result<()> {
        let counts = [
            ("accumulate", Some(self.accumulate as u64)),
            ("batch.rows", Some(self.batch.rows as u64)),
            (
                "batch.pad_multiple",
                self.batch.pad_multiple.map(|n| n as u64),
            ),
            (
                "batch.pack_tokens",
                self.batch.pack_tokens.map(|n| n as u64),
            ),
            ("log_every", Some(self.log_every)),
            ("statistics_every", self.statistics_every),
            ("eval_every", self.eval_every),
            ("eval_rows", self.eval_rows),
            ("checkpoint_every", Some(self.checkpoint_every)),
        ];
        match counts.iter().find(|(_, count)| *count == Some(0)) {
            Some((name, _)) => Err(TrainError::setting(name, "is 0, but must be at least 1")),
            None => Ok(()),
        }
    }
}
