//! A batch as people and browsers read it.

use serde_json::{Map, Value};

use super::{Batch, Column, ColumnType};

impl Column {
    /// Row `row` as JSON. Absent values and numbers that JSON does not have (NaN, infinities) are
    /// `null`; bytes are a list of numbers.
    pub fn json(&self, row: usize) -> Value {
        match self.kind {
            ColumnType::Utf8 => self.utf8(row).map(Value::from),
            ColumnType::Binary => self.binary(row).map(Value::from),
            ColumnType::Boolean => self.boolean(row).map(Value::from),
            ColumnType::Int64 => self.i64(row).map(Value::from),
            ColumnType::Float32 => self.f32(row).map(Value::from),
            ColumnType::Float64 => self.f64(row).map(Value::from),
            ColumnType::Uint32List => self.u32_list(row).map(|list| Value::from(&*list)),
            ColumnType::Float32List => self.f32_list(row).map(|list| Value::from(&*list)),
        }
        .unwrap_or(Value::Null)
    }
}

impl Batch {
    /// Row `row` as a JSON object, columns in order of their names.
    pub fn row_json(&self, row: usize) -> Map<String, Value> {
        self.columns
            .iter()
            .map(|column| (column.name.clone(), column.json(row)))
            .collect()
    }

    /// Every row as a JSON object.
    pub fn to_json(&self) -> Vec<Map<String, Value>> {
        (0..self.rows as usize)
            .map(|row| self.row_json(row))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_become_objects() {
        let batch = Batch::new(
            2,
            vec![
                Column::from_utf8("text", ["天", "地"]),
                Column::from_f64s("score", [0.5, f64::NAN]),
                Column::from_u32_lists("ids", [&[1, 2][..], &[]]),
            ],
        )
        .unwrap();
        assert_eq!(
            json!(batch.to_json()),
            json!([
                { "text": "天", "score": 0.5, "ids": [1, 2] },
                { "text": "地", "score": null, "ids": [] },
            ])
        );
    }
}
