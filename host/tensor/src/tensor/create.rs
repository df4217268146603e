//! Making tensors.

use burn_backend::{BoolStore, Bytes, DType as BurnType, Element, Shape, TensorData};
use bytemuck::Pod;
use half::{bf16, f16};
use tenon_gpu::Gpu;

use super::{Tensor, check_shape};
use crate::{
    DType, Device, TensorError,
    dims::Dims,
    value::{Kind, OnDevice, Value, device_shape, guard},
};

/// The largest integer up to which every one is a double.
const EXACT: f64 = 9_007_199_254_740_992.0;

impl Tensor {
    /// A tensor of `bytes`: little-endian, row-major, booleans one byte each (0 is false).
    ///
    /// # Errors
    /// `ShapeMismatch` when the bytes are not as many as the shape needs; `Unsupported` when the
    /// device cannot store the type, `InvalidArgument` when it cannot store a value.
    pub fn from_bytes(
        shape: &[usize],
        dtype: DType,
        bytes: &[u8],
        device: &Device,
    ) -> Result<Tensor, TensorError> {
        let dims = check_shape("from_bytes", shape, dtype.size())?;
        let needed = dims.numel() * dtype.size();
        if bytes.len() != needed {
            return Err(TensorError::ShapeMismatch(format!(
                "from_bytes: {dtype} {shape:?} needs {needed} bytes, but {} were given",
                bytes.len()
            )));
        }
        match dtype {
            DType::F32 => store(dims, dtype, collect::<f32>(bytes), device),
            DType::F16 => store(dims, dtype, collect::<f16>(bytes), device),
            DType::BF16 => store(dims, dtype, collect::<bf16>(bytes), device),
            DType::I64 => store_i64(dims, collect::<i64>(bytes), device),
            DType::I32 => store(dims, dtype, collect::<i32>(bytes), device),
            DType::U8 => store_u8(dims, dtype, bytes.to_vec(), device),
            DType::Bool => {
                let bytes = bytes.iter().map(|byte| u8::from(*byte != 0)).collect();
                store_u8(dims, dtype, bytes, device)
            }
        }
    }

    /// A float32 tensor of row-major `values`.
    ///
    /// # Errors
    /// `ShapeMismatch` when the values are not as many as the shape needs.
    pub fn from_f32(
        shape: &[usize],
        values: &[f32],
        device: &Device,
    ) -> Result<Tensor, TensorError> {
        Self::from_f32_vec(shape, values.to_vec(), device)
    }

    /// A float32 tensor of row-major `values`, which are not copied where the device is the
    /// processor.
    ///
    /// # Errors
    /// As [`Self::from_f32`].
    pub fn from_f32_vec(
        shape: &[usize],
        values: Vec<f32>,
        device: &Device,
    ) -> Result<Tensor, TensorError> {
        let dims = counted("from_f32", shape, values.len())?;
        store(dims, DType::F32, values, device)
    }

    /// An int64 tensor of row-major `values`.
    ///
    /// # Errors
    /// `ShapeMismatch` when the values are not as many as the shape needs.
    pub fn from_i64(
        shape: &[usize],
        values: &[i64],
        device: &Device,
    ) -> Result<Tensor, TensorError> {
        let dims = counted("from_i64", shape, values.len())?;
        store_i64(dims, values.to_vec(), device)
    }

