//! Configurations: merged, and laid flat for the tracker.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::{Result, TrainError};

/// The settings of a specification with flat names: `batch.rows`, `optimizer.beta1`. What is not set is
/// left out.
pub(crate) fn flat(spec: &impl Serialize) -> Result<BTreeMap<String, Value>> {
    let value =
        serde_json::to_value(spec).map_err(|error| TrainError::Internal(error.to_string()))?;
    let mut out = BTreeMap::new();
    lay(&mut out, String::new(), value);
    Ok(out)
}

fn lay(out: &mut BTreeMap<String, Value>, name: String, value: Value) {
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            for (field, value) in fields {
                let name = match name.is_empty() {
                    true => field,
                    false => format!("{name}.{field}"),
                };
                lay(out, name, value);
            }
        }
        value => {
            out.insert(name, value);
        }
    }
}

/// `over` merged into `base`: objects field by field, everything else replaced; null removes.
pub(super) fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (field, value) in over {
                if value.is_null() {
                    base.remove(field);
                } else {
                    merge(base.entry(field.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (base, over) => *base = over.clone(),
    }
}

/// Numbers as the tracker takes them.
pub(crate) fn scalars(values: &BTreeMap<String, f64>) -> Vec<(&str, f64)> {
    values
        .iter()
        .map(|(name, value)| (name.as_str(), *value))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_configuration_is_laid_flat() {
        let spec = json!({"a": 1, "b": {"c": [1, 2], "d": {"e": "x"}}, "n": null});
        let found = flat(&spec).unwrap();
        assert_eq!(
            serde_json::to_value(found).unwrap(),
            json!({"a": 1, "b.c": [1, 2], "b.d.e": "x"})
        );
    }

    #[test]
    fn a_configuration_is_merged_over_another() {
        let mut base = json!({"layers": 2, "sequence": [1], "opt": {"a": 1, "b": 2}});
        merge(
            &mut base,
            &json!({"dropout": 0.1, "sequence": [2, 3], "opt": {"b": 3, "a": null}}),
        );
        assert_eq!(
            base,
            json!({"layers": 2, "dropout": 0.1, "sequence": [2, 3], "opt": {"b": 3}})
        );
    }
}
