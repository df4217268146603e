//! How a request is generated.

use tenon_plugin::{GenerationOptions, processor::Generation};

use crate::{ModelError, Result};

/// Beams or candidates of one request.
const MOST_BEAMS: usize = 64;

/// How a request is generated.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Tokens at most; nothing: as many as the model can hold.
    pub max_tokens: Option<usize>,
    /// No ending token before this many.
    pub min_tokens: usize,
    /// 0: the likeliest token.
    pub temperature: f32,
    /// Only the `k` likeliest tokens.
    pub top_k: Option<usize>,
    /// Only the likeliest tokens that together reach this probability.
    pub top_p: Option<f32>,
    /// More than 1: beam search.
    pub beams: usize,
    /// Candidates to return; at most `beams` in a beam search, independent samples otherwise.
    pub count: usize,
    /// Of the sampling.
    pub seed: u64,
    /// For each token that is announced, as many of the likeliest ones in its place.
    pub alternatives: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_tokens: None,
            min_tokens: 0,
            temperature: 0.0,
            top_k: None,
            top_p: None,
            beams: 1,
            count: 1,
            seed: 0,
            alternatives: 0,
        }
    }
}

impl Settings {
    /// An evaluator's options over the defaults.
    pub fn from_options(options: &GenerationOptions) -> Self {
        let size = |number: Option<u32>| number.map(|number| number as usize);
        Self {
            max_tokens: size(options.max_tokens),
            temperature: options.temperature.unwrap_or(0.0),
            top_k: size(options.top_k),
            top_p: options.top_p,
            beams: size(options.beams).unwrap_or(1),
            seed: options.seed.unwrap_or(0),
            ..Self::default()
        }
    }

    /// These settings, changed by what a processor asks for.
    #[must_use]
    pub fn overridden(mut self, by: &Generation) -> Self {
        let size = |number: Option<u32>| number.map(|number| number as usize);
        self.max_tokens = size(by.max_tokens).or(self.max_tokens);
        self.min_tokens = size(by.min_tokens).unwrap_or(self.min_tokens);
        self.temperature = by.temperature.unwrap_or(self.temperature);
        self.top_k = size(by.top_k).or(self.top_k);
        self.top_p = by.top_p.or(self.top_p);
        self.beams = size(by.beams).unwrap_or(self.beams);
        self.count = size(by.count).unwrap_or(self.count);
        self.seed = by.seed.unwrap_or(self.seed);
        self
    }

    /// Sequences that run side by side.
    #[must_use]
    pub fn width(&self) -> usize {
        self.beams.max(self.count)
    }

    /// Whether every setting is within its range.
    ///
    /// # Errors
    /// [`ModelError::Invalid`] naming the setting, its value and its range.
    pub fn check(&self) -> Result<()> {
        let wrong = |text: String| Err(ModelError::Invalid(text));
        if !(0.0..=100.0).contains(&self.temperature) {
            return wrong(format!(
                "temperature is {}; it lies between 0 and 100",
                self.temperature
            ));
        }
        if let Some(p) = self.top_p
            && !(p > 0.0 && p <= 1.0)
        {
            return wrong(format!("top_p is {p}; it lies above 0 and at most at 1"));
        }
        if self.top_k == Some(0) {
            return wrong("top_k is 0; at least one token must remain".into());
        }
        if self.max_tokens == Some(0) {
            return wrong("max_tokens is 0; leave it out for as many as the model can hold".into());
        }
        for (name, number) in [("beams", self.beams), ("count", self.count)] {
            if !(1..=MOST_BEAMS).contains(&number) {
                return wrong(format!(
                    "{name} is {number}; it lies between 1 and {MOST_BEAMS}"
                ));
            }
        }
        if self.beams > 1 && self.count > self.beams {
            return wrong(format!(
                "count is {}, but a search with {} beams ends with as many",
                self.count, self.beams
            ));
        }
        if self.beams > 1 && self.temperature > 0.0 {
            return wrong(
                "beams and temperature exclude each other: a beam search does not sample".into(),
            );
        }
        Ok(())
    }
}
