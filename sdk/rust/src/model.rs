//! The model under evaluation (capability `model`).
//!
//! Rows carry the columns that the model's recipe reads. Natively it is the one given to
//! [`testkit::set_model`](crate::testkit::set_model).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::bindings::model::{GenerationOptions, Scored};
use crate::{Batch, Result};

/// Greedy, as long as the model likes.
impl Default for GenerationOptions {
    fn default() -> Self {
        Self {
            max_tokens: None,
            temperature: None,
            top_k: None,
            top_p: None,
            beams: None,
            seed: None,
        }
    }
}

/// [`GenerationOptions`] as configurations write them; what is left out is the model's default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GenerationConfig {
    /// Tokens at most.
    #[schemars(range(min = 1))]
    pub max_tokens: Option<u32>,
    /// 0 or nothing: always the likeliest token.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub temperature: Option<f32>,
    /// Only the `k` likeliest tokens.
    #[schemars(range(min = 1))]
    pub top_k: Option<u32>,
    /// Only the likeliest tokens that together reach this probability.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub top_p: Option<f32>,
    /// More than 1: beam search.
    #[schemars(range(min = 1, max = 64))]
    pub beams: Option<u32>,
    /// Of the sampling.
    pub seed: Option<u64>,
}

impl GenerationConfig {
    /// For [`generate`].
    pub fn options(&self) -> GenerationOptions {
        GenerationOptions {
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            beams: self.beams,
            seed: self.seed,
        }
    }
}

/// How likely the learnt pieces of each row are.
///
/// # Errors
/// The capability was not granted; rows without the recipe's columns; failures of the model.
#[track_caller]
pub fn score(rows: &Batch) -> Result<Vec<Scored>> {
    #[cfg(target_arch = "wasm32")]
    return Ok(crate::bindings::model::score(rows)?);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testkit::model(|model| model.score(rows))
}

/// One continuation for each row.
///
/// # Errors
/// As [`score`]; a model that does not generate.
#[track_caller]
pub fn generate(rows: &Batch, options: GenerationOptions) -> Result<Vec<String>> {
    #[cfg(target_arch = "wasm32")]
    return Ok(crate::bindings::model::generate(rows, options)?);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testkit::model(|model| model.generate(rows, options))
}

/// The recipe's outputs for the rows, as float32-list columns with one row each.
///
/// # Errors
/// As [`score`].
#[track_caller]
pub fn predict(rows: &Batch) -> Result<Batch> {
    #[cfg(target_arch = "wasm32")]
    return Ok(crate::bindings::model::predict(rows)?);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testkit::model(|model| model.predict(rows))
}
