//! Softmax and its logarithm.

use burn_backend::ops::ActivationOps;
use tenon_gpu::kernels::{Scores, Softmax, SoftmaxBackward};

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
                scores: None,
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
                let kernel = SoftmaxBackward {
                    scale: 1.0,
                    scores: None,
                };
                let grad = gpu::like("softmax", &[&y, &g], kernel)?;
                Ok(vec![Some(dim_back(&grad, axis)?)])
            },
            || again(&[], move |x, _| x[0].softmax(axis as i32)),
        )
    }

    /// softmax(self · scale + bias) over the keys of scores [batch, heads, tokens, keys] on a GPU. `bias`
    /// broadcasts to them and gets no gradient; `ranges` (int) [batch, tokens, 2] are the keys that a token
    /// sees, all if there are none.
    pub(super) fn attention_weights(
        &self,
        bias: Option<&Tensor>,
        ranges: Option<&Tensor>,
        scale: f32,
    ) -> Result<Tensor, TensorError> {
        const WHAT: &str = "softmax";
        let bias = bias.map(|bias| bias.detach()?.cast(DType::F32));
        let (bias, ranges) = (bias.transpose()?, ranges.cloned());
        let scores = Some(Scores {
            heads: self.shape()[1],
            tokens: self.shape()[2],
            bias: bias.as_ref().map(|bias| strides(bias.shape())),
            ranges: ranges.is_some(),
        });
        let inputs = [Some(self), bias.as_ref(), ranges.as_ref()];
        let inputs: Vec<&Tensor> = inputs.into_iter().flatten().collect();
        let out = gpu::like(WHAT, &inputs, Softmax { scale, scores })?;
        let has = (bias.is_some(), ranges.is_some());
        let kept = ranges.clone();
        record_again(
            WHAT,
            out,
            &[self],
            |out| [Some(out.clone()), kept].into_iter().flatten().collect(),
            move |context| {
                let y = &context.saved[0];
                let inputs = [Some(y), Some(&context.grad), context.saved.get(1)];
                let inputs: Vec<&Tensor> = inputs.into_iter().flatten().collect();
                let grad = gpu::like(WHAT, &inputs, SoftmaxBackward { scale, scores })?;
                Ok(vec![Some(grad)])
            },
            || {
                let others: Vec<&Tensor> = bias.iter().chain(&ranges).collect();
                again(&others, move |x, others| {
                    let mut others = others.iter();
                    let bias = has.0.then(|| others.next()).flatten();
                    x[0].attention_weights(bias, has.1.then(|| others.next()).flatten(), scale)
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

/// The distances in a contiguous tensor that broadcasts to four dimensions; 0 where it has size 1.
fn strides(shape: &[usize]) -> [usize; 4] {
    let mut strides = [0; 4];
    let mut stride = 1;
    let axes = (0..4).rev().zip(shape.iter().rev());
    for (axis, dim) in axes.filter(|(_, dim)| **dim != 1) {
        strides[axis] = stride;
        stride *= dim;
    }
    strides
}
