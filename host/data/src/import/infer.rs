//! What the columns hold, from the first rows.
//!
//! The first value that a column has decides its family (text, boolean, number, list); within a
//! family the sample widens the type: `int64` to `float64` where a number is not an integer,
//! `uint32-list` to `float32-list` where an item is negative or not an integer. Objects and lists
//! of anything but numbers are kept as their JSON text. A column without any value is text. After
//! the sample, a value of another family is a bad row: a stray number in a column of text is more
//! often a mistake than a reason to reinterpret the column.

use serde_json::Value;

use crate::schema::{ColumnKind, ColumnSpec};

/// A column of an import: its type, and whether values are kept as JSON text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlannedColumn {
    pub(crate) spec: ColumnSpec,
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guess {
    Nothing,
    Text,
    Boolean,
    Int64,
    Float64,
    EmptyList,
    Ids,
    Numbers,
    Json,
}

/// Watches the values of the first rows.
#[derive(Default)]
pub(crate) struct Inference {
    columns: Vec<(String, Guess)>,
}

impl Inference {
    /// A column that exists even if no row has a value for it.
    pub(crate) fn declare(&mut self, name: &str) {
        if !self.columns.iter().any(|(known, _)| known == name) {
            self.columns.push((name.to_owned(), Guess::Nothing));
        }
    }

    /// A value of a JSON object.
    pub(crate) fn json(&mut self, name: &str, value: &Value) {
        self.declare(name);
        self.see(name, guess(value));
    }

    /// A field of a CSV record.
    pub(crate) fn field(&mut self, name: &str, field: &str) {
        let seen = guess_field(field);
        let Some((_, known)) = self.columns.iter_mut().find(|(known, _)| known == name) else {
            return;
        };
        // A CSV field has no type of its own: what does not fit the guess makes the column text.
        *known = match (*known, seen) {
            (known, Guess::Nothing) => known,
            (Guess::Nothing, seen) => seen,
            (known, seen) if widen(known, seen) == known && !compatible(known, seen) => Guess::Text,
            (known, seen) => widen(known, seen),
        };
    }

    fn see(&mut self, name: &str, seen: Guess) {
        if let Some((_, known)) = self.columns.iter_mut().find(|(known, _)| known == name) {
            *known = widen(*known, seen);
        }
    }

    pub(crate) fn finish(self) -> Vec<PlannedColumn> {
        self.columns
            .into_iter()
            .map(|(name, guess)| PlannedColumn {
                json: guess == Guess::Json,
                spec: ColumnSpec {
                    name,
                    kind: match guess {
                        Guess::Nothing | Guess::Text | Guess::Json => ColumnKind::Utf8,
                        Guess::Boolean => ColumnKind::Boolean,
                        Guess::Int64 => ColumnKind::Int64,
                        Guess::Float64 => ColumnKind::Float64,
                        Guess::EmptyList | Guess::Ids => ColumnKind::Uint32List,
                        Guess::Numbers => ColumnKind::Float32List,
                    },
                },
            })
            .collect()
    }
}

fn guess(value: &Value) -> Guess {
    match value {
        Value::Null => Guess::Nothing,
        Value::Bool(_) => Guess::Boolean,
        Value::String(_) => Guess::Text,
        Value::Number(number) if number.is_i64() => Guess::Int64,
        Value::Number(_) => Guess::Float64,
        Value::Array(items) if items.is_empty() => Guess::EmptyList,
        Value::Array(items) => {
            if !items.iter().all(Value::is_number) {
                Guess::Json
            } else if items
                .iter()
                .all(|item| item.as_u64().is_some_and(|id| id <= u64::from(u32::MAX)))
            {
                Guess::Ids
            } else {
                Guess::Numbers
            }
        }
        Value::Object(_) => Guess::Json,
    }
}

/// The family stays what it was; within it the type becomes as wide as needed.
fn widen(known: Guess, seen: Guess) -> Guess {
    match (known, seen) {
        (Guess::Nothing, seen) => seen,
        (Guess::Int64, Guess::Float64) => Guess::Float64,
        (Guess::EmptyList, Guess::Ids | Guess::Numbers | Guess::Json) => seen,
        (Guess::Ids, Guess::Numbers) => Guess::Numbers,
        // A list of lists after a list of numbers: only the text can hold both.
        (Guess::Ids | Guess::Numbers, Guess::Json) => Guess::Json,
        (known, _) => known,
    }
}

