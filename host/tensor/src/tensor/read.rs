//! Reading tensors: the only places that wait for the device.

use burn_backend::{BoolStore, DType as BurnType, Slice, TensorData};
use half::{bf16, f16};

use super::Tensor;
use crate::{DType, TensorError, dims::Dims, raw, value::Value};

impl Tensor {
    /// `len` bytes from `offset` on: little-endian, row-major, booleans one byte each. Waits for the
    /// device; only these bytes are copied from it.
    ///
    /// # Errors
    /// `InvalidArgument` when the range is not within [`Self::byte_len`]; `Failed` when the device
    /// did, also in an operation before.
    pub fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>, TensorError> {
        let total = self.byte_len() as u64;
        if offset.checked_add(len).is_none_or(|end| end > total) {
            return Err(TensorError::InvalidArgument(format!(
                "read: {len} bytes from {offset} on, of a tensor {} {:?} with {total} bytes",
                self.dtype(),
                self.shape()
            )));
        }
        if len == 0 {
            return Ok(Vec::new());
        }
        let size = self.dtype().size() as u64;
        let (first, last) = (offset / size, (offset + len).div_ceil(size));
        let part = self.part(first as usize, last as usize)?;
        let mut bytes = self.logical(&part)?;
        let skip = (offset - first * size) as usize;
        bytes.truncate(skip + len as usize);
        bytes.drain(..skip);
        Ok(bytes)
    }

    /// The elements `first` to `last` of the row-major order.
    fn part(&self, first: usize, last: usize) -> Result<TensorData, TensorError> {
        let kind = self.kind();
        if first == 0 && last == self.numel() {
            return self.value().download(kind);
        }
        let flat = self.value().reshape(kind, [self.numel()].into())?;
        let slice = Slice::new(first as isize, Some(last as isize), 1);
        flat.slice(kind, &[slice])?.download(kind)
    }

    /// The elements in the tensor's own type, whatever the device stores.
    fn logical(&self, data: &TensorData) -> Result<Vec<u8>, TensorError> {
        let bytes: &[u8] = &data.bytes;
        let words = || bytes.chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]);
        Ok(match (self.dtype(), data.dtype) {
            (DType::I64, BurnType::I32) => words()
                .flat_map(|b| i64::from(i32::from_le_bytes(b)).to_le_bytes())
                .collect(),
            (DType::U8, BurnType::I32) => words().map(|b| b[0]).collect(),
            (DType::Bool, BurnType::Bool(BoolStore::U32)) => {
                words().map(|b| u8::from(b != [0; 4])).collect()
            }
            (_, stored) if stored.size() == self.dtype().size() => bytes.to_vec(),
            (_, stored) => {
                return Err(TensorError::Failed(format!(
                    "read: {} came back as {stored:?} from {}",
                    self.dtype(),
                    self.device()
                )));
            }
        })
    }

    /// All elements as float32, row-major. Waits for the device.
    ///
    /// # Errors
    /// `Failed` when the device did.
    pub fn to_f32_vec(&self) -> Result<Vec<f32>, TensorError> {
        if raw::is_host_f32(self) {
            return Ok(raw::f32s(self)?.to_vec());
        }
        let bytes = self.read(0, self.byte_len() as u64)?;
        Ok(match self.dtype() {
            DType::F32 => bytemuck::pod_collect_to_vec(&bytes),
            DType::F16 => pairs(&bytes)
                .map(|b| f16::from_le_bytes(b).to_f32())
                .collect(),
            DType::BF16 => pairs(&bytes)
                .map(|b| bf16::from_le_bytes(b).to_f32())
                .collect(),
            _ => self
                .integers(&bytes)
                .into_iter()
                .map(|value| value as f32)
                .collect(),
        })
    }

    /// All elements as int64, row-major; floats lose their fraction. Waits for the device.
    ///
    /// # Errors
    /// `Failed` when the device did.
    pub fn to_i64_vec(&self) -> Result<Vec<i64>, TensorError> {
        if self.dtype().is_float() {
            return Ok(self
                .to_f32_vec()?
                .into_iter()
                .map(|value| value as i64)
                .collect());
        }
        let bytes = self.read(0, self.byte_len() as u64)?;
        Ok(self.integers(&bytes))
    }

    fn integers(&self, bytes: &[u8]) -> Vec<i64> {
        match self.dtype() {
            DType::I64 => bytemuck::pod_collect_to_vec(bytes),
            DType::I32 => bytes
                .chunks_exact(4)
                .map(|b| i64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]])))
                .collect(),
            _ => bytes.iter().map(|byte| i64::from(*byte)).collect(),
        }
    }

    /// The number of a tensor that has one element. Waits for the device.
    ///
    /// # Errors
    /// `InvalidArgument` when it has more or none.
    pub fn item(&self) -> Result<f64, TensorError> {
        if self.numel() != 1 {
            return Err(TensorError::InvalidArgument(format!(
                "item: the tensor {:?} has {} elements, not one; use to_f32_vec",
                self.shape(),
                self.numel()
            )));
        }
        if self.dtype().is_float() {
            return Ok(f64::from(self.to_f32_vec()?[0]));
        }
        Ok(self.to_i64_vec()?[0] as f64)
    }

    /// Whether there is a NaN, and whether an infinity.
    pub(crate) fn non_finite_kinds(&self) -> Result<(bool, bool), TensorError> {
        let scan = |values: &[f32]| {
            let nan = values.iter().any(|value| value.is_nan());
            (nan, values.iter().any(|value| value.is_infinite()))
        };
        if raw::is_host_f32(self) {
            return Ok(scan(&raw::f32s(self)?));
        }
        Ok(scan(&self.to_f32_vec()?))
    }

    /// `self + other`, reusing the memory of `self` where nothing else does.
    pub(crate) fn accumulate(mut self, other: Tensor) -> Result<Tensor, TensorError> {
        if raw::is_host_f32(&other)
            && let Some(sum) = raw::f32s_mut(&mut self)
        {
            let other = raw::f32s(&other)?;
            crate::cpu::add_assign(sum, &other);
            return Ok(self);
        }
        self.add(&other)
    }

    /// Takes the value of a tensor that is of no further use.
    pub(crate) fn into_parts(self) -> (Value, Dims) {
        (self.value, self.shape)
    }
}

fn pairs(bytes: &[u8]) -> impl Iterator<Item = [u8; 2]> + '_ {
    bytes.chunks_exact(2).map(|b| [b[0], b[1]])
}
