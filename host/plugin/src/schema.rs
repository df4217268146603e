//! Configuration: checked against the plugin's JSON Schema, with its defaults filled in.
//!
//! The schema comes from the plugin, so it may be anything: [`bounds`] refuses what would make the
//! host work without end before anything is compiled or followed.

mod bounds;
mod fault;
mod fill;

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::{Map, Value};

use crate::{Component, PluginError};

pub(crate) use bounds::MOST_BYTES;
pub use fault::ConfigFault;

/// Faults of one configuration that are reported; more would not help.
const MOST_FAULTS: usize = 10;
/// Bytes of one compiled pattern. There are at most [`bounds::MOST_PATTERNS`].
const PATTERN_BYTES: usize = 512 << 10;

/// A plugin's configuration schema, ready to be used.
pub struct ConfigSchema {
    root: Value,
    validator: Validator,
}

impl std::fmt::Debug for ConfigSchema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ConfigSchema").field(&self.root).finish()
    }
}

impl ConfigSchema {
    /// Compiles a schema (draft 2020-12; references within it, no recursion).
    ///
    /// # Errors
    /// What is wrong with the schema.
    pub fn new(schema: &Value) -> Result<Self, String> {
        bounds::check(schema)?;
        let validator = compile(schema)?;
        Ok(Self {
            root: schema.clone(),
            validator,
        })
    }

    /// The configuration with the schema's defaults filled in at every level. `null` stands for the
    /// empty configuration.
    ///
    /// # Errors
    /// Every fault (up to ten), with its place.
    pub fn complete(&self, config: &Value) -> Result<Value, Vec<ConfigFault>> {
        let mut config = if config.is_null() {
            Value::Object(Map::new())
        } else {
            config.clone()
        };
        fill::defaults(&self.root, &mut config);
        let faults: Vec<ConfigFault> = self
            .validator
            .iter_errors(&config)
            .take(MOST_FAULTS)
            .map(|error| ConfigFault::new(&self.root, &error))
            .collect();
        if faults.is_empty() {
            Ok(config)
        } else {
            Err(faults)
        }
    }
}

/// Compiles without any way out: no files, no network, no backtracking patterns.
fn compile(schema: &Value) -> Result<Validator, String> {
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .offline()
        .with_pattern_options(
            PatternOptions::regex()
                .size_limit(PATTERN_BYTES)
                .dfa_size_limit(PATTERN_BYTES),
        )
        .build(schema)
        .map_err(|error| {
            let at = error.instance_path().to_string();
            let at = if at.is_empty() {
                String::new()
            } else {
                format!(" at {at}")
            };
            format!(
                "the configuration's schema is no JSON Schema (2020-12){at}: {}",
                error.masked()
            )
        })
}

impl Component {
    /// The configuration as the plugin will see it: checked, with defaults. What the faces do when
    /// they open the plugin; worth recording, because defaults change between versions.
    ///
    /// # Errors
    /// [`PluginError::Config`] with the place, what was found there and what was expected.
    pub fn complete_config(&self, config: &Value) -> Result<Value, PluginError> {
        self.config_schema()?.complete(config).map_err(|faults| {
            let listed: Vec<String> = faults.iter().map(ToString::to_string).collect();
            PluginError::config(&self.description().name, "open", listed.join("; ")).with_hint(
                format!(
                    "`tenon plugin show {}` prints the schema of its configuration",
                    self.description().name
                ),
            )
        })
    }