fn compatible(known: Guess, seen: Guess) -> bool {
    known == seen
        || matches!(
            (known, seen),
            (Guess::Float64, Guess::Int64)
                | (Guess::Ids | Guess::Numbers, Guess::EmptyList)
                | (Guess::Numbers, Guess::Ids)
        )
}

fn guess_field(field: &str) -> Guess {
    let field = field.trim();
    if field.is_empty() {
        return Guess::Nothing;
    }
    if field.eq_ignore_ascii_case("true") || field.eq_ignore_ascii_case("false") {
        return Guess::Boolean;
    }
    if field.starts_with('[')
        && let Ok(value @ Value::Array(_)) = serde_json::from_str(field)
    {
        return match guess(&value) {
            Guess::Json => Guess::Text,
            other => other,
        };
    }
    let digits = field.trim_start_matches(['-', '+']);
    // 007 is a name, not a number.
    let padded = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.");
    if padded || !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Guess::Text;
    }
    if field.parse::<i64>().is_ok() {
        Guess::Int64
    } else if field.parse::<f64>().is_ok_and(f64::is_finite) {
        Guess::Float64
    } else {
        Guess::Text
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn inferred(values: &[Value]) -> (ColumnKind, bool) {
        let mut inference = Inference::default();
        for value in values {
            inference.json("c", value);
        }
        let column = inference.finish().remove(0);
        (column.spec.kind, column.json)
    }

    #[test]
    fn the_first_value_decides_the_family_and_the_sample_the_width() {
        let cases = [
            (vec![json!(null)], ColumnKind::Utf8, false),
            (
                vec![json!(null), json!("a"), json!(1)],
                ColumnKind::Utf8,
                false,
            ),
            (vec![json!(true)], ColumnKind::Boolean, false),
            (vec![json!(1), json!(-2)], ColumnKind::Int64, false),
            (vec![json!(1), json!(0.5)], ColumnKind::Float64, false),
            (
                vec![json!(18446744073709551615u64)],
                ColumnKind::Float64,
                false,
            ),
            (vec![json!([])], ColumnKind::Uint32List, false),
            (
                vec![json!([]), json!([0, 4294967295u64])],
                ColumnKind::Uint32List,
                false,
            ),
            (
                vec![json!([1]), json!([-1])],
                ColumnKind::Float32List,
                false,
            ),
            (
                vec![json!([1]), json!([4294967296u64])],
                ColumnKind::Float32List,
                false,
            ),
            (vec![json!({"a": 1})], ColumnKind::Utf8, true),
            (vec![json!([1]), json!(["x"])], ColumnKind::Utf8, true),
        ];
        for (values, kind, json) in cases {
            assert_eq!(inferred(&values), (kind, json), "{values:?}");
        }
    }

    #[test]
    fn fields_of_csv_fall_back_to_text() {
        let cases = [
            (vec!["1", "", "-2"], ColumnKind::Int64),
            (vec!["1", "2.5", "1e3"], ColumnKind::Float64),
            (vec!["1", "x"], ColumnKind::Utf8),
            (vec!["007"], ColumnKind::Utf8),
            (vec!["0.5", "0"], ColumnKind::Float64),
            (vec!["true", "FALSE"], ColumnKind::Boolean),
            (vec!["true", "1"], ColumnKind::Utf8),
            (vec!["[1, 2]", "[]"], ColumnKind::Uint32List),
            (vec!["[1, 2.5]", "[1]"], ColumnKind::Float32List),
            (vec!["nan"], ColumnKind::Utf8),
            (vec!["", ""], ColumnKind::Utf8),
            (vec!["1.5", "true"], ColumnKind::Utf8),
        ];
        for (fields, kind) in cases {
            let mut inference = Inference::default();
            inference.declare("c");
            for field in &fields {
                inference.field("c", field);
            }
            assert_eq!(inference.finish()[0].spec.kind, kind, "{fields:?}");
        }
    }
}
