//! Writing a batch.

use super::{Column, ColumnType};

/// Grows a column row by row.
///
/// Each `push_…` belongs to one [`ColumnType`]; a value of another type than the column's is not
/// taken and counts as a row without a value.
#[derive(Debug, Clone)]
pub struct ColumnBuilder {
    column: Column,
    rows: usize,
}

impl ColumnBuilder {
    /// A column without rows.
    pub fn new(name: impl Into<String>, kind: ColumnType) -> Self {
        Self::with_capacity(name, kind, 0)
    }

    /// A column without rows, with room for `rows` of them.
    pub fn with_capacity(name: impl Into<String>, kind: ColumnType, rows: usize) -> Self {
        let mut offsets = Vec::new();
        if kind.is_variable() {
            offsets.reserve((rows + 1) * 4);
            offsets.extend(0u32.to_le_bytes());
        }
        let values = match (kind.is_variable(), kind.width()) {
            (false, Some(width)) => Vec::with_capacity(rows * width),
            (false, None) => Vec::with_capacity(rows.div_ceil(8)),
            _ => Vec::new(),
        };
        Self {
            column: Column {
                name: name.into(),
                kind,
                values,
                offsets,
                validity: Vec::new(),
            },
            rows: 0,
        }
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The type of its values.
    pub fn kind(&self) -> ColumnType {
        self.column.kind
    }

    /// A row without a value.
    pub fn push_null(&mut self) {
        if self.column.validity.is_empty() {
            // Every row so far held a value.
            self.column.validity = vec![0xff; self.rows.div_ceil(8)];
            if !self.rows.is_multiple_of(8)
                && let Some(last) = self.column.validity.last_mut()
            {
                *last = (1 << (self.rows % 8)) - 1;
            }
        }
        match (self.column.kind.is_variable(), self.column.kind.width()) {
            (true, _) => self.end_variable(),
            (false, Some(width)) => self
                .column
                .values
                .resize(self.column.values.len() + width, 0),
            (false, None) => push_bit(&mut self.column.values, self.rows, false),
        }
        push_bit(&mut self.column.validity, self.rows, false);
        self.rows += 1;
    }

    /// A row of a `utf8` column.
    pub fn push_utf8(&mut self, text: &str) {
        self.push(ColumnType::Utf8, text.as_bytes());
    }

    /// A row of a `binary` column.
    pub fn push_binary(&mut self, bytes: &[u8]) {
        self.push(ColumnType::Binary, bytes);
    }

    /// A row of a `boolean` column.
    pub fn push_bool(&mut self, value: bool) {
        if self.column.kind != ColumnType::Boolean {
            return self.push_null();
        }
        push_bit(&mut self.column.values, self.rows, value);
        self.end_row();
    }

    /// A row of an `int64` column.
    pub fn push_i64(&mut self, value: i64) {
        self.push(ColumnType::Int64, &value.to_le_bytes());
    }

    /// A row of a `float32` column.
    pub fn push_f32(&mut self, value: f32) {
        self.push(ColumnType::Float32, &value.to_le_bytes());
    }

    /// A row of a `float64` column.
    pub fn push_f64(&mut self, value: f64) {
        self.push(ColumnType::Float64, &value.to_le_bytes());
    }

    /// A row of a `uint32-list` column.
    pub fn push_u32_list(&mut self, values: &[u32]) {
        self.push_list(
            ColumnType::Uint32List,
            values.iter().map(|v| v.to_le_bytes()),
        );
    }

    /// A row of a `float32-list` column.
    pub fn push_f32_list(&mut self, values: &[f32]) {
        self.push_list(
            ColumnType::Float32List,
            values.iter().map(|v| v.to_le_bytes()),
        );
    }

    /// The column.
    pub fn finish(self) -> Column {
        self.column
    }

    fn push(&mut self, kind: ColumnType, bytes: &[u8]) {
        if self.column.kind != kind {
            return self.push_null();
        }
        self.column.values.extend_from_slice(bytes);
        if kind.is_variable() {
            self.end_variable();
        }
        self.end_row();
    }

    fn push_list(&mut self, kind: ColumnType, values: impl Iterator<Item = [u8; 4]>) {
        if self.column.kind != kind {
            return self.push_null();
        }
        values.for_each(|value| self.column.values.extend(value));
        self.end_variable();
        self.end_row();
    }

    fn end_variable(&mut self) {
        let end = self.column.values.len() / self.column.kind.width().unwrap_or(1);
        // Past 2³² the offset saturates and `Batch::check` refuses the column.
        self.column
            .offsets
            .extend(u32::try_from(end).unwrap_or(u32::MAX).to_le_bytes());
    }

    fn end_row(&mut self) {
        // Begun with the first absent row, which leaves at least one byte.
        if !self.column.validity.is_empty() {
            push_bit(&mut self.column.validity, self.rows, true);
        }
        self.rows += 1;
    }
}

impl Column {
    /// A `utf8` column.
    pub fn from_utf8<'a>(name: impl Into<String>, rows: impl IntoIterator<Item = &'a str>) -> Self {
        build(name, ColumnType::Utf8, rows, |b, row| b.push_utf8(row))
    }

