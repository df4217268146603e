//! What a schema may be. It is written by the plugin and walked by the host.
//!
//! References stay within the schema and never lead back to where they came from, and the schema
//! written out in full has a bounded size: then compiling, filling in and validating are bounded too.

use std::collections::HashMap;

use serde_json::Value;

/// Bytes of a schema as JSON.
pub(crate) const MOST_BYTES: usize = 256 << 10;
/// Parts of the schema with every reference written out.
const MOST_PARTS: u64 = 20_000;
/// Nesting of these parts.
const DEEPEST: usize = 100;
/// Regular expressions: each may take half a MiB when compiled.
pub(super) const MOST_PATTERNS: usize = 64;

/// Keywords that lead out of the schema, or to a place that depends on how it was reached.
const REFUSED: [&str; 6] = [
    "$dynamicRef",
    "$dynamicAnchor",
    "$recursiveRef",
    "$recursiveAnchor",
    "$anchor",
    "$vocabulary",
];
/// Keywords whose value is data.
const DATA: [&str; 4] = ["default", "const", "enum", "examples"];
/// Keywords whose value maps names to schemas.
const MAPS: [&str; 5] = [
    "properties",
    "patternProperties",
    "dependentSchemas",
    "$defs",
    "definitions",
];

/// Whether the schema keeps the rules.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    let mut walk = Walk {
        root: schema,
        parts: HashMap::new(),
        open: Vec::new(),
        patterns: 0,
    };
    walk.schema(schema, 0)?;
    let length = schema.to_string().len();
    if length > MOST_BYTES {
        return Err(format!(
            "the configuration's schema is {length} bytes long; at most {MOST_BYTES} are accepted"
        ));
    }
    if walk.patterns > MOST_PATTERNS {
        return Err(format!(
            "the configuration's schema has {} patterns; at most {MOST_PATTERNS} are accepted",
            walk.patterns
        ));
    }
    Ok(())
}

struct Walk<'a> {
    root: &'a Value,
    /// By reference: how many parts its target has, written out, and how deep it is.
    parts: HashMap<&'a str, Size>,
    /// References that are being followed.
    open: Vec<&'a str>,
    patterns: usize,
}

#[derive(Clone, Copy, Default)]
struct Size {
    parts: u64,
    depth: usize,
}

impl Size {
    /// Adds what stands beside.
    fn beside(&mut self, other: Self) {
        self.parts = self.parts.saturating_add(other.parts);
        self.depth = self.depth.max(other.depth);
    }
}

impl<'a> Walk<'a> {
    fn schema(&mut self, schema: &'a Value, depth: usize) -> Result<Size, String> {
        if depth > DEEPEST {
            return Err(format!(
                "the configuration's schema is nested deeper than {DEEPEST}"
            ));
        }
        let mut size = Size::default();
        match schema {
            Value::Object(keywords) => {
                for (keyword, value) in keywords {
                    size.beside(self.keyword(keyword, value, depth)?);
                }
            }
            Value::Array(schemas) => {
                for schema in schemas {
                    size.beside(self.schema(schema, depth + 1)?);
                }
            }
            _ => {}
        }
        let size = Size {
            parts: size.parts.saturating_add(1),
            depth: size.depth + 1,
        };
        if size.parts > MOST_PARTS {
            return Err(format!(
                "the configuration's schema, its references written out, has more than {MOST_PARTS} parts"
            ));
        }
        if depth + size.depth > DEEPEST {
            return Err(format!(
                "the configuration's schema is nested deeper than {DEEPEST}"
            ));
        }
        Ok(size)
    }

    fn keyword(
        &mut self,
        keyword: &'a str,
        value: &'a Value,
        depth: usize,
    ) -> Result<Size, String> {
        if DATA.contains(&keyword) {
            return Ok(Size::default());
        }
        if REFUSED.contains(&keyword) || keyword == "$id" && depth > 0 {
            return Err(format!(
                "the configuration's schema uses `{keyword}`, which is not supported; use `$ref`"
            ));
        }
        if keyword == "$ref" {
            return self.reference(value, depth);
        }
        if keyword == "pattern" {
            self.patterns += 1;
        }
        if MAPS.contains(&keyword)
            && let Some(schemas) = value.as_object()
        {
            if keyword == "patternProperties" {
                self.patterns += schemas.len();
            }
            let mut size = Size::default();
            for schema in schemas.values() {
                let found = self.schema(schema, depth + 1)?;
                // Definitions count where they are used.
                if keyword != "$defs" && keyword != "definitions" {
                    size.beside(found);
                }
            }
            return Ok(size);
        }
        self.schema(value, depth + 1)
    }

