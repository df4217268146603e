//! Couplets (对联): a request gives the upper line, the model answers with the lower, and the rules
//! hold whatever the model prefers.

mod answer;
mod constraint;
mod request;
mod vocabulary;

use schemars::JsonSchema;
use serde::Deserialize;
use tenon_sdk::{
    Allowed, Error, Prepared, Processor, ProcessorOutput, Result, Sequence, Stages, processor,
};
use verse::{Tones, TonesConfig};

use constraint::Plan;
use vocabulary::Characters;

/// What the model is kept from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Constrain {
    /// Breaking any rule.
    #[default]
    All,
    /// Another length than the upper line's, and what is no Chinese character.
    Length,
    /// Nothing.
    None,
}

/// How requests are read and what answers may be.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// The model's column that takes the upper line.
    pub column: String,
    /// Text that follows the upper line in that column, for models that go on with one text.
    pub suffix: String,
    /// Characters of an upper line at least.
    #[schemars(range(min = 1, max = 256))]
    pub min_length: usize,
    /// Characters of an upper line at most.
    #[schemars(range(min = 1, max = 256))]
    pub max_length: usize,
    /// What the model is kept from.
    pub constrain: Constrain,
    /// The tones: lines of a character and its tone, a map, or the columns of the granted dataset
    /// `tones`. Nothing: that dataset, with the columns `character` and `tone`. Without any, only the
    /// length can be constrained.
    pub tones: Option<TonesConfig>,
    /// The beams of requests that do not say how to search. Nothing: the deployment decides.
    #[schemars(range(min = 1, max = 64))]
    pub beams: Option<u32>,
    /// Lower lines that a request may ask for.
    #[schemars(range(min = 1, max = 64))]
    pub max_candidates: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            column: "src_txt".into(),
            suffix: String::new(),
            min_length: 1,
            max_length: 32,
            constrain: Constrain::All,
            tones: None,
            beams: None,
            max_candidates: 10,
        }
    }
}

/// The processor.
pub struct Couplet {
    config: Config,
    tones: Tones,
    characters: Characters,
}

impl Processor for Couplet {
    const NAME: &'static str = "tenon/couplet";
    const SUMMARY: &'static str =
        "Couplets: the upper line in, lower lines out, with a constraint that keeps the rules.";
    const CAPABILITIES: &'static [&'static str] = &["tokenizer", "dataset:tones"];
    type Config = Config;

    fn open(config: Config) -> Result<Self> {
        if config.max_length < config.min_length {
            return Err(Error::invalid(format!(
                "max_length ({}) is less than min_length ({}): no upper line would be accepted",
                config.max_length, config.min_length
            )));
        }
        let tones = match Tones::open(config.tones.as_ref()) {
            // The rules of tones are then neither asked for nor judged.
            Err(_) if config.constrain != Constrain::All && config.tones.is_none() => {
                Tones::default()
            }
            other => other?,
        };
        if tones.is_empty() && config.constrain == Constrain::All {
            return Err(Error::invalid(
                "no character has a tone: give `tones`, or set `constrain` to \"length\"",
            ));
        }
        let characters = Characters::of_tokenizer(&tones)?;
        Ok(Self {
            config,
            tones,
            characters,
        })
    }

    fn stages(&self) -> Stages {
        let stages = Stages::PREPROCESS | Stages::POSTPROCESS;
        match self.config.constrain {
            Constrain::None => stages,
            Constrain::All | Constrain::Length => stages | Stages::CONSTRAIN,
        }
    }

    fn preprocess(&mut self, request: &str) -> Result<Prepared> {
        let request = request::read(request, &self.config)?;
        let upper = request.upper(&self.config, &self.characters)?;
        let all = self.config.constrain == Constrain::All;
        let plan = Plan::new(upper, all, &self.tones, &self.characters);
        let mut generation = request.generation(&self.config)?;
        if self.config.constrain != Constrain::None {
            let length = Some(plan.length() as u32);
            (generation.min_tokens, generation.max_tokens) = (length, length);
        }
        let text = format!("{upper}{}", self.config.suffix);
        Ok(Prepared::new(&plan)?
            .text(&self.config.column, text)
            .generation(generation))
    }

    fn constrain(&mut self, sequences: Vec<Sequence>) -> Result<Vec<Allowed>> {
        sequences
            .iter()
            .map(|sequence| {
                let plan: Plan = sequence.context()?;
                Ok(plan.allowed(&sequence.tokens, &self.characters))
            })
            .collect()
    }

    fn postprocess(&mut self, context: &[u8], output: ProcessorOutput) -> Result<String> {
        let plan: Plan = processor::context(context)?;
        answer::write(&plan.upper, output, &self.tones)
    }
}

tenon_sdk::export_processor!(Couplet);

#[cfg(test)]
mod tests;
