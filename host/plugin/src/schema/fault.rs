//! What is wrong with a configuration, in words.

use std::fmt;

use jsonschema::{
    JsonType, ValidationError,
    error::{TypeKind, ValidationErrorKind},
};
use serde_json::Value;

/// Characters of a value that a message shows.
const SHOWN: usize = 80;

/// One fault of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFault {
    /// Where: `attention.heads`, `blocks[1].width`; empty for the configuration as a whole.
    pub path: String,
    /// What was found there: JSON, cut if it is long; nothing if there was nothing.
    pub found: Option<String>,
    /// What was expected.
    pub expected: String,
    /// Whether the name itself is what was not expected.
    unknown: bool,
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str("the configuration")?;
        } else {
            write!(f, "`{}`", self.path)?;
        }
        match (&self.found, self.unknown) {
            (_, true) => f.write_str(" is unknown")?,
            (Some(found), _) => write!(f, " is {found}")?,
            (None, _) => f.write_str(" is missing")?,
        }
        write!(f, ", expected {}", self.expected)
    }
}

impl ConfigFault {
    pub(super) fn new(root: &Value, error: &ValidationError<'_>) -> Self {
        let place = readable(&error.instance_path().to_string());
        match error.kind() {
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                let expected = parent(root, error)
                    .and_then(|schema| schema.get("properties")?.get(name))
                    .and_then(|schema| describe(root, schema))
                    .unwrap_or_else(|| "a value".into());
                Self {
                    path: join(&place, name),
                    found: None,
                    expected,
                    unknown: false,
                }
            }
            ValidationErrorKind::AdditionalProperties { unexpected }
            | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
                let mut known: Vec<String> = parent(root, error)
                    .and_then(|schema| schema.get("properties")?.as_object())
                    .map(|known| known.keys().map(|name| format!("`{name}`")).collect())
                    .unwrap_or_default();
                known.sort();
                let expected = if known.is_empty() {
                    "no such name".into()
                } else {
                    format!("one of {}", cut(&known.join(", "), 400))
                };
                let unknown = unexpected.first().map_or("", String::as_str);
                Self {
                    path: cut(&join(&place, unknown), 200),
                    found: None,
                    expected,
                    unknown: true,
                }
            }
            kind => Self {
                path: cut(&place, 200),
                found: Some(shown(error.instance())),
                expected: expectation(kind).unwrap_or_else(|| {
                    format!(
                        "something else: {}",
                        cut(&error.masked_with("it").to_string(), 400)
                    )
                }),
                unknown: false,
            },
        }
    }
}

/// The schema that the failed keyword stands in.
fn parent<'a>(root: &'a Value, error: &ValidationError<'_>) -> Option<&'a Value> {
    let path = error.schema_path().to_string();
    root.pointer(path.rsplit_once('/')?.0)
}

/// What a missing value should have been.
fn describe(root: &Value, schema: &Value) -> Option<String> {
    let schema = match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) => root.pointer(reference.strip_prefix('#')?)?,
        None => schema,
    };
    if let Some(options) = schema.get("enum") {
        return Some(one_of(options));
    }
    match schema.get("type")? {
        Value::String(name) => Some(article(name)),
        Value::Array(names) => Some(
            names
                .iter()
                .filter_map(Value::as_str)
                .map(article)
                .collect::<Vec<_>>()
                .join(" or "),
        ),
        _ => None,
    }
}

fn expectation(kind: &ValidationErrorKind) -> Option<String> {
    use ValidationErrorKind as K;
    Some(match kind {
        K::Type {
            kind: TypeKind::Single(one),
        } => type_name(*one),
        K::Type {
            kind: TypeKind::Multiple(several),
        } => several
            .iter()
            .map(type_name)
            .collect::<Vec<_>>()
            .join(" or "),
        K::Enum { options } => one_of(options),
        K::Constant { expected_value } => shown(expected_value),
        K::Minimum { limit } => format!("at least {limit}"),
        K::Maximum { limit } => format!("at most {limit}"),
        K::ExclusiveMinimum { limit } => format!("more than {limit}"),
        K::ExclusiveMaximum { limit } => format!("less than {limit}"),
        K::MinLength { limit } => format!("at least {limit} characters"),
        K::MaxLength { limit } => format!("at most {limit} characters"),
        K::MinItems { limit } => format!("at least {limit} items"),
        K::MaxItems { limit } => format!("at most {limit} items"),
        K::AdditionalItems { limit } => format!("at most {limit} items"),
        K::MinProperties { limit } => format!("at least {limit} names"),
        K::MaxProperties { limit } => format!("at most {limit} names"),
        K::MultipleOf { multiple_of } => format!("a multiple of {multiple_of}"),
        K::Pattern { pattern } => format!("text that matches {}", cut(pattern, 200)),
        K::Format { format } => format!("text of the format {format}"),
        K::UniqueItems => "no item twice".into(),
        K::FalseSchema => "nothing".into(),
        _ => return None,
    })
}

fn type_name(kind: JsonType) -> String {
    article(&kind.to_string())
}

fn article(name: &str) -> String {
    match name {
        "integer" | "object" | "array" => format!("an {name}"),
        "string" | "number" | "boolean" => format!("a {name}"),
        other => other.to_owned(),
    }
}

fn one_of(options: &Value) -> String {
    let options: Vec<String> = options
        .as_array()
        .into_iter()
        .flatten()
        .map(shown)
        .collect();
    format!("one of {}", cut(&options.join(", "), 400))
}

fn shown(value: &Value) -> String {
    cut(&value.to_string(), SHOWN)
}

fn cut(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// `/blocks/1/width` → `blocks[1].width`.
fn readable(pointer: &str) -> String {
    let mut path = String::new();
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        if !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) {
            path.push_str(&format!("[{part}]"));
        } else {
            path = join(&path, &part);
        }
    }
    path
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}
