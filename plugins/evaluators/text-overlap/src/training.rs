//! What stands in the training data too.

use std::collections::HashMap;

use tenon_sdk::{Batch, Context, ErrorKind, Result, dataset, host};

use crate::{Config, tokens::Interner};

/// The granted dataset.
const DATASET: &str = "train";

/// What of the outputs stands in the training data.
pub(crate) struct Copied {
    /// Whether each output equals a training text, or one of its lines.
    pub(crate) texts: Vec<bool>,
    /// For each output, how many of its n-grams stand there, and how many there are.
    pub(crate) grams: (Vec<f64>, Vec<f64>),
}

/// The outputs, ready to be looked for: the training data may be much larger, and passes by once.
pub(crate) struct Search<'o> {
    order: usize,
    /// The outputs with each text, and whether it was found.
    texts: HashMap<&'o str, bool>,
    grams: HashMap<&'o [u32], bool>,
    outputs: &'o [String],
    tokens: &'o [Vec<u32>],
}

impl<'o> Search<'o> {
    pub(crate) fn new(outputs: &'o [String], tokens: &'o [Vec<u32>], order: usize) -> Self {
        let texts = outputs.iter().filter(|text| !text.is_empty());
        let grams = tokens.iter().flat_map(|tokens| tokens.windows(order));
        Self {
            order,
            texts: texts.map(|text| (text.as_str(), false)).collect(),
            grams: grams.map(|gram| (gram, false)).collect(),
            outputs,
            tokens,
        }
    }

    /// Reads the training data; nothing where it was not granted.
    pub(crate) fn run(mut self, interner: &Interner, config: &Config) -> Result<Option<Copied>> {
        let reader = match dataset::open(DATASET) {
            Ok(reader) => reader,
            Err(error) if error.kind() == ErrorKind::NotGranted => {
                host::info(
                    "no dataset `train` was granted: what is copied from it is not measured",
                );
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let mut rows = 0;
        for batch in reader {
            let batch = batch?;
            self.batch(&batch, interner, config)
                .with_context(|| format!("the dataset `{DATASET}`"))?;
            rows += u64::from(batch.rows);
            host::progress(rows, None, "training data");
        }
        Ok(Some(self.result()))
    }

    fn batch(&mut self, batch: &Batch, interner: &Interner, config: &Config) -> Result<()> {
        let mut columns = Vec::new();
        if config.training_columns.is_empty() {
            columns.extend(batch.names().filter_map(|name| batch.utf8(name).ok()));
        }
        for name in &config.training_columns {
            columns.push(batch.utf8(name)?);
        }
        let mut tokens = Vec::new();
        for text in columns.iter().flat_map(|column| column.iter()).flatten() {
            self.text(text.trim());
            for line in text.split(|c| config.separators.contains(c)) {
                self.text(line.trim());
            }
            let lower = config.lowercase.then(|| text.to_lowercase());
            let text = lower.as_deref().unwrap_or(text);
            interner.find(config.tokenize, text, &mut tokens);
            for gram in tokens.windows(self.order) {
                if let Some(found) = self.grams.get_mut(gram) {
                    *found = true;
                }
            }
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        if let Some(found) = self.texts.get_mut(text) {
            *found = true;
        }
    }

    fn result(self) -> Copied {
        let known = |text: &String| self.texts.get(text.as_str()) == Some(&true);
        let grams = |tokens: &Vec<u32>| {
            let grams = tokens.windows(self.order);
            let all = grams.len();
            let found = grams
                .filter(|gram| self.grams.get(gram) == Some(&true))
                .count();
            (found as f64, all as f64)
        };
        Copied {
            texts: self.outputs.iter().map(known).collect(),
            grams: self.tokens.iter().map(grams).unzip(),
        }
    }
}
