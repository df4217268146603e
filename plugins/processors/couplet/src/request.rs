//! Requests.

use serde::Deserialize;
use tenon_sdk::{Error, Generation, Result};
use verse::is_han;

use crate::{Config, Constrain, vocabulary::Characters};

/// Beams where several lines are asked for and nobody says how to find them.
const BEAMS: u32 = 4;
/// Beams that a search may have.
const MOST_BEAMS: u32 = 64;

/// The JSON body of a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    upper: String,
    #[serde(default = "one")]
    candidates: u32,
    beams: Option<u32>,
    temperature: Option<f32>,
    top_k: Option<u32>,
    top_p: Option<f32>,
    seed: Option<u64>,
}

fn one() -> u32 {
    1
}

/// Reads a request's body.
pub(crate) fn read(body: &str, config: &Config) -> Result<Request> {
    let request: Request = serde_json::from_str(body).map_err(|error| {
        Error::invalid(format!(
            "the request does not fit: {error}; it should look like {{\"upper\": \"明月松间照\"}}"
        ))
    })?;
    let most = config.max_candidates;
    if !(1..=most).contains(&request.candidates) {
        return Err(Error::invalid(format!(
            "`candidates` is {}; it lies between 1 and {most}",
            request.candidates
        )));
    }
    Ok(request)
}

impl Request {
    /// The upper line, if it can be answered.
    pub(crate) fn upper(&self, config: &Config, characters: &Characters) -> Result<&str> {
        let upper = self.upper.trim();
        let length = upper.chars().count();
        if length < config.min_length || length > config.max_length {
            return Err(Error::invalid(format!(
                "`upper` has {length} characters; it needs {} to {}",
                config.min_length, config.max_length
            )));
        }
        if config.constrain != Constrain::None
            && let Some(other) = upper.chars().find(|&c| !is_han(c))
        {
            return Err(Error::invalid(format!(
                "`upper` has {other:?}, which is no Chinese character: give one line, without punctuation"
            )));
        }
        let mut unknown = String::new();
        for character in upper.chars() {
            if !characters.knows(character)? && !unknown.contains(character) {
                unknown.push(character);
            }
        }
        if !unknown.is_empty() {
            return Err(Error::invalid(format!(
                "`upper` has characters that the model's tokenizer does not know: {unknown}"
            )));
        }
        Ok(upper)
    }

    /// How to generate: by sampling where a temperature is given, else by a search where beams or
    /// several candidates are asked for, else as the deployment says.
    pub(crate) fn generation(&self, config: &Config) -> Result<Generation> {
        let sampled = self
            .temperature
            .is_some_and(|temperature| temperature > 0.0);
        if sampled && self.beams.is_some_and(|beams| beams > 1) {
            return Err(Error::invalid(
                "`beams` and `temperature` exclude each other: a search does not sample",
            ));
        }
        if let Some(beams) = self.beams
            && !(1..=MOST_BEAMS).contains(&beams)
        {
            return Err(Error::invalid(format!(
                "`beams` is {beams}; it lies between 1 and {MOST_BEAMS}"
            )));
        }
        let several = (self.candidates > 1).then_some(BEAMS);
        let greedy = self.temperature.map(|_| 1);
        let beams = self.beams.or(config.beams).or(several).or(greedy);
        let (beams, temperature) = match beams {
            _ if sampled => (Some(1), self.temperature),
            Some(beams) => (Some(beams.max(self.candidates)), Some(0.0)),
            None => (None, None),
        };
        Ok(Generation {
            count: Some(self.candidates),
            beams,
            temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            seed: self.seed,
            ..Generation::default()
        })
    }
}
