//! Pooling over height and width.

use burn_backend::ops::ModuleOps;

use super::{
    PoolOptions,
    common::{host, zeros_like},
    conv::positions,
};
use crate::{
    DType, Tensor, TensorError,
    cpu::{self, Pool2d},
    dims::Dims,
    raw,
    tape::record,
    value::{OnDevice, Value, guard, on},
};

/// A checked window.
#[derive(Clone, Copy)]
struct Window {
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    shape: Dims,
}

impl Tensor {
    /// The largest element of each window of self [batch, channels, height, width].
    ///
    /// # Errors
    /// `ShapeMismatch` unless the tensor has four dimensions and the window fits;
    /// `InvalidArgument` for options that do not have two entries, a stride of 0, or a padding of
    /// more than half the window.
    pub fn max_pool2d(&self, options: &PoolOptions) -> Result<Tensor, TensorError> {
        let window = window("max_pool2d", self, options)?;
        if window.shape.numel() == 0 {
            return Tensor::zeros(&window.shape, self.dtype(), &self.device());
        }
        let Window {
            kernel,
            stride,
            padding,
            shape,
        } = window;
        if raw::is_host_f32(self) {
            return host_max(self, window);
        }
        let x = self.value();
        let (values, index) = guard("max_pool2d", || {
            let dilation = [1, 1];
            Ok(match x {
                Value::Cpu(x) => {
                    let x = x.clone();
                    let both = burn_flex::Flex::max_pool2d_with_indices(
                        x, kernel, stride, padding, dilation, false,
                    );
                    (Value::Cpu(both.output), Value::Cpu(both.indices))
                }
                Value::Gpu(x) => {
                    let x = x.tensor();
                    let (output, indices) = tenon_gpu::Gpu::max_pool2d_with_indices(
                        x, kernel, stride, padding, dilation, false,
                    );
                    (
                        Value::Gpu(OnDevice::new(output)),
                        Value::Gpu(OnDevice::new(indices)),
                    )
                }
            })
        })?;
        // Of whatever integer type the backend counts in, which is not always one of ours.
        let index = index.places(self.device(), shape)?;
        let full = self.dims();
        record(
            "max_pool2d",
            self.like(values, shape),
            &[self],
            |_| vec![index],
            move |context| {
                let g = &context.grad;
                let places = full[2] * full[3];
                let flat = |x: &Tensor, last: usize| {
                    x.reshape(&[full[0] as i64, full[1] as i64, last as i64])
                };
                let zeros = Tensor::zeros(&[full[0], full[1], places], g.dtype(), &g.device())?;
                let count = shape[2] * shape[3];
                let index = flat(&context.saved[0], count)?;
                let sum = zeros.scatter_add(2, &index, &flat(g, count)?)?;
                Ok(vec![Some(super::common::reshaped(&sum, full)?)])
            },
        )
    }

    /// The mean of each window of self [batch, channels, height, width]; padding counts as zeros.
    ///
    /// # Errors
    /// As [`Self::max_pool2d`].
    pub fn avg_pool2d(&self, options: &PoolOptions) -> Result<Tensor, TensorError> {
        let window = window("avg_pool2d", self, options)?;
        let Window {
            kernel,
            stride,
            padding,
            shape,
        } = window;
        if shape.numel() == 0 {
            return Tensor::zeros(&shape, self.dtype(), &self.device());
        }
        if raw::is_host_f32(self) {
            let pool = window.sizes(self);
            let values = raw::f32s(self)?;
            let out = host(shape, |out| cpu::avg_pool2d(&pool, &values, out));
            let full = self.dims();
            return record(
                "avg_pool2d",
                out,
                &[self],
                |_| Vec::new(),
                move |context| {
                    let dy = raw::f32s(&context.grad)?;
                    Ok(vec![Some(host(full, |dx| {
                        cpu::avg_pool2d_backward(&pool, &dy, dx)
                    }))])
                },
            );
        }
        let x = self.value();
        let out =
            on!("avg_pool2d", |x| B => B::avg_pool2d(x, kernel, stride, padding, true, false))?;
        record(
            "avg_pool2d",
            self.like(out, shape),
            &[self],
            |_| vec![self.clone()],
            move |context| {
                // Only its shape is used.
                let x = zeros_like(&context.saved[0])?;
                let (v, dy) = (x.value(), context.grad.value());
                let out = on!("avg_pool2d", |v, dy| B => B::avg_pool2d_backward(
                    v, dy, kernel, stride, padding, true, false
                ))?;
                Ok(vec![Some(x.like(out, x.dims()))])
            },
        )
    }
}

