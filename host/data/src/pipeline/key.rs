//! The exact key of a pipeline's result.

use std::fmt::Write;

use serde_json::{Value, json};

use super::PipelineStep;
use crate::dataset::DatasetVersion;

/// Changes whenever the meaning of a pipeline changes: the contract's version and the host's rules
/// for joining outputs.
const RULES: &str = "tenon:transform@0.1.0/1";

/// JSON with sorted keys and no spaces: equal values are equal text.
pub(crate) fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(object) => {
            let mut keys: Vec<_> = object.keys().collect();
            keys.sort();
            out.push('{');
            for (index, key) in keys.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                let _ = write!(out, "{}:", Value::from(key.as_str()));
                write(&object[key], out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        scalar => {
            let _ = write!(out, "{scalar}");
        }
    }
}

/// The key: the input's content, and of each step the component's bytes, its configuration, its seed
/// and the content of what it was granted.
pub(super) fn cache_key(input: &DatasetVersion, steps: &[PipelineStep]) -> String {
    let steps: Vec<Value> = steps
        .iter()
        .map(|step| {
            json!({
                "component": step.component.digest(),
                "config": step.config,
                "seed": step.seed,
                "datasets": step.datasets.as_ref().map(|granted| granted.digests()),
                "tokenizer": step.tokenizer.as_ref().map(|tokenizer| tokenizer.digest()),
            })
        })
        .collect();
    let key = json!({ "rules": RULES, "input": input.digest, "steps": steps });
    tenon_store::Digest::of(canonical(&key).as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_equal_text() {
        let a = json!({"b": [1, 2.5, null, "x\""], "a": {"d": true, "c": {}}});
        assert_eq!(
            canonical(&a),
            r#"{"a":{"c":{},"d":true},"b":[1,2.5,null,"x\""]}"#
        );
    }
}
