//! What generated texts share with references, with training data, and with themselves.

mod bleu;
mod grams;
mod tokens;
mod training;

use schemars::JsonSchema;
use serde::Deserialize;
use tenon_sdk::{
    Batch, Column, Error, Evaluator, Metric, Report, Result,
    host::Random,
    model::{self, GenerationConfig},
    stats,
};

use bleu::{Bleu, Smoothing, Statistics};
use tokens::{Interner, Tokenize};

/// What is compared, and how.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// The column with the texts to judge. Nothing: the model under evaluation writes them.
    pub output: Option<String>,
    /// The columns with the references for BLEU; several give a text several references. Empty: no
    /// BLEU.
    pub references: Vec<String>,
    /// What a token is.
    pub tokenize: Tokenize,
    /// The longest n-grams of BLEU.
    #[schemars(range(min = 1, max = 8))]
    pub max_order: usize,
    /// What BLEU does about n-grams without a match.
    pub smoothing: Smoothing,
    /// The n-grams whose variety is measured (distinct-n).
    #[schemars(inner(range(min = 1, max = 8)))]
    pub distinct: Vec<usize>,
    /// The n-grams that count as repeated when a text has them again.
    #[schemars(range(min = 1, max = 8))]
    pub repetition_order: usize,
    /// The columns of the granted dataset `train` that texts may be copied from. Empty: all columns of
    /// text.
    pub training_columns: Vec<String>,
    /// The n-grams that are looked for in the training data.
    #[schemars(range(min = 1, max = 32))]
    pub training_order: usize,
    /// The characters between the lines of a training text: a text that equals one of its lines is
    /// copied too.
    pub separators: String,
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

impl Default for Config {
    fn default() -> Self {
        Self {
            output: None,
            references: vec!["tgt_txt".into()],
            tokenize: Tokenize::default(),
            max_order: 4,
            smoothing: Smoothing::default(),
            distinct: vec![1, 2, 3],
            repetition_order: 2,
            training_columns: Vec::new(),
            training_order: 4,
            separators: "\n\r，。！？；：、".into(),
            // A model that has not learnt to end must not write for ever.
            generation: GenerationConfig {
                max_tokens: Some(256),
                ..GenerationConfig::default()
            },
            max_rows: 500,
            examples: 20,
            resamples: 1000,
        }
    }
}

/// The evaluator.
pub struct TextOverlap {
    config: Config,
    interner: Interner,
    outputs: Vec<String>,
    /// The tokens of the outputs.
    tokens: Vec<Vec<u32>>,
    statistics: Vec<Statistics>,
    /// The first reference of the examples.
    references: Vec<String>,
}

impl Evaluator for TextOverlap {
    const NAME: &'static str = "tenon/text-overlap";
    const SUMMARY: &'static str = "BLEU against references, variety and repetition of texts, and the share copied from training data.";
    const CAPABILITIES: &'static [&'static str] = &["model", "dataset:train"];
    type Config = Config;

    fn open(config: Config) -> Result<Self> {
        Ok(Self {
            config,
            interner: Interner::default(),
            outputs: Vec::new(),
            tokens: Vec::new(),
            statistics: Vec::new(),
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
            let tokenize = self.config.tokenize;
            let tokens = self.interner.add(tokenize, &output);
            let texts: Vec<&str> = references.iter().filter_map(|r| r.get(row)).collect();
            if !references.is_empty() {
                let references: Vec<Vec<u32>> = texts
                    .iter()
                    .map(|text| self.interner.add(tokenize, text))
                    .collect();
                let statistics = Statistics::of(&tokens, &references, self.config.max_order);
                self.statistics.push(statistics);
            }
            if self.outputs.len() < self.config.examples {
                self.references
                    .push(texts.first().copied().unwrap_or_default().to_owned());
            }
            self.tokens.push(tokens);
            self.outputs.push(output.trim().to_owned());
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
        report.metrics.extend(self.bleu(&mut random));
        report.metrics.extend(self.variety(&mut random));
        if let Some(copied) = &copied {
            report.metrics.extend(self.copies(copied, &mut random));
        }
        report = report.metric(Metric::higher("outputs", self.outputs.len() as f64));
        if self.references.is_empty() {
            return Ok(report);
        }
        Ok(report.table("examples", self.table(copied.as_ref())?))
    }
}

impl TextOverlap {
    fn bleu(&self, random: &mut Random) -> Option<Metric> {
        if self.statistics.is_empty() {
            return None;
        }
        let (order, smoothing) = (self.config.max_order, self.config.smoothing);
        let bleu = Bleu::new(order, smoothing);
        let metric = Metric::higher("bleu", bleu.score(self.statistics.iter()));
        let interval = stats::bootstrap(
            self.statistics.len(),
            self.config.resamples,
            random,
            |drawn| bleu.score(drawn.iter().map(|&row| &self.statistics[row])),
        );
        Some(match interval {
            Some(interval) => metric.interval(interval),
            None => metric,
        })
    }

    /// Distinct n-grams, repetition within a text, and texts that came before.
    fn variety(&self, random: &mut Random) -> Vec<Metric> {
        let mut metrics = Vec::new();
        for &order in &self.config.distinct {
            let name = format!("distinct_{order}");
            let rows = grams::ids(&self.tokens, order);
            let found = grams::distinct(&rows, self.config.resamples, random);
            metrics.extend(found.map(|(value, interval)| Metric {
                name,
                ..metric(Metric::higher, value, interval)
            }));
        }
        let (again, all) = grams::repeated(&self.tokens, self.config.repetition_order);
        metrics.extend(self.ratio("self_repetition", &again, &all, random));
        let whole = grams::whole(&self.outputs);
        if let Some((value, interval)) = grams::distinct(&whole, self.config.resamples, random) {
            let flipped = interval.map(|interval| stats::Interval {
                low: 1.0 - interval.high,
                high: 1.0 - interval.low,
            });
            let duplicates = metric(Metric::lower, 1.0 - value, flipped);
            metrics.push(Metric {
                name: "duplicates".into(),
                ..duplicates
            });
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
        Some(Metric {
            name: name.into(),
            ..metric(Metric::lower, value, interval)
        })
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

/// A metric without a name.
fn metric(
    direction: fn(String, f64) -> Metric,
    value: f64,
    interval: Option<stats::Interval>,
) -> Metric {
    let metric = direction(String::new(), value);
    match interval {
        Some(interval) => metric.interval(interval),
        None => metric,
    }
}

tenon_sdk::export_evaluator!(TextOverlap);

#[cfg(test)]
mod tests;
