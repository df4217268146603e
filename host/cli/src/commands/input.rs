//! What a command line names: JSON, configurations, files.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use clap::ValueEnum;
use serde_json::{Map, Value, json};

use crate::args::{Json, Named};
use crate::client::Body;
use crate::failure::{Failure, Result};

/// Reads JSON from where it is. `what` names it in errors.
pub fn read_json(source: &Json, what: &str) -> Result<Value> {
    let (text, from) = match source {
        Json::Inline(text) => (text.clone(), what.to_owned()),
        Json::File(path) => (read_text(path)?, path.display().to_string()),
        Json::Stdin => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map_err(|error| {
                Failure::usage(format!("{what}: standard input cannot be read: {error}"))
            })?;
            (text, format!("{what} on standard input"))
        }
    };
    serde_json::from_str(&text).map_err(|error| {
        let failure = Failure::usage(format!("{from} is not JSON: {error}"));
        match source {
            Json::Inline(text) if Path::new(text).exists() => {
                failure.hint(format!("to read it from the file: @{text}"))
            }
            _ => failure,
        }
    })
}

/// Reads a JSON object.
pub fn read_object(source: &Json, what: &str) -> Result<Map<String, Value>> {
    match read_json(source, what)? {
        Value::Object(object) => Ok(object),
        other => Err(Failure::usage(format!(
            "{what} must be a JSON object, not {}",
            kind_of(&other)
        ))),
    }
}

/// Reads a file of JSON that is an object.
pub fn read_object_file(path: &Path) -> Result<Map<String, Value>> {
    let what = path.display().to_string();
    read_object(&Json::File(path.to_owned()), &what)
}

/// A plugin with its configuration, as the interface has it.
pub fn plugin_with_config(named: &Named, what: &str) -> Result<Value> {
    let config = match &named.config {
        Some(source) => read_object(
            source,
            &format!("{what} {}: its configuration", named.plugin),
        )?,
        None => Map::new(),
    };
    Ok(json!({ "plugin": named.plugin, "config": config }))
}

/// A file as a request's body.
pub fn file_body(path: &Path, content_type: &str) -> Result<Body> {
    let fail = |error: &io::Error| Failure::file("open", path, error);
    let file = File::open(path).map_err(|error| fail(&error))?;
    let meta = file.metadata().map_err(|error| fail(&error))?;
    if meta.is_dir() {
        return Err(Failure::usage(format!("{} is a folder", path.display())));
    }
    Ok(Body {
        content_type: content_type.to_owned(),
        length: meta.is_file().then_some(meta.len()),
        reader: Box::new(file),
    })
}

/// The word that a value has on the command line and in the interface.
pub fn word(value: impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default()
}

fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bad_json_is_placed_and_named() {
        let failure = read_json(&Json::Inline("{\"a\": }".into()), "the request").unwrap_err();
        assert!(
            failure.message().contains("the request is not JSON"),
            "{failure}"
        );
        assert!(failure.message().contains("line 1 column 7"), "{failure}");
        let failure = read_object(&Json::Inline("[1]".into()), "--recipe-config").unwrap_err();
        assert!(
            failure
                .message()
                .contains("--recipe-config must be a JSON object, not a list")
        );
        let failure = read_json(&Json::File("/no/such.json".into()), "x").unwrap_err();
        assert!(failure.message().contains("/no/such.json"), "{failure}");
    }

    #[test]
    fn a_step_carries_its_configuration() {
        let named: Named = "tenon/filter={\"min_chars\": 2}".parse().unwrap();
        let step = plugin_with_config(&named, "step").unwrap();
        assert_eq!(
            step,
            json!({"plugin": "tenon/filter", "config": {"min_chars": 2}})
        );
        let named: Named = "tenon/filter=[]".parse().unwrap();
        let failure = plugin_with_config(&named, "step").unwrap_err();
        assert!(failure.message().contains("step tenon/filter"), "{failure}");
    }
}
