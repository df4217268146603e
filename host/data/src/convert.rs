//! Arrow record batches to plugin batches and back. Both are columnar in the same memory layout, so
//! a conversion is a copy of buffers; what comes back from a plugin is checked in full.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow_array::types::{ArrowPrimitiveType, Float32Type, Float64Type, Int64Type, UInt32Type};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Float32Array, Float64Array, Int64Array, ListArray,
    PrimitiveArray, RecordBatch, RecordBatchOptions, StringArray, UInt32Array,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use tenon_plugin::batch::{Batch, Column};

use crate::error::{DataError, Result};
use crate::schema::{ColumnKind, ColumnSpec, Schema, item};

/// Copies a record batch whose columns are of [`ColumnKind`]s into a plugin batch.
///
/// # Errors
/// A column of another type, or more than 2³² rows.
pub fn to_batch(batch: &RecordBatch) -> Result<Batch> {
    let schema = batch.schema();
    let columns = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, array)| to_column(field.name(), array))
        .collect::<Result<Vec<_>>>()?;
    let rows = u32::try_from(batch.num_rows())
        .map_err(|_| DataError::Invalid("a batch holds at most 2³² - 1 rows".into()))?;
    Ok(Batch { rows, columns })
}

fn to_column(name: &str, array: &ArrayRef) -> Result<Column> {
    let kind = ColumnKind::from_arrow(array.data_type()).ok_or_else(|| {
        DataError::Invalid(format!(
            "column `{name}` has Arrow's type {}, which plugins do not know",
            array.data_type()
        ))
    })?;
    let (values, offsets) = match kind {
        ColumnKind::Utf8 => {
            let array: &StringArray = cast(array)?;
            variable(array.offsets(), array.values())
        }
        ColumnKind::Binary => {
            let array: &BinaryArray = cast(array)?;
            variable(array.offsets(), array.values())
        }
        ColumnKind::Boolean => {
            let array: &BooleanArray = cast(array)?;
            (bits(array.values()), Vec::new())
        }
        ColumnKind::Int64 => (fixed::<Int64Type>(array)?, Vec::new()),
        ColumnKind::Float32 => (fixed::<Float32Type>(array)?, Vec::new()),
        ColumnKind::Float64 => (fixed::<Float64Type>(array)?, Vec::new()),
        ColumnKind::Uint32List => list::<UInt32Type>(array)?,
        ColumnKind::Float32List => list::<Float32Type>(array)?,
    };
    Ok(Column {
        name: name.to_owned(),
        kind: kind.into(),
        values,
        offsets,
        validity: array
            .nulls()
            .filter(|nulls| nulls.null_count() > 0)
            .map(|nulls| bits(nulls.inner()))
            .unwrap_or_default(),
    })
}

pub(crate) fn cast<T: 'static>(array: &ArrayRef) -> Result<&T> {
    array.as_any().downcast_ref().ok_or_else(|| {
        DataError::Internal(format!(
            "an array of {} has another form",
            array.data_type()
        ))
    })
}

fn bits(buffer: &BooleanBuffer) -> Vec<u8> {
    let bytes = buffer.sliced();
    bytes.as_slice()[..buffer.len().div_ceil(8)].to_vec()
}

/// The offsets from 0 and the bytes that they cover.
fn variable(offsets: &OffsetBuffer<i32>, values: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (first, last) = ends(offsets);
    (values[first..last].to_vec(), rebased(offsets))
}

fn ends(offsets: &[i32]) -> (usize, usize) {
    let first = offsets.first().copied().unwrap_or(0);
    let last = offsets.last().copied().unwrap_or(0);
    (first as usize, last as usize)
}

fn rebased(offsets: &[i32]) -> Vec<u8> {
    let first = offsets.first().copied().unwrap_or(0);
    let mut bytes = Vec::with_capacity(offsets.len() * 4);
    for offset in offsets {
        bytes.extend_from_slice(&((offset - first) as u32).to_le_bytes());
    }
    bytes
}

fn fixed<T: ArrowPrimitiveType>(array: &ArrayRef) -> Result<Vec<u8>> {
    let array: &PrimitiveArray<T> = cast(array)?;
    // Arrow's buffers are in native order; the platforms that this runs on are little-endian.
    Ok(array.values().inner().as_slice().to_vec())
}

fn list<T: ArrowPrimitiveType>(array: &ArrayRef) -> Result<(Vec<u8>, Vec<u8>)> {
    let array: &ListArray = cast(array)?;
    let (first, last) = ends(array.offsets());
    let items = array.values().slice(first, last - first);
    Ok((fixed::<T>(&items)?, rebased(array.offsets())))
}

/// Turns a plugin batch into a record batch, checking lengths, offsets and text.
///
/// # Errors
/// [`DataError::Contract`] naming the column and what is wrong with it.
pub fn from_batch(batch: Batch) -> Result<RecordBatch> {
    let rows = batch.rows as usize;
    let mut specs = Vec::with_capacity(batch.columns.len());
    let mut arrays = Vec::with_capacity(batch.columns.len());
    for column in batch.columns {
        specs.push(ColumnSpec {
            name: column.name.clone(),
            kind: column.kind.into(),
        });
        let name = column.name.clone();
        let array = from_column(column, rows)
            .map_err(|reason| DataError::Contract(format!("column `{name}`: {reason}")))?;
        arrays.push(array);
    }
    let schema = Schema::new(specs).map_err(|error| DataError::Contract(error.to_string()))?;
    RecordBatch::try_new_with_options(
        schema.arrow(),
        arrays,
        &RecordBatchOptions::new().with_row_count(Some(rows)),
    )
    .map_err(DataError::table("a batch from a plugin"))
}