    /// The compiled schema, made on first use.
    fn config_schema(&self) -> Result<&ConfigSchema, PluginError> {
        let loaded = self.loaded();
        let broken =
            |message: String| PluginError::contract(&self.description().name, "open", message);
        if loaded.prepared.get().is_none() {
            let schema = ConfigSchema::new(&self.description().config_schema).map_err(broken)?;
            // Another thread may have been faster; both are the same.
            let _ = loaded.prepared.set(Box::new(schema));
        }
        loaded
            .prepared
            .get()
            .and_then(|prepared| prepared.downcast_ref())
            .ok_or_else(|| broken("its configuration schema is gone".into()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn gpt() -> ConfigSchema {
        ConfigSchema::new(&json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["layers"],
            "properties": {
                "layers": { "type": "integer", "minimum": 1, "maximum": 200 },
                "dropout": { "type": "number", "default": 0.1 },
                "activation": { "enum": ["gelu", "silu"], "default": "gelu" },
                "attention": {
                    "type": "object",
                    "default": {},
                    "properties": { "heads": { "$ref": "#/$defs/count" }, "bias": { "type": "boolean", "default": true } }
                },
                "blocks": { "type": "array", "items": { "$ref": "#/$defs/block" } },
                "name": { "type": "string", "pattern": "^[a-z]+$" }
            },
            "$defs": {
                "count": { "type": "integer", "default": 4 },
                "block": { "type": "object", "properties": { "width": { "type": "integer", "default": 64 } } }
            }
        }))
        .unwrap()
    }

    fn faults(config: Value) -> Vec<String> {
        gpt()
            .complete(&config)
            .unwrap_err()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn defaults_reach_every_level() {
        let complete = gpt()
            .complete(&json!({ "layers": 2, "blocks": [{}, { "width": 8 }] }))
            .unwrap();
        assert_eq!(
            complete,
            json!({
                "layers": 2, "dropout": 0.1, "activation": "gelu",
                "attention": { "heads": 4, "bias": true },
                "blocks": [{ "width": 64 }, { "width": 8 }]
            })
        );
        assert_eq!(
            gpt().complete(&complete).unwrap(),
            complete,
            "complete is complete"
        );
    }

    #[test]
    fn faults_name_place_value_and_expectation() {
        assert_eq!(
            faults(json!({ "layers": "four" })),
            ["`layers` is \"four\", expected an integer"]
        );
        assert_eq!(
            faults(json!({ "layers": 0 })),
            ["`layers` is 0, expected at least 1"]
        );
        assert_eq!(
            faults(json!({ "layers": 201 })),
            ["`layers` is 201, expected at most 200"]
        );
        assert_eq!(
            faults(Value::Null),
            ["`layers` is missing, expected an integer"]
        );
        assert_eq!(
            faults(json!({ "layers": 1, "activation": "relu" })),
            ["`activation` is \"relu\", expected one of \"gelu\", \"silu\""]
        );
        assert_eq!(
            faults(json!({ "layers": 1, "attention": { "heads": 1.5 } })),
            ["`attention.heads` is 1.5, expected an integer"]
        );
        assert_eq!(
            faults(json!({ "layers": 1, "blocks": [{}, { "width": null }] })),
            ["`blocks[1].width` is null, expected an integer"]
        );
        assert_eq!(
            faults(json!({ "layers": 1, "name": "A1" })),
            ["`name` is \"A1\", expected text that matches ^[a-z]+$"]
        );
        assert_eq!(
            faults(json!({ "layers": 1, "layer": 2 })),
            [
                "`layer` is unknown, expected one of `activation`, `attention`, `blocks`, `dropout`, `layers`, `name`"
            ]
        );
        assert_eq!(
            faults(json!([])),
            ["the configuration is [], expected an object"]
        );
        assert_eq!(
            faults(json!({ "layers": "a", "dropout": "b" })).len(),
            2,
            "all of them at once"
        );
    }

    #[test]
    fn long_values_are_cut() {
        let said = faults(json!({ "layers": "字".repeat(10_000) }));
        assert!(said[0].len() < 400, "{}", said[0].len());
    }

    #[test]
    fn alternatives_take_their_own_defaults() {
        let schema = ConfigSchema::new(&json!({
            "type": "object",
            "properties": { "schedule": { "oneOf": [
                { "type": "object", "required": ["kind"], "properties": {
                    "kind": { "const": "cosine" }, "warmup": { "type": "integer", "default": 100 } } },
                { "type": "object", "required": ["kind"], "properties": {
                    "kind": { "const": "constant" }, "value": { "type": "number", "default": 1.0 } } }
            ] } }
        }))
        .unwrap();
        assert_eq!(
            schema
                .complete(&json!({ "schedule": { "kind": "constant" } }))
                .unwrap(),
            json!({ "schedule": { "kind": "constant", "value": 1.0 } })
        );
        assert_eq!(
            schema
                .complete(&json!({ "schedule": { "kind": "cosine" } }))
                .unwrap(),
            json!({ "schedule": { "kind": "cosine", "warmup": 100 } })
        );
        let faults = schema
            .complete(&json!({ "schedule": { "kind": "step" } }))
            .unwrap_err();
        assert!(
            faults[0]
                .to_string()
                .starts_with("`schedule` is {\"kind\":\"step\"}"),
            "{}",
            faults[0]
        );
    }

    #[test]
    fn a_schema_that_is_none_is_refused() {
        for schema in [
            json!({ "type": "strange" }),
            json!({ "properties": 7 }),
            json!("x"),
            json!({ "pattern": "(" }),
        ] {
            assert!(ConfigSchema::new(&schema).is_err(), "{schema}");
        }
        ConfigSchema::new(&json!(true))
            .unwrap()
            .complete(&json!({ "x": 1 }))
            .unwrap();
    }
}