    /// Zeros.
    ///
    /// # Errors
    /// `OutOfMemory` for a shape that is too large, `Unsupported` for a type that the device lacks.
    pub fn zeros(shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor, TensorError> {
        Self::full(shape, 0.0, dtype, device)
    }

    /// Ones.
    ///
    /// # Errors
    /// As [`Self::zeros`].
    pub fn ones(shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor, TensorError> {
        Self::full(shape, 1.0, dtype, device)
    }

    /// A tensor whose elements are all `value`.
    ///
    /// # Errors
    /// As [`Self::zeros`]; `InvalidArgument` for a value that the type does not have.
    pub fn full(
        shape: &[usize],
        value: f64,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor, TensorError> {
        let dims = check_shape("full", shape, dtype.size())?;
        check_scalar("full", value, dtype)?;
        if device.is_cpu() {
            return filled(dims, dtype, value, device);
        }
        let stored = device.stored(dtype)?;
        let target = device.gpu()?;
        let shape = device_shape(burn_shape(&dims));
        let value = guard("full", || {
            Ok(Value::Gpu(OnDevice::new(match Kind::from(dtype) {
                _ if dims.numel() == 0 => target.empty(shape, stored),
                Kind::Float => Gpu::float_full(shape, value.into(), target, stored.into()),
                Kind::Int => Gpu::int_full(shape, (value as i64).into(), target, stored.into()),
                Kind::Bool if value != 0.0 => Gpu::bool_ones(shape, target, stored.into()),
                Kind::Bool => Gpu::bool_zeros(shape, target, stored.into()),
            })))
        })?;
        Ok(Self::new(value, dims, dtype, *device))
    }

    /// `start`, `start + step`, … below `end` (above it when `step` is negative).
    ///
    /// # Errors
    /// `InvalidArgument` for a step of 0, numbers that are not finite or that the type does not have.
    pub fn arange(
        start: f64,
        end: f64,
        step: f64,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor, TensorError> {
        let invalid = |why: &str| {
            TensorError::InvalidArgument(format!(
                "arange: from {start} to {end} in steps of {step} as {dtype}: {why}"
            ))
        };
        if !(start.is_finite() && end.is_finite() && step.is_finite()) || step == 0.0 {
            return Err(invalid("start, end and step must be finite and step not 0"));
        }
        if dtype == DType::Bool {
            return Err(invalid("booleans cannot be counted; use an integer type"));
        }
        let count = ((end - start) / step).ceil().max(0.0);
        if count > EXACT {
            return Err(TensorError::OutOfMemory(format!(
                "arange: {count} elements are too many"
            )));
        }
        let count = count as usize;
        check_shape("arange", &[count], dtype.size())?;
        let values = || (0..count).map(|index| start + index as f64 * step);
        if dtype.is_int() {
            let last = start + count.saturating_sub(1) as f64 * step;
            for value in [start, last] {
                scalar_bytes("arange", value.trunc(), dtype)?;
            }
        }
        let shape = [count];
        match dtype {
            DType::F32 => Self::from_f32_vec(&shape, values().map(|v| v as f32).collect(), device),
            DType::I64 => Self::from_i64(
                &shape,
                &values().map(|v| v as i64).collect::<Vec<_>>(),
                device,
            ),
            _ => {
                let mut bytes = Vec::with_capacity(count * dtype.size());
                for value in values() {
                    let value = if dtype.is_int() { value.trunc() } else { value };
                    bytes.extend_from_slice(&scalar_bytes("arange", value, dtype)?);
                }
                Self::from_bytes(&shape, dtype, &bytes, device)
            }
        }
    }
}

fn counted(what: &str, shape: &[usize], count: usize) -> Result<Dims, TensorError> {
    let dims = check_shape(what, shape, 8)?;
    if dims.numel() == count {
        return Ok(dims);
    }
    Err(TensorError::ShapeMismatch(format!(
        "{what}: {shape:?} needs {} values, but {count} were given",
        dims.numel()
    )))
}

pub(crate) fn burn_shape(dims: &[usize]) -> Shape {
    Shape::from(dims)
}

fn collect<T: Pod>(bytes: &[u8]) -> Vec<T> {
    bytemuck::pod_collect_to_vec(bytes)
}

/// A tensor of elements that the device stores as they are.
fn store<E: Element>(
    dims: Dims,
    dtype: DType,
    values: Vec<E>,
    device: &Device,
) -> Result<Tensor, TensorError> {
    device.stored(dtype)?;
    let data = TensorData::new(values, burn_shape(&dims));
    Ok(Tensor::new(
        Value::upload(data, dtype.into(), device)?,
        dims,
        dtype,
        *device,
    ))
}

fn store_i64(dims: Dims, values: Vec<i64>, device: &Device) -> Result<Tensor, TensorError> {
    if device.stored(DType::I64)? == BurnType::I64 {
        return store(dims, DType::I64, values, device);
    }
    let narrow = values.iter().map(|value| {
        i32::try_from(*value).map_err(|_| {
            TensorError::InvalidArgument(format!(
                "from_bytes: {device} keeps int64 in 32 bits, which {value} does not fit in"
            ))
        })
    });
    store(
        dims,
        DType::I64,
        narrow.collect::<Result<Vec<i32>, _>>()?,
        device,
    )
}

/// Bytes that are numbers or booleans, in whatever the device keeps these.
fn store_u8(
    dims: Dims,
    dtype: DType,
    values: Vec<u8>,
    device: &Device,
) -> Result<Tensor, TensorError> {
    let shape = burn_shape(&dims);
    let stored = device.stored(dtype)?;
    let data = match stored {
        BurnType::I32 => TensorData::new(
            values.iter().map(|v| i32::from(*v)).collect::<Vec<_>>(),
            shape,
        ),
        BurnType::Bool(BoolStore::U32) => TensorData {
            bytes: Bytes::from_elems(values.iter().map(|v| u32::from(*v)).collect::<Vec<_>>()),
            shape,
            dtype: stored,
        },
        _ => TensorData {
            bytes: Bytes::from_elems(values),
            shape,
            dtype: stored,
        },
    };
    Ok(Tensor::new(
        Value::upload(data, dtype.into(), device)?,
        dims,
        dtype,
        *device,
    ))
}

/// A tensor in main memory whose elements are all `value`, which the type has.
fn filled(dims: Dims, dtype: DType, value: f64, device: &Device) -> Result<Tensor, TensorError> {
    fn repeat<E: Element + Clone>(
        dims: Dims,
        dtype: DType,
        value: E,
        device: &Device,
    ) -> Result<Tensor, TensorError> {
        store(dims, dtype, vec![value; dims.numel()], device)
    }
    match dtype {
        DType::F32 => repeat(dims, dtype, value as f32, device),
        DType::F16 => repeat(dims, dtype, f16::from_f64(value), device),
        DType::BF16 => repeat(dims, dtype, bf16::from_f64(value), device),
        DType::I64 => repeat(dims, dtype, value as i64, device),
        DType::I32 => repeat(dims, dtype, value as i32, device),
        DType::U8 => repeat(dims, dtype, value as u8, device),
        DType::Bool => store_u8(
            dims,
            dtype,
            vec![u8::from(value != 0.0); dims.numel()],
            device,
        ),
    }
}

/// One element as [`Tensor::from_bytes`] takes it.
pub(crate) fn scalar_bytes(what: &str, value: f64, dtype: DType) -> Result<Vec<u8>, TensorError> {
    check_scalar(what, value, dtype)?;
    Ok(match dtype {
        DType::F32 => (value as f32).to_le_bytes().to_vec(),
        DType::F16 => f16::from_f64(value).to_le_bytes().to_vec(),
        DType::BF16 => bf16::from_f64(value).to_le_bytes().to_vec(),
        DType::I64 => (value as i64).to_le_bytes().to_vec(),
        DType::I32 => (value as i32).to_le_bytes().to_vec(),
        DType::U8 => vec![value as u8],
        DType::Bool => vec![u8::from(value != 0.0)],
    })
}

/// Refuses a number that an integer type does not have.
pub(crate) fn check_scalar(what: &str, value: f64, dtype: DType) -> Result<(), TensorError> {
    let (low, high) = match dtype {
        DType::I64 => (-EXACT * 1024.0, EXACT * 1024.0),
        DType::I32 => (f64::from(i32::MIN), f64::from(i32::MAX)),
        DType::U8 => (0.0, 255.0),
        _ => return Ok(()),
    };
    if value.fract() == 0.0 && (low..=high).contains(&value) {
        return Ok(());
    }
    Err(TensorError::InvalidArgument(format!(
        "{what}: {value} is not a number that {dtype} has; cast the tensor to a wider or \
         floating-point type first"
    )))
}
