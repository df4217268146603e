//! Reading a split back.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;

use arrow_array::{
    Array, BinaryArray, BooleanArray, Float32Array, Float64Array, Int64Array, ListArray,
    RecordBatch, StringArray, UInt32Array,
};
use arrow_schema::SchemaRef;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use serde::Serialize;
use serde_json::{Number, Value};
use tenon_plugin::batch::Batch;
use utoipa::ToSchema;

use super::Datasets;
use crate::convert::{cast, to_batch};
use crate::error::{DataError, Result};
use crate::parts::Part;
use crate::schema::{ColumnKind, Schema};

/// A batch is at most about this large whatever its number of rows: 64 MiB.
const BATCH_BYTES: u64 = 64 << 20;

/// A split's rows, batch by batch. Batches do not span parts, so some are smaller than asked for.
pub struct BatchReader {
    datasets: Datasets,
    parts: VecDeque<Part>,
    schema: SchemaRef,
    batch_rows: usize,
    skip: u64,
    left: u64,
    open: Option<ParquetRecordBatchReader>,
}

impl std::fmt::Debug for BatchReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchReader")
            .field("schema", &self.schema)
            .field("parts", &self.parts.len())
            .finish_non_exhaustive()
    }
}

impl BatchReader {
    pub(super) fn new(
        datasets: &Datasets,
        parts: Vec<Part>,
        schema: SchemaRef,
        batch_rows: usize,
    ) -> Self {
        Self {
            datasets: datasets.clone(),
            parts: parts.into(),
            schema,
            batch_rows: batch_rows.max(1),
            skip: 0,
            left: u64::MAX,
            open: None,
        }
    }

    /// Only `rows` rows, after leaving out `offset` of them.
    pub(super) fn window(mut self, offset: u64, rows: u64) -> Self {
        self.skip = offset;
        self.left = rows;
        self
    }

    /// The columns of the batches.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The same rows as batches for plugins.
    pub fn plugin_batches(self) -> impl Iterator<Item = Result<Batch>> + Send {
        self.map(|batch| to_batch(&batch?))
    }

    fn step(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if self.left == 0 {
                return Ok(None);
            }
            if self.open.is_none() {
                while self
                    .parts
                    .front()
                    .is_some_and(|part| part.rows <= self.skip)
                {
                    let part = self.parts.pop_front();
                    self.skip -= part.map_or(0, |part| part.rows);
                }
                let Some(part) = self.parts.pop_front() else {
                    return Ok(None);
                };
                self.open = Some(self.open_part(&part)?);
                self.skip = 0;
            }
            let batch = self.open.as_mut().and_then(Iterator::next);
            match batch {
                None => self.open = None,
                Some(batch) => {
                    let batch = batch.map_err(DataError::table("reading a part of a dataset"))?;
                    let rows = (batch.num_rows() as u64).min(self.left);
                    self.left -= rows;
                    let batch = batch.slice(0, rows as usize);
                    // In the order that was asked for; Parquet gives the file's.
                    let order = self
                        .schema
                        .fields()
                        .iter()
                        .map(|field| batch.schema().index_of(field.name()))
                        .collect::<Result<Vec<_>, _>>()
                        .map_err(DataError::table("reading a part of a dataset"))?;
                    let batch = batch
                        .project(&order)
                        .map_err(DataError::table("reading a part of a dataset"))?
                        .with_schema(Arc::clone(&self.schema))
                        .map_err(DataError::table("reading a part of a dataset"))?;
                    return Ok(Some(batch));
                }
            }
        }
    }

    fn open_part(&self, part: &Part) -> Result<ParquetRecordBatchReader> {
        let context = || format!("reading part {} of a dataset", part.digest);
        let file: File = self.datasets.part_file(part)?;
        let builder =
            ParquetRecordBatchReaderBuilder::try_new(file).map_err(DataError::table(context()))?;
        let names: Vec<_> = self
            .schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        let roots = builder
            .schema()
            .fields()
            .iter()
            .enumerate()
            .filter(|(_, field)| names.contains(&field.name().as_str()))
            .map(|(index, _)| index)
            .collect::<Vec<_>>();
        let uncompressed: i64 = builder
            .metadata()
            .row_groups()
            .iter()
            .map(|group| group.total_byte_size())
            .sum();
        let row_bytes = (uncompressed.max(0) as u64 / part.rows.max(1)).max(1);
        let rows = self
            .batch_rows
            .min((BATCH_BYTES / row_bytes).max(1) as usize);
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        builder
            .with_projection(mask)
            .with_batch_size(rows)
            .with_offset(self.skip as usize)
            .build()
            .map_err(DataError::table(context()))
    }
}

impl Iterator for BatchReader {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.step() {
            Ok(batch) => batch.map(Ok),
            Err(error) => {
                // Nothing more after an error.
                self.left = 0;
                Some(Err(error))
            }
        }
    }
}

/// Some rows of a split as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Preview {
    /// The columns.
    pub schema: Schema,
    /// The split that the rows are from.
    pub split: String,
    /// Rows before the first one.
    pub offset: u64,
    /// Rows in the split.
    pub total: u64,
    /// The rows: an object of column to value each. Bytes are hexadecimal.
    #[schema(value_type = Vec<Object>)]
    pub rows: Vec<Value>,
}

/// The rows of a batch as JSON objects. Bytes are written in hexadecimal, numbers that JSON does
/// not have (NaN, infinities) as null.
///
/// # Errors
/// A column of a type that datasets do not have.
pub fn to_json(batch: &RecordBatch) -> Result<Vec<Value>> {
    let mut rows = vec![serde_json::Map::new(); batch.num_rows()];
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        let kind = ColumnKind::from_arrow(array.data_type()).ok_or_else(|| {
            DataError::Internal(format!(
                "column `{}` is {}",
                field.name(),
                array.data_type()
            ))
        })?;
        for (row, object) in rows.iter_mut().enumerate() {
            let value = if array.is_null(row) {
                Value::Null
            } else {
                value(array, kind, row)?
            };
            object.insert(field.name().clone(), value);
        }
    }
    Ok(rows.into_iter().map(Value::Object).collect())
}

fn value(array: &Arc<dyn Array>, kind: ColumnKind, row: usize) -> Result<Value> {
    fn number(value: f64) -> Value {
        Number::from_f64(value).map_or(Value::Null, Value::Number)
    }
    Ok(match kind {
        ColumnKind::Utf8 => Value::from(cast::<StringArray>(array)?.value(row)),
        ColumnKind::Binary => {
            let bytes = cast::<BinaryArray>(array)?.value(row);
            Value::from(
                bytes
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect::<String>(),
            )
        }
        ColumnKind::Boolean => Value::from(cast::<BooleanArray>(array)?.value(row)),
        ColumnKind::Int64 => Value::from(cast::<Int64Array>(array)?.value(row)),
        ColumnKind::Float32 => number(f64::from(cast::<Float32Array>(array)?.value(row))),
        ColumnKind::Float64 => number(cast::<Float64Array>(array)?.value(row)),
        ColumnKind::Uint32List => {
            let items = cast::<ListArray>(array)?.value(row);
            cast::<UInt32Array>(&items)?
                .values()
                .iter()
                .map(|id| Value::from(*id))
                .collect()
        }
        ColumnKind::Float32List => {
            let items = cast::<ListArray>(array)?.value(row);
            cast::<Float32Array>(&items)?
                .values()
                .iter()
                .map(|v| number(f64::from(*v)))
                .collect()
        }
    })
}
