//! Turns conversations into what a language model is fine-tuned on: the tokens of a prompt, and those
//! of the answer, which alone are learnt.

mod template;
mod tokens;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tenon_sdk::{Batch, Column, Columns, Context, Error, Output, Result, Transform};

use template::Template;
use tokens::Encoder;

/// Which of the assistant's turns become rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Turns {
    /// Each, with all that was said before it.
    #[default]
    All,
    /// The last of each conversation.
    Last,
}

/// How conversations become rows.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// The column with the conversations: JSON lists of `{"role": …, "content": …}`.
    pub messages: String,
    /// The chat template (Jinja), as in the hub's `tokenizer_config.json`. Nothing: ChatML.
    pub template: Option<String>,
    /// What the template may use beside `messages` and `add_generation_prompt`: `bos_token`,
    /// `eos_token`, `tools`, …
    #[schemars(with = "std::collections::BTreeMap<String, serde_json::Value>")]
    pub variables: Map<String, Value>,
    /// A system message for conversations that have none.
    pub system: Option<String>,
    /// The column that the prompts' tokens are written to.
    pub prompt: String,
    /// The column that the answers' tokens are written to.
    pub answer: String,
    /// Which of the assistant's turns become rows.
    pub turns: Turns,
    /// The role whose turns are answers.
    pub assistant: String,
    /// Rows whose prompt and answer are longer together are left out, in tokens.
    #[schemars(range(min = 2))]
    pub max_tokens: Option<usize>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            messages: "messages".into(),
            template: None,
            variables: Map::new(),
            system: None,
            prompt: "prompt".into(),
            answer: "answer".into(),
            turns: Turns::All,
            assistant: "assistant".into(),
            max_tokens: None,
        }
    }
}

/// A turn of a conversation. What else it has is there for the template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Message {
    pub role: String,
    #[serde(default)]
    pub content: Value,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// The transform.
pub struct Chat {
    config: Config,
    template: Template,
    encoder: Encoder,
}

impl Transform for Chat {
    const NAME: &'static str = "tenon/chat";
    const SUMMARY: &'static str =
        "Turns conversations into tokens of prompts and answers by a chat template.";
    const CAPABILITIES: &'static [&'static str] = &["tokenizer"];
    type Config = Config;

    fn open(config: Config) -> Result<Self> {
        if config.prompt == config.answer {
            return Err(Error::invalid(format!(
                "`prompt` and `answer` are both `{}`: give them different names",
                config.prompt
            )));
        }
        Ok(Self {
            template: Template::new(config.template.as_deref(), &config.variables)?,
            encoder: Encoder::new()?,
            config,
        })
    }

    fn columns(&self) -> Columns {
        Columns::read([&self.config.messages]).write([&self.config.prompt, &self.config.answer])
    }

    fn process(&mut self, input: Batch) -> Result<Vec<Output>> {
        let texts = input.utf8(&self.config.messages)?;
        let (mut origins, mut prompts, mut answers) = (Vec::new(), Vec::new(), Vec::new());
        for (row, text) in (0..).zip(texts.iter()) {
            let Some(text) = text else { continue };
            let pairs = self
                .pairs(text)
                .with_context(|| format!("row {row} of the batch"))?;
            for (prompt, answer) in pairs {
                origins.push(row);
                prompts.push(prompt);
                answers.push(answer);
            }
        }
        Ok(vec![Output::origin(
            origins,
            [
                Column::from_u32_lists(&self.config.prompt, prompts),
                Column::from_u32_lists(&self.config.answer, answers),
            ],
        )])
    }
}

type Pair = (Vec<u32>, Vec<u32>);

impl Chat {
    /// The prompts and answers of one conversation.
    fn pairs(&self, text: &str) -> Result<Vec<Pair>> {
        let config = &self.config;
        let mut messages: Vec<Message> = serde_json::from_str(text).map_err(|error| {
            Error::invalid(format!(
                "`{}` is no list of messages with `role` and `content`: {error}",
                config.messages
            ))
        })?;
        if let Some(system) = &config.system
            && messages.first().is_none_or(|first| first.role != "system")
        {
            let message = Message {
                role: "system".into(),
                content: Value::String(system.clone()),
                more: Map::new(),
            };
            messages.insert(0, message);
        }
        let mut turns = (0..messages.len()).filter(|at| messages[*at].role == config.assistant);
        let turns: Vec<usize> = match config.turns {
            Turns::All => turns.collect(),
            Turns::Last => turns.next_back().into_iter().collect(),
        };
        let mut pairs = Vec::with_capacity(turns.len());
        for turn in turns {
            let prompt = self.template.render(&messages[..turn], true)?;
            let whole = self.template.render(&messages[..=turn], false)?;
            let answer = whole.strip_prefix(prompt.as_str()).ok_or_else(|| {
                Error::invalid(format!(
                    "the template writes message {turn} otherwise than it asks for it: the \
                     conversation with it does not begin with the prompt, so that what is to be learnt \
                     cannot be told; use a template without such rewriting, or `turns`: \"last\""
                ))
            })?;
            let pair = (self.encoder.encode(&prompt)?, self.encoder.encode(answer)?);
            let fits = config
                .max_tokens
                .is_none_or(|most| pair.0.len() + pair.1.len() <= most);
            if fits && !pair.1.is_empty() {
                pairs.push(pair);
            }
        }
        Ok(pairs)
    }
}

tenon_sdk::export_transform!(Chat);

#[cfg(test)]
mod tests;
