//! One value of one row on its way into a column.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, Float32Builder, Float64Builder, Int64Builder, ListBuilder,
    StringBuilder, UInt32Builder,
};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;

use crate::error::{DataError, Result};
use crate::schema::{ColumnKind, item};

/// A value that already has its column's type.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'a, str>),
    Ids(Vec<u32>),
    Numbers(Vec<f32>),
}

enum Builder {
    Utf8(StringBuilder),
    Binary(BinaryBuilder),
    Boolean(BooleanBuilder),
    Int64(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Uint32List(ListBuilder<UInt32Builder>),
    Float32List(ListBuilder<Float32Builder>),
}

impl Builder {
    fn new(kind: ColumnKind) -> Self {
        match kind {
            ColumnKind::Utf8 => Self::Utf8(StringBuilder::new()),
            ColumnKind::Binary => Self::Binary(BinaryBuilder::new()),
            ColumnKind::Boolean => Self::Boolean(BooleanBuilder::new()),
            ColumnKind::Int64 => Self::Int64(Int64Builder::new()),
            ColumnKind::Float32 => Self::Float32(Float32Builder::new()),
            ColumnKind::Float64 => Self::Float64(Float64Builder::new()),
            ColumnKind::Uint32List => Self::Uint32List(
                ListBuilder::new(UInt32Builder::new())
                    .with_field(item(arrow_schema::DataType::UInt32)),
            ),
            ColumnKind::Float32List => Self::Float32List(
                ListBuilder::new(Float32Builder::new())
                    .with_field(item(arrow_schema::DataType::Float32)),
            ),
        }
    }

    /// Appends a value; one of another type counts as none (parsers give the column's own type).
    fn push(&mut self, cell: Cell<'_>) {
        match (self, cell) {
            (Self::Utf8(builder), Cell::Text(text)) => builder.append_value(text),
            (Self::Utf8(builder), _) => builder.append_null(),
            (Self::Binary(builder), Cell::Text(text)) => builder.append_value(text.as_bytes()),
            (Self::Binary(builder), _) => builder.append_null(),
            (Self::Boolean(builder), Cell::Bool(value)) => builder.append_value(value),
            (Self::Boolean(builder), _) => builder.append_null(),
            (Self::Int64(builder), Cell::Int(value)) => builder.append_value(value),
            (Self::Int64(builder), _) => builder.append_null(),
            (Self::Float32(builder), Cell::Float(value)) => builder.append_value(value as f32),
            (Self::Float32(builder), _) => builder.append_null(),
            (Self::Float64(builder), Cell::Float(value)) => builder.append_value(value),
            (Self::Float64(builder), _) => builder.append_null(),
            (Self::Uint32List(builder), Cell::Ids(values)) => {
                builder.values().append_slice(&values);
                builder.append(true);
            }
            (Self::Uint32List(builder), _) => builder.append(false),
            (Self::Float32List(builder), Cell::Numbers(values)) => {
                builder.values().append_slice(&values);
                builder.append(true);
            }
            (Self::Float32List(builder), _) => builder.append(false),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Utf8(builder) => Arc::new(builder.finish()),
            Self::Binary(builder) => Arc::new(builder.finish()),
            Self::Boolean(builder) => Arc::new(builder.finish()),
            Self::Int64(builder) => Arc::new(builder.finish()),
            Self::Float32(builder) => Arc::new(builder.finish()),
            Self::Float64(builder) => Arc::new(builder.finish()),
            Self::Uint32List(builder) => Arc::new(builder.finish()),
            Self::Float32List(builder) => Arc::new(builder.finish()),
        }
    }
}

/// Gathers rows into a record batch.
pub(crate) struct RowBuilder {
    schema: SchemaRef,
    columns: Vec<Builder>,
    rows: usize,
}

impl RowBuilder {
    pub(crate) fn new(kinds: impl Iterator<Item = ColumnKind>, schema: SchemaRef) -> Self {
        Self {
            schema,
            columns: kinds.map(Builder::new).collect(),
            rows: 0,
        }
    }

    /// Appends a row, leaving nulls behind in `cells`.
    pub(crate) fn push(&mut self, cells: &mut [Cell<'_>]) {
        for (builder, cell) in self.columns.iter_mut().zip(cells) {
            builder.push(std::mem::replace(cell, Cell::Null));
        }
        self.rows += 1;
    }

    pub(crate) fn finish(&mut self) -> Result<RecordBatch> {
        let rows = std::mem::take(&mut self.rows);
        let arrays = self.columns.iter_mut().map(Builder::finish).collect();
        RecordBatch::try_new_with_options(
            Arc::clone(&self.schema),
            arrays,
            &RecordBatchOptions::new().with_row_count(Some(rows)),
        )
        .map_err(DataError::table("gathering rows"))
    }
}
