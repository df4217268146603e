//! Weights that are not trained, kept in fewer bits (QLoRA, Dettmers et al. 2023): 8 or 4 for each number
//! and a float32 for each block of 64, instead of 32. A product makes the weight dense for itself alone.

use super::{Entry, Params, Stored};
use crate::{DType, Device, Tensor, TensorError, cpu, dims::Dims, raw};

/// How numbers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantization {
    /// 256 even steps between ± the largest magnitude of a block: off by at most 1/254 of it.
    Int8,
    /// 16 quantiles of the normal distribution (NormalFloat4), for weights that are distributed so.
    Nf4,
}

/// A weight in fewer bits.
pub(crate) struct Quantized {
    kind: Quantization,
    shape: Dims,
    codes: Codes,
}

// One for each weight: their size is nothing beside what they hold.
#[allow(clippy::large_enum_variant)]
enum Codes {
    Host {
        codes: Vec<u8>,
        scales: Vec<f32>,
    },
    /// As uint8 and float32 of whole blocks.
    Device {
        codes: Tensor,
        scales: Tensor,
    },
}

impl Quantized {
    /// # Errors
    /// As reading from the device and writing to it.
    pub fn of(weight: &Tensor, kind: Quantization) -> Result<Self, TensorError> {
        Self::of_values(weight.to_f32_vec()?, weight.dims(), &weight.device(), kind)
    }

    /// # Errors
    /// As writing to the device.
    pub fn of_values(
        mut values: Vec<f32>,
        shape: Dims,
        device: &Device,
        kind: Quantization,
    ) -> Result<Self, TensorError> {
        if !device.is_cpu() {
            values.resize(values.len().next_multiple_of(cpu::QUANTIZED_BLOCK), 0.0);
        }
        let (codes, scales) = match kind {
            Quantization::Int8 => cpu::to_int8(&values),
            Quantization::Nf4 => cpu::to_nf4(&values),
        };
        let codes = match device.is_cpu() {
            true => Codes::Host { codes, scales },
            false => Codes::Device {
                codes: Tensor::from_bytes(&[codes.len()], DType::U8, &codes, device)?,
                scales: Tensor::from_f32(&[scales.len(), 1], &scales, device)?,
            },
        };
        Ok(Self { kind, shape, codes })
    }

    pub fn shape(&self) -> &Dims {
        &self.shape
    }

    /// Bytes of codes and scales.
    pub fn bytes(&self) -> usize {
        match &self.codes {
            Codes::Host { codes, scales } => codes.len() + 4 * scales.len(),
            Codes::Device { codes, scales } => codes.byte_len() + scales.byte_len(),
        }
    }

    /// The weight in float32.
    ///
    /// # Errors
    /// Those of the device.
    pub fn dense(&self) -> Result<Tensor, TensorError> {
        match &self.codes {
            Codes::Host { codes, scales } => {
                let mut values = vec![0.0; self.shape.numel()];
                match self.kind {
                    Quantization::Int8 => cpu::from_int8(codes, scales, &mut values),
                    Quantization::Nf4 => cpu::from_nf4(codes, scales, &mut values),
                }
                Ok(raw::from_vec(&self.shape, values))
            }
            Codes::Device { codes, scales } => {
                let blocks = [scales.shape()[0] as i64, cpu::QUANTIZED_BLOCK as i64];
                let wide = codes.cast(DType::F32)?;
                let units = match self.kind {
                    Quantization::Int8 => wide.add_scalar(-128.0)?,
                    Quantization::Nf4 => {
                        let high = wide.mul_scalar(1.0 / 16.0)?.floor()?;
                        let low = wide.sub(&high.mul_scalar(16.0)?)?;
                        let pairs = Tensor::cat(&[&low.unsqueeze(1)?, &high.unsqueeze(1)?], 1)?;
                        let table = Tensor::from_f32(&[16], &cpu::NF4, &codes.device())?;
                        table.index_select(0, &pairs.reshape(&[-1])?.cast(DType::I64)?)?
                    }
                };
                let values = units.reshape(&blocks)?.mul(scales)?.reshape(&[-1])?;
                let shape: Vec<i64> = self.shape.iter().map(|size| *size as i64).collect();
                values.narrow(0, 0, self.shape.numel())?.reshape(&shape)
            }
        }
    }
}

impl Params {
    /// Keeps the weights of the layers that have adapters in fewer bits from now on, but for those that
    /// are trained in full, and reads what else is in a file still. After the model was built.
    ///
    /// Gives the bytes that these weights take now.
    ///
    /// # Errors
    /// As reading from the device or a file, and writing to the device.
    pub fn quantize_adapted(&self, kind: Quantization) -> Result<usize, TensorError> {
        let mut bytes = 0;
        for layer in self.adapted().into_keys() {
            let name = format!("{layer}.weight");
            if self.trainable(&name) {
                continue;
            }
            let device = self.device();
            let quantized = match self.stored(&name) {
                Some(Stored::Dense(weight)) => Quantized::of(&weight, kind)?,
                Some(Stored::File(filed)) => {
                    Quantized::of_values(filed.values()?, filed.shape, device, kind)?
                }
                _ => continue,
            };
            bytes += quantized.bytes();
            self.keep(&name, Stored::Quantized(quantized.into()));
        }
        // A recipe may ask for others only when it trains.
        self.0.state.write().stay_in_file = false;
        for name in self.names() {
            let filed = match self.0.state.read().entries.get(&name) {
                Some(Entry {
                    value: Stored::File(filed),
                    claimed: true,
                    ..
                }) => Stored::File(filed.clone()),
                _ => continue,
            };
            self.keep(&name, Stored::Dense(filed.dense(self.device())?));
        }
        Ok(bytes)
    }
}
