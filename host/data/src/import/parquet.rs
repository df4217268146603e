//! Parquet files from elsewhere, brought to the types that datasets have.

use std::fs::File;
use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, Float32Array, ListArray, RecordBatch, RecordBatchOptions,
    UInt32Array,
};
use arrow_cast::{CastOptions, can_cast_types, cast_with_options};
use arrow_schema::{DataType, Field};
use arrow_select::filter::filter_record_batch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::bad::BadRow;
use super::infer::PlannedColumn;
use crate::convert::cast;
use crate::error::{DataError, Result};
use crate::schema::{ColumnKind, ColumnSpec, Schema, item};

const BATCH_ROWS: usize = 8192;

/// A Parquet file that is being read.
pub(crate) struct ParquetSource {
    name: String,
    builder: Option<ParquetRecordBatchReaderBuilder<File>>,
    reader: Option<ParquetRecordBatchReader>,
    row: u64,
}

impl ParquetSource {
    pub(crate) fn open(name: &str, file: File) -> Result<Self> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(DataError::table(
            format!("{name} is not a Parquet file that can be read"),
        ))?;
        Ok(Self {
            name: name.to_owned(),
            builder: Some(builder),
            reader: None,
            row: 1,
        })
    }

    /// Chooses the columns: those that are given, else all of them, each as the kind nearest to its
    /// type.
    pub(crate) fn plan(&mut self, wanted: Option<&[PlannedColumn]>) -> Result<Vec<PlannedColumn>> {
        let Some(builder) = self.builder.take() else {
            return Err(DataError::Internal(
                "a Parquet file is planned after it was read".into(),
            ));
        };
        let schema = Arc::clone(builder.schema());
        let Some(wanted) = wanted else {
            self.builder = Some(builder);
            return schema
                .fields()
                .iter()
                .map(|field| {
                    Ok(PlannedColumn {
                        spec: ColumnSpec {
                            name: field.name().clone(),
                            kind: nearest(field.data_type())
                                .ok_or_else(|| self.unsupported(field))?,
                        },
                        json: false,
                    })
                })
                .collect();
        };
        let mut roots = Vec::new();
        for column in wanted {
            let (root, field) = schema.column_with_name(&column.spec.name).ok_or_else(|| {
                let names: Vec<_> = schema
                    .fields()
                    .iter()
                    .map(|f| format!("`{}`", f.name()))
                    .collect();
                DataError::Invalid(format!(
                    "{} has no column `{}`; it has {}",
                    self.name,
                    column.spec.name,
                    names.join(", ")
                ))
            })?;
            if !can_cast_types(field.data_type(), &loose(column.spec.kind)) {
                return Err(DataError::Invalid(format!(
                    "{}: column `{}` is {}, which cannot become {}",
                    self.name,
                    column.spec.name,
                    field.data_type(),
                    column.spec.kind
                )));
            }
            roots.push(root);
        }
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        let reader = builder
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(DataError::table(format!("reading {}", self.name)))?;
        self.reader = Some(reader);
        Ok(wanted.to_vec())
    }

    fn unsupported(&self, field: &Field) -> DataError {
        DataError::Invalid(format!(
            "{}: column `{}` is {}, which datasets do not store; give a schema without it",
            self.name,
            field.name(),
            field.data_type()
        ))
    }

    pub(crate) fn next(&mut self) -> Result<Option<(RecordBatch, u64)>> {
        let Some(batch) = self.reader.as_mut().and_then(Iterator::next) else {
            return Ok(None);
        };
        let batch = batch.map_err(DataError::table(format!("reading {}", self.name)))?;
        let first = self.row;
        self.row += batch.num_rows() as u64;
        Ok(Some((batch, first)))
    }
}

/// The kind that a foreign type becomes.
fn nearest(data_type: &DataType) -> Option<ColumnKind> {
    use DataType as T;
    match data_type {
        T::Utf8 | T::LargeUtf8 | T::Utf8View => Some(ColumnKind::Utf8),
        T::Dictionary(_, values) => nearest(values).filter(|kind| *kind == ColumnKind::Utf8),
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => {
            Some(ColumnKind::Binary)
        }
        T::Boolean => Some(ColumnKind::Boolean),
        T::Float16 | T::Float32 => Some(ColumnKind::Float32),
        T::Float64 | T::Decimal128(..) | T::Decimal256(..) => Some(ColumnKind::Float64),
        T::Date32 | T::Date64 | T::Timestamp(..) | T::Time32(_) | T::Time64(_) => {
            Some(ColumnKind::Utf8)
        }
        T::List(field) | T::LargeList(field) | T::FixedSizeList(field, _) => {
            match field.data_type() {
                inner if inner.is_integer() => Some(ColumnKind::Uint32List),
                T::Float16 | T::Float32 | T::Float64 => Some(ColumnKind::Float32List),
                _ => None,
            }
        }
        other if other.is_integer() => Some(ColumnKind::Int64),
        _ => None,
    }
}

