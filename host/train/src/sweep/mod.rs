//! Hyper-parameter search: many trainings, one after the other, of which the best is kept.

mod job;
mod space;
mod spec;

pub(crate) use job::{SweepPlan, prepare, run};
pub use spec::{Goal, Strategy, SweepSpec};

pub use space::Choice;
