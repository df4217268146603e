//! A processor for tests: each request says what is to be done with it, misbehaving included.
//!
//! A request is `{"prompt": TEXT}` with any of: `"generation"` (as the contract has it), `"only"` (the
//! characters that may be generated), `"length"` (after so many tokens it is complete), `"in"` and
//! `"does"` (a stage, and how it misbehaves there: `refuse`, `panic`, `loop`, or, in `constrain`,
//! `token`: it names a token that does not exist).

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tenon_sdk::{
    Allowed, Error, Finish, Generation, Prepared, Processor, ProcessorOutput, Result, Sequence,
    Stages, dataset, processor::context, tokenizer,
};

/// The configuration.
#[derive(Debug, Clone, Default, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Config {
    /// The stages that it takes part in, all of them where nothing is said.
    pub stages: Option<Vec<String>>,
    /// Counts the rows of the dataset `words` when it is opened.
    pub counts: bool,
    /// The model's column for the text.
    pub column: Option<String>,
    /// The filter refuses a piece of text that holds this.
    pub forbids: Option<String>,
}

/// What a request says.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Request {
    #[serde(default)]
    prompt: String,
    #[serde(default)]
    x: Option<Vec<f32>>,
    #[serde(default)]
    only: Option<String>,
    #[serde(default)]
    length: Option<usize>,
    #[serde(default, rename = "in")]
    stage: Option<String>,
    #[serde(default)]
    does: Option<String>,
    #[serde(default)]
    generation: Options,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Options {
    max_tokens: Option<u32>,
    temperature: Option<f32>,
    count: Option<u32>,
    beams: Option<u32>,
    seed: Option<u64>,
}

struct Probe {
    config: Config,
    /// Tokens by their text.
    tokens: HashMap<String, u32>,
    rows: usize,
}

impl Request {
    /// Misbehaves, if it is said to in this stage.
    fn misbehave(&self, stage: &str) -> Result<()> {
        if self.stage.as_deref() != Some(stage) {
            return Ok(());
        }
        match self.does.as_deref() {
            Some("refuse") => Err(Error::invalid(format!("{stage} does not like this"))),
            Some("panic") => panic!("{stage} panics"),
            Some("loop") => loop {
                std::hint::black_box(());
            },
            _ => Ok(()),
        }
    }
}

impl Processor for Probe {
    const NAME: &'static str = "testing/probe-processor";
    const SUMMARY: &'static str =
        "A processor for tests: each request says what is to be done with it.";
    const CAPABILITIES: &'static [&'static str] = &["tokenizer", "dataset:words"];
    type Config = Config;

    fn open(config: Config) -> Result<Self> {
        let mut tokens = HashMap::new();
        // A model without a tokenizer is served as well.
        if let Ok(vocabulary) = tokenizer::vocabulary() {
            for (id, text) in vocabulary.iter() {
                if let Some(text) = text.filter(|_| !vocabulary.is_special(id)) {
                    tokens.insert(text.to_owned(), id);
                }
            }
        }
        let mut rows = 0;
        if config.counts {
            for batch in dataset::open("words")? {
                rows += batch?.rows as usize;
            }
        }
        Ok(Self {
            config,
            tokens,
            rows,
        })
    }

    fn stages(&self) -> Stages {
        let Some(names) = &self.config.stages else {
            return Stages::all();
        };
        let stage = |name: &String| match name.as_str() {
            "preprocess" => Stages::PREPROCESS,
            "constrain" => Stages::CONSTRAIN,
            "filter" => Stages::FILTER,
            "postprocess" => Stages::POSTPROCESS,
            other => panic!("there is no stage {other}"),
        };
        names.iter().map(stage).collect()
    }

    fn preprocess(&mut self, request: &str) -> Result<Prepared> {
        let request: Request = serde_json::from_str(request)
            .map_err(|error| Error::invalid(format!("this is no request: {error}")))?;
        request.misbehave("preprocess")?;
        let options = request.generation.clone();
        let prepared = Prepared::new(&request)?;
        let prepared = match &request.x {
            Some(x) => prepared.field("x", tenon_sdk::Value::Numbers(x.clone())),
            None => prepared.text(
                self.config.column.as_deref().unwrap_or("text"),
                &request.prompt,
            ),
        };
        Ok(prepared.generation(Generation {
            max_tokens: options.max_tokens,
            temperature: options.temperature,
            count: options.count,
            beams: options.beams,
            seed: options.seed,
            ..Generation::default()
        }))
    }

    fn constrain(&mut self, sequences: Vec<Sequence>) -> Result<Vec<Allowed>> {
        sequences
            .iter()
            .map(|sequence| {
                if sequence.context.is_empty() {
                    return Ok(Allowed::Any);
                }
                let request: Request = sequence.context()?;
                request.misbehave("constrain")?;
                if request.does.as_deref() == Some("token") {
                    return Ok(Allowed::Only(vec![u32::MAX]));
                }
                if request.length == Some(sequence.tokens.len()) {
                    return Ok(Allowed::End);
                }
                let Some(only) = &request.only else {
                    return Ok(Allowed::Any);
                };
                let texts = only.chars().map(String::from);
                let tokens = texts.filter_map(|text| self.tokens.get(&text).copied());
                Ok(Allowed::Only(tokens.collect()))
            })
            .collect()
    }

    fn filter(&mut self, _context: &[u8], text: String) -> Result<String> {
        if self
            .config
            .forbids
            .as_ref()
            .is_some_and(|word| text.contains(word))
        {
            return Err(Error::failed("filter does not pass this on"));
        }
        Ok(format!("[{text}]"))
    }

    fn postprocess(&mut self, bytes: &[u8], output: ProcessorOutput) -> Result<String> {
        let request: Request = context(bytes)?;
        request.misbehave("postprocess")?;
        let answer = match output {
            ProcessorOutput::Generated(candidates) => candidates
                .into_iter()
                .map(|candidate| {
                    json!({
                        "text": candidate.text,
                        "tokens": candidate.tokens,
                        "log_probability": candidate.log_probability,
                        "finish": match candidate.finish {
                            Finish::Stop => "stop",
                            Finish::Length => "length",
                            Finish::Constraint => "constraint",
                        },
                    })
                })
                .collect::<Vec<Value>>(),
            ProcessorOutput::Arrays(arrays) => arrays
                .into_iter()
                .map(|array| json!({"name": array.name, "values": array.values}))
                .collect(),
        };
        Ok(json!({"prompt": request.prompt, "rows": self.rows, "answers": answer}).to_string())
    }
}

tenon_sdk::export_processor!(Probe);
