//! Optimisers, learning-rate schedules, clipping, accumulation of gradients, averages of weights.

mod accumulate;
mod config;
mod device;
mod ema;
mod groups;
mod host;
mod optimizer;
mod schedule;
mod step;

pub use accumulate::{Accumulator, clip_factor, clip_grad_norm, grad_norm};
pub use config::{Adafactor, AdamW, Lion, OptimizerConfig, Sgd};
pub use ema::Ema;
pub use groups::ParameterGroup;
pub use optimizer::{Optimizer, OptimizerState};
pub use schedule::{Schedule, ScheduleKind};

#[cfg(test)]
mod tests;
