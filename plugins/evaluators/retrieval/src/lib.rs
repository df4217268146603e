//! Retrieval: does the model find a row's true answer more likely than the answers of other rows?

use schemars::JsonSchema;
use serde::Deserialize;
use tenon_sdk::{
    Batch, Column, Error, Evaluator, Metric, Report, Result, host::Random, model, stats,
};

/// What is compared.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Config {
    /// The column with the answer.
    pub answer: String,
    /// Answers to choose from, the true one among them.
    #[serde(default = "candidates")]
    #[schemars(range(min = 2, max = 1000))]
    pub candidates: usize,
    /// Whether the others have the same number of characters as the true one, where there are enough.
    #[serde(default = "yes")]
    pub same_length: bool,
    /// Whether an answer's likelihood is divided by its number of tokens.
    #[serde(default)]
    pub per_token: bool,
    /// Rows that are asked about; others still serve as wrong answers.
    #[serde(default = "max_rows")]
    pub max_rows: usize,
    /// Resamples of the bootstrap; 0: no interval.
    #[serde(default = "resamples")]
    pub resamples: usize,
}

fn candidates() -> usize {
    20
}
fn yes() -> bool {
    true
}
fn max_rows() -> usize {
    500
}
fn resamples() -> usize {
    1000
}

/// Columns of text, rows of all batches.
type Texts = Vec<(String, Vec<Option<String>>)>;

/// The evaluator.
pub struct Retrieval {
    config: Config,
    columns: Texts,
    rows: usize,
}

