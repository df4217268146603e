//! One JSON object a line.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::cell::Cell;
use super::infer::PlannedColumn;
use crate::schema::ColumnKind;

/// What happens to a key that is no column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// The schema was given: other keys are left out.
    Skip,
    /// The schema was inferred: a key that the sample did not have makes the row bad.
    Refuse,
}

/// Reads an object into `cells`, one for each column; what it lacks stays null.
///
/// # Errors
/// Why the line is not such an object.
pub(crate) fn row<'a>(
    line: &'a [u8],
    columns: &[PlannedColumn],
    unknown: Unknown,
    cells: &mut [Cell<'a>],
    seen: &mut [bool],
) -> Result<(), String> {
    cells.fill(Cell::Null);
    seen.fill(false);
    let mut deserializer = serde_json::Deserializer::from_slice(line);
    let visitor = Row {
        columns,
        unknown,
        cells,
        seen,
    };
    deserializer
        .deserialize_map(visitor)
        .and_then(|()| deserializer.end())
        .map_err(|error| reason(&error))
}

/// An object's entries in the order of the line, for inference.
pub(crate) fn entries(line: &[u8]) -> Option<Vec<(String, Value)>> {
    struct Entries;
    impl<'de> Visitor<'de> for Entries {
        type Value = Vec<(String, Value)>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = map.next_entry()? {
                entries.push(entry);
            }
            Ok(entries)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_slice(line);
    let entries = deserializer.deserialize_map(Entries).ok()?;
    deserializer.end().ok()?;
    Some(entries)
}

/// A list of numbers written as JSON, for a CSV field.
pub(crate) fn list(text: &str, kind: ColumnKind) -> Result<Cell<'static>, String> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    match kind {
        ColumnKind::Uint32List => Vec::deserialize(&mut deserializer).map(Cell::Ids),
        _ => Vec::deserialize(&mut deserializer).map(Cell::Numbers),
    }
    .and_then(|cell| deserializer.end().map(|()| cell))
    .map_err(|error| reason(&error))
}

/// The library's words; its line is always 1 and its column counts bytes.
fn reason(error: &serde_json::Error) -> String {
    let words = error.to_string();
    match words.rsplit_once(" at line 1 column ") {
        Some((words, "0")) => words.to_owned(),
        Some((words, at)) => format!("{words}, at byte {at}"),
        None => words,
    }
}

struct Row<'r, 'a> {
    columns: &'r [PlannedColumn],
    unknown: Unknown,
    cells: &'r mut [Cell<'a>],
    seen: &'r mut [bool],
}

impl<'a> Visitor<'a> for Row<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let mut hint = 0;
        while let Some(key) = map.next_key_seed(Key {
            columns: self.columns,
            unknown: self.unknown,
            hint,
        })? {
            let Some(index) = key else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            hint = index + 1;
            if std::mem::replace(&mut self.seen[index], true) {
                return Err(A::Error::custom(format_args!(
                    "column `{}` appears twice",
                    self.columns[index].spec.name
                )));
            }
            self.cells[index] = map.next_value_seed(CellSeed {
                column: &self.columns[index],
            })?;
        }
        Ok(())
    }
}

/// The place of the column that a key names. Keys mostly come in the order of the columns, so the
/// search begins after the one before.
struct Key<'r> {
    columns: &'r [PlannedColumn],
    unknown: Unknown,
    hint: usize,
}

impl<'a> DeserializeSeed<'a> for Key<'_> {
    type Value = Option<usize>;
    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        let count = self.columns.len();
        let found = (0..count)
            .map(|step| (self.hint + step) % count)
            .find(|index| self.columns[*index].spec.name == key);
        if found.is_none() && self.unknown == Unknown::Refuse {
            return Err(E::custom(format_args!("unknown column `{key}`")));
        }
        Ok(found)
    }
}

struct CellSeed<'r> {
    column: &'r PlannedColumn,
}

impl<'a> DeserializeSeed<'a> for CellSeed<'_> {
    type Value = Cell<'a>;
    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.column.json {
            return Ok(match Value::deserialize(deserializer)? {
                Value::Null => Cell::Null,
                value => Cell::Text(Cow::Owned(value.to_string())),
            });
        }
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for CellSeed<'_> {
    type Value = Cell<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.column.spec.kind {
            ColumnKind::Utf8 | ColumnKind::Binary => "text",
            ColumnKind::Boolean => "true or false",
            ColumnKind::Int64 => "an integer",
            ColumnKind::Float32 | ColumnKind::Float64 => "a number",
            ColumnKind::Uint32List => "a list of integers from 0 to 2³² - 1",
            ColumnKind::Float32List => "a list of numbers",
        };
        write!(f, "{what} in column `{}`", self.column.spec.name)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Cell::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        match self.column.spec.kind {
            ColumnKind::Boolean => Ok(Cell::Bool(value)),
            _ => Err(E::invalid_type(serde::de::Unexpected::Bool(value), &self)),
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        match self.column.spec.kind {
            ColumnKind::Int64 => Ok(Cell::Int(value)),
            ColumnKind::Float32 | ColumnKind::Float64 => Ok(Cell::Float(value as f64)),
            _ => Err(E::invalid_type(serde::de::Unexpected::Signed(value), &self)),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        match (self.column.spec.kind, i64::try_from(value)) {
            (ColumnKind::Int64, Ok(value)) => Ok(Cell::Int(value)),
            (ColumnKind::Int64, Err(_)) => Err(E::custom(format_args!(
                "{value} does not fit int64 in column `{}`",
                self.column.spec.name
            ))),
            (ColumnKind::Float32 | ColumnKind::Float64, _) => Ok(Cell::Float(value as f64)),
            _ => Err(E::invalid_type(
                serde::de::Unexpected::Unsigned(value),
                &self,
            )),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        match self.column.spec.kind {
            ColumnKind::Float64 => Ok(Cell::Float(value)),
            ColumnKind::Float32 if (value as f32).is_finite() => Ok(Cell::Float(value)),
            _ => Err(E::invalid_type(serde::de::Unexpected::Float(value), &self)),
        }
    }

    fn visit_borrowed_str<E: Error>(self, text: &'a str) -> Result<Self::Value, E> {
        match self.column.spec.kind {
            ColumnKind::Utf8 | ColumnKind::Binary => Ok(Cell::Text(Cow::Borrowed(text))),
            _ => Err(E::invalid_type(serde::de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        match self.column.spec.kind {
            ColumnKind::Utf8 | ColumnKind::Binary => Ok(Cell::Text(Cow::Owned(text.to_owned()))),
            _ => Err(E::invalid_type(serde::de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        match self.column.spec.kind {
            ColumnKind::Uint32List => {
                let mut ids = Vec::new();
                while let Some(id) = seq.next_element()? {
                    ids.push(id);
                }
                Ok(Cell::Ids(ids))
            }
            ColumnKind::Float32List => {
                let mut numbers = Vec::new();
                while let Some(number) = seq.next_element()? {
                    numbers.push(number);
                }
                Ok(Cell::Numbers(numbers))
            }
            _ => Err(A::Error::invalid_type(serde::de::Unexpected::Seq, &self)),
        }
    }

    fn visit_map<A: MapAccess<'a>>(self, _: A) -> Result<Self::Value, A::Error> {
        Err(A::Error::invalid_type(serde::de::Unexpected::Map, &self))
    }
}
