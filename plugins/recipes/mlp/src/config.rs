//! The columns of the table and the sizes of the layers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tenon_sdk::{
    Error, Result,
    recipe::hub::{self, Activation},
};

/// Numbers of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Numeric {
    /// A column of one number a row.
    One(String),
    /// A column of lists.
    Several {
        /// Its name.
        column: String,
        /// Numbers in each row.
        #[schemars(range(min = 1, max = 1_048_576))]
        size: u32,
    },
}

impl Numeric {
    pub(crate) fn column(&self) -> &str {
        let (Self::One(column) | Self::Several { column, .. }) = self;
        column
    }

    pub(crate) fn size(&self) -> u32 {
        match self {
            Self::One(_) => 1,
            Self::Several { size, .. } => *size,
        }
    }
}

/// A column of categories, numbered from 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Categorical {
    /// Its name.
    pub column: String,
    /// How many categories there are.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub count: u32,
    /// Numbers that stand for a category; nothing: half of `count`, from 2 to 50.
    #[schemars(range(min = 1, max = 65536))]
    pub width: Option<u32>,
}

impl Categorical {
    pub(crate) fn width(&self) -> u32 {
        self.width.unwrap_or((self.count.div_ceil(2)).clamp(2, 50))
    }
}

/// What is predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Task {
    Classification,
    Regression,
}

/// The columns of the table, and the sizes of the layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Columns of numbers: `"age"`, or `{"column": "pixels", "size": 64}`.
    pub numeric: Vec<Numeric>,
    /// Columns of categories.
    pub categorical: Vec<Categorical>,
    /// The column of what is predicted: a class's number, from 0, or a number.
    pub label: String,
    /// A class, or a number.
    pub task: Task,
    /// The names of the classes.
    pub id2label: Option<BTreeMap<String, String>>,
    /// How many classes there are, where `id2label` does not name them (nothing: 2); in regression, how
    /// many numbers are predicted (nothing: 1).
    #[schemars(range(min = 1, max = 1_000_000))]
    pub num_labels: Option<u32>,
    /// Widths of the layers between.
    #[schemars(length(max = 100))]
    pub hidden_sizes: Vec<u32>,
    /// Of the layers between.
    pub hidden_act: String,
    /// Dropout after each of them in training.
    #[schemars(range(min = 0.0, max = 0.95))]
    pub dropout: f32,
    /// Whether numbers are normalised by the mean and the deviation that training sees.
    pub normalise: bool,
    /// In regression: the mean of what is predicted, so that the network's own outputs are around 0.
    pub label_mean: f32,
    /// In regression: its standard deviation.
    pub label_std: f32,
    /// In classification: how far the target distribution is pulled towards uniform in training.
    #[schemars(range(min = 0.0, max = 0.95))]
    pub label_smoothing: f32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            numeric: vec![],
            categorical: vec![],
            label: "label".into(),
            task: Task::Classification,
            id2label: None,
            num_labels: None,
            hidden_sizes: vec![64, 64],
            hidden_act: "relu".into(),
            dropout: 0.1,
            normalise: true,
            label_mean: 0.0,
            label_std: 1.0,
            label_smoothing: 0.0,
        }
    }
}

/// What follows from a configuration, once it is known to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) activation: Activation,
    /// Classes, or numbers that are predicted.
    pub(crate) outputs: u32,
}

impl Config {
    /// What the schema cannot say.
    pub(crate) fn shape(&self) -> Result<Shape> {
        let columns = self.numeric.iter().map(Numeric::column);
        let columns = columns.chain(self.categorical.iter().map(|one| one.column.as_str()));
        let mut seen = vec![self.label.as_str()];
        for column in columns {
            if seen.contains(&column) {
                return Err(Error::invalid(format!(
                    "column `{column}` is named twice among `numeric`, `categorical` and `label`"
                )));
            }
            seen.push(column);
        }
        if seen.len() == 1 {
            return Err(Error::invalid(
                "there is nothing to predict from: name columns in `numeric` or `categorical`",
            ));
        }
        if self.hidden_sizes.contains(&0) {
            return Err(Error::invalid("`hidden_sizes` is at least 1 everywhere"));
        }
        if self.label_std <= 0.0 {
            return Err(Error::invalid(format!(
                "`label_std` is {}, but must be more than 0",
                self.label_std
            )));
        }
        Ok(Shape {
            activation: Activation::named("hidden_act", &self.hidden_act)?,
            outputs: match self.task {
                Task::Classification => hub::labels(self.id2label.as_ref(), self.num_labels)?,
                Task::Regression => self.num_labels.unwrap_or(1),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shape(config: &str) -> Result<Shape> {
        serde_json::from_str::<Config>(config).unwrap().shape()
    }

    #[test]
    fn columns_are_written_as_documented() {
        let config: Config = serde_json::from_str(
            r#"{"numeric": ["age", {"column": "pixels", "size": 64}],
                "categorical": [{"column": "city", "count": 7}, {"column": "id", "count": 1000}]}"#,
        )
        .unwrap();
        let sizes: Vec<u32> = config.numeric.iter().map(Numeric::size).collect();
        assert_eq!(sizes, [1, 64]);
        let widths: Vec<u32> = config.categorical.iter().map(Categorical::width).collect();
        assert_eq!(widths, [4, 50]);
        assert_eq!(config.shape().unwrap().outputs, 2);
    }

    #[test]
    fn what_the_schema_cannot_say_is_checked() {
        let refused = |config: &str| shape(config).unwrap_err().to_string();
        assert!(refused("{}").contains("nothing to predict from"));
        assert!(refused(r#"{"numeric": ["label"]}"#).contains("`label` is named twice"));
        assert!(refused(r#"{"numeric": ["a"], "hidden_sizes": [0]}"#).contains("hidden_sizes"));
        assert!(refused(r#"{"numeric": ["a"], "label_std": 0}"#).contains("label_std"));
        assert!(refused(r#"{"numeric": ["a"], "hidden_act": "x"}"#).contains("`hidden_act`"));
        let numbers = r#"{"numeric": ["a"], "task": "regression"}"#;
        assert_eq!(shape(numbers).unwrap().outputs, 1);
    }
}