impl Evaluator for Retrieval {
    const NAME: &'static str = "tenon/retrieval";
    const SUMMARY: &'static str =
        "How often the true answer is more likely than those of other rows.";
    const CAPABILITIES: &'static [&'static str] = &["model"];
    type Config = Config;

    fn open(config: Config) -> Result<Self> {
        Ok(Self {
            config,
            columns: Vec::new(),
            rows: 0,
        })
    }

    fn update(&mut self, input: Batch) -> Result<()> {
        input.utf8(&self.config.answer)?;
        for name in input.names() {
            // Columns of numbers cannot be answers, nor given to a model of text.
            let Ok(view) = input.utf8(name) else { continue };
            let values = view.iter().map(|text| text.map(str::to_owned));
            match self.columns.iter_mut().find(|(known, _)| known == name) {
                Some((_, column)) => column.extend(values),
                None => self.columns.push((name.to_owned(), values.collect())),
            }
        }
        self.rows += input.len();
        if self
            .columns
            .iter()
            .any(|(_, column)| column.len() != self.rows)
        {
            return Err(Error::invalid(
                "the batches differ in their columns of text",
            ));
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Report> {
        let count = self.config.candidates;
        if self.rows < count {
            return Err(Error::invalid(format!(
                "{} rows are too few to choose among {count}: lower `candidates`",
                self.rows
            )));
        }
        let mut random = Random::from_host();
        let mut asked: Vec<usize> = (0..self.rows).collect();
        random.shuffle(&mut asked);
        asked.truncate(self.config.max_rows);
        let (mut first, mut reciprocal) = (Vec::new(), Vec::new());
        for &row in &asked {
            let mut answers = vec![row];
            answers.extend(self.others(row, count - 1, &mut random)?);
            let scores = model::score(&self.question(row, &answers)?)?;
            let value = |at: usize| {
                let score = &scores[at];
                let tokens = if self.config.per_token {
                    score.tokens.max(1)
                } else {
                    1
                };
                score.log_likelihood / f64::from(tokens)
            };
            // Ties count against the model: a constant model finds nothing.
            let rank = 1
                + (1..answers.len())
                    .filter(|&at| value(at) >= value(0))
                    .count();
            first.push(f64::from(u8::from(rank == 1)));
            reciprocal.push(1.0 / rank as f64);
        }
        let metric = |name: &str, values: &[f64], random: &mut Random| {
            let interval = stats::bootstrap_mean(values, self.config.resamples, random);
            Metric::higher(name, stats::mean(values)).interval(interval)
        };
        Ok(Report::new()
            .metric(metric("accuracy", &first, &mut random))
            .metric(metric("mean_reciprocal_rank", &reciprocal, &mut random))
            .metric(Metric::higher("chance", 1.0 / count as f64)))
    }
}

impl Retrieval {
    fn answer(&self, row: usize) -> Option<&str> {
        let (_, column) = self
            .columns
            .iter()
            .find(|(name, _)| *name == self.config.answer)?;
        column[row].as_deref()
    }

    /// Rows whose answers differ from this one's.
    fn others(&self, row: usize, count: usize, random: &mut Random) -> Result<Vec<usize>> {
        let truth = self.answer(row);
        let length = |text: Option<&str>| text.map(|text| text.chars().count());
        let mut found: Vec<usize> = Vec::with_capacity(count);
        // Random tries first; a systematic search where such answers are rare.
        let tries = (0..30 * count)
            .map(|_| random.below(self.rows))
            .collect::<Vec<_>>();
        for (strict, other) in tries
            .into_iter()
            .chain(0..self.rows)
            .map(|other| (self.config.same_length, other))
            .chain((0..self.rows).map(|other| (false, other)))
        {
            if found.len() == count {
                break;
            }
            let answer = self.answer(other);
            let new = answer.is_some()
                && answer != truth
                && found.iter().all(|&row| self.answer(row) != answer);
            if new && (!strict || length(answer) == length(truth)) {
                found.push(other);
            }
        }
        if found.len() < count {
            return Err(Error::invalid(format!(
                "there are only {} different answers beside {truth:?}: lower `candidates`",
                found.len()
            )));
        }
        Ok(found)
    }

    /// The row, once for each answer.
    fn question(&self, row: usize, answers: &[usize]) -> Result<Batch> {
        Batch::from_columns(self.columns.iter().map(|(name, column)| {
            let from = |answer: &usize| {
                if *name == self.config.answer {
                    *answer
                } else {
                    row
                }
            };
            Column::from_utf8_options(
                name,
                answers.iter().map(|answer| column[from(answer)].as_deref()),
            )
        }))
    }
}

tenon_sdk::export_evaluator!(Retrieval);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tenon_sdk::{batch::Utf8, model::Scored, testkit};

    /// Likes answers that share the question's number; `noise` of the questions are answered wrongly.
    struct Oracle {
        wrong_every: usize,
    }

    impl testkit::Model for Oracle {
        fn score(&mut self, rows: &Batch) -> Result<Vec<Scored>> {
            let (q, a): (Utf8, Utf8) = (rows.utf8("q")?, rows.utf8("a")?);
            Ok(q.iter()
                .zip(a.iter())
                .map(|(q, a)| {
                    let number: usize = q.unwrap()[1..].parse().unwrap();
                    let hit = q.unwrap()[1..] == a.unwrap()[1..];
                    let right = hit && !number.is_multiple_of(self.wrong_every);
                    Scored {
                        log_likelihood: if right { -1.0 } else { -2.0 },
                        tokens: 1,
                        special_log_likelihood: 0.0,
                        special_tokens: 0,
                    }
                })
                .collect())
        }
    }

    fn evaluate(rows: usize, wrong_every: usize, candidates: usize) -> Result<Report> {
        testkit::set_model(Oracle { wrong_every });
        testkit::set_seed(1);
        let mut evaluator = Retrieval::open(Config {
            answer: "a".into(),
            candidates,
            same_length: true,
            per_token: false,
            max_rows: 1000,
            resamples: 100,
        })?;
        for half in [0..rows / 2, rows / 2..rows] {
            evaluator.update(Batch::from_columns([
                Column::from_utf8("q", half.clone().map(|i| format!("q{i:04}"))),
                Column::from_utf8("a", half.map(|i| format!("a{i:04}"))),
            ])?)?;
        }
        evaluator.finish()
    }

    #[test]
    fn accuracy_is_the_share_of_true_answers_that_win() {
        let report = evaluate(400, 4, 10).unwrap();
        assert!((report.metrics[0].value - 0.75).abs() < 1e-9);
        // The wrong ones tie with all others, and ties count against the model: rank 10.
        assert!((report.metrics[1].value - (0.75 + 0.25 / 10.0)).abs() < 1e-9);
        assert!((report.metrics[2].value - 0.1).abs() < 1e-12);
    }

    #[test]
    fn too_few_rows_are_an_error_with_a_remedy() {
        assert!(
            evaluate(8, 4, 10)
                .unwrap_err()
                .to_string()
                .contains("lower `candidates`")
        );
    }
}
