//! Perplexity of the learnt pieces of every row: exp(−Σ log p / Σ tokens).

use schemars::JsonSchema;
use serde::Deserialize;
use tenon_sdk::{Batch, Error, Evaluator, Metric, Report, Result, host::Random, model, stats};

/// How the interval is computed.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Config {
    /// Rows that are looked at; the rest is left out. Nothing: all.
    #[serde(default)]
    pub max_rows: Option<usize>,
    /// Resamples of the bootstrap; 0: no interval.
    #[serde(default = "resamples")]
    pub resamples: usize,
}

fn resamples() -> usize {
    1000
}

/// The evaluator.
pub struct Perplexity {
    config: Config,
    /// Σ −log p and the number of tokens, a row each.
    losses: Vec<f64>,
    tokens: Vec<f64>,
    special: (f64, f64),
}

impl Evaluator for Perplexity {
    const NAME: &'static str = "tenon/perplexity";
    const SUMMARY: &'static str =
        "Perplexity of the learnt pieces, by token; special tokens apart.";
    const CAPABILITIES: &'static [&'static str] = &["model"];
    type Config = Config;

    fn open(config: Config) -> Result<Self> {
        Ok(Self {
            config,
            losses: Vec::new(),
            tokens: Vec::new(),
            special: (0.0, 0.0),
        })
    }

    fn update(&mut self, input: Batch) -> Result<()> {
        let room = self
            .config
            .max_rows
            .map_or(usize::MAX, |most| most.saturating_sub(self.losses.len()));
        if room == 0 || input.is_empty() {
            return Ok(());
        }
        for row in model::score(&input)?.into_iter().take(room) {
            self.losses.push(-row.log_likelihood);
            self.tokens.push(f64::from(row.tokens));
            self.special.0 -= row.special_log_likelihood;
            self.special.1 += f64::from(row.special_tokens);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Report> {
        let (loss, tokens): (f64, f64) = (self.losses.iter().sum(), self.tokens.iter().sum());
        if tokens == 0.0 {
            return Err(Error::invalid(
                "no row has a learnt token: there is nothing to take the perplexity of",
            ));
        }
        let mut perplexity = Metric::lower("perplexity", (loss / tokens).exp());
        if let Some(interval) = (self.config.resamples > 0)
            .then(|| {
                stats::bootstrap_ratio(
                    &self.losses,
                    &self.tokens,
                    self.config.resamples,
                    &mut Random::from_host(),
                )
            })
            .flatten()
        {
            (perplexity.low, perplexity.high) =
                (Some(interval.low.exp()), Some(interval.high.exp()));
        }
        let mut report = Report::new()
            .metric(perplexity)
            .metric(Metric::lower("loss", loss / tokens))
            .metric(Metric::higher("tokens", tokens));
        if self.special.1 > 0.0 {
            report = report.metric(Metric::lower(
                "special_loss",
                self.special.0 / self.special.1,
            ));
        }
        Ok(report)
    }
}

tenon_sdk::export_evaluator!(Perplexity);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tenon_sdk::{Column, model::Scored, testkit};

    /// Every row has `length` tokens of probability `1/length`, and an end of probability 1/2.
    struct Uniform;

    impl testkit::Model for Uniform {
        fn score(&mut self, rows: &Batch) -> Result<Vec<Scored>> {
            let lengths = rows.i64s("length")?;
            Ok(lengths
                .iter()
                .map(|length| {
                    let length = length.unwrap_or_default();
                    Scored {
                        log_likelihood: -(length as f64) * (length as f64).ln(),
                        tokens: length as u32,
                        special_log_likelihood: -(2.0_f64.ln()),
                        special_tokens: 1,
                    }
                })
                .collect())
        }
    }

    #[test]
    fn perplexity_is_weighted_by_token() {
        testkit::set_model(Uniform);
        let mut evaluator = Perplexity::open(Config {
            max_rows: Some(3),
            resamples: 200,
        })
        .unwrap();
        evaluator
            .update(Batch::from_columns([Column::from_i64s("length", [2, 8])]).unwrap())
            .unwrap();
        evaluator
            .update(Batch::from_columns([Column::from_i64s("length", [8, 100])]).unwrap())
            .unwrap();
        let report = evaluator.finish().unwrap();
        let expected = ((2.0 * 2.0_f64.ln() + 16.0 * 8.0_f64.ln()) / 18.0).exp();
        assert!(
            (report.metrics[0].value - expected).abs() < 1e-9,
            "{}",
            report.metrics[0].value
        );
        assert!(
            report.metrics[0].low.unwrap() <= expected
                && expected <= report.metrics[0].high.unwrap()
        );
        assert!((report.metrics[3].value - 2.0_f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn nothing_to_judge_is_an_error() {
        let mut evaluator = Perplexity::open(Config {
            max_rows: None,
            resamples: 0,
        })
        .unwrap();
        assert!(evaluator.finish().is_err());
    }
}
