//! What is judged, and how.

use schemars::JsonSchema;
use serde::Deserialize;
use tenon_sdk::{Error, Result};

/// What the scores of the classes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// Unnormalised log-probabilities; the softmax of several, or the sigmoid of one, are probabilities.
    #[default]
    Logits,
    /// Probabilities of the classes, or of the positive class of two.
    Probabilities,
    /// Any numbers of which the greatest wins; nothing is said about probabilities.
    Scores,
}

/// How the bands of the calibration are laid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Bands {
    /// All of one width.
    #[default]
    Uniform,
    /// All with as many rows, as far as equal confidences let them.
    Quantile,
}

/// What is judged, and how.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// The column with the true class: its name (text), its number (integers) or yes and no (booleans).
    pub label: String,
    /// The column with the predicted class, of the same type as `label`. Without it and `scores` the
    /// model under evaluation predicts.
    pub predicted: Option<String>,
    /// The column with the classes' scores: a list of numbers in the order of the classes, or one number
    /// for the second of two classes.
    pub scores: Option<String>,
    /// The model's output with the classes' scores. Nothing: its only one.
    pub output: Option<String>,
    /// What the scores are.
    pub scale: Scale,
    /// The names of the classes in the order of the scores. Integers in `label` and `predicted` are
    /// positions in it, from 0. Empty: the numbers themselves, or whatever names there are.
    pub labels: Vec<String>,
    /// Of two classes, the one that is looked for. Nothing: the second.
    pub positive: Option<String>,
    /// With two classes and scores: the positive class is predicted where its probability (or score) is
    /// greater than this. Nothing: the class with the greater score is.
    pub threshold: Option<f64>,
    /// How many classes the true one may be among, for the accuracies by rank.
    #[schemars(inner(range(min = 1, max = 1_000_000)))]
    pub top: Vec<usize>,
    /// Bands of the calibration.
    #[schemars(range(min = 1, max = 1000))]
    pub bins: usize,
    /// How the bands are laid.
    pub bands: Bands,
    /// Rows that are judged; the rest is left out. Nothing: all.
    #[schemars(range(min = 1))]
    pub max_rows: Option<usize>,
    /// Rows of the table of mistakes.
    #[schemars(range(max = 1000))]
    pub mistakes: usize,
    /// Resamples of the bootstrap; 0: no intervals.
    #[schemars(range(max = 100_000))]
    pub resamples: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            label: "class".into(),
            predicted: None,
            scores: None,
            output: None,
            scale: Scale::default(),
            labels: Vec::new(),
            positive: None,
            threshold: None,
            top: vec![5],
            bins: 15,
            bands: Bands::default(),
            max_rows: None,
            mistakes: 20,
            resamples: 1000,
        }
    }
}

impl Config {
    /// Refuses what the schema cannot.
    pub(crate) fn check(&self) -> Result<()> {
        if self.predicted.is_some() && self.scores.is_some() {
            return Err(Error::invalid(
                "both `predicted` and `scores` are given: `scores` alone says which class is predicted",
            ));
        }
        if let Some(name) = repeated(&self.labels) {
            return Err(Error::invalid(format!("`labels` has {name:?} twice")));
        }
        if self.labels.len() == 1 {
            return Err(Error::invalid(
                "`labels` has one class: two are the least that can be told apart",
            ));
        }
        if let Some(positive) = &self.positive
            && !self.labels.is_empty()
            && !self.labels.contains(positive)
        {
            return Err(Error::invalid(format!(
                "`positive` ({positive:?}) is not among `labels`"
            )));
        }
        if self.threshold.is_some() && self.predicted.is_some() {
            return Err(Error::invalid(
                "`threshold` is for scores, but `predicted` says the classes themselves; leave one of them out",
            ));
        }
        if self
            .threshold
            .is_some_and(|threshold| !threshold.is_finite())
        {
            return Err(Error::invalid("`threshold` is not a number"));
        }
        Ok(())
    }
}

fn repeated(names: &[String]) -> Option<&String> {
    let mut sorted: Vec<&String> = names.iter().collect();
    sorted.sort_unstable();
    sorted
        .windows(2)
        .find(|two| two[0] == two[1])
        .map(|two| two[0])
}
