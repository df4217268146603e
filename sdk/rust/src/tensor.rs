//! Tensors on the host's device.
//!
//! A [`Tensor`] is a handle; its methods are the contract's operations, eager, pure and named and
//! defined as in PyTorch. There are two ways to call them:
//!
//! - the methods give a `Result`: `x.matmul(&w)?`;
//! - the operators `+ - * /` and unary `-`, between tensors and with numbers, panic with the host's
//!   sentence and the line where they stand: for what can only go wrong by a mistake in the recipe.
//!
//! `clone` gives another handle to the same value and costs nothing on the device.

use std::ops::{Add, Div, Mul, Neg, Sub};

pub use crate::bindings::tensors::{
    ConvOptions, Dtype as DType, PoolOptions, Reduction, RotaryStyle, Tensor, arange, cat,
    from_bytes, full, ones, scaled_dot_product_attention, stack, where_, zeros,
};
use crate::{Error, Result, bindings::types};

/// Bytes that one call asks for: large enough to be fast, small enough for the guest's memory.
const CHUNK: u64 = 64 * 1024;

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::Float32 | Self::Int32 => 4,
            Self::Float16 | Self::Bfloat16 => 2,
            Self::Int64 => 8,
            Self::Uint8 | Self::Boolean => 1,
        }
    }
}

/// What the contract's methods leave to the language.
impl Tensor {
    /// A float32 tensor.
    ///
    /// # Errors
    /// A shape that has not as many elements as there are values.
    #[track_caller]
    pub fn from_f32s(shape: &[u32], values: &[f32]) -> Result<Self> {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Ok(from_bytes(shape, DType::Float32, &bytes)?)
    }

    /// An int64 tensor.
    ///
    /// # Errors
    /// A shape that has not as many elements as there are values.
    #[track_caller]
    pub fn from_i64s(shape: &[u32], values: &[i64]) -> Result<Self> {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Ok(from_bytes(shape, DType::Int64, &bytes)?)
    }

    /// The size of one dimension, counted from the end where negative.
    ///
    /// # Panics
    /// If there is no such dimension.
    #[track_caller]
    pub fn size(&self, dim: i32) -> u32 {
        let shape = self.shape();
        let index = if dim < 0 {
            dim + shape.len() as i32
        } else {
            dim
        };
        match usize::try_from(index)
            .ok()
            .and_then(|index| shape.get(index))
        {
            Some(&size) => size,
            None => panic!("there is no dimension {dim} in {shape:?}"),
        }
    }

    /// How many elements.
    pub fn elements(&self) -> u64 {
        self.shape().iter().map(|&size| u64::from(size)).product()
    }

    /// All its bytes, little-endian and row-major. Waits for the device.
    ///
    /// # Errors
    /// What went wrong on the device.
    #[track_caller]
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let total = self.elements() * self.dtype().size() as u64;
        let mut bytes = Vec::with_capacity(total as usize);
        while (bytes.len() as u64) < total {
            let offset = bytes.len() as u64;
            bytes.extend(self.read(offset, CHUNK.min(total - offset))?);
        }
        Ok(bytes)
    }

    /// Its values as single-precision numbers. Waits for the device.
    ///
    /// # Errors
    /// What went wrong on the device.
    #[track_caller]
    pub fn to_f32s(&self) -> Result<Vec<f32>> {
        let bytes = match self.dtype() {
            DType::Float32 => self.to_bytes()?,
            _ => self.cast(DType::Float32)?.to_bytes()?,
        };
        Ok(bytes
            .as_chunks()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect())
    }

    /// The only value of a tensor of one element. Waits for the device.
    ///
    /// # Errors
    /// Another number of elements.
    #[track_caller]
    pub fn item(&self) -> Result<f32> {
        match self.to_f32s()?[..] {
            [value] => Ok(value),
            _ => Err(Error::invalid(format!(
                "item: a tensor of one element is needed, not {:?}",
                self.shape()
            ))),
        }
    }

    /// The `count` equal parts of a dimension.
    ///
    /// # Errors
    /// A dimension that cannot be parted like that.
    #[track_caller]
    pub fn chunk(&self, count: u32, dim: i32) -> Result<Vec<Self>> {
        let size = self.size(dim);
        if count == 0 || !size.is_multiple_of(count) {
            return Err(Error::invalid(format!(
                "chunk: dimension {dim} of size {size} has no {count} equal parts"
            )));
        }
        let each = size / count;
        (0..count)
            .map(|i| Ok(self.narrow(dim, i * each, each)?))
            .collect()
    }
}

