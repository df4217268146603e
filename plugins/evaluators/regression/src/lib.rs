//! How near predicted numbers are to the true ones.

mod measures;
mod report;
mod rows;
#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::Deserialize;
use tenon_sdk::{Batch, Error, Evaluator, Metric, Report, Result, host::Random};

use rows::Rows;

/// What is judged, and how.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// The column with the true numbers: one a row, or a list of several targets.
    pub target: String,
    /// The column with the predicted numbers. Nothing: the model under evaluation predicts.
    pub predicted: Option<String>,
    /// The model's output with the predicted numbers. Nothing: its only one.
    pub output: Option<String>,
    /// The names of the targets, where there are several. Empty: their numbers.
    pub names: Vec<String>,
    /// Rows that are judged; the rest is left out. Nothing: all.
    #[schemars(range(min = 1))]
    pub max_rows: Option<usize>,
    /// Rows of the table of the greatest errors.
    #[schemars(range(max = 1000))]
    pub errors: usize,
    /// Points of a plot.
    #[schemars(range(min = 10, max = 20_000))]
    pub points: usize,
    /// Resamples of the bootstrap; 0: no intervals.
    #[schemars(range(max = 100_000))]
    pub resamples: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            target: "target".into(),
            predicted: None,
            output: None,
            names: Vec::new(),
            max_rows: None,
            errors: 20,
            points: 1000,
            resamples: 1000,
        }
    }
}

/// The evaluator.
pub struct Regression {
    config: Config,
    rows: Rows,
}

impl Evaluator for Regression {
    const NAME: &'static str = "tenon/regression";
    const SUMMARY: &'static str =
        "Errors, explained variance and correlations of predicted numbers, with their residuals.";
    const CAPABILITIES: &'static [&'static str] = &["model"];
    type Config = Config;

    fn open(config: Config) -> Result<Self> {
        Ok(Self {
            config,
            rows: Rows::default(),
        })
    }

    fn columns(&self) -> Option<Vec<String>> {
        // A model's recipe reads columns that are not known here.
        let mut columns = vec![self.config.target.clone(), self.config.predicted.clone()?];
        columns.dedup();
        Some(columns)
    }

    fn update(&mut self, input: Batch) -> Result<()> {
        self.rows.add(input, &self.config)
    }

    fn finish(&mut self) -> Result<Report> {
        let rows = std::mem::take(&mut self.rows);
        let unlabelled = rows.unlabelled;
        if rows.is_empty() {
            return Err(Error::invalid(match unlabelled {
                0 => "there are no rows: nothing to judge".to_owned(),
                _ => format!(
                    "none of the {unlabelled} rows has a number in the column {:?}: nothing to judge",
                    self.config.target
                ),
            }));
        }
        let report = report::report(rows, &self.config, &mut Random::from_host())?;
        Ok(match unlabelled {
            0 => report,
            _ => report.metric(Metric::lower("unlabelled", unlabelled as f64)),
        })
    }
}

tenon_sdk::export_evaluator!(Regression);
