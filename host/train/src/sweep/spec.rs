//! What a sweep is to do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::space::{Choice, Trial, apply, grid, random};
use crate::{Result, TrainError, TrainSpec};

/// Which way a metric is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// The lower the better.
    #[default]
    Minimize,
    /// The higher the better.
    Maximize,
}

impl Goal {
    /// Whether `a` is better than `b`. No number is worse than all.
    #[must_use]
    pub fn better(self, a: f64, b: f64) -> bool {
        match (a.is_nan(), b.is_nan()) {
            (true, _) => false,
            (false, true) => true,
            _ => match self {
                Self::Minimize => a < b,
                Self::Maximize => a > b,
            },
        }
    }
}

/// Which trials there are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Strategy {
    /// Every combination of the values.
    Grid,
    /// So many, drawn independently (Bergstra and Bengio 2012).
    Random {
        /// How many.
        trials: u32,
    },
    /// So many are drawn and trained for a few steps; the best share of them is trained anew for
    /// `factor` times as many, and so on until the steps of the training's own specification are
    /// reached (successive halving, Jamieson and Talwalkar 2016). Every rung has its own schedule of the
    /// learning rate, so that what is compared are trainings that have ended.
    Halving {
        /// How many begin.
        trials: u32,
        /// Of `factor` trials one goes on; 3.
        #[serde(default = "three")]
        factor: u32,
        /// Steps of the first rung.
        min_steps: u64,
    },
}

fn three() -> u32 {
    3
}

/// What a sweep is to do: trainings that differ in a few settings, and what they are judged by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SweepSpec {
    /// Name of the sweep's run, for people.
    #[serde(default)]
    pub name: Option<String>,
    /// Its experiment and that of its trials, created where there is none of that name.
    #[serde(default)]
    pub experiment: Option<String>,
    /// The training that is varied; `register` in it is not allowed.
    pub train: TrainSpec,
    /// Setting → what it may be. Settings of settings have dots: `recipe_config.dropout`.
    pub space: BTreeMap<String, Choice>,
    /// Which trials there are.
    pub strategy: Strategy,
    /// The metric of the trials that decides.
    #[serde(default = "metric")]
    pub metric: String,
    /// Which way it is better.
    #[serde(default)]
    pub goal: Goal,
    /// Of what is drawn.
    #[serde(default)]
    pub seed: u64,
    /// Registers the model of the best trial under this name.
    #[serde(default)]
    pub register: Option<String>,
}

fn metric() -> String {
    "eval/loss".to_owned()
}

/// Trials that a sweep may have.
pub(super) const MOST: u32 = 10_000;

/// Some trials, trained for the same time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rung {
    /// Steps of each; nothing: what the specification says.
    pub steps: Option<u64>,
    /// How many of the trials there are in it.
    pub trials: usize,
}

impl SweepSpec {
    /// All trials, in their order.
    pub(super) fn trials(&self) -> Result<Vec<Trial>> {
        match self.strategy {
            Strategy::Grid => grid(&self.space),
            Strategy::Random { trials } | Strategy::Halving { trials, .. } => {
                Ok(random(&self.space, trials, self.seed))
            }
        }
    }

    /// How long trials are trained, and how many of them: the first rung has all.
    pub(super) fn rungs(&self, trials: usize) -> Vec<Rung> {
        let Strategy::Halving {
            factor, min_steps, ..
        } = self.strategy
        else {
            return vec![Rung {
                steps: None,
                trials,
            }];
        };
        let (factor, most) = (u64::from(factor), self.train.steps.unwrap_or(min_steps));
        let (mut steps, mut left) = (min_steps.min(most), trials);
        let mut rungs = Vec::new();
        loop {
            rungs.push(Rung {
                steps: Some(steps),
                trials: left,
            });
            if steps == most {
                return rungs;
            }
            steps = steps.saturating_mul(factor).min(most);
            left = left.div_ceil(factor as usize);
        }
    }

    /// The training of a trial.
    pub(super) fn training(&self, trial: &Trial, steps: Option<u64>) -> Result<TrainSpec> {
        let base = serde_json::to_value(&self.train)
            .map_err(|error| TrainError::Internal(error.to_string()))?;
        let mut spec: TrainSpec = serde_json::from_value(apply(&base, trial)?)
            .map_err(|error| TrainError::setting("space", format!("makes no training: {error}")))?;
        if let Some(steps) = steps {
            spec.steps = Some(steps);
        }
        Ok(spec)
    }

    /// Refuses what cannot be meant.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |name: &str, reason: &str| Err(TrainError::setting(name, reason));
        if self.space.is_empty() {
            return refuse("space", "is empty: name at least one setting to vary");
        }
        for (name, choice) in &self.space {
            choice.check(name)?;
        }
        if self.train.register.is_some() {
            return refuse(
                "train.register",
                "would register every trial; set the sweep's own `register`",
            );
        }
        match self.strategy {
            Strategy::Grid => {}
            Strategy::Random { trials: 0 } | Strategy::Halving { trials: 0, .. } => {
                return refuse("strategy.trials", "is 0, but must be at least 1");
            }
            Strategy::Random { trials } | Strategy::Halving { trials, .. } if trials > MOST => {
                return refuse("strategy.trials", "is more than 10,000");
            }
            Strategy::Random { .. } => {}
            Strategy::Halving {
                factor, min_steps, ..
            } => {
                if factor < 2 {
                    return refuse("strategy.factor", "must be at least 2");
                }
                if min_steps == 0 {
                    return refuse("strategy.min_steps", "is 0, but must be at least 1");
                }
                if self.train.steps.is_none_or(|steps| steps < min_steps) {
                    return refuse(
                        "train.steps",
                        "must be given, and at least the `min_steps` of the first rung",
                    );
                }
                if self.space.contains_key("steps") {
                    return refuse("space.steps", "is what the rungs vary; leave it out");
                }
            }
        }
        Ok(())
    }
}

/// A trial's settings in a few words.
pub(super) fn words(trial: &Trial) -> String {
    let settings: Vec<String> = trial
        .iter()
        .map(|(name, value)| match value {
            Value::Number(number) if number.is_f64() => {
                let value = number.as_f64().unwrap_or_default();
                format!("{name} {value:.3e}")
            }
            value => format!("{name} {value}"),
        })
        .collect();
    settings.join(", ")
}
