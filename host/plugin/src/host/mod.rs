//! What a plugin may call: one file for each interface of the contract.

mod datasets;
pub(crate) mod log;
mod model;
pub(crate) mod model_host;
pub(crate) mod tensors;
mod tokenizer;

use crate::{
    bindings::{batches, types},
    state::State,
};

// These interfaces hold types only.
impl types::Host for State {}
impl batches::Host for State {}
