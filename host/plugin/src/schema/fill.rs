//! Defaults.

use serde_json::{Map, Value};

use super::compile;

/// Alternatives (`oneOf`, `anyOf`) that are tried for one configuration: each is compiled for it.
const MOST_TRIES: u32 = 1000;

/// Fills in the schema's defaults, at every level that exists or comes into being by a default.
pub(super) fn defaults(root: &Value, config: &mut Value) {
    Filler { root, tries: 0 }.fill(root, config);
}

struct Filler<'a> {
    root: &'a Value,
    tries: u32,
}

impl Filler<'_> {
    /// [`super::bounds`] has made sure that this ends: references lead nowhere twice.
    fn fill(&mut self, schema: &Value, value: &mut Value) {
        let root = self.root;
        let Some(schema) = schema.as_object() else {
            return;
        };
        if let Some(target) = target(root, schema) {
            self.fill(target, value);
        }
        if let Some(object) = value.as_object_mut() {
            if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
                for (name, schema) in properties {
                    if !object.contains_key(name) {
                        let Some(default) = default(root, schema) else {
                            continue;
                        };
                        object.insert(name.clone(), default.clone());
                    }
                    if let Some(value) = object.get_mut(name) {
                        self.fill(schema, value);
                    }
                }
            }
            if let Some(others) = schema.get("additionalProperties").filter(|s| s.is_object()) {
                let named = schema.get("properties").and_then(Value::as_object);
                for (name, value) in object.iter_mut() {
                    if named.is_none_or(|named| !named.contains_key(name)) {
                        self.fill(others, value);
                    }
                }
            }
        }
        if let Some(items) = value.as_array_mut() {
            let first = schema
                .get("prefixItems")
                .and_then(Value::as_array)
                .map_or(&[][..], Vec::as_slice);
            for (schema, item) in first.iter().zip(items.iter_mut()) {
                self.fill(schema, item);
            }
            if let Some(schema) = schema.get("items") {
                for item in items.iter_mut().skip(first.len()) {
                    self.fill(schema, item);
                }
            }
        }
        for part in schema
            .get("allOf")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            self.fill(part, value);
        }
        for several in ["oneOf", "anyOf"] {
            let Some(branches) = schema.get(several).and_then(Value::as_array) else {
                continue;
            };
            // Only the alternative that was chosen may add to it.
            if let Some(chosen) = branches.iter().find(|branch| self.accepts(branch, value)) {
                self.fill(chosen, value);
            }
        }
    }

    /// Whether the value is of this alternative.
    fn accepts(&mut self, branch: &Value, value: &Value) -> bool {
        self.tries += 1;
        if self.tries > MOST_TRIES {
            return false;
        }
        // The alternative's references lead into the whole schema: it is compiled with its definitions.
        let mut alone = Map::new();
        for definitions in ["$defs", "definitions"] {
            if let Some(found) = self.root.get(definitions) {
                alone.insert(definitions.into(), found.clone());
            }
        }
        alone.insert("allOf".into(), Value::Array(vec![branch.clone()]));
        compile(&Value::Object(alone)).is_ok_and(|validator| validator.is_valid(value))
    }
}

/// What the schema's `$ref` leads to.
fn target<'a>(root: &'a Value, schema: &Map<String, Value>) -> Option<&'a Value> {
    root.pointer(schema.get("$ref")?.as_str()?.strip_prefix('#')?)
}

/// The schema's default, or that of what it refers to.
fn default<'a>(root: &'a Value, schema: &'a Value) -> Option<&'a Value> {
    let schema = schema.as_object()?;
    schema
        .get("default")
        .or_else(|| default(root, target(root, schema)?))
}
