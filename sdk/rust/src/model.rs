//! The model under evaluation (capability `model`).
//!
//! Rows carry the columns that the model's recipe reads. Natively it is the one given to
//! [`testkit::set_model`](crate::testkit::set_model).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::bindings::model::{GenerationOptions, Scored};
use crate::{Batch, Error, Result};

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

/// One of the recipe's outputs for the rows, a list of numbers each: the one of that name, or the only
/// one.
///
/// # Errors
/// As [`predict`]; there is no such output, or there are several and none is named; another number of
/// rows than was asked about.
#[track_caller]
pub fn predict_one(rows: &Batch, output: Option<&str>) -> Result<Batch> {
    let mut outputs = predict(rows)?;
    let names: Vec<String> = outputs.names().map(str::to_owned).collect();
    let at = match output {
        Some(output) => names.iter().position(|name| name == output),
        None => (names.len() == 1).then_some(0),
    };
    let Some(at) = at else {
        let which = match output {
            Some(output) => format!("there is no output {output:?}"),
            None => "it is not said which output is meant".to_owned(),
        };
        return Err(Error::invalid(format!(
            "{which}: the model's outputs are {names:?}; name one of them in `output`"
        )));
    };
    if outputs.rows != rows.rows {
        return Err(Error::failed(format!(
            "the model answers {} rows for {}",
            outputs.rows, rows.rows
        )));
    }
    outputs.columns = vec![outputs.columns.swap_remove(at)];
    Ok(outputs)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Column, testkit};

    /// Two outputs, or one row too few.
    struct Oracle {
        short: bool,
    }

    impl testkit::Model for Oracle {
        fn predict(&mut self, rows: &Batch) -> Result<Batch> {
            let rows = rows.len() - usize::from(self.short);
            let column = |name: &str, x: f32| Column::from_f32_lists(name, vec![[x]; rows]);
            Batch::from_columns([column("logits", 1.0), column("hidden", 2.0)])
        }
    }

    #[test]
    fn one_output_is_chosen_by_name() {
        let rows = Batch::from_columns([Column::from_i64s("x", [1, 2])]).unwrap();
        testkit::set_model(Oracle { short: false });
        let hidden = predict_one(&rows, Some("hidden")).unwrap();
        assert_eq!(hidden.names().collect::<Vec<_>>(), ["hidden"]);
        for output in [None, Some("loss")] {
            let error = predict_one(&rows, output).unwrap_err().to_string();
            assert!(error.contains(r#"["logits", "hidden"]"#), "{error}");
        }
        testkit::set_model(Oracle { short: true });
        assert!(predict_one(&rows, Some("logits")).is_err());
    }
}
