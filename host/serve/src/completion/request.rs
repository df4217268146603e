//! What a completion may be told.

use serde_json::{Map, Value, json};
use tenon_model::Settings;

use crate::{Result, ServeError};

/// Choices of one request.
const MOST_CHOICES: usize = 64;
/// Alternatives of one token.
const MOST_ALTERNATIVES: usize = 20;
/// Stop strings of one request.
const MOST_STOPS: usize = 16;

/// What is to be continued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompletionPrompt {
    /// Text: tokenised.
    Text(String),
    /// Token ids of the model's own tokenizer.
    Tokens(Vec<u32>),
}

/// A completion. What is left out is decided by the processor or the deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct CompletionRequest {
    /// What is to be continued.
    pub prompt: CompletionPrompt,
    /// Tokens at most. 0: nothing is generated, which makes sense with `echo`.
    pub max_tokens: Option<usize>,
    /// No ending before this many.
    pub min_tokens: Option<usize>,
    /// 0: always the likeliest token.
    pub temperature: Option<f32>,
    /// Only the likeliest tokens that together reach this probability.
    pub top_p: Option<f32>,
    /// Only the `k` likeliest tokens.
    pub top_k: Option<usize>,
    /// Choices.
    pub n: Option<usize>,
    /// Candidates to choose the best `n` from; the stream then waits for all of them.
    pub best_of: Option<usize>,
    /// More than 1: beam search; the stream then waits for its end.
    pub beams: Option<usize>,
    /// Texts that end a choice; they are not part of it.
    pub stop: Vec<String>,
    /// Of the sampling; without one, every request has its own.
    pub seed: Option<u64>,
    /// Whether the prompt comes first.
    pub echo: bool,
    /// The tokens are told with their probabilities, and with this many alternatives.
    pub logprobs: Option<usize>,
}

impl CompletionRequest {
    /// A request that says nothing but its prompt.
    pub fn new(prompt: CompletionPrompt) -> Self {
        Self {
            prompt,
            max_tokens: None,
            min_tokens: None,
            temperature: None,
            top_p: None,
            top_k: None,
            n: None,
            best_of: None,
            beams: None,
            stop: Vec::new(),
            seed: None,
            echo: false,
            logprobs: None,
        }
    }

    /// A request that continues a text.
    pub fn text(prompt: impl Into<String>) -> Self {
        Self::new(CompletionPrompt::Text(prompt.into()))
    }

    /// Whether the stream has to wait for all candidates before it knows the first choice.
    pub(super) fn waits(&self, settings: &Settings) -> bool {
        settings.beams > 1 || settings.count > self.choices(settings)
    }

    /// Choices that are returned.
    pub(super) fn choices(&self, settings: &Settings) -> usize {
        self.n.unwrap_or(if self.best_of.is_some() {
            1
        } else {
            settings.count
        })
    }

    /// These settings, changed by what the request says.
    pub(super) fn settings(&self, mut settings: Settings) -> Settings {
        settings.max_tokens = self.max_tokens.or(settings.max_tokens);
        settings.min_tokens = self.min_tokens.unwrap_or(settings.min_tokens);
        settings.temperature = self.temperature.unwrap_or(settings.temperature);
        settings.top_p = self.top_p.or(settings.top_p);
        settings.top_k = self.top_k.or(settings.top_k);
        settings.beams = self.beams.unwrap_or(settings.beams);
        settings.count = self.best_of.or(self.n).unwrap_or(settings.count);
        settings.seed = self.seed.unwrap_or(settings.seed);
        settings.alternatives = self.logprobs.unwrap_or(0);
        settings
    }

