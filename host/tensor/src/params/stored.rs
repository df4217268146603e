//! How the value of a parameter is kept.

use std::sync::Arc;

use super::{Quantized, SafetensorsFile, lora};
use crate::{Device, Tensor, TensorError, dims::Dims, nn::WeightLayout, raw};

// Nearly all are dense.
#[allow(clippy::large_enum_variant)]
#[derive(Clone)]
pub(super) enum Stored {
    Dense(Tensor),
    /// In fewer bits: a product makes it dense for itself.
    Quantized(Arc<Quantized>),
    /// In a file still, and read whenever it is asked for.
    File(Arc<Filed>),
    /// Added up with its adapter whenever it is asked for.
    Merged(Arc<Merged>),
}

pub(super) struct Filed {
    pub file: Arc<SafetensorsFile>,
    pub name: String,
    pub shape: Dims,
}

pub(super) struct Merged {
    pub weight: Stored,
    pub a: Tensor,
    pub b: Tensor,
    /// Of the product of the two.
    pub scale: f64,
    pub layout: WeightLayout,
}

impl Stored {
    pub fn dims(&self) -> Dims {
        match self {
            Self::Dense(value) => value.dims(),
            Self::Quantized(value) => *value.shape(),
            Self::File(value) => value.shape,
            Self::Merged(value) => value.weight.dims(),
        }
    }

    /// The value in float32 on the device of the parameters.
    ///
    /// # Errors
    /// Those of the device and of the file.
    pub fn dense(&self, device: &Device) -> Result<Tensor, TensorError> {
        match self {
            Self::Dense(value) => Ok(value.clone()),
            Self::Quantized(value) => value.dense(),
            Self::File(filed) => value_of(device, &filed.shape, filed.values()?),
            Self::Merged(merged) => {
                let Merged {
                    a,
                    b,
                    scale,
                    layout,
                    ..
                } = &**merged;
                lora::merged(&merged.weight.dense(device)?, a, b, *scale, *layout)
            }
        }
    }
}

impl Filed {
    /// # Errors
    /// Those of the file.
    pub fn values(&self) -> Result<Vec<f32>, TensorError> {
        self.file.read_f32(&self.name)
    }
}

/// A value of these numbers; on the processor they are not copied.
pub(super) fn value_of(
    device: &Device,
    shape: &[usize],
    values: Vec<f32>,
) -> Result<Tensor, TensorError> {
    match Dims::from_slice(shape) {
        Some(dims) if device.is_cpu() && dims.numel() == values.len() => {
            Ok(raw::from_vec(&dims, values))
        }
        _ => Tensor::from_f32(shape, &values, device),
    }
}
