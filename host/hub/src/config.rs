//! `config.json`, and ModelScope's `configuration.json`.

use serde_json::{Map, Value};

use crate::error::{HubError, Result};
use crate::names::{CONFIG, MODELSCOPE};

/// The configuration of a model as its publisher wrote it.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The file that it is from.
    pub file: &'static str,
    /// Its fields.
    pub fields: Map<String, Value>,
}

impl ModelConfig {
    /// The configuration out of a model's small files; nothing where there is none. `get` gives a file's
    /// bytes.
    ///
    /// # Errors
    /// [`HubError::File`] for what is no JSON object.
    pub fn read<'a>(get: impl Fn(&str) -> Option<&'a [u8]>) -> Result<Option<Self>> {
        if let Some(bytes) = get(CONFIG) {
            return Ok(Some(Self {
                file: CONFIG,
                fields: object(CONFIG, bytes)?,
            }));
        }
        let Some(bytes) = get(MODELSCOPE) else {
            return Ok(None);
        };
        let mut fields = object(MODELSCOPE, bytes)?;
        if !fields.contains_key("architectures")
            && let Some(Value::Object(model)) = fields.remove("model")
        {
            // ModelScope keeps the model's own fields one level deeper, and calls its type `type`.
            fields = model;
            if let Some(kind) = fields.remove("type") {
                fields.entry("model_type").or_insert(kind);
            }
        }
        Ok(Some(Self {
            file: MODELSCOPE,
            fields,
        }))
    }

    /// `architectures`.
    #[must_use]
    pub fn architectures(&self) -> Vec<&str> {
        let list = self.fields.get("architectures").and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    }

    /// A field that is a text.
    #[must_use]
    pub fn text(&self, field: &str) -> Option<&str> {
        self.fields.get(field).and_then(Value::as_str)
    }

    /// A field that is a whole number.
    #[must_use]
    pub fn number(&self, field: &str) -> Option<u64> {
        self.fields.get(field).and_then(Value::as_u64)
    }

    /// Refuses weights that are kept in a form that only their own library reads.
    ///
    /// # Errors
    /// [`HubError::File`] naming the method.
    pub fn check(&self) -> Result<()> {
        let Some(quantised) = self.fields.get("quantization_config") else {
            return Ok(());
        };
        if quantised.is_null() {
            return Ok(());
        }
        let method = quantised["quant_method"].as_str().unwrap_or("some method");
        Err(HubError::file(
            self.file,
            format!("the weights are quantised by {method}, which no recipe computes with"),
        )
        .or("import the checkpoint that it was made from (F32, F16 or BF16)"))
    }
}

fn object(name: &str, bytes: &[u8]) -> Result<Map<String, Value>> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(HubError::file(name, "it is no JSON object")),
        Err(error) => Err(HubError::file(name, format!("it is no JSON: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn modelscope_keeps_the_model_deeper() {
        let text = br#"{"framework": "pytorch", "task": "fill-mask",
            "model": {"type": "bert", "hidden_size": 8}}"#;
        let read = |name: &str| (name == MODELSCOPE).then_some(&text[..]);
        let config = ModelConfig::read(read).unwrap().unwrap();
        assert_eq!(config.text("model_type"), Some("bert"));
        assert_eq!(config.number("hidden_size"), Some(8));
        assert!(config.architectures().is_empty());
        let text =
            br#"{"architectures": ["A", "B"], "quantization_config": {"quant_method": "gptq"}}"#;
        let config = ModelConfig::read(|_| Some(&text[..])).unwrap().unwrap();
        assert_eq!(
            (config.file, config.architectures()),
            (CONFIG, vec!["A", "B"])
        );
        assert!(config.check().unwrap_err().to_string().contains("gptq"));
        let error = ModelConfig::read(|_| Some(&b"[]"[..])).unwrap_err();
        assert!(error.to_string().starts_with("config.json"), "{error}");
    }
}
