//! The model under evaluation (capability `model`).
//!
//! Rows carry the columns that the model's recipe reads. Natively it is the one given to
//! [`testkit::set_model`](crate::testkit::set_model).

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
