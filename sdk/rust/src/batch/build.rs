//! Writing columns.

use super::{Column, ColumnType};

/// Grows a column row by row.
///
/// Each `push_…` belongs to one [`ColumnType`] and panics on a column of another: that is a mistake
/// of the plugin's author.
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

    /// A row without a value.
    pub fn push_null(&mut self) {
        if self.column.validity.is_empty() {
            // Every row so far held a value.
            for row in 0..self.rows {
                push_bit(&mut self.column.validity, row, true);
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
    #[track_caller]
    pub fn push_utf8(&mut self, text: &str) {
        self.push(ColumnType::Utf8, text.as_bytes());
    }

    /// A row of a `binary` column.
    #[track_caller]
    pub fn push_binary(&mut self, bytes: &[u8]) {
        self.push(ColumnType::Binary, bytes);
    }

    /// A row of a `boolean` column.
    #[track_caller]
    pub fn push_bool(&mut self, value: bool) {
        self.expect(ColumnType::Boolean);
        push_bit(&mut self.column.values, self.rows, value);
        self.end_row();
    }

    /// A row of an `int64` column.
    #[track_caller]
    pub fn push_i64(&mut self, value: i64) {
        self.push(ColumnType::Int64, &value.to_le_bytes());
    }

    /// A row of a `float32` column.
    #[track_caller]
    pub fn push_f32(&mut self, value: f32) {
        self.push(ColumnType::Float32, &value.to_le_bytes());
    }

    /// A row of a `float64` column.
    #[track_caller]
    pub fn push_f64(&mut self, value: f64) {
        self.push(ColumnType::Float64, &value.to_le_bytes());
    }

    /// A row of a `uint32-list` column.
    #[track_caller]
    pub fn push_u32_list(&mut self, values: &[u32]) {
        self.push_list(
            ColumnType::Uint32List,
            values.iter().map(|v| v.to_le_bytes()),
        );
    }

    /// A row of a `float32-list` column.
    #[track_caller]
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

    #[track_caller]
    fn expect(&self, kind: ColumnType) {
        assert!(
            self.column.kind == kind,
            "column {:?} holds {}; a {} was pushed",
            self.column.name,
            self.column.kind.name(),
            kind.name()
        );
    }

    #[track_caller]
    fn push(&mut self, kind: ColumnType, bytes: &[u8]) {
        self.expect(kind);
        self.column.values.extend_from_slice(bytes);
        if kind.is_variable() {
            self.end_variable();
        }
        self.end_row();
    }

    #[track_caller]
    fn push_list(&mut self, kind: ColumnType, values: impl Iterator<Item = [u8; 4]>) {
        self.expect(kind);
        values.for_each(|value| self.column.values.extend(value));
        self.end_variable();
        self.end_row();
    }

    #[track_caller]
    fn end_variable(&mut self) {
        let end = self.column.values.len() / self.column.kind.width().unwrap_or(1);
        let Ok(end) = u32::try_from(end) else {
            panic!(
                "column {:?} grew past 2³² elements: return smaller batches",
                self.column.name
            )
        };
        self.column.offsets.extend(end.to_le_bytes());
    }

    fn end_row(&mut self) {
        if !self.column.validity.is_empty() {
            push_bit(&mut self.column.validity, self.rows, true);
        }
        self.rows += 1;
    }
}

impl Column {
    /// How many rows it has; a bitmap of booleans does not know.
    pub fn rows(&self) -> Option<usize> {
        match (self.kind.is_variable(), self.kind.width()) {
            (true, _) => Some((self.offsets.len() / 4).saturating_sub(1)),
            (false, width) => width.map(|width| self.values.len() / width),
        }
    }

    /// The first `rows` rows, of at least as many.
    pub(super) fn head(mut self, rows: usize) -> Self {
        let elements = if self.kind.is_variable() {
            self.offsets.truncate((rows + 1) * 4);
            match self.offsets.last_chunk() {
                Some(end) => u32::from_le_bytes(*end) as usize,
                None => 0,
            }
        } else {
            rows
        };
        match self.kind.width() {
            Some(width) => self.values.truncate(elements * width),
            None => cut_bits(&mut self.values, rows),
        }
        cut_bits(&mut self.validity, rows);
        self
    }

    /// A `utf8` column.
    pub fn from_utf8<S: AsRef<str>>(
        name: impl Into<String>,
        rows: impl IntoIterator<Item = S>,
    ) -> Self {
        build(name, ColumnType::Utf8, rows, |b, row| {
            b.push_utf8(row.as_ref())
        })
    }

    /// A `utf8` column, some rows of which may hold no value.
    pub fn from_utf8_options<S: AsRef<str>>(
        name: impl Into<String>,
        rows: impl IntoIterator<Item = Option<S>>,
    ) -> Self {
        build(name, ColumnType::Utf8, rows, |b, row| match row {
            Some(row) => b.push_utf8(row.as_ref()),
            None => b.push_null(),
        })
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
    pub fn from_u32_lists<L: AsRef<[u32]>>(
        name: impl Into<String>,
        rows: impl IntoIterator<Item = L>,
    ) -> Self {
        build(name, ColumnType::Uint32List, rows, |b, row| {
            b.push_u32_list(row.as_ref())
        })
    }

    /// A `float32-list` column.
    pub fn from_f32_lists<L: AsRef<[f32]>>(
        name: impl Into<String>,
        rows: impl IntoIterator<Item = L>,
    ) -> Self {
        build(name, ColumnType::Float32List, rows, |b, row| {
            b.push_f32_list(row.as_ref())
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

/// Leaves the first `bits`; those beside them in the last byte become 0.
fn cut_bits(bitmap: &mut Vec<u8>, bits: usize) {
    bitmap.truncate(bits.div_ceil(8));
    if let (Some(last), beside @ 1..) = (bitmap.last_mut(), bits % 8) {
        *last &= (1 << beside) - 1;
    }
}
