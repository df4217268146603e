//! Matrix products.

use std::sync::Arc;

use burn_backend::ops::FloatTensorOps;
use burn_flex::Flex;

use super::common::{broadcast, expanded, need_shape, permuted, reshaped, sum_leading, sum_to};
use crate::{
    DType, Tensor, TensorError,
    dims::Dims,
    gpu,
    params::Quantized,
    tape::{Backward, again, autocast, record_again},
    value::{Value, guard},
};

impl Tensor {
    /// The products of the matrices in the last two dimensions; the leading dimensions broadcast.
    ///
    /// # Errors
    /// `ShapeMismatch` when a tensor has no matrix or the shapes do not fit; `InvalidArgument`
    /// unless both are floating-point, of one type and device.
    pub fn matmul(&self, other: &Tensor) -> Result<Tensor, TensorError> {
        self.multiplied(other, false, autocast([self, other]))
    }

    /// self · otherᵀ, of the matrices in the last two dimensions.
    ///
    /// # Errors
    /// As [`Self::matmul`].
    pub(super) fn matmul_turned(&self, other: &Tensor) -> Result<Tensor, TensorError> {
        self.multiplied(other, true, autocast([self, other]))
    }

    /// With `reduced`, in that type, though both are float32 and the products are too.
    fn multiplied(
        &self,
        other: &Tensor,
        b_turned: bool,
        reduced: Option<DType>,
    ) -> Result<Tensor, TensorError> {
        if let (Some(dtype), true) = (reduced, self.device().is_cpu()) {
            let (a, b) = (self.cast(dtype)?, other.cast(dtype)?);
            return a.multiplied(&b, b_turned, None)?.cast(DType::F32);
        }
        self.need_float("matmul")?;
        self.need_same("matmul", other)?;
        let (&[.., _, inner], &[.., first, second]) = (self.shape(), other.shape()) else {
            return Err(TensorError::ShapeMismatch(format!(
                "matmul: {:?} x {:?}: both need at least two dimensions; use unsqueeze",
                self.shape(),
                other.shape()
            )));
        };
        let inner_too = if b_turned { second } else { first };
        if inner != inner_too {
            return Err(TensorError::ShapeMismatch(format!(
                "matmul: {:?} x {:?}: inner dimensions {inner} and {inner_too} differ",
                self.shape(),
                other.shape()
            )));
        }
        let (a, b) = (narrower(self, reduced)?, narrower(other, reduced)?);
        let out = product(&a, false, &b, b_turned, None, self.dtype())?;
        let shapes = (self.dims(), other.dims());
        let wide = self.dtype();
        let out = record_again(
            "matmul",
            out,
            &[self, other],
            |_| vec![a, b],
            move |context| {
                let (a, b) = (&context.saved[0], &context.saved[1]);
                let g = narrower(&context.grad, reduced)?;
                // What is still to be summed is not rounded before.
                let lead = |x: &Tensor| x.dims().without(x.rank() - 1).without(x.rank() - 2);
                let whole = [lead(a) == lead(&g), b.rank() == 2 || lead(b) == lead(&g)];
                let dtype = |index: usize| match whole[index] {
                    true => given_in(&context, index, &g, wide),
                    false => wide,
                };
                let for_b = |a: &Tensor, g: &Tensor| match b_turned {
                    true => product(g, true, a, false, None, dtype(1)),
                    false => product(a, true, g, false, None, dtype(1)),
                };
                Ok(vec![
                    context.when(0, || {
                        let for_a = product(&g, false, b, !b_turned, None, dtype(0))?;
                        sum_to(&for_a, &shapes.0)
                    })?,
                    context.when(1, || {
                        if b.rank() == 2 {
                            // One product over all rows instead of a sum of products.
                            return for_b(&matrix(a)?, &matrix(&g)?);
                        }
                        sum_to(&for_b(a, &g)?, &shapes.1)
                    })?,
                ])
            },
            || again(&[], move |x, _| x[0].multiplied(&x[1], b_turned, reduced)),
        )?;
        Ok(out.takes_gradient_in(reduced))
    }

    /// self · weightᵀ + bias: self [..., in], weight [out, in], bias [out].
    ///
    /// # Errors
    /// As [`Self::matmul`].
    pub fn linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor, TensorError> {
        self.line(weight, false, bias, autocast([self, weight]))
    }

