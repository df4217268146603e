//! Matrix products.

use std::sync::Arc;

use burn_backend::ops::FloatTensorOps;

use super::common::{broadcast, expanded, need_shape, permuted, reshaped, sum_leading, sum_to};
use crate::{
    DType, Tensor, TensorError,
    dims::Dims,
    params::Quantized,
    tape::{again, autocast, record_again},
    value::on,
};

impl Tensor {
    /// The products of the matrices in the last two dimensions; the leading dimensions broadcast.
    ///
    /// # Errors
    /// `ShapeMismatch` when a tensor has no matrix or the shapes do not fit; `InvalidArgument`
    /// unless both are floating-point, of one type and device.
    pub fn matmul(&self, other: &Tensor) -> Result<Tensor, TensorError> {
        if let Some(dtype) = autocast([self, other]) {
            return self
                .cast(dtype)?
                .matmul(&other.cast(dtype)?)?
                .cast(DType::F32);
        }
        self.need_float("matmul")?;
        self.need_same("matmul", other)?;
        let (&[.., _, inner], &[.., inner_too, _]) = (self.shape(), other.shape()) else {
            return Err(TensorError::ShapeMismatch(format!(
                "matmul: {:?} x {:?}: both need at least two dimensions; use unsqueeze",
                self.shape(),
                other.shape()
            )));
        };
        if inner != inner_too {
            return Err(TensorError::ShapeMismatch(format!(
                "matmul: {:?} x {:?}: inner dimensions {inner} and {inner_too} differ",
                self.shape(),
                other.shape()
            )));
        }
        let out = product(self, false, other, false)?;
        let shapes = (self.dims(), other.dims());
        let saved = |_: &Tensor| vec![self.clone(), other.clone()];
        record_again(
            "matmul",
            out,
            &[self, other],
            saved,
            move |context| {
                let (a, b, g) = (&context.saved[0], &context.saved[1], &context.grad);
                Ok(vec![
                    context.when(0, || sum_to(&product(g, false, b, true)?, &shapes.0))?,
                    context.when(1, || {
                        if b.rank() == 2 {
                            // One product over all rows instead of a sum of products.
                            return product(&matrix(a)?, true, &matrix(g)?, false);
                        }
                        sum_to(&product(a, true, g, false)?, &shapes.1)
                    })?,
                ])
            },
            || again(&[], |x, _| x[0].matmul(&x[1])),
        )
    }

    /// self · weightᵀ + bias: self [..., in], weight [out, in], bias [out].
    ///
    /// # Errors
    /// As [`Self::matmul`].
    pub fn linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor, TensorError> {
        if let Some(dtype) = autocast([self, weight]) {
            let bias = bias.map(|bias| bias.cast(dtype)).transpose()?;
            return self
                .cast(dtype)?
                .linear(&weight.cast(dtype)?, bias.as_ref())?
                .cast(DType::F32);
        }
        self.need_float("linear")?;
        self.need_same("linear", weight)?;
        let (&[.., inputs], &[outputs, expected]) = (self.shape(), weight.shape()) else {
            return Err(TensorError::ShapeMismatch(format!(
                "linear: x {:?} and weight {:?}: [..., in] and [out, in] are needed",
                self.shape(),
                weight.shape()
            )));
        };
        if inputs != expected {
            return Err(TensorError::ShapeMismatch(format!(
                "linear: x {:?} and weight {:?}: x has {inputs} features, the weight takes {expected}",
                self.shape(),
                weight.shape()
            )));
        }
        if let Some(bias) = bias {
            self.need_same("linear", bias)?;
            need_shape("linear", "the bias", bias, &[outputs])?;
        }
        let shape = self.dims().replaced(self.rank() - 1, outputs);
        let flat = product_with_bias(&matrix(self)?, weight, bias)?;
        let out = reshaped(&flat, shape)?;
        let full = self.dims();
        let saved = |_: &Tensor| vec![self.clone(), weight.clone()];
        let backward = move |context: crate::tape::Backward<'_>| {
            let (x, weight) = (&context.saved[0], &context.saved[1]);
            let g = matrix(&context.grad)?;
            Ok(vec![
                context.when(0, || reshaped(&product(&g, false, weight, false)?, full))?,
                context.when(1, || product(&g, true, &matrix(x)?, false))?,
                context.when(2, || sum_leading(&g, outputs))?,
            ])
        };
        match bias {
            Some(bias) => record_again(
                "linear",
                out,
                &[self, weight, bias],
                saved,
                backward,
                || again(&[], |x, _| x[0].linear(&x[1], x.get(2))),
            ),
            None => record_again("linear", out, &[self, weight], saved, backward, || {
                again(&[], |x, _| x[0].linear(&x[1], None))
            }),
        }
    }
}

