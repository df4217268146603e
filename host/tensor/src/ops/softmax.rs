//! Softmax and its logarithm.

use burn_backend::ops::ActivationOps;
use tenon_gpu::kernels::{Bias, Softmax, SoftmaxBackward};

use super::common::{dim_back, dim_last, host_binary, host_unary};
use crate::{
    DType, Tensor, TensorError, cpu, gpu, raw,
    tape::{again, record_again},
    value::on,
};

impl Tensor {
    /// eˣ / Σ eˣ along `dim`. Computed in single precision whatever the type.
    ///
    /// # Errors
    /// `InvalidArgument` for a dimension that is not there, or unless the tensor is floating-point.
    pub fn softmax(&self, dim: i32) -> Result<Tensor, TensorError> {
        self.need_float("softmax")?;
        let axis = self.dim("softmax", dim)?;
        if self.is_half() {
            return self.cast(DType::F32)?.softmax(dim)?.cast(self.dtype());
        }
        let out = if self.numel() == 0 {
            self.detach()?
        } else if raw::is_host_f32(self) {
            let last = dim_last(self, axis)?;
            let cols = self.shape()[axis];
            dim_back(
                &host_unary(&last, |x, out| cpu::softmax(x, cols, out))?,
                axis,
            )?
        } else {
            let last = dim_last(self, axis)?;
            let kernel = Softmax {
                scale: 1.0,
                bias: None,
            };
            dim_back(&gpu::like("softmax", &[&last], kernel)?, axis)?
        };
        record_again(
            "softmax",
            out,
            &[self],
            |out| vec![out.clone()],
            move |context| {
                let (y, g) = (&context.saved[0], &context.grad);
                if raw::is_host_f32(y) && y.numel() > 0 {
                    let (y, g) = (dim_last(y, axis)?, dim_last(g, axis)?);
                    let cols = y.shape()[y.rank() - 1];
                    let grad =
                        host_binary(&y, &g, |y, dy, dx| cpu::softmax_backward(y, dy, cols, dx))?;
                    return Ok(vec![Some(dim_back(&grad, axis)?)]);
                }
                if y.numel() == 0 {
                    return Ok(vec![Some(g.clone())]);
                }
                let (y, g) = (dim_last(y, axis)?, dim_last(g, axis)?);
                let kernel = SoftmaxBackward { scale: 1.0 };
                let grad = gpu::like("softmax", &[&y, &g], kernel)?;
                Ok(vec![Some(dim_back(&grad, axis)?)])
            },
            || again(&[], move |x, _| x[0].softmax(axis as i32)),
        )
    }

    /// softmax(self · scale + bias) over the keys of scores [batch, heads, tokens, keys] on a GPU. `bias`
    /// broadcasts to them and gets no gradient.
    pub(super) fn attention_weights(
        &self,
        bias: Option<&Tensor>,
        scale: f32,
    ) -> Result<Tensor, TensorError> {
        const WHAT: &str = "softmax";
        let bias = bias.map(|bias| bias.detach()?.cast(DType::F32));
        let bias = bias.transpose()?;
        let lies = bias.as_ref().map(|bias| {
            let mut strides = [0; 4];
            let mut stride = 1;
            let axes = (0..4).rev().zip(bias.shape().iter().rev());
            for (axis, dim) in axes.filter(|(_, dim)| **dim != 1) {
                strides[axis] = stride;
                stride *= dim;
            }
            Bias {
                heads: self.shape()[1],
                tokens: self.shape()[2],
                strides,
            }
        });
        let inputs: Vec<&Tensor> = [Some(self), bias.as_ref()].into_iter().flatten().collect();
        let out = gpu::like(WHAT, &inputs, Softmax { scale, bias: lies })?;
        record_again(
            WHAT,
            out,
            &[self],
            |out| vec![out.clone()],
            move |context| {
                let inputs = [&context.saved[0], &context.grad];
                let grad = gpu::like(WHAT, &inputs, SoftmaxBackward { scale })?;
                Ok(vec![Some(grad)])
            },
            || {
                let others: Vec<&Tensor> = bias.iter().collect();
                again(&others, move |x, others| {
                    x[0].attention_weights(others.first(), scale)
                })
            },
        )
    }

    /// The logarithm of [`Self::softmax`].
    ///
    /// # Errors
    /// As [`Self::softmax`].
    pub fn log_softmax(&self, dim: i32) -> Result<Tensor, TensorError> {
        self.need_float("log_softmax")?;
        let axis = self.dim("log_softmax", dim)?;
        if self.is_half() {
            let wide = self.cast(DType::F32)?;
            return wide.log_softmax(dim)?.cast(self.dtype());
        }
        let out = if self.numel() == 0 {
            self.detach()?
        } else if raw::is_host_f32(self) {
            let last = dim_last(self, axis)?;
            let cols = self.shape()[axis];
            dim_back(
                &host_unary(&last, |x, out| cpu::log_softmax(x, cols, out))?,
                axis,
            )?
        } else {
            let x = self.value();
            self.like(
                on!("log_softmax", |x| B => B::log_softmax(x, axis))?,
                self.dims(),
            )
        };
        record_again(
            "log_softmax",
            out,
            &[self],
            |out| vec![out.clone()],
            move |context| {
                let (y, g) = (&context.saved[0], &context.grad);
                if raw::is_host_f32(y) && y.numel() > 0 {
                    let (y, g) = (dim_last(y, axis)?, dim_last(g, axis)?);
                    let cols = y.shape()[y.rank() - 1];
                    let grad = host_binary(&y, &g, |y, dy, dx| {
                        cpu::log_softmax_backward(y, dy, cols, dx)
                    })?;
                    return Ok(vec![Some(dim_back(&grad, axis)?)]);
                }
                let total = g.sum(&[axis as i32], true)?;
                Ok(vec![Some(g.sub(&y.exp()?.mul(&total)?)?)])
            },
            || again(&[], move |x, _| x[0].log_softmax(axis as i32)),
        )
    }
}
