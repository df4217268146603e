//! Softmax and its logarithm.

use burn_backend::ops::ActivationOps;

use super::common::{dim_back, dim_last, host_binary, host_unary};
use crate::{
    DType, Tensor, TensorError, cpu, raw,
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
            let x = self.value();
            self.like(on!("softmax", |x| B => B::softmax(x, axis))?, self.dims())
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
                let weighted = g.mul(y)?;
                let total = weighted.sum(&[axis as i32], true)?;
                Ok(vec![Some(weighted.sub(&y.mul(&total)?)?)])
            },
            || again(&[], move |x, _| x[0].softmax(axis as i32)),
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
