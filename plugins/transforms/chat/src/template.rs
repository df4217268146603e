//! Chat templates: Jinja with Python's string methods, as the hub's tokenizers carry them.

use minijinja::{Environment, Error as JinjaError, ErrorKind, Value as JinjaValue, context};
use minijinja_contrib::pycompat;
use serde_json::{Map, Value};
use tenon_sdk::{Error, Result};

use crate::Message;

/// ChatML: what most open models are tuned on.
const CHATML: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n\
    {{ message.content }}<|im_end|>\n{% endfor %}\
    {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// Stand around what people wrote, so that it can be told from what the template wrote: text that looks
/// like a control token must not become one. Of a private-use plane, which text does not use.
pub const OPEN: char = '\u{F5E00}';
/// As [`OPEN`].
pub const CLOSE: char = '\u{F5E01}';

const NAME: &str = "chat";

/// A template, read.
pub struct Template {
    environment: Environment<'static>,
    variables: Map<String, Value>,
}

impl Template {
    pub fn new(source: Option<&str>, variables: &Map<String, Value>) -> Result<Self> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_keep_trailing_newline(true);
        environment.set_unknown_method_callback(pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise);
        environment.set_fuel(Some(1_000_000));
        let source = source.unwrap_or(CHATML).to_owned();
        environment
            .add_template_owned(NAME, source)
            .map_err(|error| {
                Error::invalid(format!("`template` is no Jinja template: {error:#}"))
            })?;
        Ok(Self {
            environment,
            variables: variables.clone(),
        })
    }

    /// The text of a conversation; what its messages say stands between [`OPEN`] and [`CLOSE`].
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let messages = messages.iter().map(marked).collect::<Result<Vec<_>>>()?;
        let variables = JinjaValue::from_serialize(&self.variables);
        let context = context! {
            messages,
            add_generation_prompt,
            ..variables
        };
        self.environment
            .get_template(NAME)
            .and_then(|template| template.render(context))
            .map_err(|error| Error::invalid(format!("the template fails: {error:#}")))
    }
}

/// A message whose content is marked as text.
fn marked(message: &Message) -> Result<Message> {
    let mut message = message.clone();
    message.content = match message.content {
        Value::String(text) => Value::String(mark(&text)?),
        // Parts of a message: those of text.
        Value::Array(parts) => {
            let parts = parts.into_iter().map(|mut part| {
                if let Some(Value::String(text)) = part.get_mut("text") {
                    *text = mark(text)?;
                }
                Ok(part)
            });
            Value::Array(parts.collect::<Result<_>>()?)
        }
        other => other,
    };
    Ok(message)
}

fn mark(text: &str) -> Result<String> {
    if text.contains([OPEN, CLOSE]) {
        return Err(Error::invalid(
            "a message has the characters U+F5E00 or U+F5E01, which mark text here: remove them",
        ));
    }
    Ok(format!("{OPEN}{text}{CLOSE}"))
}

/// How templates refuse a conversation.
fn raise(message: String) -> std::result::Result<String, JinjaError> {
    Err(JinjaError::new(ErrorKind::InvalidOperation, message))
}
