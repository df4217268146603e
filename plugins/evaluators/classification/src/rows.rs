//! What is kept of the rows until the end.

use tenon_sdk::{Batch, Context, Error, Result, model};

use crate::{
    classes::{Labels, Named},
    config::{Config, Scale},
};

/// Scores that are kept at most: 256 MiB.
const MOST_SCORES: usize = 1 << 25;
/// How far from 1 the sum of a row's probabilities may be.
const SLACK: f64 = 1e-3;

/// The rows so far.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) named: Named,
    /// The true classes, numbered by `named`.
    pub(crate) truth: Vec<u32>,
    /// The predicted classes, where a column says them, numbered by `named`.
    pub(crate) predicted: Vec<u32>,
    /// The scores of the classes, row after row, where there are any.
    pub(crate) scores: Vec<f64>,
    /// Scores of a row.
    pub(crate) width: Option<usize>,
    /// Where each row stood among those that were shown.
    pub(crate) numbers: Vec<u64>,
    /// Rows without a class.
    pub(crate) unlabelled: u64,
    shown: u64,
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        self.truth.len()
    }

    /// Adds rows, up to `max_rows` of them.
    pub(crate) fn add(&mut self, input: Batch, config: &Config) -> Result<()> {
        let most = config.max_rows.unwrap_or(usize::MAX);
        let shown = usize::try_from(self.shown).unwrap_or(usize::MAX);
        let input = input.head(most.saturating_sub(shown));
        if input.is_empty() {
            return Ok(());
        }
        let answered = match (&config.predicted, &config.scores) {
            (None, None) => Some(model::predict_one(&input, config.output.as_deref())?),
            _ => None,
        };
        let labels = Labels::new(&input, &config.label)?;
        let predicted = match &config.predicted {
            Some(column) => Some((Labels::new(&input, column)?, column)),
            None => None,
        };
        let scores = match (&config.scores, &answered) {
            (Some(column), _) => Some((input.numbers(column)?, column)),
            (None, Some(rows)) => match rows.columns.first() {
                Some(column) => Some((rows.numbers(&column.name)?, &column.name)),
                None => None,
            },
            (None, None) => None,
        };
        for row in 0..input.len() {
            let number = self.shown;
            self.shown += 1;
            let Some(label) = labels.get(row) else {
                self.unlabelled += 1;
                continue;
            };
            if let Some((predicted, column)) = &predicted {
                let key = predicted
                    .get(row)
                    .ok_or_else(|| nothing(number, column, "no class"))?;
                let class = self.named.number(key);
                self.predicted.push(class);
            }
            if let Some((scores, column)) = &scores {
                let from = self.scores.len();
                let found = scores
                    .append(row, &mut self.scores)
                    .ok_or_else(|| nothing(number, column, "no scores"))?;
                self.scored(from, found, config)
                    .with_context(|| format!("row {number}, column {column:?}"))?;
            }
            let class = self.named.number(label);
            self.truth.push(class);
            self.numbers.push(number);
        }
        Ok(())
    }

    /// Checks the scores of the newest row; one number becomes those of two classes.
    fn scored(&mut self, from: usize, found: usize, config: &Config) -> Result<()> {
        if found == 1
            && let Some(&score) = self.scores.get(from)
        {
            // The other class gets what makes the scores of the two mean the same.
            let other = match config.scale {
                Scale::Logits => 0.0,
                Scale::Probabilities => 1.0 - score,
                Scale::Scores => -score,
            };
            self.scores.insert(from, other);
        }
        let width = self.scores.len() - from;
        let known = *self.width.get_or_insert(width);
        if width != known || width == 0 {
            return Err(Error::invalid(format!(
                "there are {width} scores, where earlier rows have {known}: every row has one score for each class"
            )));
        }
        if !config.labels.is_empty() && config.labels.len() != width {
            return Err(Error::invalid(format!(
                "there are {width} scores for the {} classes of `labels`",
                config.labels.len()
            )));
        }
        if self.scores.len() > MOST_SCORES {
            return Err(Error::invalid(format!(
                "more than {MOST_SCORES} scores do not fit: lower `max_rows`"
            )));
        }
        check(&self.scores[from..], config.scale)
    }
}

/// Whether the scores of a row can be what they are said to be.
fn check(scores: &[f64], scale: Scale) -> Result<()> {
    if let Some(class) = scores.iter().position(|score| score.is_nan()) {
        return Err(Error::invalid(format!(
            "the score of class {class} is NaN; the model has diverged, or the column is not what it should be"
        )));
    }
    match scale {
        Scale::Logits => {
            let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            if !greatest.is_finite() {
                return Err(Error::invalid(format!(
                    "the greatest of the logits is {greatest}: no probabilities follow from them"
                )));
            }
        }
        Scale::Probabilities => {
            let sum: f64 = scores.iter().sum();
            let within = scores.iter().all(|p| (-SLACK..=1.0 + SLACK).contains(p));
            if !within || (sum - 1.0).abs() > SLACK {
                return Err(Error::invalid(format!(
                    "the probabilities sum to {sum} or leave the range from 0 to 1; say in `scale` if they are \
                     `logits` or `scores`"
                )));
            }
        }
        Scale::Scores => {}
    }
    Ok(())
}

fn nothing(row: u64, column: &str, what: &str) -> Error {
    Error::invalid(format!(
        "row {row} holds {what} in the column {column:?}; filter such rows out before the evaluation"
    ))
}