    /// A `binary` column.
    pub fn from_binary<'a>(
        name: impl Into<String>,
        rows: impl IntoIterator<Item = &'a [u8]>,
    ) -> Self {
        build(name, ColumnType::Binary, rows, |b, row| b.push_binary(row))
    }

    /// A `boolean` column.
    pub fn from_bools(name: impl Into<String>, rows: impl IntoIterator<Item = bool>) -> Self {
        build(name, ColumnType::Boolean, rows, ColumnBuilder::push_bool)
    }

    /// An `int64` column.
    pub fn from_i64s(name: impl Into<String>, rows: impl IntoIterator<Item = i64>) -> Self {
        build(name, ColumnType::Int64, rows, ColumnBuilder::push_i64)
    }

    /// A `float32` column.
    pub fn from_f32s(name: impl Into<String>, rows: impl IntoIterator<Item = f32>) -> Self {
        build(name, ColumnType::Float32, rows, ColumnBuilder::push_f32)
    }

    /// A `float64` column.
    pub fn from_f64s(name: impl Into<String>, rows: impl IntoIterator<Item = f64>) -> Self {
        build(name, ColumnType::Float64, rows, ColumnBuilder::push_f64)
    }

    /// A `uint32-list` column.
    pub fn from_u32_lists<'a>(
        name: impl Into<String>,
        rows: impl IntoIterator<Item = &'a [u32]>,
    ) -> Self {
        build(name, ColumnType::Uint32List, rows, |b, row| {
            b.push_u32_list(row)
        })
    }

    /// A `float32-list` column.
    pub fn from_f32_lists<'a>(
        name: impl Into<String>,
        rows: impl IntoIterator<Item = &'a [f32]>,
    ) -> Self {
        build(name, ColumnType::Float32List, rows, |b, row| {
            b.push_f32_list(row)
        })
    }
}

fn build<T>(
    name: impl Into<String>,
    kind: ColumnType,
    rows: impl IntoIterator<Item = T>,
    mut push: impl FnMut(&mut ColumnBuilder, T),
) -> Column {
    let rows = rows.into_iter();
    let mut builder = ColumnBuilder::with_capacity(name, kind, rows.size_hint().0);
    rows.for_each(|row| push(&mut builder, row));
    builder.finish()
}

/// Sets bit `index`, one past the bits so far.
fn push_bit(bitmap: &mut Vec<u8>, index: usize, value: bool) {
    if index.is_multiple_of(8) {
        bitmap.push(0);
    }
    if let Some(last) = bitmap.last_mut() {
        *last |= u8::from(value) << (index % 8);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{super::Batch, *};

    #[test]
    fn what_is_written_is_what_is_read() {
        let batch = Batch::new(
            3,
            vec![
                Column::from_utf8("t", ["", "天地", "x"]),
                Column::from_binary("b", [&[0xff][..], &[], &[1, 2]]),
                Column::from_bools("f", [true, false, true]),
                Column::from_i64s("i", [i64::MIN, 0, 7]),
                Column::from_f32s("s", [f32::NAN, -0.5, f32::INFINITY]),
                Column::from_f64s("d", [1e300, 0.0, -1.0]),
                Column::from_u32_lists("u", [&[][..], &[1, u32::MAX], &[3]]),
                Column::from_f32_lists("l", [&[0.5][..], &[], &[1.0, 2.0]]),
            ],
        )
        .unwrap();
        let c = |name| batch.column(name).unwrap();
        assert_eq!(
            (c("t").utf8(0), c("t").utf8(1), c("t").utf8(3)),
            (Some(""), Some("天地"), None)
        );
        assert_eq!(
            (c("b").binary(0), c("b").binary(1)),
            (Some(&[0xff][..]), Some(&[][..]))
        );
        assert_eq!(
            (c("f").boolean(0), c("f").boolean(1), c("f").boolean(2)),
            (Some(true), Some(false), Some(true))
        );
        assert_eq!(
            (c("i").i64(0), c("i").i64(2), c("i").i64(3)),
            (Some(i64::MIN), Some(7), None)
        );
        assert_eq!((c("s").f32(1), c("d").f64(0)), (Some(-0.5), Some(1e300)));
        assert_eq!(c("u").u32_list(1).unwrap(), &[1, u32::MAX][..]);
        assert_eq!(c("l").f32_list(2).unwrap(), &[1.0, 2.0][..]);
        assert_eq!(c("i").i64s().unwrap(), &[i64::MIN, 0, 7][..]);
        assert_eq!(c("t").i64(0), None, "of another type");
    }

    #[test]
    fn absent_rows_anywhere() {
        for kind in ColumnType::ALL {
            for rows in 0..20 {
                for absent in 0..rows {
                    let mut builder = ColumnBuilder::new("x", kind);
                    for row in 0..rows {
                        match kind {
                            _ if row == absent => builder.push_null(),
                            ColumnType::Utf8 => builder.push_utf8("x"),
                            ColumnType::Binary => builder.push_binary(b"x"),
                            ColumnType::Boolean => builder.push_bool(true),
                            ColumnType::Int64 => builder.push_i64(1),
                            ColumnType::Float32 => builder.push_f32(1.0),
                            ColumnType::Float64 => builder.push_f64(1.0),
                            ColumnType::Uint32List => builder.push_u32_list(&[1]),
                            ColumnType::Float32List => builder.push_f32_list(&[1.0]),
                        }
                    }
                    let batch = Batch::new(rows, vec![builder.finish()]).unwrap();
                    for row in 0..rows {
                        assert_eq!(
                            batch.columns[0].is_valid(row as usize),
                            row != absent,
                            "{kind} {rows} {absent}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_value_of_another_type_is_no_value() {
        let mut builder = ColumnBuilder::new("x", ColumnType::Int64);
        builder.push_utf8("7");
        builder.push_i64(7);
        let batch = Batch::new(2, vec![builder.finish()]).unwrap();
        assert_eq!(
            (batch.columns[0].i64(0), batch.columns[0].i64(1)),
            (None, Some(7))
        );
    }
}