    /// As [`Self::linear`] with the weight stored [in, out].
    ///
    /// # Errors
    /// As [`Self::linear`].
    pub(crate) fn linear_in_out(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<Tensor, TensorError> {
        let (Some(bias), true) = (bias, self.device().is_cpu()) else {
            return self.line(weight, true, bias, autocast([self, weight]));
        };
        self.linear_in_out(weight, None)?.add(bias)
    }

    /// With `reduced`, in that type, though all are float32 and what comes out is too.
    fn line(
        &self,
        weight: &Tensor,
        in_out: bool,
        bias: Option<&Tensor>,
        reduced: Option<DType>,
    ) -> Result<Tensor, TensorError> {
        if let (Some(dtype), true) = (reduced, self.device().is_cpu()) {
            let bias = bias.map(|bias| bias.cast(dtype)).transpose()?;
            return self
                .cast(dtype)?
                .line(&weight.cast(dtype)?, in_out, bias.as_ref(), None)?
                .cast(DType::F32);
        }
        let bias = match reduced {
            Some(_) => bias.map(|bias| bias.cast(self.dtype())).transpose()?,
            None => bias.cloned(),
        };
        let bias = bias.as_ref();
        self.need_float("linear")?;
        self.need_same("linear", weight)?;
        let (&[.., inputs], &[first, second]) = (self.shape(), weight.shape()) else {
            return Err(TensorError::ShapeMismatch(format!(
                "linear: x {:?} and weight {:?}: [..., in] and {} are needed",
                self.shape(),
                weight.shape(),
                if in_out { "[in, out]" } else { "[out, in]" }
            )));
        };
        let (outputs, expected) = if in_out {
            (second, first)
        } else {
            (first, second)
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
        let (x, w) = (narrower(self, reduced)?, narrower(weight, reduced)?);
        let shape = self.dims().replaced(self.rank() - 1, outputs);
        let flat = product(&matrix(&x)?, false, &w, !in_out, bias, self.dtype())?;
        let out = reshaped(&flat, shape)?;
        let (full, wide) = (self.dims(), self.dtype());
        let backward = move |context: Backward<'_>| {
            let (x, w) = (&context.saved[0], &context.saved[1]);
            let given = matrix(&context.grad)?;
            let g = narrower(&given, reduced)?;
            let [for_x, for_w] = [0, 1].map(|index| given_in(&context, index, &g, wide));
            Ok(vec![
                context.when(0, || {
                    reshaped(&product(&g, false, w, in_out, None, for_x)?, full)
                })?,
                context.when(1, || match in_out {
                    true => product(&matrix(x)?, true, &g, false, None, for_w),
                    false => product(&g, true, &matrix(x)?, false, None, for_w),
                })?,
                context.when(2, || sum_leading(&given, outputs, context.taken(2)))?,
            ])
        };
        let parents: Vec<&Tensor> = [self, weight].into_iter().chain(bias).collect();
        let out = record_again(
            "linear",
            out,
            &parents,
            |_| vec![x, w],
            backward,
            || again(&[], move |x, _| x[0].line(&x[1], in_out, x.get(2), reduced)),
        )?;
        Ok(out.takes_gradient_in(reduced))
    }
}

/// The type in which the gradient of an operand is given: the one in which it is used if the product's operands
/// are of it too (no library gives halves of float32), else the `wide` one.
fn given_in(context: &Backward<'_>, index: usize, operand: &Tensor, wide: DType) -> DType {
    match context.taken(index) == operand.dtype() {
        true => operand.dtype(),
        false => wide,
    }
}

/// A tensor in the type in which its products are to be computed. Not recorded.
fn narrower(x: &Tensor, reduced: Option<DType>) -> Result<Tensor, TensorError> {
    match reduced {
        Some(dtype) => x.detach()?.cast(dtype),
        None => x.detach(),
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
        let out = product(&flat, false, &dense, !in_out, bias, self.dtype())?;
        drop(dense);
        let out = reshaped(&out, self.dims().replaced(self.rank() - 1, outputs))?;
        let (full, weight) = (self.dims(), weight.clone());
        let kept = weight.clone();
        let backward = move |context: Backward<'_>| {
            let g = matrix(&context.grad)?;
            let back = || {
                let dense = weight.dense()?;
                reshaped(&product(&g, false, &dense, in_out, None, g.dtype())?, full)
            };
            Ok(vec![
                context.when(0, back)?,
                context.when(1, || sum_leading(&g, outputs, context.taken(1)))?,
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

/// The products of matrices, each taken transposed if asked for, in `dtype`, plus a bias of that type for
/// their columns. Not recorded.
pub(super) fn product(
    a: &Tensor,
    a_turned: bool,
    b: &Tensor,
    b_turned: bool,
    bias: Option<&Tensor>,
    dtype: DType,
) -> Result<Tensor, TensorError> {
    if let (Some(bias), false, true) = (bias, a_turned, b_turned)
        && a.rank() == 2
        && let Some(out) = super::host_matmul::linear(a, b, bias)?
    {
        return Ok(out);
    }
    let with_bias = |out: Tensor| match bias {
        Some(bias) => out.add(&bias.detach()?),
        None => Ok(out),
    };
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
        return with_bias(Tensor::zeros(&shape, dtype, &a.device())?);
    }
    if rb == 2 && ra > 2 {
        // One large product instead of many small ones.
        return reshaped(
            &product(&matrix(&a)?, false, &b, false, bias, dtype)?,
            shape,
        );
    }
    if let Some(out) = super::host_matmul::product(&a, &b, shape)? {
        return with_bias(out);
    }
    let a = expanded(&a, with(rows, inner))?;
    let b = expanded(&b, with(inner, cols))?;
    if let (Value::Cpu(x), Value::Cpu(y)) = (a.value(), b.value()) {
        let (x, y) = (x.clone(), y.clone());
        let out = guard("matmul", || Ok(Value::Cpu(Flex::float_matmul(x, y))))?;
        return with_bias(a.like(out, shape));
    }
    gpu::product(&a, &b, bias, dtype, shape)
}
