//! What a plugin says about itself.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::bindings::types;

/// The four kinds of plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Rows to rows.
    #[default]
    Transform,
    /// A model.
    Recipe,
    /// Judges a model.
    Evaluator,
    /// What a request means and what an answer looks like.
    Processor,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Transform,
        Self::Recipe,
        Self::Evaluator,
        Self::Processor,
    ];

    /// `transform`, `recipe`, …
    pub fn name(self) -> &'static str {
        match self {
            Self::Transform => "transform",
            Self::Recipe => "recipe",
            Self::Evaluator => "evaluator",
            Self::Processor => "processor",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a plugin says about itself.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Description {
    /// `owner/name`.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// Its kind.
    pub kind: Kind,
    /// One sentence.
    pub summary: String,
    /// JSON Schema of the configuration.
    pub config_schema: serde_json::Value,
    /// Capabilities that it asks for.
    pub capabilities: Vec<String>,
}

impl TryFrom<types::Description> for Description {
    type Error = String;

    fn try_from(d: types::Description) -> Result<Self, String> {
        if d.config_schema.len() > crate::schema::MOST_BYTES {
            return Err(format!(
                "the configuration's schema is {} bytes long; at most {} are accepted",
                d.config_schema.len(),
                crate::schema::MOST_BYTES
            ));
        }
        let config_schema = serde_json::from_str(&d.config_schema)
            .map_err(|e| format!("the configuration's schema is no JSON: {e}"))?;
        let kind = match d.kind {
            types::Kind::Transform => Kind::Transform,
            types::Kind::Recipe => Kind::Recipe,
            types::Kind::Evaluator => Kind::Evaluator,
            types::Kind::Processor => Kind::Processor,
        };
        let description = Self {
            name: d.name,
            version: d.version,
            kind,
            summary: d.summary,
            config_schema,
            capabilities: d.capabilities,
        };
        description.check()?;
        Ok(description)
    }
}

/// Bytes of the name, the version, a capability.
const LONGEST_WORD: usize = 128;
/// Bytes of the summary.
const LONGEST_SUMMARY: usize = 1000;
/// Capabilities that a plugin may ask for.
const MOST_CAPABILITIES: usize = 64;

impl Description {
    /// Whether it is one: a plugin writes it, and everything behind prints it and looks things up
    /// by it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        let word = |text: &str| {
            !text.is_empty()
                && text.len() <= LONGEST_WORD
                && text
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b))
                && text.as_bytes()[0].is_ascii_alphanumeric()
        };
        let parts: Vec<&str> = self.name.split('/').collect();
        if parts.len() != 2 || !parts.iter().all(|part| word(part)) {
            return Err(format!(
                "its name is {:?}; a plugin's name is `owner/name` in lower case (letters, digits, - _ .)",
                cut(&self.name)
            ));
        }
        if self.version.len() > LONGEST_WORD || !is_version(&self.version) {
            return Err(format!(
                "its version is {:?}; a semantic version is needed: `1.2.3`",
                cut(&self.version)
            ));
        }
        if self.summary.trim().is_empty() || self.summary.len() > LONGEST_SUMMARY {
            return Err(format!(
                "its summary has {} bytes; one sentence (at most {LONGEST_SUMMARY} bytes) is needed",
                self.summary.len()
            ));
        }
        if self.summary.chars().any(char::is_control) {
            return Err("its summary contains control characters".into());
        }
        if self.capabilities.len() > MOST_CAPABILITIES {
            return Err(format!(
                "it asks for {} capabilities; at most {MOST_CAPABILITIES} are accepted",
                self.capabilities.len()
            ));
        }
        for capability in &self.capabilities {
            let (kind, name) = capability
                .split_once(':')
                .map_or((capability.as_str(), None), |(k, n)| (k, Some(n)));
            let good = capability.len() <= LONGEST_WORD
                && word(kind)
                && name.is_none_or(|n| {
                    !n.is_empty() && !n.chars().any(|c| c.is_control() || c.is_whitespace())
                });
            if !good {
                return Err(format!(
                    "it asks for the capability {:?}; capabilities are `model`, `tokenizer`, `dataset:NAME`",
                    cut(capability)
                ));
            }
        }
        Ok(())
    }

    /// What differs between this and another description, in words.
    pub(crate) fn difference(&self, other: &Self) -> Option<String> {
        let pairs = [
            ("name", &self.name, &other.name),
            ("version", &self.version, &other.version),
            ("summary", &self.summary, &other.summary),
        ];
        if let Some((field, a, b)) = pairs.into_iter().find(|(_, a, b)| a != b) {
            return Some(format!("its {field} is {:?} and {:?}", cut(a), cut(b)));
        }
        if self.kind != other.kind {
            return Some(format!("its kind is {} and {}", self.kind, other.kind));
        }
        if self.capabilities != other.capabilities {
            return Some(format!(
                "its capabilities are {:?} and {:?}",
                self.capabilities, other.capabilities
            ));
        }
        (self.config_schema != other.config_schema)
            .then(|| "their configuration schemas differ".into())
    }

    /// Whether it asks for this capability.
    pub fn asks_for(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|asked| asked == capability)
    }
}

