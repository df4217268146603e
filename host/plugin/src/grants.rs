//! What the operator gives to one instance of a plugin, and what stands behind it.

use std::{fmt, sync::Arc};

use crate::{Limits, batch::Batch};

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Every step.
    Trace,
    /// For the plugin's author.
    Debug,
    /// For the user.
    Info,
    /// Something is odd.
    Warn,
    /// Something failed.
    Error,
}

/// Where a plugin's log lines and progress go.
pub trait LogSink: Send + Sync {
    /// One line of the plugin's own.
    fn log(&self, plugin: &str, level: LogLevel, message: &str);
    /// How far the current call is.
    fn progress(&self, plugin: &str, done: u64, total: Option<u64>, message: &str) {
        let _ = (plugin, done, total, message);
    }
}

/// Sends log lines to `tracing`, under the target `plugin`.
#[derive(Debug, Clone, Copy, Default)]
pub struct TracingSink;

impl LogSink for TracingSink {
    fn log(&self, plugin: &str, level: LogLevel, message: &str) {
        match level {
            LogLevel::Trace => tracing::trace!(target: "plugin", plugin, "{message}"),
            LogLevel::Debug => tracing::debug!(target: "plugin", plugin, "{message}"),
            LogLevel::Info => tracing::info!(target: "plugin", plugin, "{message}"),
            LogLevel::Warn => tracing::warn!(target: "plugin", plugin, "{message}"),
            LogLevel::Error => tracing::error!(target: "plugin", plugin, "{message}"),
        }
    }

    fn progress(&self, plugin: &str, done: u64, total: Option<u64>, message: &str) {
        tracing::debug!(target: "plugin", plugin, done, total, "{message}");
    }
}

/// The text of every token in one buffer: token `i` is `text[offsets[i]..offsets[i + 1]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenTable {
    /// UTF-8, all tokens one after the other.
    pub text: Vec<u8>,
    /// One more than there are tokens.
    pub offsets: Vec<u32>,
    /// Ids of the special tokens.
    pub special: Vec<u32>,
}

/// The tokenizer of the model at hand (capability `tokenizer`).
pub trait TokenizerSource: Send + Sync {
    /// Every token.
    fn vocabulary(&self) -> TokenTable;
    /// Text to ids, without special tokens.
    fn encode(&self, text: &str) -> Result<Vec<u32>, String>;
    /// Ids to text.
    fn decode(&self, tokens: &[u32]) -> Result<String, String>;
    /// The id of a token by its exact text, special tokens included.
    fn token_id(&self, token: &str) -> Option<u32>;
}

/// A dataset's rows, batch by batch.
pub type BatchReader = Box<dyn Iterator<Item = Result<Batch, String>> + Send>;

/// The datasets that were granted (capability `dataset:NAME`).
pub trait DatasetSource: Send + Sync {
    /// Whether the operator granted this name. A source that holds granted datasets only says no to
    /// all others.
    fn is_granted(&self, name: &str) -> bool {
        let _ = name;
        true
    }
    /// Starts to read one. The error says why it cannot be read.
    fn open(&self, name: &str) -> Result<BatchReader, String>;
}

/// The likelihood of one row.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Scored {
    /// Natural-log likelihood of the learnt tokens of the row's columns.
    pub log_likelihood: f64,
    /// How many these are.
    pub tokens: u32,
    /// The same for learnt special tokens.
    pub special_log_likelihood: f64,
    /// How many these are.
    pub special_tokens: u32,
}

/// How to generate; nothing means the model's default.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct GenerationOptions {
    /// Tokens at most.
    pub max_tokens: Option<u32>,
    /// 0 or nothing: greedy.
    pub temperature: Option<f32>,
    /// Only the `k` likeliest tokens.
    pub top_k: Option<u32>,
    /// Only the likeliest tokens that together reach this probability.
    pub top_p: Option<f32>,
    /// More than 1: beam search.
    pub beams: Option<u32>,
    /// Of the sampling.
    pub seed: Option<u64>,
}

/// Beams of one search.
const MOST_BEAMS: u32 = 64;

impl GenerationOptions {
    /// Whether every option is within its range.
    ///
    /// # Errors
    /// The option, its value and its range.
    pub fn check(&self) -> Result<(), String> {
        let temperature = self.temperature.unwrap_or(0.0);
        if !(0.0..=100.0).contains(&temperature) {
            return Err(format!(
                "temperature is {temperature}; it lies between 0 and 100"
            ));
        }
        let top_p = self.top_p.unwrap_or(1.0);
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(format!(
                "top-p is {top_p}; it lies above 0 and at most at 1"
            ));
        }
        if self.top_k == Some(0) {
            return Err("top-k is 0; at least one token must remain".into());
        }
        let beams = self.beams.unwrap_or(1);
        if !(1..=MOST_BEAMS).contains(&beams) {
            return Err(format!(
                "beams is {beams}; it lies between 1 and {MOST_BEAMS}"
            ));
        }
        Ok(())
    }
}

/// The model under evaluation (capability `model`).
pub trait ModelSource {
    /// One likelihood for each row.
    fn score(&mut self, rows: &Batch) -> Result<Vec<Scored>, String>;
    /// One continuation for each row.
    fn generate(
        &mut self,
        rows: &Batch,
        options: &GenerationOptions,
    ) -> Result<Vec<String>, String>;
    /// The model's outputs as float32-list columns, one row each.
    fn predict(&mut self, rows: &Batch) -> Result<Batch, String>;
}

/// What one instance is given. The default grants nothing but a log and random numbers of seed 0.
pub struct Grants {
    /// Of the plugin's random numbers.
    pub seed: u64,
    /// Nothing: the engine's.
    pub limits: Option<Limits>,
    /// Where log lines go.
    pub log: Arc<dyn LogSink>,
    /// The tokenizer of the model at hand.
    pub tokenizer: Option<Arc<dyn TokenizerSource>>,
    /// Datasets that it may read.
    pub datasets: Option<Arc<dyn DatasetSource>>,
    /// The model that it evaluates.
    pub model: Option<Box<dyn ModelSource + Send>>,
}

impl Default for Grants {
    fn default() -> Self {
        Self {
            seed: 0,
            limits: None,
            log: Arc::new(TracingSink),
            tokenizer: None,
            datasets: None,
            model: None,
        }
    }
}

impl Grants {
    /// The same for another instance; a model cannot be shared and is left out.
    #[must_use]
    pub fn again(&self) -> Self {
        Self {
            seed: self.seed,
            limits: self.limits.clone(),
            log: self.log.clone(),
            tokenizer: self.tokenizer.clone(),
            datasets: self.datasets.clone(),
            model: None,
        }
    }
}

impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grants")
            .field("seed", &self.seed)
            .field("limits", &self.limits)
            .field("tokenizer", &self.tokenizer.is_some())
            .field("datasets", &self.datasets.is_some())
            .field("model", &self.model.is_some())
            .finish_non_exhaustive()
    }
}
