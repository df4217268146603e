//! Plugins: WebAssembly components behind four typed faces.
//!
//! This crate is the only one that knows of wasmtime. An [`Engine`] loads a [`Component`] (compiled
//! once, cached by digest); [`Transform`], [`Recipe`], [`Evaluator`] and [`Processor`] open an
//! instance of it with a configuration and the operator's [`Grants`]. Whatever a plugin does — loop,
//! allocate, trap, lie — ends as a [`PluginError`] of that instance.
//!
//! | where | what |
//! |---|---|
//! | [`Engine`], [`Limits`], [`Component`] | loading, compiling, bounding |
//! | `state` | the store's data: every capability of an instance in one struct |
//! | `host` | what a plugin may call, one file for each interface |
//! | `face` | what the rest of the host calls, one file for each kind of plugin |

pub mod batch;
mod bindings;
mod call;
mod check;
mod component;
mod describe;
mod engine;
mod error;
mod face;
mod grants;
mod host;
mod instance;
mod limits;
mod pack;
mod schema;
mod slab;
mod state;

pub use batch::Batch;
pub use check::{CheckReport, WorldFit, check};
pub use component::Component;
pub use describe::{Description, Kind};
pub use engine::{Engine, EngineOptions};
pub use error::{Failure, PluginError, Report};
pub use face::{
    evaluator::{self, Evaluation, Evaluator, Metric},
    processor::{self, Processor, ProcessorPool},
    recipe::{self, Losses, Recipe, Signature},
    transform::{self, Transform},
};
pub use grants::{
    BatchReader, DatasetSource, GenerationOptions, Grants, LogLevel, LogSink, ModelSource, Scored,
    TokenTable, TokenizerSource, TracingSink,
};
pub use limits::Limits;
pub use pack::{Carried, pack, unpack};
pub use schema::{ConfigFault, ConfigSchema};
