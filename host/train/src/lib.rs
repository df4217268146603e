//! Jobs: training with checkpoints and exact resume, evaluation, and whatever else takes time.
//!
//! [`Jobs`] is the one door. A job is a run of the tracker: it waits for its turn, goes on on a thread
//! of its own, reports how far it is, can be stopped, and ends with what it made or with the reason why
//! it did not. Jobs that compute on the device take turns; others run beside them.
//!
//! | module | what |
//! |---|---|
//! | [`TrainSpec`], [`EvaluateSpec`] | what is to be done, as JSON |
//! | `jobs` | the queue, the life of a run |
//! | `prepare` | everything that a specification names is found, checked and pinned by digest |
//! | `trainer` | the training loop: step, plan, evaluation, checkpoints, the model at the end |
//! | `evaluate` | evaluators over a dataset |
//! | `sweep` | many trainings, of which the best is kept |

mod error;
mod evaluate;
mod evaluate_spec;
mod jobs;
mod prepare;
mod spec;
mod sweep;
mod trainer;

pub use error::{Result, TrainError};
pub use evaluate_spec::{EvaluateSpec, EvaluatorSpec};
pub use jobs::{Job, Jobs, LogLine};
pub use spec::{
    EarlyStopping, LoraSpec, Precision, PreferenceSpec, QuantizationSpec, ScheduleSpec, TrainSpec,
};
pub use sweep::{Choice, Goal, Strategy, SweepSpec};

/// The artifact of an evaluation or a sweep in which its report is kept.
pub const REPORT: &str = "report.json";
/// The artifacts of a training run with its adapters, in PEFT's layout.
pub const ADAPTER: [&str; 2] = [
    "adapter/adapter_config.json",
    "adapter/adapter_model.safetensors",
];
/// The artifact of a training run with its weights.
pub const WEIGHTS: &str = "model.safetensors";