fn from_column(column: Column, rows: usize) -> Result<ArrayRef, String> {
    let kind = ColumnKind::from(column.kind);
    let nulls = match column.validity.len() {
        0 => None,
        n if n >= rows.div_ceil(8) => Some(NullBuffer::new(BooleanBuffer::new(
            Buffer::from_vec(column.validity),
            0,
            rows,
        ))),
        n => {
            return Err(format!(
                "its validity bitmap has {n} bytes, {rows} rows need {}",
                rows.div_ceil(8)
            ));
        }
    };
    let values = column.values;
    let array: ArrayRef = match kind {
        ColumnKind::Utf8 => {
            let offsets = offsets(&column.offsets, rows, values.len())?;
            let array = StringArray::try_new(offsets, Buffer::from_vec(values), nulls)
                .map_err(|error| error.to_string())?;
            Arc::new(array)
        }
        ColumnKind::Binary => {
            let offsets = offsets(&column.offsets, rows, values.len())?;
            let array = BinaryArray::try_new(offsets, Buffer::from_vec(values), nulls)
                .map_err(|error| error.to_string())?;
            Arc::new(array)
        }
        ColumnKind::Boolean => {
            if values.len() < rows.div_ceil(8) {
                return Err(format!(
                    "{} bytes of values, {rows} rows need {}",
                    values.len(),
                    rows.div_ceil(8)
                ));
            }
            let values = BooleanBuffer::new(Buffer::from_vec(values), 0, rows);
            Arc::new(BooleanArray::new(values, nulls))
        }
        ColumnKind::Int64 => Arc::new(Int64Array::new(scalars(values, Some(rows))?, nulls)),
        ColumnKind::Float32 => Arc::new(Float32Array::new(scalars(values, Some(rows))?, nulls)),
        ColumnKind::Float64 => Arc::new(Float64Array::new(scalars(values, Some(rows))?, nulls)),
        ColumnKind::Uint32List => {
            let items = UInt32Array::new(scalars(values, None)?, None);
            let offsets = offsets(&column.offsets, rows, items.len())?;
            let field = item(UInt32Type::DATA_TYPE);
            let array = ListArray::try_new(field, offsets, Arc::new(items), nulls)
                .map_err(|error| error.to_string())?;
            Arc::new(array)
        }
        ColumnKind::Float32List => {
            let items = Float32Array::new(scalars(values, None)?, None);
            let offsets = offsets(&column.offsets, rows, items.len())?;
            let field = item(Float32Type::DATA_TYPE);
            let array = ListArray::try_new(field, offsets, Arc::new(items), nulls)
                .map_err(|error| error.to_string())?;
            Arc::new(array)
        }
    };
    Ok(array)
}

/// The bytes as numbers; `rows` of them where given.
fn scalars<T: arrow_buffer::ArrowNativeType>(
    bytes: Vec<u8>,
    rows: Option<usize>,
) -> Result<ScalarBuffer<T>, String> {
    let size = size_of::<T>();
    let count = bytes.len() / size;
    if !bytes.len().is_multiple_of(size) || rows.is_some_and(|rows| rows != count) {
        return Err(match rows {
            Some(rows) => format!(
                "{} bytes of values, {rows} rows need {}",
                bytes.len(),
                rows * size
            ),
            None => format!(
                "{} bytes of values are not a multiple of {size}",
                bytes.len()
            ),
        });
    }
    let buffer = if bytes.as_ptr().align_offset(align_of::<T>()) == 0 {
        Buffer::from_vec(bytes)
    } else {
        // Copies into memory that Arrow aligns.
        Buffer::from(bytes.as_slice())
    };
    Ok(ScalarBuffer::new(buffer, 0, count))
}

/// `rows + 1` ascending offsets from 0 up to at most `len`.
fn offsets(bytes: &[u8], rows: usize, len: usize) -> Result<OffsetBuffer<i32>, String> {
    if rows == 0 && bytes.is_empty() {
        return Ok(OffsetBuffer::new_empty());
    }
    if bytes.len() != (rows + 1) * 4 {
        return Err(format!(
            "{} bytes of offsets, {rows} rows need {}",
            bytes.len(),
            (rows + 1) * 4
        ));
    }
    let mut previous = 0;
    let mut offsets = Vec::with_capacity(rows + 1);
    for (index, chunk) in bytes.as_chunks::<4>().0.iter().enumerate() {
        let offset = i32::try_from(u32::from_le_bytes(*chunk))
            .map_err(|_| format!("offset {index} is past 2³¹"))?;
        if offset < previous || offset as usize > len {
            return Err(format!(
                "offset {index} is {offset}, after {previous} and with {len} values"
            ));
        }
        previous = offset;
        offsets.push(offset);
    }
    Ok(OffsetBuffer::new(ScalarBuffer::from(offsets)))
}