fn cut(text: &str) -> &str {
    text.char_indices()
        .nth(80)
        .map_or(text, |(end, _)| &text[..end])
}

/// `1.2.3`, `1.2.3-beta.1+build`.
fn is_version(text: &str) -> bool {
    let (version, build) = text
        .split_once('+')
        .map_or((text, None), |(v, b)| (v, Some(b)));
    let (numbers, pre) = version
        .split_once('-')
        .map_or((version, None), |(n, p)| (n, Some(p)));
    let number = |n: &str| {
        n.parse::<u64>().is_ok() && (n.len() == 1 || !n.starts_with('0')) && !n.starts_with('+')
    };
    let words = |text: &str| {
        text.split('.')
            .all(|w| !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
    };
    numbers.split('.').count() == 3
        && numbers.split('.').all(number)
        && pre.is_none_or(words)
        && build.is_none_or(words)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn good() -> Description {
        Description {
            name: "tenon/gpt".into(),
            version: "0.1.0".into(),
            kind: Kind::Recipe,
            summary: "A decoder-only transformer.".into(),
            config_schema: serde_json::json!({}),
            capabilities: vec!["dataset:poems".into()],
        }
    }

    #[test]
    fn names_versions_and_capabilities_have_a_form() {
        good().check().unwrap();
        for name in [
            "",
            "gpt",
            "Tenon/gpt",
            "a/b/c",
            "a/",
            "/b",
            "../b",
            "a/b\n",
            "a/ b",
            "a/-b",
        ] {
            assert!(
                Description {
                    name: name.into(),
                    ..good()
                }
                .check()
                .is_err(),
                "{name:?}"
            );
        }
        for version in ["1.0.0", "0.1.0-beta.1", "1.2.3+linux", "10.20.30"] {
            Description {
                version: version.into(),
                ..good()
            }
            .check()
            .unwrap();
        }
        for version in [
            "",
            "1",
            "1.0",
            "1.0.0.0",
            "v1.0.0",
            "1.0.x",
            "01.0.0",
            "1.0.0-",
            "1.0.0-a..b",
        ] {
            assert!(
                Description {
                    version: version.into(),
                    ..good()
                }
                .check()
                .is_err(),
                "{version:?}"
            );
        }
        for capability in ["", "dataset:", "a b", "dataset:a b", "Dataset:x"] {
            assert!(
                Description {
                    capabilities: vec![capability.into()],
                    ..good()
                }
                .check()
                .is_err(),
                "{capability:?}"
            );
        }
        assert!(
            Description {
                summary: " ".into(),
                ..good()
            }
            .check()
            .is_err()
        );
        assert!(
            Description {
                summary: "\u{1b}[2J".into(),
                ..good()
            }
            .check()
            .is_err()
        );
    }

    #[test]
    fn json_and_back() {
        let json = serde_json::to_string(&good()).unwrap();
        assert!(json.contains("\"kind\":\"recipe\""), "{json}");
        assert_eq!(serde_json::from_str::<Description>(&json).unwrap(), good());
    }
}
