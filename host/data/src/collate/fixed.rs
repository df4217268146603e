//! Inputs of a fixed shape: numbers of a column as a tensor's bytes.

use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Float32Array, Float64Array, Int64Array, ListArray,
    UInt32Array,
};
use half::{bf16, f16};
use tenon_tensor::DType;

use crate::convert::cast;
use crate::error::{DataError, Result};
use crate::schema::ColumnKind;

/// Appends the rows of a column, `numbers` to a row.
pub(super) fn append(
    column: &str,
    array: &ArrayRef,
    numbers: usize,
    dtype: DType,
    first_row: u64,
    out: &mut Vec<u8>,
) -> Result<()> {
    let kind = ColumnKind::from_arrow(array.data_type()).ok_or_else(|| {
        DataError::Internal(format!("column `{column}` is {}", array.data_type()))
    })?;
    let bad = |row: usize, reason: String| {
        DataError::Values(format!(
            "row {}: column `{column}` {reason}",
            first_row + row as u64
        ))
    };
    for row in 0..array.len() {
        if array.is_null(row) {
            return Err(bad(
                row,
                "has no value; fill it or filter such rows out".into(),
            ));
        }
        let wrong = |count: usize| {
            bad(
                row,
                format!("has {count} numbers, the recipe wants {numbers}"),
            )
        };
        let one = || if numbers == 1 { Ok(()) } else { Err(wrong(1)) };
        let put = match kind {
            ColumnKind::Int64 => {
                one()?;
                integer(cast::<Int64Array>(array)?.value(row), dtype, out)
            }
            ColumnKind::Boolean => {
                one()?;
                integer(
                    i64::from(cast::<BooleanArray>(array)?.value(row)),
                    dtype,
                    out,
                )
            }
            ColumnKind::Float32 => {
                one()?;
                number(
                    f64::from(cast::<Float32Array>(array)?.value(row)),
                    dtype,
                    out,
                )
            }
            ColumnKind::Float64 => {
                one()?;
                number(cast::<Float64Array>(array)?.value(row), dtype, out)
            }
            ColumnKind::Uint32List => {
                let list = cast::<ListArray>(array)?.value(row);
                let items = cast::<UInt32Array>(&list)?.values();
                if items.len() != numbers {
                    return Err(wrong(items.len()));
                }
                items
                    .iter()
                    .try_for_each(|item| integer(i64::from(*item), dtype, out))
            }
            ColumnKind::Float32List => {
                let list = cast::<ListArray>(array)?.value(row);
                let items = cast::<Float32Array>(&list)?.values();
                if items.len() != numbers {
                    return Err(wrong(items.len()));
                }
                items
                    .iter()
                    .try_for_each(|item| number(f64::from(*item), dtype, out))
            }
            ColumnKind::Binary => {
                let bytes = cast::<BinaryArray>(array)?.value(row);
                if bytes.len() != numbers {
                    return Err(wrong(bytes.len()));
                }
                bytes
                    .iter()
                    .try_for_each(|byte| integer(i64::from(*byte), dtype, out))
            }
            ColumnKind::Utf8 => Err("is text, the recipe wants numbers".into()),
        };
        put.map_err(|reason| bad(row, reason))?;
    }
    Ok(())
}

/// Numbers of a request as a tensor's bytes.
pub(super) fn from_numbers(values: &[f32], dtype: DType) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(values.len() * dtype.size());
    values
        .iter()
        .try_for_each(|value| number(f64::from(*value), dtype, &mut out))?;
    Ok(out)
}

fn integer(value: i64, dtype: DType, out: &mut Vec<u8>) -> Result<(), String> {
    let misfit = || format!("holds {value}, which does not fit {}", dtype.name());
    match dtype {
        DType::I64 => out.extend(value.to_le_bytes()),
        DType::I32 => out.extend(i32::try_from(value).map_err(|_| misfit())?.to_le_bytes()),
        DType::U8 => out.push(u8::try_from(value).map_err(|_| misfit())?),
        DType::Bool => match value {
            0 | 1 => out.push(value as u8),
            _ => return Err(misfit()),
        },
        DType::F32 | DType::F16 | DType::BF16 => return number(value as f64, dtype, out),
    }
    Ok(())
}

fn number(value: f64, dtype: DType, out: &mut Vec<u8>) -> Result<(), String> {
    match dtype {
        DType::F32 => out.extend((value as f32).to_le_bytes()),
        DType::F16 => out.extend(f16::from_f64(value).to_le_bytes()),
        DType::BF16 => out.extend(bf16::from_f64(value).to_le_bytes()),
        DType::I64 | DType::I32 | DType::U8 | DType::Bool => {
            if value.fract() != 0.0 || value.abs() > 9e15 {
                return Err(format!("holds {value}, which is no {}", dtype.name()));
            }
            return integer(value as i64, dtype, out);
        }
    }
    Ok(())
}
