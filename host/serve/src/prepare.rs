//! From a request's body to what the model takes.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use tenon_data::collate::{Given, Prompt};
use tenon_model::Settings;
use tenon_plugin::processor::{self, Field, Prepared, Stages};

use crate::{GenerationSpec, Result, ServeError, service::Service};

/// A request, ready for the model.
pub(crate) struct Ready {
    pub(crate) prompt: Prompt,
    pub(crate) settings: Settings,
    /// What the processor wants to know later.
    pub(crate) context: Vec<u8>,
}

/// A body where no processor says what it means.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    inputs: BTreeMap<String, Value>,
    #[serde(default)]
    parameters: GenerationSpec,
}

/// Runs what takes a thread's time on a thread that may be blocked.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(ServeError::Internal(error.to_string())))
}

impl Service {
    /// What a body means: to the processor, or as `{"inputs": …, "parameters": …}`.
    pub(crate) fn prepare(&self, body: Value) -> Result<Ready> {
        match self.processor(Stages::PREPROCESS) {
            Some(pool) => {
                let body = body.to_string();
                self.prepared(pool.with(|processor| processor.preprocess(&body))?)
            }
            None => self.plain(body),
        }
    }

    /// What a processor has prepared.
    fn prepared(&self, prepared: Prepared) -> Result<Ready> {
        let mut given = BTreeMap::new();
        for Field { name, value } in prepared.fields {
            let value = match value {
                processor::Value::Text(text) => Given::Text(text),
                processor::Value::Tokens(tokens) => Given::Tokens(tokens),
                processor::Value::Numbers(numbers) => Given::Numbers(numbers),
            };
            given.insert(name, value);
        }
        Ok(Ready {
            prompt: self.prompt(&given)?,
            settings: self.settings().overridden(&prepared.generation),
            context: prepared.context,
        })
    }

    fn plain(&self, body: Value) -> Result<Ready> {
        let body: Body = serde_json::from_value(body).map_err(|error| {
            ServeError::Invalid(format!(
                "the body is not understood: {error}; it is {{\"inputs\": {{COLUMN: VALUE, …}}, \"parameters\": \
                 {{…}}}} with the columns `{}`",
                self.columns().join("`, `")
            ))
        })?;
        let mut given = BTreeMap::new();
        for (name, value) in body.inputs {
            let value = self.given(&name, value)?;
            given.insert(name, value);
        }
        Ok(Ready {
            prompt: self.prompt(&given)?,
            settings: self.settings().overridden(&body.parameters.to_contract()),
            context: Vec::new(),
        })
    }

    /// A JSON value as a column takes it.
    fn given(&self, name: &str, value: Value) -> Result<Given> {
        let numbers = self.is_numbers(name);
        let wrong = |found: &str| {
            let wanted = if numbers {
                "a number or a list of numbers"
            } else {
                "a text or a list of token ids"
            };
            ServeError::Invalid(format!("column `{name}` takes {wanted}, not {found}"))
        };
        match value {
            Value::String(text) if !numbers => Ok(Given::Text(text)),
            Value::Number(number) if numbers => {
                let number = number.as_f64().ok_or_else(|| wrong("this number"))?;
                Ok(Given::Numbers(vec![number as f32]))
            }
            Value::Array(_) if numbers => serde_json::from_value(value)
                .map(Given::Numbers)
                .map_err(|error| wrong(&error.to_string())),
            Value::Array(_) => serde_json::from_value(value)
                .map(Given::Tokens)
                .map_err(|error| wrong(&error.to_string())),
            Value::String(_) => Err(wrong("a text")),
            Value::Number(_) => Err(wrong("a number")),
            Value::Object(_) => Err(wrong("an object")),
            Value::Bool(_) => Err(wrong("a boolean")),
            Value::Null => Err(wrong("null")),
        }
    }
}
