//! What a training is, besides its tensors.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tenon_data::collate::Position;

use super::scaler::Scaler;

/// Everything that a checkpoint keeps beside parameters and the optimiser's memory.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct State {
    /// Steps that are done.
    pub step: u64,
    /// The batch that comes next.
    pub position: Position,
    /// Seconds of training.
    pub seconds: f64,
    /// Real tokens that were learnt from.
    pub tokens: u64,
    /// Rows of batches.
    pub rows: u64,
    /// Calls of the optimiser.
    pub optimizer_steps: u64,
    /// What the loss is multiplied by, in float16.
    #[serde(default)]
    pub scaler: Option<Scaler>,
    /// Steps in the averages of the weights.
    #[serde(default)]
    pub ema_steps: u64,
    /// The training loss at the last point of its curve.
    pub loss: Option<f64>,
    /// The step after which the model was measured last, and what was found.
    pub evaluated: Option<u64>,
    #[serde(default)]
    pub values: BTreeMap<String, f64>,
    /// The best measurement so far.
    pub best: Option<Best>,
    /// The lowest evaluation loss that counted as progress, and the evaluations since.
    #[serde(default)]
    pub lowest: Option<f64>,
    #[serde(default)]
    pub stale: u64,
    /// The sums of the curve's next point.
    pub window: Sums,
}

/// A measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Best {
    pub step: u64,
    pub values: BTreeMap<String, f64>,
}

/// What was summed since the curve's last point. Bits, because JSON rounds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Sums {
    pub loss_bits: u64,
    pub weight_bits: u64,
}
