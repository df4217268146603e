//! What generated texts share with references, with training data, and with themselves.

mod bleu;
mod chrf;
mod compare;
mod config;
mod grams;
mod rouge;
mod tokens;
mod training;

use tenon_sdk::{
    Batch, Column, Error, Evaluator, Metric, Report, Result, host::Random, model, stats,
};

pub use bleu::Smoothing;
use compare::Compared;
pub use config::Config;
pub use rouge::{Rouge, RougeTokens};
use tokens::Interner;
pub use tokens::Tokenize;

/// The evaluator.
pub struct TextOverlap {
    config: Config,
    interner: Interner,
    outputs: Vec<String>,
    /// The tokens of the outputs.
    tokens: Vec<Vec<u32>>,
    compared: Compared,
    /// The first reference of the examples.
    references: Vec<String>,
}

impl Evaluator for TextOverlap {
    const NAME: &'static str = "tenon/text-overlap";
    const SUMMARY: &'static str = "BLEU, chrF and ROUGE against references, variety and repetition of texts, and the share copied from training data.";
    const CAPABILITIES: &'static [&'static str] = &["model", "dataset:train"];
    type Config = Config;

    fn open(config: Config) -> Result<Self> {
        config.check()?;
        Ok(Self {
            compared: Compared::new(&config),
            config,
            interner: Interner::default(),
            outputs: Vec::new(),
            tokens: Vec::new(),
            references: Vec::new(),
        })
    }

    fn columns(&self) -> Option<Vec<String>> {
        // A model's recipe reads columns that are not known here.
        let mut columns = vec![self.config.output.clone()?];
        columns.extend(self.config.references.iter().cloned());
        columns.sort_unstable();
        columns.dedup();
        Some(columns)
    }

    fn update(&mut self, input: Batch) -> Result<()> {
        let input = input.head(self.config.max_rows.saturating_sub(self.outputs.len()));
        if input.is_empty() {
            return Ok(());
        }
        let columns = self.config.references.iter();
        let references: Vec<_> = columns
            .map(|name| input.utf8(name))
            .collect::<Result<_>>()?;
        let outputs: Vec<String> = match &self.config.output {
            Some(name) => {
                let outputs = input.utf8(name)?;
                outputs
                    .iter()
                    .map(|text| text.unwrap_or_default().to_owned())
                    .collect()
            }
            None => model::generate(&input, self.config.generation.options())?,
        };
        for (row, output) in outputs.into_iter().enumerate() {
            let texts: Vec<&str> = references.iter().filter_map(|r| r.get(row)).collect();
            if self.outputs.len() < self.config.examples {
                self.references
                    .push(texts.first().copied().unwrap_or_default().to_owned());
            }
            let output = output.trim().to_owned();
            let tokens = match self.config.lowercase {
                false => self.compare(&output, &texts),
                true => {
                    let lower: Vec<String> = texts.iter().map(|text| text.to_lowercase()).collect();
                    let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
                    self.compare(&output.to_lowercase(), &lower)
                }
            };
            self.tokens.push(tokens);
            self.outputs.push(output);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Report> {
        if self.outputs.is_empty() {
            return Err(Error::invalid("there are no rows: nothing to judge"));
        }
        let mut random = Random::from_host();
        let copied = self.copied()?;
        let mut report = Report::new();
        let resamples = self.config.resamples;
        report
            .metrics
            .extend(self.compared.metrics(resamples, &mut random));
        report.metrics.extend(self.variety(&mut random));
        if let Some(copied) = &copied {
            report.metrics.extend(self.copies(copied, &mut random));
        }
        report = report.metric(Metric::higher("outputs", self.outputs.len() as f64));
        if !self.references.is_empty() {
            report = report.table("examples", self.table(copied.as_ref())?);
        }
        if let Some(table) = self.compared.table()? {
            report = report.table("bleu", table);
        }
        Ok(report)
    }
}

impl TextOverlap {
    /// Compares a text with its references; says its tokens.
    fn compare(&mut self, text: &str, references: &[&str]) -> Vec<u32> {
        let tokens = self.interner.add(self.config.tokenize, text);
        if !self.config.references.is_empty() {
            self.compared
                .add(text, &tokens, references, &mut self.interner);
        }
        tokens
    }

    /// Distinct n-grams, repetition within a text, and texts that came before.
    fn variety(&self, random: &mut Random) -> Vec<Metric> {
        let mut metrics = Vec::new();
        for &order in &self.config.distinct {
            let name = format!("distinct_{order}");
            let rows = grams::ids(&self.tokens, order);
            let found = grams::distinct(&rows, self.config.resamples, random);
            metrics.extend(
                found.map(|(value, interval)| Metric::higher(name, value).interval(interval)),
            );
        }
        let (again, all) = grams::repeated(&self.tokens, self.config.repetition_order);
        metrics.extend(self.ratio("self_repetition", &again, &all, random));
        let whole = grams::whole(&self.outputs);
        if let Some((value, interval)) = grams::distinct(&whole, self.config.resamples, random) {
            let flipped = interval.map(|interval| stats::Interval {
                low: 1.0 - interval.high,
                high: 1.0 - interval.low,
            });
            metrics.push(Metric::lower("duplicates", 1.0 - value).interval(flipped));
        }
        metrics
    }

    /// What of the outputs stands in the training data; nothing where that was not granted.
    fn copied(&self) -> Result<Option<training::Copied>> {
        let config = &self.config;
        let order = config.training_order;
        let search = training::Search::new(&self.outputs, &self.tokens, order);
        search.run(&self.interner, config)
    }

    fn copies(&self, copied: &training::Copied, random: &mut Random) -> Vec<Metric> {
        let texts: Vec<f64> = copied
            .texts
            .iter()
            .map(|&copied| f64::from(u8::from(copied)))
            .collect();
        let ones = vec![1.0; texts.len()];
        let (found, all) = &copied.grams;
        [
            self.ratio("copied", &texts, &ones, random),
            self.ratio("copied_ngrams", found, all, random),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// A ratio of sums of which less is better; nothing where it is over nothing.
    fn ratio(
        &self,
        name: &str,
        above: &[f64],
        below: &[f64],
        random: &mut Random,
    ) -> Option<Metric> {
        let total: f64 = below.iter().sum();
        if total == 0.0 {
            return None;
        }
        let interval = stats::bootstrap_ratio(above, below, self.config.resamples, random);
        let value = above.iter().sum::<f64>() / total;
        Some(Metric::lower(name, value).interval(interval))
    }

    fn table(&self, copied: Option<&training::Copied>) -> Result<Batch> {
        let rows = self.references.len();
        let mut columns = vec![Column::from_utf8("output", &self.outputs[..rows])];
        if !self.config.references.is_empty() {
            columns.push(Column::from_utf8("reference", &self.references));
        }
        if let Some(copied) = copied {
            let texts = copied.texts[..rows].iter().copied();
            columns.push(Column::from_bools("copied", texts));
        }
        Batch::from_columns(columns)
    }
}

tenon_sdk::export_evaluator!(TextOverlap);

#[cfg(test)]
mod tests;
