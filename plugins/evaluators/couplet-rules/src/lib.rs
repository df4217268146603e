//! How well lower lines keep the rules of couplets: length, tones, endings, repeats.

mod tally;

use schemars::JsonSchema;
use serde::Deserialize;
use tenon_sdk::{
    Batch, Column, ColumnBuilder, ColumnType, Error, Evaluator, Report, Result,
    host::Random,
    model::{self, GenerationConfig},
};
use verse::{Judgement, Tones, TonesConfig};

use tally::Tally;

/// What is judged, and how.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// The column with the upper line.
    pub upper: String,
    /// The column with the lower line. Nothing: the model under evaluation writes it.
    pub lower: Option<String>,
    /// A column with the true lower line, which the table of examples then shows too.
    pub reference: Option<String>,
    /// Whether a character of the upper line counts as repeated in the lower.
    pub across: bool,
    /// The tones: lines of a character and its tone, a map, or the columns of the granted dataset
    /// `tones`. Nothing: that dataset, with the columns `character` and `tone`.
    pub tones: Option<TonesConfig>,
    /// How the model writes.
    pub generation: GenerationConfig,
    /// Rows that are judged; the rest is left out.
    #[schemars(range(min = 1))]
    pub max_rows: usize,
    /// Rows of the table of examples.
    #[schemars(range(max = 1000))]
    pub examples: usize,
    /// Resamples of the bootstrap; 0: no intervals.
    #[schemars(range(max = 100_000))]
    pub resamples: usize,
}

/// A model that has not learnt to end must not write for ever.
fn generation() -> GenerationConfig {
    GenerationConfig {
        max_tokens: Some(64),
        ..GenerationConfig::default()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            upper: "src_txt".into(),
            lower: None,
            reference: None,
            across: true,
            tones: None,
            generation: generation(),
            max_rows: 500,
            examples: 20,
            resamples: 1000,
        }
    }
}

/// The evaluator.
pub struct CoupletRules {
    config: Config,
    tones: Tones,
    tally: Tally,
    examples: Vec<Example>,
}

struct Example {
    upper: String,
    lower: String,
    reference: Option<String>,
    judgement: Judgement,
}

impl Evaluator for CoupletRules {
    const NAME: &'static str = "tenon/couplet-rules";
    const SUMMARY: &'static str =
        "How often lower lines keep the rules of couplets: length, tones, endings, repeats.";
    const CAPABILITIES: &'static [&'static str] = &["model", "dataset:tones"];
    type Config = Config;

    fn open(config: Config) -> Result<Self> {
        let tones = Tones::open(config.tones.as_ref())?;
        if tones.is_empty() {
            return Err(Error::invalid(
                "no character has a tone: there is nothing to judge by",
            ));
        }
        Ok(Self {
            tally: Tally::new(config.across),
            config,
            tones,
            examples: Vec::new(),
        })
    }

    fn columns(&self) -> Option<Vec<String>> {
        // A model's recipe reads columns that are not known here.
        let lower = self.config.lower.clone()?;
        let mut columns = vec![self.config.upper.clone(), lower];
        columns.extend(self.config.reference.clone());
        columns.dedup();
        Some(columns)
    }

    fn update(&mut self, input: Batch) -> Result<()> {
        let input = input.head(self.config.max_rows.saturating_sub(self.tally.couplets()));
        if input.is_empty() {
            return Ok(());
        }
        let uppers = input.utf8(&self.config.upper)?;
        let lowers: Vec<String> = match &self.config.lower {
            Some(name) => {
                let lowers = input.utf8(name)?;
                lowers
                    .iter()
                    .map(|line| line.unwrap_or_default().to_owned())
                    .collect()
            }
            None => model::generate(&input, self.config.generation.options())?,
        };
        let references = match &self.config.reference {
            Some(name) => Some(input.utf8(name)?),
            None => None,
        };
        for (row, lower) in lowers.iter().enumerate() {
            let upper = uppers.get(row).unwrap_or_default().trim();
            let lower = lower.trim();
            let judgement = Judgement::of(upper, lower, &self.tones);
            self.tally.add(&judgement);
            if self.examples.len() < self.config.examples {
                let reference = references.as_ref().and_then(|r| r.get(row));
                self.examples.push(Example {
                    upper: upper.to_owned(),
                    lower: lower.to_owned(),
                    reference: reference.map(str::to_owned),
                    judgement,
                });
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Report> {
        if self.tally.couplets() == 0 {
            return Err(Error::invalid("there are no rows: nothing to judge"));
        }
        let metrics = self
            .tally
            .metrics(self.config.resamples, &mut Random::from_host());
        let report = metrics.into_iter().fold(Report::new(), Report::metric);
        if self.examples.is_empty() {
            return Ok(report);
        }
        Ok(report.table("examples", self.table()?))
    }
}

impl CoupletRules {
    fn table(&self) -> Result<Batch> {
        let all = || self.examples.iter();
        let rule = |name: &str, kept: fn(&Judgement, bool) -> bool| {
            Column::from_bools(name, all().map(|e| kept(&e.judgement, self.config.across)))
        };
        let mut columns = vec![
            Column::from_utf8("upper", all().map(|example| &example.upper)),
            Column::from_utf8("lower", all().map(|example| &example.lower)),
        ];
        if self.config.reference.is_some() {
            let references = all().map(|example| example.reference.as_deref());
            columns.push(Column::from_utf8_options("reference", references));
        }
        columns.extend([
            rule("equal_length", |j, _| j.equal_length),
            Column::from_utf8(
                "opposed_tones",
                all().map(|e| format!("{}/{}", e.judgement.opposed, e.judgement.judged)),
            ),
            endings(all().map(|example| example.judgement.endings)),
            rule("no_repeats", tally::no_repeats),
            rule("all_rules", tally::all_rules),
        ]);
        Batch::from_columns(columns)
    }
}

/// Endings that could not be judged hold no value.
fn endings(rows: impl Iterator<Item = Option<bool>>) -> Column {
    let mut column = ColumnBuilder::new("endings", ColumnType::Boolean);
    for row in rows {
        match row {
            Some(kept) => column.push_bool(kept),
            None => column.push_null(),
        }
    }
    column.finish()
}

tenon_sdk::export_evaluator!(CoupletRules);

#[cfg(test)]
mod tests;
