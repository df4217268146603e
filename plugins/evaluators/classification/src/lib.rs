//! How well classes are told apart.

mod calibration;
mod classes;
mod config;
mod counts;
mod curves;
mod judge;
mod report;
mod rows;
mod scores;

use tenon_sdk::{Batch, Error, Evaluator, Metric, Report, Result, host::Random};

pub use config::{Bands, Config, Scale};
use judge::Judge;
use rows::Rows;

/// The evaluator.
pub struct Classification {
    config: Config,
    rows: Rows,
}

impl Evaluator for Classification {
    const NAME: &'static str = "tenon/classification";
    const SUMMARY: &'static str = "Accuracy, F1, ROC, precision-recall and calibration of predicted classes, with the confusion matrix.";
    const CAPABILITIES: &'static [&'static str] = &["model"];
    type Config = Config;

    fn open(config: Config) -> Result<Self> {
        config.check()?;
        Ok(Self {
            config,
            rows: Rows::default(),
        })
    }

    fn columns(&self) -> Option<Vec<String>> {
        // A model's recipe reads columns that are not known here.
        let source = self
            .config
            .predicted
            .as_ref()
            .or(self.config.scores.as_ref())?;
        let mut columns = vec![self.config.label.clone(), source.clone()];
        columns.dedup();
        Some(columns)
    }

    fn update(&mut self, input: Batch) -> Result<()> {
        self.rows.add(input, &self.config)
    }

    fn finish(&mut self) -> Result<Report> {
        let rows = std::mem::take(&mut self.rows);
        let unlabelled = rows.unlabelled;
        if rows.len() == 0 {
            return Err(Error::invalid(match unlabelled {
                0 => "there are no rows: nothing to judge".to_owned(),
                _ => format!(
                    "none of the {unlabelled} rows has a class in the column {:?}: nothing to judge",
                    self.config.label
                ),
            }));
        }
        let judge = Judge::new(rows, &self.config)?;
        let (mistakes, resamples) = (self.config.mistakes, self.config.resamples);
        let report = report::report(&judge, mistakes, resamples, &mut Random::from_host())?;
        Ok(match unlabelled {
            0 => report,
            _ => report.metric(Metric::lower("unlabelled", unlabelled as f64)),
        })
    }
}

tenon_sdk::export_evaluator!(Classification);

#[cfg(test)]
mod tests;