    fn reference(&mut self, value: &'a Value, depth: usize) -> Result<Size, String> {
        let reference = value.as_str().unwrap_or_default();
        let target = reference
            .strip_prefix('#')
            .filter(|pointer| !pointer.contains('%'))
            .and_then(|p| self.root.pointer(p));
        let Some(target) = target else {
            return Err(format!(
                "the configuration's schema refers to {value}, which is not in it; only `#/…` is followed"
            ));
        };
        if let Some(&size) = self.parts.get(reference) {
            if depth + size.depth > DEEPEST {
                return Err(format!(
                    "the configuration's schema is nested deeper than {DEEPEST}"
                ));
            }
            return Ok(size);
        }
        if self.open.contains(&reference) || std::ptr::eq(target, self.root) {
            return Err(format!(
                "the configuration's schema is recursive: `{reference}` leads back to itself"
            ));
        }
        self.open.push(reference);
        let size = self.schema(target, depth + 1)?;
        self.open.pop();
        self.parts.insert(reference, size);
        Ok(size)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Map, json};

    use super::*;

    fn refused(schema: Value) -> String {
        check(&schema).unwrap_err()
    }

    #[test]
    fn recursion_is_refused() {
        assert!(refused(json!({ "$ref": "#" })).contains("recursive"));
        assert!(refused(json!({ "properties": { "a": { "$ref": "#" } } })).contains("recursive"));
        assert!(refused(json!({ "$defs": { "a": { "allOf": [{ "$ref": "#/$defs/b" }] }, "b": { "not": { "$ref": "#/$defs/a" } } } }))
            .contains("recursive"));
        // Through a part of itself.
        assert!(
            refused(
                json!({ "$defs": { "a": { "items": { "items": { "$ref": "#/$defs/a/items" } } } } })
            )
            .contains("recursive")
        );
    }

    #[test]
    fn references_stay_inside() {
        for reference in [
            "https://example.com/schema",
            "file:///etc/passwd",
            "#/$defs/none",
            "#anchor",
            "other.json",
        ] {
            assert!(
                refused(json!({ "properties": { "x": { "$ref": reference } } }))
                    .contains("not in it"),
                "{reference}"
            );
        }
        assert!(
            refused(json!({ "properties": { "x": { "$id": "https://x", "$anchor": "y" } } }))
                .contains("not supported")
        );
        check(&json!({ "$id": "https://x", "properties": { "$ref": { "type": "string" }, "default": { "type": "string" } } })).unwrap();
    }

    /// Doubles at every step: 2²⁰ when written out.
    #[test]
    fn what_grows_without_end_is_refused_at_once() {
        let mut defs = Map::new();
        for i in 0..20 {
            let next = format!("#/$defs/d{}", i + 1);
            defs.insert(
                format!("d{i}"),
                json!({ "allOf": [{ "$ref": next }, { "$ref": next }] }),
            );
        }
        defs.insert("d20".into(), json!({ "type": "integer" }));
        assert!(refused(json!({ "$ref": "#/$defs/d0", "$defs": defs })).contains("parts"));
    }

    #[test]
    fn long_chains_are_refused() {
        let mut defs = Map::new();
        for i in 0..5000 {
            defs.insert(
                format!("d{i}"),
                json!({ "$ref": format!("#/$defs/d{}", i + 1) }),
            );
        }
        defs.insert("d5000".into(), json!({ "type": "integer" }));
        assert!(refused(json!({ "$ref": "#/$defs/d0", "$defs": defs })).contains("nested"));
    }

    #[test]
    fn patterns_are_counted() {
        let many: Map<String, Value> = (0..100)
            .map(|i| (i.to_string(), json!({ "pattern": "a{500}" })))
            .collect();
        assert!(refused(json!({ "properties": many })).contains("100 patterns"));
    }
}