impl Clone for Tensor {
    fn clone(&self) -> Self {
        self.alias()
    }
}

/// The value, or a panic with the host's sentence at the caller's line.
#[track_caller]
fn sure(result: Result<Tensor, types::Error>) -> Tensor {
    match result {
        Ok(tensor) => tensor,
        Err(error) => panic!("{}", Error::from_host(error, None)),
    }
}

/// A binary operator between tensors, owned or borrowed.
macro_rules! between {
    ($trait:ident, $method:ident) => {
        impl $trait<&Tensor> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: &Tensor) -> Tensor {
                sure(Tensor::$method(self, other))
            }
        }
        impl $trait<Tensor> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: Tensor) -> Tensor {
                sure(Tensor::$method(self, &other))
            }
        }
        impl $trait<&Tensor> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: &Tensor) -> Tensor {
                sure(Tensor::$method(&self, other))
            }
        }
        impl $trait<Tensor> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: Tensor) -> Tensor {
                sure(Tensor::$method(&self, &other))
            }
        }
    };
}
between!(Add, add);
between!(Sub, sub);
between!(Mul, mul);
between!(Div, div);

/// A binary operator with a number on either side.
macro_rules! with_number {
    ($trait:ident, $method:ident, |$x:ident, $n:ident| $right:expr, $left:expr) => {
        impl $trait<f64> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, $n: f64) -> Tensor {
                let $x = self;
                $right
            }
        }
        impl $trait<f64> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, $n: f64) -> Tensor {
                let $x = &self;
                $right
            }
        }
        impl $trait<&Tensor> for f64 {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, $x: &Tensor) -> Tensor {
                let $n = self;
                $left
            }
        }
        impl $trait<Tensor> for f64 {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, $x: Tensor) -> Tensor {
                let ($x, $n) = (&$x, self);
                $left
            }
        }
    };
}
with_number!(
    Add,
    add,
    |x, n| sure(x.add_scalar(n)),
    sure(x.add_scalar(n))
);
with_number!(
    Sub,
    sub,
    |x, n| sure(x.add_scalar(-n)),
    sure(sure(x.neg()).add_scalar(n))
);
with_number!(
    Mul,
    mul,
    |x, n| sure(x.mul_scalar(n)),
    sure(x.mul_scalar(n))
);
with_number!(
    Div,
    div,
    |x, n| sure(x.mul_scalar(1.0 / n)),
    sure(sure(x.pow_scalar(-1.0)).mul_scalar(n))
);

impl Neg for &Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        sure(Tensor::neg(self))
    }
}
impl Neg for Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        sure(Tensor::neg(&self))
    }
}

/// Stride 1, no padding, no dilation, one group, in two dimensions.
impl Default for ConvOptions {
    fn default() -> Self {
        Self {
            stride: vec![1, 1],
            padding: vec![0, 0],
            dilation: vec![1, 1],
            groups: 1,
        }
    }
}

impl ConvOptions {
    /// In `dimensions` spatial dimensions, padded by `padding` on both sides of each.
    pub fn padded(dimensions: usize, padding: u32) -> Self {
        Self {
            stride: vec![1; dimensions],
            padding: vec![padding; dimensions],
            dilation: vec![1; dimensions],
            groups: 1,
        }
    }

    /// With this stride in each dimension.
    #[must_use]
    pub fn stride(mut self, stride: u32) -> Self {
        self.stride.fill(stride);
        self
    }

    /// In this many groups.
    #[must_use]
    pub fn groups(mut self, groups: u32) -> Self {
        self.groups = groups;
        self
    }
}

impl PoolOptions {
    /// Square windows of `size` that do not overlap.
    pub fn square(size: u32) -> Self {
        Self {
            kernel: vec![size; 2],
            stride: vec![size; 2],
            padding: vec![0; 2],
        }
    }
}