/// The type to cast to: as the column's, but with list items that may be null, so that items that do
/// not fit can be found.
fn loose(kind: ColumnKind) -> DataType {
    match kind {
        ColumnKind::Uint32List => {
            DataType::List(Arc::new(Field::new("element", DataType::UInt32, true)))
        }
        ColumnKind::Float32List => {
            DataType::List(Arc::new(Field::new("element", DataType::Float32, true)))
        }
        kind => kind.arrow(),
    }
}

/// Casts a foreign batch to the dataset's columns. Rows with a value that does not fit are bad.
pub(crate) fn convert(
    source: &str,
    batch: &RecordBatch,
    first: u64,
    columns: &[PlannedColumn],
) -> Result<(RecordBatch, Vec<BadRow>)> {
    let rows = batch.num_rows();
    let mut reasons: Vec<Option<String>> = vec![None; rows];
    let mut arrays = Vec::with_capacity(columns.len());
    for column in columns {
        let name = &column.spec.name;
        let array = batch
            .column_by_name(name)
            .ok_or_else(|| DataError::Internal(format!("column `{name}` was not read")))?;
        let options = CastOptions {
            safe: true,
            ..CastOptions::default()
        };
        let became = cast_with_options(array, &loose(column.spec.kind), &options)
            .map_err(DataError::table(format!("{source}: column `{name}`")))?;
        for (row, reason) in reasons.iter_mut().enumerate() {
            if reason.is_none() && became.is_null(row) && !array.is_null(row) {
                *reason = Some(format!(
                    "column `{name}`: the value does not fit {}",
                    column.spec.kind
                ));
            }
        }
        arrays.push(tighten(became, column, &mut reasons)?);
    }
    let schema = Schema::new(columns.iter().map(|column| column.spec.clone()).collect())?;
    let all = RecordBatch::try_new_with_options(
        schema.arrow(),
        arrays,
        &RecordBatchOptions::new().with_row_count(Some(rows)),
    )
    .map_err(DataError::table(format!("reading {source}")))?;
    let bad: Vec<_> = reasons
        .iter()
        .enumerate()
        .filter_map(|(row, reason)| {
            let reason = reason.as_ref()?;
            Some(BadRow::new(source, first + row as u64, reason.clone(), b""))
        })
        .collect();
    if bad.is_empty() {
        return Ok((all, bad));
    }
    let keep: BooleanArray = reasons
        .iter()
        .map(|reason| Some(reason.is_none()))
        .collect();
    let kept =
        filter_record_batch(&all, &keep).map_err(DataError::table("leaving out bad rows"))?;
    Ok((kept, bad))
}

/// Lists whose items may not be null; rows with an item that did not fit are marked.
fn tighten(
    array: ArrayRef,
    column: &PlannedColumn,
    reasons: &mut [Option<String>],
) -> Result<ArrayRef> {
    if !matches!(
        column.spec.kind,
        ColumnKind::Uint32List | ColumnKind::Float32List
    ) {
        return Ok(array);
    }
    let list: &ListArray = cast(&array)?;
    if let Some(nulls) = list.values().nulls() {
        for (row, reason) in reasons.iter_mut().enumerate() {
            let (start, end) = (
                list.offsets()[row] as usize,
                list.offsets()[row + 1] as usize,
            );
            if reason.is_none() && !list.is_null(row) && (start..end).any(|at| nulls.is_null(at)) {
                *reason = Some(format!(
                    "column `{}`: an item is null or does not fit {}",
                    column.spec.name, column.spec.kind
                ));
            }
        }
    }
    let (values, inner): (ArrayRef, _) = if column.spec.kind == ColumnKind::Uint32List {
        let values: &UInt32Array = cast(list.values())?;
        (
            Arc::new(UInt32Array::new(values.values().clone(), None)),
            DataType::UInt32,
        )
    } else {
        let values: &Float32Array = cast(list.values())?;
        (
            Arc::new(Float32Array::new(values.values().clone(), None)),
            DataType::Float32,
        )
    };
    let list = ListArray::try_new(
        item(inner),
        list.offsets().clone(),
        values,
        list.nulls().cloned(),
    )
    .map_err(DataError::table("a list column"))?;
    Ok(Arc::new(list))
}