impl Tensor {
    /// self · weightᵀ + bias, or self · weight + bias where the weight is stored `in_out`. The weight is
    /// not trained and kept in fewer bits; it is made dense for this product, and in the backward pass
    /// once more, so that the tape keeps nothing.
    pub(crate) fn linear_quantized(
        &self,
        weight: &Arc<Quantized>,
        in_out: bool,
        bias: Option<&Tensor>,
    ) -> Result<Tensor, TensorError> {
        self.need_float("linear")?;
        let outputs = weight.shape()[usize::from(in_out)];
        if let Some(bias) = bias {
            self.need_same("linear", bias)?;
            need_shape("linear", "the bias", bias, &[outputs])?;
        }
        let (flat, dense) = (matrix(self)?, weight.dense()?);
        let out = match (in_out, bias) {
            (false, _) => product_with_bias(&flat, &dense, bias)?,
            (true, None) => product(&flat, false, &dense, false)?,
            (true, Some(bias)) => product(&flat, false, &dense, false)?.add(&bias.detach()?)?,
        };
        drop(dense);
        let out = reshaped(&out, self.dims().replaced(self.rank() - 1, outputs))?;
        let (full, weight) = (self.dims(), weight.clone());
        let kept = weight.clone();
        let backward = move |context: crate::tape::Backward<'_>| {
            let g = matrix(&context.grad)?;
            let back = || reshaped(&product(&g, false, &weight.dense()?, in_out)?, full);
            Ok(vec![
                context.when(0, back)?,
                context.when(1, || sum_leading(&g, outputs))?,
            ])
        };
        let saved = |_: &Tensor| Vec::new();
        match bias {
            Some(bias) => record_again("linear", out, &[self, bias], saved, backward, || {
                again(&[], move |x, _| {
                    x[0].linear_quantized(&kept, in_out, x.get(1))
                })
            }),
            None => record_again("linear", out, &[self], saved, backward, || {
                again(&[], move |x, _| x[0].linear_quantized(&kept, in_out, None))
            }),
        }
    }
}

/// All leading dimensions taken together.
fn matrix(x: &Tensor) -> Result<Tensor, TensorError> {
    let cols = x.shape().last().copied().unwrap_or(1);
    let rows = x.shape()[..x.rank().saturating_sub(1)].iter().product();
    let mut shape = Dims::new();
    shape.push(rows);
    shape.push(cols);
    reshaped(x, shape)
}

/// A view with the last two dimensions exchanged.
pub(super) fn turned(x: &Tensor) -> Result<Tensor, TensorError> {
    let mut axes = Dims::new();
    (0..x.rank()).for_each(|axis| axes.push(axis));
    axes.swap(x.rank() - 1, x.rank() - 2);
    permuted(x, &axes)
}

/// The products of matrices, each taken transposed if asked for. Not recorded.
pub(super) fn product(
    a: &Tensor,
    a_turned: bool,
    b: &Tensor,
    b_turned: bool,
) -> Result<Tensor, TensorError> {
    let a = if a_turned { turned(a)? } else { a.detach()? };
    let b = if b_turned { turned(b)? } else { b.detach()? };
    let (ra, rb) = (a.rank(), b.rank());
    let (rows, inner, cols) = (a.shape()[ra - 2], a.shape()[ra - 1], b.shape()[rb - 1]);
    let batch = broadcast("matmul", &a.shape()[..ra - 2], &b.shape()[..rb - 2])?;
    let with = |rows: usize, cols: usize| {
        let mut shape = batch;
        shape.push(rows);
        shape.push(cols);
        shape
    };
    let shape = with(rows, cols);
    if shape.numel() == 0 || inner == 0 {
        return Tensor::zeros(&shape, a.dtype(), &a.device());
    }
    if rb == 2 && ra > 2 {
        // One large product instead of many small ones.
        return reshaped(&product(&matrix(&a)?, false, &b, false)?, shape);
    }
    if let Some(out) = super::host_matmul::product(&a, &b, shape)? {
        return Ok(out);
    }
    let a = expanded(&a, with(rows, inner))?;
    let b = expanded(&b, with(inner, cols))?;
    let (x, y) = (a.value(), b.value());
    Ok(a.like(on!("matmul", |x, y| B => B::float_matmul(x, y))?, shape))
}

/// x · weightᵀ + bias for matrices. Not recorded.
fn product_with_bias(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor, TensorError> {
    if let Some(bias) = bias {
        if let Some(out) = super::host_matmul::linear(x, weight, bias)? {
            return Ok(out);
        }
        return product(x, false, weight, true)?.add(&bias.detach()?);
    }
    product(x, false, weight, true)
}