impl Window {
    fn sizes(&self, x: &Tensor) -> Pool2d {
        Pool2d {
            input: [x.shape()[2], x.shape()[3]],
            output: [self.shape[2], self.shape[3]],
            kernel: self.kernel,
            stride: self.stride,
            padding: self.padding,
        }
    }
}

fn host_max(x: &Tensor, window: Window) -> Result<Tensor, TensorError> {
    let pool = window.sizes(x);
    let values = raw::f32s(x)?;
    // Places count in u32, which are kept as the bits of int32.
    if x.shape()[2].saturating_mul(x.shape()[3]) > i32::MAX as usize {
        return Err(TensorError::Unsupported(format!(
            "max_pool2d: planes of {:?} are too large",
            x.shape()
        )));
    }
    let mut places = vec![0_u32; window.shape.numel()];
    let out = host(window.shape, |out| {
        cpu::max_pool2d(&pool, &values, out, &mut places)
    });
    let full = x.dims();
    let saved = |_: &Tensor| {
        let places: Vec<i32> = bytemuck::cast_vec(places);
        vec![raw::from_elements(&window.shape, places, DType::I32)]
    };
    record("max_pool2d", out, &[x], saved, move |context| {
        let (places, dy) = (raw::words(&context.saved[0])?, raw::f32s(&context.grad)?);
        Ok(vec![Some(host(full, |dx| {
            cpu::max_pool2d_backward(&pool, &dy, &places, dx)
        }))])
    })
}

impl Value {
    /// Indices into planes as an int64 tensor.
    fn places(self, device: crate::Device, shape: Dims) -> Result<Tensor, TensorError> {
        use burn_backend::ops::IntTensorOps;
        let stored = device.stored(DType::I64)?;
        let value = &self;
        let value = on!("max_pool2d", |value| B => B::int_cast(value, stored.into()))?;
        Ok(Tensor::new(value, shape, DType::I64, device))
    }
}

fn window(what: &'static str, x: &Tensor, options: &PoolOptions) -> Result<Window, TensorError> {
    x.need_float(what)?;
    if x.rank() != 4 {
        return Err(TensorError::ShapeMismatch(format!(
            "{what}: x is {:?}, but [batch, channels, height, width] is needed",
            x.shape()
        )));
    }
    let pair = |name: &str, values: &[usize]| {
        <[usize; 2]>::try_from(values).map_err(|_| {
            TensorError::InvalidArgument(format!(
                "{what}: {name} {values:?} needs two entries, for height and width"
            ))
        })
    };
    let kernel = pair("kernel", &options.kernel)?;
    let stride = pair("stride", &options.stride)?;
    let padding = pair("padding", &options.padding)?;
    if kernel.contains(&0) || stride.contains(&0) {
        return Err(TensorError::InvalidArgument(format!(
            "{what}: kernel {kernel:?} and stride {stride:?} must be at least 1"
        )));
    }
    let mut shape = x.dims();
    for axis in 0..2 {
        if padding[axis] * 2 > kernel[axis] {
            return Err(TensorError::InvalidArgument(format!(
                "{what}: the padding {padding:?} is more than half the window {kernel:?}"
            )));
        }
        shape[axis + 2] = positions(shape[axis + 2], padding[axis], kernel[axis], stride[axis])
            .ok_or_else(|| {
                TensorError::ShapeMismatch(format!(
                    "{what}: the window {kernel:?} does not fit into {:?} with padding {padding:?}",
                    x.shape()
                ))
            })?;
    }
    Ok(Window {
        kernel,
        stride,
        padding,
        shape,
    })
}