    /// The body that a processor sees.
    pub(super) fn body(&self) -> Value {
        let mut body = Map::new();
        body.insert(
            "prompt".into(),
            match &self.prompt {
                CompletionPrompt::Text(text) => json!(text),
                CompletionPrompt::Tokens(tokens) => json!(tokens),
            },
        );
        let mut say = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(name.into(), value);
            }
        };
        say("max_tokens", self.max_tokens.map(|v| json!(v)));
        say("min_tokens", self.min_tokens.map(|v| json!(v)));
        say("temperature", self.temperature.map(|v| json!(v)));
        say("top_p", self.top_p.map(|v| json!(v)));
        say("top_k", self.top_k.map(|v| json!(v)));
        say("n", self.n.map(|v| json!(v)));
        say("beams", self.beams.map(|v| json!(v)));
        say("seed", self.seed.map(|v| json!(v)));
        Value::Object(body)
    }

    /// What the engine does not check itself.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |text: String| Err(ServeError::Invalid(text));
        for (name, number) in [("n", self.n), ("best_of", self.best_of)] {
            if number.is_some_and(|number| !(1..=MOST_CHOICES).contains(&number)) {
                return wrong(format!(
                    "{name} is {}; it lies between 1 and {MOST_CHOICES}",
                    number.unwrap_or_default()
                ));
            }
        }
        if let (Some(n), Some(best_of)) = (self.n, self.best_of)
            && best_of < n
        {
            return wrong(format!(
                "best_of is {best_of}, fewer than n ({n}): the choices are taken from it"
            ));
        }
        if self.logprobs.is_some_and(|count| count > MOST_ALTERNATIVES) {
            return wrong(format!(
                "logprobs is {}; at most {MOST_ALTERNATIVES} alternatives are told",
                self.logprobs.unwrap_or_default()
            ));
        }
        if self.stop.len() > MOST_STOPS {
            return wrong(format!(
                "there are {} stop strings; at most {MOST_STOPS} are looked for",
                self.stop.len()
            ));
        }
        if self.stop.iter().any(String::is_empty) {
            return wrong("a stop string is empty: it would end every text at once".into());
        }
        if matches!(&self.prompt, CompletionPrompt::Tokens(tokens) if tokens.is_empty()) {
            return wrong("the prompt has no tokens".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_wins_over_what_came_before() {
        let before = Settings {
            temperature: 0.5,
            top_k: Some(3),
            count: 4,
            ..Settings::default()
        };
        let silent = CompletionRequest::text("a");
        let settings = silent.settings(before.clone());
        assert_eq!((settings.temperature, settings.count), (0.5, 4));
        assert_eq!(silent.choices(&settings), 4);
        assert!(!silent.waits(&settings));
        let request = CompletionRequest {
            temperature: Some(0.0),
            n: Some(2),
            best_of: Some(5),
            logprobs: Some(1),
            ..CompletionRequest::text("a")
        };
        let settings = request.settings(before);
        assert_eq!((settings.temperature, settings.count), (0.0, 5));
        assert_eq!((settings.top_k, settings.alternatives), (Some(3), 1));
        assert_eq!(request.choices(&settings), 2);
        assert!(request.waits(&settings));
        assert_eq!(
            request.body(),
            json!({"prompt": "a", "temperature": 0.0, "n": 2})
        );
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let refused = |change: &dyn Fn(&mut CompletionRequest)| {
            let mut request = CompletionRequest::text("a");
            change(&mut request);
            request
                .check()
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default()
        };
        assert!(refused(&|r| r.n = Some(0)).contains("n is 0"));
        assert!(refused(&|r| (r.n, r.best_of) = (Some(3), Some(2))).contains("best_of is 2"));
        assert!(refused(&|r| r.logprobs = Some(21)).contains("logprobs is 21"));
        assert!(refused(&|r| r.stop = vec![String::new()]).contains("empty"));
        assert!(refused(&|r| r.stop = vec!["a".into(); 17]).contains("17 stop strings"));
        assert!(refused(&|r| r.prompt = CompletionPrompt::Tokens(vec![])).contains("no tokens"));
        assert_eq!(refused(&|_| ()), "");
    }
}
