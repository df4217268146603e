//! Preferences between answers in a training's specification.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::TrainSpec;
use crate::{Result, TrainError};

/// Direct preference optimisation (DPO, Rafailov et al. 2023): every row has a better and a worse answer,
/// and the model learns to prefer the better one, measured against the model that it started from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PreferenceSpec {
    /// How much a difference to the reference counts: the smaller, the further the model may go from
    /// it; 0.1.
    pub beta: f64,
    /// The share of rows in which the preference is taken to be the wrong way round (conservative DPO);
    /// 0.
    pub label_smoothing: f64,
    /// The recipe's column that the answers take the place of; nothing: the only one that it learns.
    pub answer: Option<String>,
    /// The dataset's column of the better answers; `chosen`.
    pub chosen: String,
    /// The dataset's column of the worse answers; `rejected`.
    pub rejected: String,
}

impl Default for PreferenceSpec {
    fn default() -> Self {
        Self {
            beta: 0.1,
            label_smoothing: 0.0,
            answer: None,
            chosen: "chosen".to_owned(),
            rejected: "rejected".to_owned(),
        }
    }
}

impl PreferenceSpec {
    pub(super) fn check(&self, spec: &TrainSpec) -> Result<()> {
        let set = |name: &str, reason: &str| Err(TrainError::setting(name, reason));
        if !(self.beta.is_finite() && self.beta > 0.0) {
            return set("preference.beta", "must be a number above 0");
        }
        if !(0.0..0.5).contains(&self.label_smoothing) {
            return set(
                "preference.label_smoothing",
                "must be a number from 0 to less than 0.5",
            );
        }
        if spec.from.is_none() {
            return set(
                "preference",
                "is measured against the model that the training starts from: name it with `from`",
            );
        }
        if spec.batch.pack_tokens.is_some() {
            return set(
                "batch.pack_tokens",
                "cannot be set with `preference`: every answer is judged on its own",
            );
        }
        Ok(())
    }
}
