//! Write Tenon plugins in Rust.
//!
//! A plugin is one crate (`crate-type = ["cdylib"]`) with one type that implements one of
//! [`Transform`], [`Recipe`], [`Evaluator`] or [`Processor`], and one line that exports it:
//!
//! ```
//! use tenon_sdk::{Batch, Column, Columns, Output, Result, Transform};
//!
//! /// Lower-cases a column of text.
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! struct Config {
//!     /// The column to rewrite.
//!     column: String,
//! }
//!
//! struct Lower(Config);
//!
//! impl Transform for Lower {
//!     const NAME: &'static str = "example/lower";
//!     const SUMMARY: &'static str = "Lower-cases a column of text.";
//!     type Config = Config;
//!
//!     fn open(config: Config) -> Result<Self> {
//!         Ok(Self(config))
//!     }
//!
//!     fn columns(&self) -> Columns {
//!         Columns::rewrite([&self.0.column])
//!     }
//!
//!     fn process(&mut self, input: Batch) -> Result<Vec<Output>> {
//!         let rows = input.utf8(&self.0.column)?;
//!         let lower = Column::from_utf8_options(&self.0.column, rows.iter().map(|row| row.map(str::to_lowercase)));
//!         Ok(vec![Output::same([lower])])
//!     }
//! }
//!
//! tenon_sdk::export_transform!(Lower);
//! ```
//!
//! The configuration's JSON Schema is derived; the host checks every configuration against it and
//! fills in its defaults before `open` is called. Errors are [`Error`], which `?` makes from any
//! other error; a panic ends the plugin's instance, and its message reaches the host's log.
//!
//! Natively (`cargo test`) the same code runs against [`testkit`], which stands in for the host.
//!
//! Building: `cargo xtask plugins`, or `cargo build --release --target wasm32-unknown-unknown` and
//! `wasm-tools component new`.

pub mod batch;
#[doc(hidden)]
pub mod bindings;
pub mod dataset;
mod error;
mod evaluator;
pub mod host;
pub mod model;
pub mod plot;
mod plugin;
pub mod processor;
pub mod recipe;
pub mod stats;
pub mod tensor;
pub mod testkit;
pub mod tokenizer;
mod transform;

pub use batch::{Batch, Column, ColumnBuilder, ColumnType};
pub use error::{Context, Error, ErrorKind, Result};
pub use evaluator::{Evaluator, Metric, Report};
pub use plugin::Description;
pub use processor::{
    Allowed, Array, Candidate, Finish, Generation, Prepared, Processor, ProcessorOutput, Sequence,
    Stages, Value,
};
pub use recipe::Recipe;
pub use transform::{Columns, Output, Rows, Transform};

#[doc(hidden)]
pub mod __private {
    pub use crate::{
        evaluator::EvaluatorSession,
        plugin::{describe, start},
        processor::ProcessorSession,
        recipe::RecipeModel,
        transform::TransformSession,
    };
}
