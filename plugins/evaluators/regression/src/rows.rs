//! What is kept of the rows until the end.

use tenon_sdk::{Batch, Error, Result, batch::Numbers, model};

use crate::{Config, measures::Pairs};

/// Numbers that are kept at most, true and predicted each: 128 MiB.
const MOST: usize = 1 << 24;

/// The rows so far, row after row.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    truth: Vec<f64>,
    predicted: Vec<f64>,
    /// Numbers of a row.
    width: Option<usize>,
    /// Where each row stood among those that were shown.
    pub(crate) numbers: Vec<u64>,
    /// Rows without a true number.
    pub(crate) unlabelled: u64,
    shown: u64,
}

impl Rows {
    pub(crate) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Adds rows, up to `max_rows` of them.
    pub(crate) fn add(&mut self, input: Batch, config: &Config) -> Result<()> {
        let most = config.max_rows.unwrap_or(usize::MAX);
        let shown = usize::try_from(self.shown).unwrap_or(usize::MAX);
        let input = input.head(most.saturating_sub(shown));
        if input.is_empty() {
            return Ok(());
        }
        let answered = match &config.predicted {
            None => Some(model::predict_one(&input, config.output.as_deref())?),
            Some(_) => None,
        };
        let (rows, column) = match (&config.predicted, &answered) {
            (Some(column), _) => (&input, column.as_str()),
            (None, Some(rows)) => (rows, rows.names().next().unwrap_or_default()),
            (None, None) => return Ok(()),
        };
        let predicted = rows.numbers(column)?;
        let target = input.numbers(&config.target)?;
        for row in 0..input.len() {
            let number = self.shown;
            self.shown += 1;
            let Some(width) = append(&target, row, &mut self.truth, number, &config.target)? else {
                self.unlabelled += 1;
                continue;
            };
            let found = append(&predicted, row, &mut self.predicted, number, column)?;
            let known = *self.width.get_or_insert(width);
            if found != Some(width) || width != known || width == 0 {
                let found = found.map_or("none".to_owned(), |found| found.to_string());
                return Err(Error::invalid(format!(
                    "row {number} has {width} true numbers in the column {:?} and {found} predicted in {column:?}; \
                     every row has as many of both as the first",
                    config.target
                )));
            }
            self.numbers.push(number);
        }
        if self.truth.len() > MOST {
            return Err(Error::invalid(format!(
                "more than {MOST} numbers do not fit: lower `max_rows`"
            )));
        }
        Ok(())
    }

    /// Each target's numbers, and where the rows stood.
    pub(crate) fn targets(self) -> (Vec<Pairs>, Vec<u64>) {
        let width = self.width.unwrap_or(1);
        let of = |numbers: &[f64], target| {
            numbers
                .iter()
                .skip(target)
                .step_by(width)
                .copied()
                .collect()
        };
        let targets = (0..width)
            .map(|target| Pairs::new(of(&self.truth, target), of(&self.predicted, target)))
            .collect();
        (targets, self.numbers)
    }
}

/// Adds the numbers of a row, all of which must be finite; says how many.
fn append(
    from: &Numbers,
    row: usize,
    to: &mut Vec<f64>,
    number: u64,
    column: &str,
) -> Result<Option<usize>> {
    let start = to.len();
    let found = from.append(row, to);
    match to[start..].iter().find(|value| !value.is_finite()) {
        Some(value) => Err(Error::invalid(format!(
            "row {number} has {value} in the column {column:?}: nothing can be measured against that; filter such \
             rows out, or look whether the model has diverged"
        ))),
        None => Ok(found),
    }
}
